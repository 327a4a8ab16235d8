from __future__ import annotations

import re
from typing import ClassVar, Self

import numpy as np
import pandas as pd
import pytest

from tabular_automl.core.contract import Check, ContractError
from tabular_automl.encoders.base import ENCODERS
from tabular_automl.encoders.contract import Specimen, iter_checks
from tabular_automl.extend import (
    ColumnEncoder,
    DataError,
    FeatureTable,
    Kind,
    State,
    check_encoder,
)

RNG = np.random.default_rng(0)
WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"]
SENTENCES = [" ".join(RNG.choice(WORDS, 12)) for _ in range(60)]

SAMPLES = {
    "numbers": ("numeric", pd.Series(RNG.normal(size=60), name="x")),
    "gappy numbers": ("numeric", pd.Series([1.5, np.nan, 1e9, -3.0] * 15, name="x")),
    "whole numbers": ("numeric", pd.Series(range(60), name=7)),
    "nullable numbers": ("numeric", pd.Series([1, None, 3, 4] * 15, dtype="Int64", name="x")),
    "numbers as text": ("numeric", pd.Series([f"{i},{i % 7}00" for i in range(60)], name="x")),
    "words": ("category", pd.Series(["a", "b", "c", None] * 15, name="x")),
    "categories": ("category", pd.Series(["a", "b", "c", None] * 15, dtype="category", name="x")),
    "booleans": ("category", pd.Series([True, False] * 30, name="x")),
    "dates": ("datetime", pd.Series(pd.date_range("2020-01-31", periods=60, freq="7h"), name="x")),
    "dates as text": ("datetime", pd.Series([f"2024-02-{i:02d}" for i in range(1, 29)], name="x")),
    "sentences": ("text", pd.Series(SENTENCES, name="x")),
}  # fmt: skip


@pytest.mark.parametrize("check", iter_checks(), ids=str)
@pytest.mark.parametrize("sample", SAMPLES)
def test_every_encoder_keeps_the_contract(sample: str, check: Check[Specimen]) -> None:
    encoder, column = SAMPLES[sample]
    check(Specimen(ENCODERS.get(encoder), column))


def test_every_encoder_of_the_library_has_a_sample() -> None:
    tested = {encoder for encoder, _ in SAMPLES.values()}
    assert tested == {"numeric", "category", "datetime", "text"}


class VersionEncoder(ColumnEncoder):
    """A user's own encoder: "1.12.3" as three numbers."""

    kind: ClassVar[Kind] = Kind.NUMERIC

    @classmethod
    def claims(cls, sample: pd.Series) -> str | None:
        is_version = [cls.reads(value) for value in sample]
        return "version numbers" if is_version and all(is_version) else None

    @staticmethod
    def reads(value: object) -> bool:
        return isinstance(value, str) and re.fullmatch(r"\d+\.\d+\.\d+", value) is not None

    def fit(self, column: pd.Series) -> Self:
        return self

    def unreadable(self, column: pd.Series) -> np.ndarray:
        present = column.notna().to_numpy(dtype=bool)
        return present & ~np.array([self.reads(value) for value in column], dtype=bool)

    def transform(self, column: pd.Series) -> FeatureTable:
        bad = self.unreadable(column)
        if bad.any():
            raise DataError(
                f"Column {column.name!r} must hold versions, got {column[bad].iloc[0]!r}."
            )
        parts = column.astype(str).where(column.notna(), "").str.split(".", expand=True)
        parts = parts.reindex(columns=range(3)).apply(pd.to_numeric, errors="coerce")
        return FeatureTable(
            parts.to_numpy(dtype=np.float32),
            np.empty((len(column), 0), dtype=np.int32),
            tuple(f"{column.name}:{part}" for part in ("major", "minor", "patch")),
        )

    def state(self) -> State:
        return State()

    def restore(self, state: State) -> None:
        pass


VERSIONS = pd.Series([f"{i % 3}.{i}.0" for i in range(20)] + [None], name="version")


def test_an_encoder_of_the_users_own_passes() -> None:
    check_encoder(VersionEncoder, VERSIONS)


class Roleless(VersionEncoder):
    kind = Kind.WEIGHT


class Reasonless(VersionEncoder):
    @classmethod
    def claims(cls, sample: pd.Series) -> str | None:
        return None


class DoublePrecision(VersionEncoder):
    def transform(self, column: pd.Series) -> FeatureTable:
        table = super().transform(column)
        return FeatureTable(table.numeric.astype(np.float64), table.codes, table.numeric_names)


class Relative(VersionEncoder):
    def transform(self, column: pd.Series) -> FeatureTable:
        table = super().transform(column)
        ranks = table.numeric - table.numeric[:1]
        return FeatureTable(ranks, table.codes, table.numeric_names)


class Lenient(VersionEncoder):
    def transform(self, column: pd.Series) -> FeatureTable:
        return super().transform(column.mask(self.unreadable(column)))


class Nameless(VersionEncoder):
    def transform(self, column: pd.Series) -> FeatureTable:
        return super().transform(column.rename("other"))


class Varying(VersionEncoder):
    def transform(self, column: pd.Series) -> FeatureTable:
        table = super().transform(column)
        n = 1 if column.isna().all() else 3
        return FeatureTable(table.numeric[:, :n], table.codes, table.numeric_names[:n])


class Stateless(VersionEncoder):
    shift = 0.0

    def fit(self, column: pd.Series) -> Self:
        self.shift = 1.0
        return self

    def transform(self, column: pd.Series) -> FeatureTable:
        table = super().transform(column)
        return FeatureTable(
            table.numeric + np.float32(self.shift), table.codes, table.numeric_names
        )


class Unforgetting(VersionEncoder):
    @property
    def topics(self) -> range:
        return range(1, 2)

    def forget_topics(self) -> None:
        """Do nothing."""


@pytest.mark.parametrize(
    ("encoder_type", "sentence"),
    [
        (Unforgetting, "must have no topics after forget_topics"),
        (Roleless, "kind must be a Kind that becomes features, got <Kind.WEIGHT"),
        (Reasonless, "must return a reason for its own sample, got None"),
        (DoublePrecision, "must return float32 and int32"),
        (Relative, "must encode rows one by one; the values differ"),
        (Lenient, "must raise DataError for values that `unreadable` reports"),
        (Nameless, "must begin the features' names with the column's 'version'"),
        (Varying, "must name the same features for any rows"),
        (Stateless, "A restored Stateless must encode as before"),
    ],
)
def test_a_broken_encoder_is_told_what_is_wrong(
    encoder_type: type[ColumnEncoder], sentence: str
) -> None:
    with pytest.raises(ContractError, match=sentence):
        check_encoder(encoder_type, VERSIONS)

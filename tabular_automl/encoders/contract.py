"""The contract suite of column encoders: what the featurizer and saved predictors rely on.

Run it on an encoder of your own with `check_encoder`, or clause by clause under pytest::

    @pytest.mark.parametrize("check", iter_checks(), ids=str)
    def test_contract(check):
        check(Specimen(MyEncoder, sample))
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from tabular_automl.artifacts.contract import require_plain, through_files
from tabular_automl.core.contract import Check, ContractError, named_checks, require
from tabular_automl.core.errors import DataError
from tabular_automl.data.schema import UNUSED, Kind
from tabular_automl.data.table import FeatureTable
from tabular_automl.encoders.base import ColumnEncoder


@dataclass(frozen=True)
class Specimen:
    """An encoder under test, with a column that it should claim.

    Attributes
    ----------
    encoder_type : type of ColumnEncoder
    sample : Series of shape (n_samples,)
        At least four rows of the encoder's kind, named, some missing if that is usual.
    """

    encoder_type: type[ColumnEncoder]
    sample: pd.Series

    @property
    def name(self) -> str:
        """The encoder's name in sentences."""
        return self.encoder_type.__name__

    @property
    def present(self) -> pd.Series:
        """The rows of the sample that are not missing."""
        return self.sample[self.sample.notna()]

    def fit(self) -> ColumnEncoder:
        """Return an encoder fitted on the sample."""
        return self.encoder_type().fit(self.sample)

    def missing(self, n_rows: int) -> pd.Series:
        """Return rows of the sample's dtype, all missing where the dtype can say so."""
        return self.sample.iloc[:0].reindex(range(n_rows))


def iter_checks() -> tuple[Check[Specimen], ...]:
    """Return the clauses of the contract, each a callable that takes a `Specimen`."""
    return named_checks(_CHECKS)


def check_encoder(encoder_type: type[ColumnEncoder], sample: pd.Series) -> None:
    """Check that a column encoder keeps the contract of `ColumnEncoder`.

    Parameters
    ----------
    encoder_type : type of ColumnEncoder
    sample : Series
        At least four rows of a column that the encoder should claim.

    Raises
    ------
    ContractError
        At the first clause that does not hold, with a sentence that says what was seen.
    """
    for check in iter_checks():
        check(Specimen(encoder_type, sample))


# Claiming ----------------------------------------------------------------------------------------


def check_kind_is_declared(specimen: Specimen) -> None:
    """Check that the encoder names the kind of column it serves, and its priority."""
    kind = getattr(specimen.encoder_type, "kind", None)
    require(
        isinstance(kind, Kind) and kind not in UNUSED,
        f"{specimen.name}.kind must be a Kind that becomes features, got {kind!r}.",
    )
    priority = specimen.encoder_type.priority
    require(
        isinstance(priority, int), f"{specimen.name}.priority must be an int, got {priority!r}."
    )


def check_its_own_column_is_claimed_with_a_reason(specimen: Specimen) -> None:
    """Check that claims gives a reason for the sample and leaves it unchanged."""
    before = specimen.sample.copy(deep=True)
    reason = specimen.encoder_type.claims(specimen.present)
    require(
        isinstance(reason, str) and reason,
        f"{specimen.name}.claims must return a reason for its own sample, got {reason!r}.",
    )
    require(specimen.sample.equals(before), f"{specimen.name}.claims must not change the sample.")


def check_foreign_columns_are_judged_calmly(specimen: Specimen) -> None:
    """Check that claims answers a reason or None for columns of any dtype, empty ones too."""
    for column in _foreign_columns():
        for rows in (column, column.iloc[:0]):
            reason = specimen.encoder_type.claims(rows)
            require(
                reason is None or isinstance(reason, str),
                f"{specimen.name}.claims must return a reason or None for a column of dtype "
                f"{column.dtype}, got {reason!r}.",
            )


# Features ----------------------------------------------------------------------------------------


def check_features_are_well_formed(specimen: Specimen) -> None:
    """Check dtypes, levels, names and the absence of infinities."""
    encoder = specimen.encoder_type()
    fitted = encoder.fit(specimen.sample)
    require(
        fitted is encoder,
        f"{specimen.name}.fit must return the encoder itself, got {type(fitted)}.",
    )
    _require_features(specimen, encoder.transform(specimen.sample), len(specimen.sample))


def check_any_rows_give_the_same_features(specimen: Specimen) -> None:
    """Check 0 rows, one row and missing rows against the features of the training rows."""
    encoder = specimen.fit()
    expected = encoder.transform(specimen.sample)
    for rows in (specimen.sample.iloc[:0], specimen.sample.iloc[:1], specimen.missing(3)):
        features = _require_features(specimen, encoder.transform(rows), len(rows))
        require(
            features.names == expected.names and features.n_levels == expected.n_levels,
            f"{specimen.name}.transform must name the same features for any rows, got "
            f"{features.names} for {len(rows)} rows and {expected.names} for the sample.",
        )


def check_rows_are_encoded_alone(specimen: Specimen) -> None:
    """Check that a row's features do not depend on the rows beside it, nor on the index."""
    encoder = specimen.fit()
    whole = encoder.transform(specimen.sample)
    positions = np.array([3, 0, 3, 2])
    part = encoder.transform(specimen.sample.iloc[positions])
    _require_equal(whole.take(positions), part, f"{specimen.name} must encode rows one by one")


def check_the_storage_of_the_values_does_not_matter(specimen: Specimen) -> None:
    """Check that the same values in an object column give the same features."""
    encoder = specimen.fit()
    _require_equal(
        encoder.transform(specimen.sample),
        encoder.transform(specimen.sample.astype(object)),
        f"{specimen.name} must read an object column as it reads {specimen.sample.dtype}",
    )


def check_fit_transform_equals_fit_then_transform(specimen: Specimen) -> None:
    """Check that the shortcut gives what the two steps give."""
    _require_equal(
        specimen.fit().transform(specimen.sample),
        specimen.encoder_type().fit_transform(specimen.sample),
        f"{specimen.name}.fit_transform must give what fit and transform give",
    )


def check_inputs_stay_unchanged(specimen: Specimen) -> None:
    """Check that fit and transform do not write into the column."""
    before = specimen.sample.copy(deep=True)
    specimen.fit().transform(specimen.sample)
    require(
        specimen.sample.equals(before) and specimen.sample.index.equals(before.index),
        f"{specimen.name} must leave the column as it is; fit or transform changed it.",
    )


def check_forgotten_topics_leave_the_other_features(specimen: Specimen) -> None:
    """Check that an encoder that has topics is as before without them, saved or not."""
    encoder = specimen.fit()
    topics = encoder.topics
    if not len(topics):
        return
    whole = encoder.transform(specimen.sample)
    others = np.setdiff1d(np.arange(len(whole.numeric_names)), np.array(topics))
    encoder.forget_topics()
    require(not len(encoder.topics), f"{specimen.name} must have no topics after forget_topics.")
    for each in (encoder, _restored(specimen, encoder)):
        _require_equal(
            whole.of_numeric(others),
            each.transform(specimen.sample),
            f"{specimen.name}.forget_topics must leave the other features",
        )


def check_poor_columns_can_be_fitted(specimen: Specimen) -> None:
    """Check that a single row, or missing rows only, are enough to fit."""
    for rows in (specimen.present.iloc[:1], specimen.missing(4)):
        encoder = specimen.encoder_type().fit(rows)
        features = encoder.transform(specimen.sample)
        _require_features(specimen, features, len(specimen.sample))


def check_unreadable_values_raise_and_name_the_column(specimen: Specimen) -> None:
    """Check that transform raises DataError where `unreadable` says so, and only there."""
    encoder = specimen.fit()
    own = encoder.unreadable(specimen.sample)
    require(
        own.shape == (len(specimen.sample),) and own.dtype == bool and not own.any(),
        f"{specimen.name}.unreadable must be False for each row that fit has seen.",
    )
    for column in _foreign_columns():
        foreign = column.set_axis(column.index)
        foreign.name = specimen.sample.name
        if not encoder.unreadable(foreign).any():
            _require_features(specimen, encoder.transform(foreign), len(foreign))
            continue
        try:
            encoder.transform(foreign)
        except DataError as error:
            require(
                str(specimen.sample.name) in str(error),
                f"{specimen.name}.transform must name the column in its error, got: {error}",
            )
        else:
            raise ContractError(
                f"{specimen.name}.transform must raise DataError for values that `unreadable` "
                f"reports, here of dtype {foreign.dtype}; it returned features."
            )


# State -------------------------------------------------------------------------------------------


def check_state_is_plain_data(specimen: Specimen) -> None:
    """Check that state holds json, plain arrays and bytes, nothing else."""
    require_plain(specimen.fit().state(), f"{specimen.name}.state()")


def check_state_restores_equal_features(specimen: Specimen) -> None:
    """Check that an encoder rebuilt from its state, once and twice, encodes the same."""
    encoder = specimen.fit()
    expected = encoder.transform(specimen.sample)
    for generation in ("restored", "twice restored"):
        encoder = _restored(specimen, encoder)
        _require_equal(
            expected,
            encoder.transform(specimen.sample),
            f"A {generation} {specimen.name} must encode as before",
        )


_CHECKS = (
    check_kind_is_declared,
    check_its_own_column_is_claimed_with_a_reason,
    check_foreign_columns_are_judged_calmly,
    check_features_are_well_formed,
    check_any_rows_give_the_same_features,
    check_rows_are_encoded_alone,
    check_the_storage_of_the_values_does_not_matter,
    check_fit_transform_equals_fit_then_transform,
    check_inputs_stay_unchanged,
    check_forgotten_topics_leave_the_other_features,
    check_poor_columns_can_be_fitted,
    check_unreadable_values_raise_and_name_the_column,
    check_state_is_plain_data,
    check_state_restores_equal_features,
)


# Judgements --------------------------------------------------------------------------------------


def _foreign_columns() -> list[pd.Series]:
    """Return columns of many dtypes, most of which are not what the encoder expects."""
    return [
        pd.Series([1, 2, 3, 4, 5]),
        pd.Series([0.5, np.nan, -np.inf, np.inf, 1e300]),
        pd.Series([True, False, True]),
        pd.Series(["", " ", "qwerty", "12 345", "%$"]),
        pd.Series(["a", None, 3, b"\x00\xff", 2.5], dtype=object),
        pd.Series(pd.Categorical(["x", "y", None])),
        pd.to_datetime(pd.Series(["2024-01-31", None, "1905-07-04"])),
        pd.Series(pd.array([1, None, 3], dtype="Int64")),
        pd.Series([None, None], dtype=object),
    ]


def _require_features(specimen: Specimen, features: FeatureTable, n_rows: int) -> FeatureTable:
    """Return the features, once their shape, dtypes, names and values are found right."""
    who = f"{specimen.name}.transform"
    require(
        isinstance(features, FeatureTable),
        f"{who} must return a FeatureTable, got {type(features).__name__}.",
    )
    shapes = (features.numeric.shape, features.codes.shape)
    wanted = ((n_rows, len(features.numeric_names)), (n_rows, len(features.code_names)))
    require(shapes == wanted, f"{who} must return blocks of shapes {wanted}, got {shapes}.")
    dtypes = (features.numeric.dtype.name, features.codes.dtype.name)
    require(dtypes == ("float32", "int32"), f"{who} must return float32 and int32, got {dtypes}.")
    require(not np.isinf(features.numeric).any(), f"{who} must not return infinities.")
    levels = np.array(features.n_levels, dtype=np.int64)
    require(
        len(levels) == len(features.code_names)
        and bool(((features.codes >= 0) & (features.codes < levels)).all()),
        f"{who} must return codes from 0 below n_levels {features.n_levels}.",
    )
    _require_names(who, features, str(specimen.sample.name))
    return features


def _require_names(who: str, features: FeatureTable, column: str) -> None:
    names = features.names
    require(len(set(names)) == len(names), f"{who} must name each feature once, got {names}.")
    foreign = [name for name in names if not name.startswith(column)]
    require(
        not foreign,
        f"{who} must begin the features' names with the column's {column!r}, got {foreign}.",
    )


def _restored(specimen: Specimen, encoder: ColumnEncoder) -> ColumnEncoder:
    """Return the encoder as a saved predictor has it."""
    again = specimen.encoder_type()
    again.restore(through_files(encoder.state()))
    return again


def _require_equal(expected: FeatureTable, actual: FeatureTable, sentence: str) -> None:
    require(
        expected.names == actual.names,
        f"{sentence}; the features are {expected.names} and {actual.names}.",
    )
    same = np.array_equal(expected.codes, actual.codes) and np.allclose(
        expected.numeric, actual.numeric, rtol=1e-5, atol=1e-6, equal_nan=True
    )
    require(same, f"{sentence}; the values differ.")

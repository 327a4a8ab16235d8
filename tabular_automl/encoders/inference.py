"""What kind of column each one is, and why."""

from __future__ import annotations

import re
import warnings
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from tabular_automl.core.errors import DataError, InvalidOptionError, must_be, unknown_name
from tabular_automl.core.imports import is_installed
from tabular_automl.core.registry import PLUG_IN_ERRORS
from tabular_automl.data.column_names import name_key, name_to_json
from tabular_automl.data.schema import UNUSED, Column, Kind, Schema
from tabular_automl.encoders.base import ENCODERS, ColumnEncoder
from tabular_automl.encoders.identifiers import TwinFinder, identifier_reason
from tabular_automl.encoders.storage import (
    SAMPLE_ROWS,
    Storage,
    as_floats,
    distinct_cells,
    first_values,
    sample_of,
    storage_of,
)

_IMAGE_SUFFIX = re.compile(r"\.(?:jpe?g|png|webp|bmp|gif|tiff?)$", re.IGNORECASE)
_IMAGE_BYTES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"BM", b"II*\x00", b"MM\x00*")
_NEARLY_ALL = 0.95
_BUILTIN_ENCODERS = frozenset({"numeric", "category", "datetime", "text"})
_IDENTIFIABLE = frozenset({"numeric", "category", "text"})

Candidate = tuple[str, type[ColumnEncoder]]


def infer_schema(table: pd.DataFrame, overrides: Mapping[Hashable, str] | None = None) -> Schema:
    """Return the kind of each column, the reason for it, and the encoder that serves it.

    Parameters
    ----------
    table : DataFrame of shape (n_samples, n_columns)
        The training table without its label.
    overrides : mapping of column to kind or role, optional
        What the user knows better, by the values of `Kind`: ``{"zip": "category"}``. A column
        given a kind is used even when it looks constant, repeated or like an identifier.

    Raises
    ------
    InvalidOptionError
        When an override names an unknown column or kind.
    DataError
        When two columns have one name, or a column cannot be read as the kind it is given.
    """
    _check_unique(table)
    wanted = _checked_overrides(table, overrides or {})
    candidates = available_encoders()
    twins = TwinFinder()
    columns = []
    for position, name in enumerate(table.columns):
        name_to_json(name)  # one that could not be saved is refused before any work
        column = table.iloc[:, position]
        if name in wanted:
            columns.append(_given(column, wanted[name], candidates))
        else:
            columns.append(_inferred(column, candidates, twins))
    return Schema(tuple(columns))


def available_encoders() -> list[Candidate]:
    """Return every encoder that can be imported with its name, the highest priority first.

    One that cannot be imported, or is no encoder, is skipped with a warning.
    """
    found = [(key, thing) for key, thing in ENCODERS.available().items() if _is_encoder(key, thing)]
    return sorted(found, key=lambda item: (-item[1].priority, item[0]))


def _is_encoder(key: str, thing: object) -> bool:
    """Return whether a registered thing can be asked what it claims; warn if not."""
    is_class = isinstance(thing, type) and issubclass(thing, ColumnEncoder)
    if is_class and isinstance(getattr(thing, "kind", None), Kind):
        return True
    expected = "a subclass of ColumnEncoder with a kind"
    warnings.warn(
        f"Skipped: {must_be(f'The column encoder {key!r}', expected, thing)}", stacklevel=3
    )
    return False


def looks_like_images(sample: pd.Series) -> bool:
    """Return whether nearly all values are paths of image files, or images as bytes."""
    if storage_of(sample) is not Storage.CELLS or not len(sample):
        return False
    values = sample.tolist()
    return sum(_is_image(value) for value in values) >= _NEARLY_ALL * len(values)


def _is_image(value: object) -> bool:
    if isinstance(value, (bytes, bytearray)):
        return bytes(value[:4]).startswith(_IMAGE_BYTES)
    return isinstance(value, str) and bool(_IMAGE_SUFFIX.search(value.strip()))


def _inferred(column: pd.Series, candidates: list[Candidate], twins: TwinFinder) -> Column:
    name = name_key(column.name)
    useless = _useless_reason(column)
    if useless:
        return Column(name, Kind.IGNORED, useless)
    twin = twins.twin(column)
    if twin is not None:
        return Column(name, Kind.IGNORED, f"equal to column {twin[0]!r} in every row")
    sample = sample_of(column, SAMPLE_ROWS)
    key, encoder, reason = _claimed(sample, candidates)
    if len(sample) == SAMPLE_ROWS and not encoder.keeps_claim(column):
        others = [candidate for candidate in candidates if candidate[0] != key]
        key, encoder, reason = _claimed(sample, others)
    if encoder.kind is not Kind.IMAGE and key in _BUILTIN_ENCODERS and looks_like_images(sample):
        return Column(name, Kind.IGNORED, _why_no_images(candidates))
    if key in _IDENTIFIABLE:
        identifies = identifier_reason(column, encoder.kind)
        if identifies:
            return Column(name, Kind.IDENTIFIER, identifies)
    return Column(name, encoder.kind, reason, key)


def _why_no_images(candidates: list[Candidate]) -> str:
    """Return why a column that looks like images is claimed by no encoder of images."""
    if is_installed("PIL") and any(encoder.kind is Kind.IMAGE for _, encoder in candidates):
        return "paths of images, none of which can be opened from the working directory"
    return "images, which need the extra 'vision': pip install 'tabular-automl[vision]'"


def _claimed(
    sample: pd.Series, candidates: list[Candidate]
) -> tuple[str, type[ColumnEncoder], str]:
    """Return the first encoder that claims the column; categories claim everything."""
    for key, encoder in candidates:
        reason = _reason_to_claim(key, encoder, sample)
        if reason is not None:
            return key, encoder, reason
    raise DataError(
        f"Column {sample.name!r} must be claimed by a column encoder, got none that reads it; "
        "give its kind, or leave it out."
    )


def _reason_to_claim(key: str, encoder: type[ColumnEncoder], sample: pd.Series) -> str | None:
    """Return why an encoder claims a column; one that fails to say is skipped with a warning."""
    try:
        return encoder.claims(sample)
    except PLUG_IN_ERRORS as error:
        warnings.warn(
            f"Skipped: The column encoder {key!r} must say whether it claims column "
            f"{sample.name!r}, got {type(error).__name__}: {error}; the next one is asked.",
            stacklevel=3,
        )
        return None


def _useless_reason(column: pd.Series) -> str | None:
    """Return why the column can tell nothing, or None."""
    if not len(column):
        return "the table has no rows"
    if storage_of(column) in (Storage.NUMBER, Storage.BOOLEAN):
        return _useless_numbers(as_floats(column))
    missing = column.isna().to_numpy()
    if missing.all():
        return "every value is missing"
    # A look at the first cells spares most columns the full count.
    _, few = distinct_cells(column.iloc[:50])
    if len(set(few)) > 1:
        return None
    codes, keys = distinct_cells(column)
    if not keys:
        return "every value is missing"
    if len(set(keys)) == 1 and (codes >= 0).all():
        return f"constant: {first_values(keys)} in every row"
    return None


def _useless_numbers(values: Any) -> str | None:
    low, high = np.fmin.reduce(values), np.fmax.reduce(values)
    if low != low:
        return "every value is missing"
    if low == high and not np.isnan(values).any():
        return f"constant: {low:g} in every row"
    return None


def _given(column: pd.Series, kind: Kind, candidates: list[Candidate]) -> Column:
    reason = "given by you"
    if kind in UNUSED:
        return Column(name_key(column.name), kind, reason)
    sample = sample_of(column, SAMPLE_ROWS)
    serving = [(key, encoder) for key, encoder in candidates if encoder.kind is kind]
    if not serving:
        raise InvalidOptionError(
            f"Column {column.name!r} is given the kind {kind.value!r}, which needs an encoder that "
            f"is not installed; install it with: pip install 'tabular-automl[{_EXTRAS.get(kind)}]'."
        )
    reasons = {key: _reason_to_claim(key, encoder, sample) for key, encoder in serving}
    claiming = [key for key, reason in reasons.items() if reason is not None]
    key = claiming[0] if claiming else serving[-1][0]
    _check_readable(sample, key, kind)
    return Column(name_key(column.name), kind, reason, key)


_EXTRAS = {Kind.IMAGE: "vision", Kind.TEXT: "all"}


def _check_readable(sample: pd.Series, key: str, kind: Kind) -> None:
    """Raise when too many values cannot be read as the kind that the column is given."""
    encoder = ENCODERS.get(key)().fit(sample)
    if not encoder.junk:
        return
    codes, keys = distinct_cells(sample)
    is_bad = np.array([*(text in encoder.junk for text in keys), False])  # the last is a blank cell
    if is_bad.any() and is_bad[codes].mean() > 1 - _NEARLY_ALL:
        bad = [text for text in keys if text in encoder.junk]
        raise DataError(
            f"Column {sample.name!r} must be readable as {kind.value}, as you asked, got "
            f"{first_values(bad)}; correct the values or give it another kind, such as 'category'."
        )


def _check_unique(table: pd.DataFrame) -> None:
    repeated = table.columns[table.columns.duplicated()].unique().tolist()
    if repeated:
        raise DataError(
            f"Column names must be unique, got {', '.join(map(repr, repeated[:5]))} more than "
            "once; rename or drop the repeated columns."
        )


def _checked_overrides(
    table: pd.DataFrame, overrides: Mapping[Hashable, str]
) -> dict[Hashable, Kind]:
    known = set(table.columns)
    checked: dict[Hashable, Kind] = {}
    for name, kind in overrides.items():
        if name not in known:
            raise InvalidOptionError(unknown_name("column", name, table.columns))
        if kind not in list(Kind):
            raise InvalidOptionError(
                f"Column {name!r}: " + unknown_name("kind", kind, [k.value for k in Kind])
            )
        checked[name] = Kind(kind)
    return checked

"""Labels as they come: any dtype in, plain values, numbers and error sentences out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tabular_automl.core.errors import ArtifactError, LabelError
from tabular_automl.data.factorizing import factorize
from tabular_automl.data.number_texts import decimal_mark, parse_number

Floats = npt.NDArray[np.float64]

_SHOWN = 5  # values that an error names
_MASKED = frozenset(
    {"boolean", "Float32", "Float64"}
    | {f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)}
)


def check_dtype(y: pd.Series) -> None:
    """Refuse dtypes that are neither classes nor numbers."""
    dtype = y.dtype
    if dtype.kind in "mMc" or isinstance(dtype, (pd.PeriodDtype, pd.IntervalDtype)):
        raise LabelError(
            f"{column_words(y)} must hold classes or numbers, got dtype {str(dtype)!r}; convert it "
            "to numbers for a regression, or to text for a classification."
        )


def factorize_labels(y: pd.Series) -> tuple[npt.NDArray[np.intp], list[Any]]:
    """Return a code for each label (-1 where missing) and the distinct labels."""
    try:
        codes, values = factorize(y)
    except (TypeError, NotImplementedError) as error:
        raise LabelError(
            f"{column_words(y)} must hold classes or numbers, got values such as {y.iloc[0]!r} "
            f"({error}); convert them to text or numbers."
        ) from error
    return codes, [unwrapped(value) for value in values]


def read_numbers(y: pd.Series, mark: str | None = None) -> Floats:
    """Return regression labels as numbers, shape (n_samples,), in the user's units.

    Text such as ``" 12 "``, ``"1,234"`` and ``"$5"`` is read as the number it shows.

    Parameters
    ----------
    y : Series of shape (n_samples,)
    mark : {".", ","}, optional
        The decimal mark of texts; what `mark_of` finds by default.

    Raises
    ------
    LabelError
        When a label is missing, infinite or not a number; the message names the rows.
    """
    numbers = as_numbers(y, mark)
    bad = np.isnan(numbers)
    if bad.any():
        missing = y.isna().to_numpy()
        if missing.any():
            raise missing_label(y, missing)
        raise LabelError(
            f"{column_words(y)} must hold numbers for a regression, got {cells(y, bad)}; correct "
            "those rows, or use problem_type='multiclass'."
        )
    infinite = np.isinf(numbers)
    if infinite.any():
        raise LabelError(
            f"{column_words(y)} must hold finite numbers, got {cells(y, infinite)}; correct or "
            "drop those rows."
        )
    return numbers


def as_numbers(y: pd.Series, mark: str | None = None) -> Floats:
    """Return labels as float64, NaN where missing or not a number; see `read_numbers`."""
    if isinstance(y.dtype, pd.CategoricalDtype):
        of_category = as_numbers(pd.Series(y.cat.categories), mark)
        return np.append(of_category, np.nan)[y.cat.codes.to_numpy()]
    if pd.api.types.is_numeric_dtype(y.dtype):  # booleans too
        return y.to_numpy(dtype=np.float64, na_value=np.nan)
    numbers = pd.to_numeric(y, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    unread = np.isnan(numbers) & y.notna().to_numpy()
    if not (unread.any() or mark == ","):
        return numbers
    codes, values = factorize_labels(y)
    mark = mark or _mark_of(values)
    found = [parse_number(v, mark) if isinstance(v, str) else None for v in values]
    read = np.array([*found, None], dtype=np.float64)[codes]
    return np.where(np.isnan(read), numbers, read)


def mark_of(y: pd.Series) -> str:
    """Return the decimal mark of labels that are texts, "." for others.

    See `decimal_mark`.
    """
    values = y.cat.categories if isinstance(y.dtype, pd.CategoricalDtype) else y
    if pd.api.types.is_numeric_dtype(values.dtype):
        return "."
    return _mark_of(pd.unique(values))


def _mark_of(values: Any) -> str:
    return decimal_mark([value for value in values if isinstance(value, str)])


def unwrapped(value: Any) -> Any:
    """Return the Python value in a numpy scalar; other values as they are."""
    return value.item() if isinstance(value, np.generic) else value


def plain_value(value: Any) -> Any:
    """Return a class as text, bool, int or float exactly, so that json holds it."""
    plain = unwrapped(value)
    return str(plain) if isinstance(plain, str) else plain


def column_words(y: pd.Series) -> str:
    """Return the beginning of a sentence about the label column."""
    return f"The label column {y.name!r}"


def listed(values: Any) -> str:
    """Return the first values, comma-separated."""
    shown = ", ".join(repr(unwrapped(value)) for value in list(values)[:_SHOWN])
    return f"{shown} and {len(values) - _SHOWN} more" if len(values) > _SHOWN else shown


def cells(y: pd.Series, where: npt.NDArray[np.bool_]) -> str:
    """Return the first of the marked labels with their rows, and how many there are."""
    first = np.flatnonzero(where)[:3]
    shown = ", ".join(
        f"{unwrapped(y.iloc[int(row)])!r} in row {unwrapped(y.index[row])!r}" for row in first
    )
    n_more = int(where.sum()) - len(first)
    return f"{shown} and {n_more} more" if n_more else shown


def missing_label(y: pd.Series, where: npt.NDArray[np.bool_]) -> LabelError:
    """Return the error for labels that are missing where ``where`` is true."""
    row = unwrapped(y.index[where][0])
    return LabelError(
        f"{column_words(y)} must have no missing values here, got {int(where.sum())}, the first "
        f"in row {row!r}; fill or drop those rows."
    )


def in_plain_dtype(y: pd.Series) -> pd.Series:
    """Return labels of a dtype that wraps another, or has no short name, in a usual one.

    Sparse labels become dense, Arrow's dictionaries their values, and its decimals float64.
    """
    if isinstance(y.dtype, pd.SparseDtype):
        return y.astype(y.dtype.subtype)
    if not isinstance(y.dtype, pd.ArrowDtype):
        return y
    import pyarrow as pa

    arrow = y.dtype.pyarrow_dtype
    if pa.types.is_dictionary(arrow):
        return y.astype(pd.ArrowDtype(arrow.value_type))
    return y.astype(np.float64) if pa.types.is_decimal(arrow) else y


def dtype_to_json(dtype: Any) -> dict[str, Any]:
    """Return a label's dtype as plain values."""
    if isinstance(dtype, pd.CategoricalDtype):
        return {
            "kind": "category",
            "categories": [plain_value(value) for value in dtype.categories],
            "of": dtype_to_json(dtype.categories.dtype),
            "ordered": bool(dtype.ordered),
        }
    if isinstance(dtype, pd.StringDtype):
        missing = "NA" if dtype.na_value is pd.NA else "nan"
        storage = dtype.storage.removesuffix("_numpy")  # pandas 2.2 says there what is missing
        return {"kind": "string", "storage": storage, "missing": missing}
    if isinstance(dtype, pd.ArrowDtype):
        return {"kind": "arrow", "name": str(dtype.pyarrow_dtype)}
    if isinstance(dtype, np.dtype):
        return {"kind": "numpy", "name": dtype.name}
    return {"kind": "masked", "name": str(dtype)}


def dtype_from_json(spec: Mapping[str, Any]) -> Any:
    """Return the dtype that `dtype_to_json` was given."""
    kind = spec["kind"]
    if kind == "category":
        categories = pd.Index(spec["categories"], dtype=dtype_from_json(spec["of"]))
        return pd.CategoricalDtype(categories, ordered=spec["ordered"])
    if kind == "string":
        return _text_dtype(spec["storage"], spec["missing"])
    if kind == "arrow":
        import pyarrow

        return pd.ArrowDtype(pyarrow.type_for_alias(spec["name"]))
    if kind == "numpy":
        return np.dtype(spec["name"])
    if kind == "masked" and spec["name"] in _MASKED:
        return pd.api.types.pandas_dtype(spec["name"])
    raise ArtifactError(f"The saved label dtype {dict(spec)!r} is not one that this version knows.")


def _text_dtype(storage: Any, missing: str) -> Any:
    """Return the dtype of text with missing values of that kind."""
    if missing != "nan":
        return pd.StringDtype(storage)
    try:
        return pd.StringDtype(storage, na_value=np.nan)
    except TypeError:  # pandas 2.2 has one such dtype
        return pd.StringDtype("pyarrow_numpy")

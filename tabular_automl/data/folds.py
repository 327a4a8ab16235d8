"""Row indices of the folds, made once and reused by everything."""

from __future__ import annotations

import warnings
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tabular_automl.core.errors import DataError, InvalidOptionError, must_be
from tabular_automl.data.factorizing import factorize
from tabular_automl.data.labels import unwrapped
from tabular_automl.data.task import Task

Rows = npt.NDArray[np.intp]
Codes = npt.NDArray[np.integer[Any]]

_MAX_BINS = 50  # quantile bins of a regression target
_ROWS_FOR_QUANTILES = 200_000  # quantiles of a sample are good enough to stratify on
_MAX_UNITS = 20_000  # groups that are placed one by one; more are bundled first
_MAX_STRATA = 100  # strata that the placing of groups looks at
_MAX_GIVEN = 50  # folds of the user's own
_LEAST_TRAINING = 0.1  # of the rows, beside each fold that is given
_WORDS_FOR_TRAINING = frozenset({"train", "training"})
_TIME_TRAINING_SHARE = 0.5  # of the rows, trained on by the first fold in time order


@dataclass(frozen=True)
class Folds:
    """Pairs of training and validation rows.

    Attributes
    ----------
    train, valid : tuple of ndarray of int
        Row positions of each fold. The validation rows of different folds never overlap; with
        bagging they cover every row, with a holdout, in time order or as given perhaps only some.
    reason : str
        How they were made, one clause for the user.
    """

    train: tuple[Rows, ...]
    valid: tuple[Rows, ...]
    reason: str

    def __len__(self) -> int:
        return len(self.valid)

    @property
    def validated(self) -> Rows:
        """Every row that is predicted out of fold, sorted."""
        return np.sort(np.concatenate(self.valid))

    def first(self, n_folds: int) -> Folds:
        """Return the first of the folds only."""
        return Folds(self.train[:n_folds], self.valid[:n_folds], self.reason)


def make_folds(
    task: Task,
    y: npt.NDArray[Any],
    *,
    n_folds: int,
    holdout_fraction: float | None = None,
    groups: npt.ArrayLike | pd.Series | None = None,
    time: npt.ArrayLike | pd.Series | None = None,
    seed: int = 0,
) -> Folds:
    """Split the training rows; the same arguments always give the same folds.

    Without groups and time the folds are stratified: on the class, or on quantile bins of the
    value. Every row is then validated exactly once, and fold sizes differ by at most one row. A
    class with fewer rows than folds is spread over as many folds as it has rows, so that some
    folds validate none of it; a class with a single row is absent from one fold's training rows.

    Parameters
    ----------
    task : Task
    y : ndarray of shape (n_samples,)
        The encoded target.
    n_folds : int
        Number of folds, at least 2; fewer are made when there are too few rows, groups or
        distinct times, and the reason says so. Not looked at with a holdout.
    holdout_fraction : float or None
        Make one fold instead, which validates about this fraction of the rows.
    groups : array-like of shape (n_samples,) or None
        Rows of one group are never on both sides of a fold. Rows without a group (missing) count
        as one group.
    time : array-like of shape (n_samples,) or None
        Numbers, dates or dates as text. Each fold validates one block of the later half of the
        rows and trains on everything before it; rows of one time are never separated.
    seed : int

    Raises
    ------
    DataError
        When there is one row, one group or one time only, a missing time, or both groups and time.
    InvalidOptionError
        When ``n_folds`` or ``holdout_fraction`` is out of range.
    """
    _check_request(len(y), n_folds, holdout_fraction)
    if groups is not None and time is not None:
        raise DataError(
            "Folds keep groups together or follow the time, got both a group and a time column; "
            "name one of them only."
        )
    if time is not None:
        return _in_time_order(_read_time(time, len(y)), n_folds, holdout_fraction)
    generator = np.random.default_rng(seed)
    strata, basis = _strata(task, y, generator)
    if groups is not None:
        units = group_codes(groups, len(y))
        return _by_group(units, strata, n_folds, holdout_fraction, generator)
    if holdout_fraction is not None:
        return _holdout(strata, basis, holdout_fraction, generator)
    return _stratified(strata, basis, n_folds, generator)


def given_folds(fold: pd.Series, most: int | None = None) -> Folds:
    """Return the user's own folds: each value of the column is one, and validates its rows.

    Rows without a value train in every fold, so that one value alone makes a holdout of its rows.

    Parameters
    ----------
    fold : Series of shape (n_samples,)
    most : int, optional
        Put folds together where there are more.

    Raises
    ------
    DataError
        When there is no value, more than 50, one such as "train", or one that leaves no more than a
        tenth of the rows to train on.
    """
    codes, names = _codes_of(fold, "fold")
    blank = np.array([isinstance(name, str) and not name.strip() for name in names], dtype=bool)
    renumbered = np.append(np.where(blank, -1, np.cumsum(~blank) - 1), -1)
    codes, names = renumbered[codes], np.asarray(names, dtype=object)[~blank]
    for name in names:
        if str(name).strip().lower() in _WORDS_FOR_TRAINING:
            raise DataError(
                f"The fold column must be empty in rows that only train, got {str(name)!r}, which "
                "would be a fold of its own; make those cells missing."
            )
    n_folds, n_missing = len(names), int((codes < 0).sum())
    if not 1 <= n_folds <= _MAX_GIVEN:
        raise DataError(
            f"The fold column must hold 1 to {_MAX_GIVEN} different values, got {n_folds}; write "
            "one for each fold, and leave the cell empty in rows that are only to train."
        )
    largest = np.bincount(codes[codes >= 0]).max()
    if len(codes) - largest <= _LEAST_TRAINING * len(codes):
        raise DataError(
            f"Each value of the fold column must leave more than {_LEAST_TRAINING:.0%} of the rows "
            f"to train on, got one in {largest} of {len(codes)}; leave the cell empty in rows that "
            "only train."
        )
    only = f"; {n_missing} rows train only" if n_missing else ""
    reason = f"{n_folds} given by the column {fold.name!r}{only}"
    if most is not None and n_folds > most:
        codes, n_folds = np.where(codes < 0, codes, codes % most), most
    return _from_assignment(codes, n_folds, reason)


def _check_request(n_samples: int, n_folds: int, holdout_fraction: float | None) -> None:
    if n_samples < 2:
        raise DataError(f"At least 2 labelled rows are needed to validate, got {n_samples}.")
    if holdout_fraction is None and n_folds < 2:
        raise InvalidOptionError(must_be("n_folds", "an integer of at least 2", n_folds))
    if holdout_fraction is not None and not 0.0 < holdout_fraction < 1.0:
        expected = "a number between 0 and 1, both excluded"
        raise InvalidOptionError(must_be("holdout_fraction", expected, holdout_fraction))


def _strata(task: Task, y: npt.NDArray[Any], generator: np.random.Generator) -> tuple[Codes, str]:
    """Return a stratum for each row, and what it is."""
    if task.is_classification:
        return _small(y), "the class"
    n_bins = min(_MAX_BINS, len(y) // 20)
    if n_bins < 2:
        return np.zeros(len(y), dtype=np.int16), "nothing (too few rows)"
    sample = y if len(y) <= _ROWS_FOR_QUANTILES else generator.choice(y, _ROWS_FOR_QUANTILES)
    borders = np.quantile(sample, np.arange(1, n_bins) / n_bins)
    return _small(np.searchsorted(np.unique(borders), y, side="right")), "quantiles of the label"


def _small(codes: npt.NDArray[Any]) -> Codes:
    """Return codes as int16 where they fit: numpy then sorts them by radix, ten times faster."""
    fits = len(codes) == 0 or codes.max() < np.iinfo(np.int16).max
    return codes.astype(np.int16 if fits else np.int64)


def _shuffled_within(strata: Codes, generator: np.random.Generator) -> Rows:
    """Return all row positions, ordered by stratum and at random within each."""
    shuffled = generator.permutation(len(strata))
    order: Rows = shuffled[np.argsort(strata[shuffled], kind="stable")]
    return order


def _stratified(strata: Codes, basis: str, n_folds: int, generator: np.random.Generator) -> Folds:
    n_samples = len(strata)
    n_made = min(n_folds, n_samples)
    fold_of = np.empty(n_samples, dtype=np.int16)
    # dealing on from one stratum to the next keeps sizes balanced both within strata and overall
    fold_of[_shuffled_within(strata, generator)] = np.arange(n_samples) % n_made
    reason = f"{n_made} folds, stratified on {basis}"
    return _from_assignment(fold_of, n_made, reason + _fewer(n_made, n_folds, "rows"))


def _fewer(n_made: int, n_asked: int, what: str) -> str:
    return f" ({n_asked} asked, but there are too few {what})" if n_made < n_asked else ""


def _from_assignment(fold_of: npt.NDArray[Any], n_folds: int, reason: str) -> Folds:
    return Folds(
        train=tuple(np.flatnonzero(fold_of != fold) for fold in range(n_folds)),
        valid=tuple(np.flatnonzero(fold_of == fold) for fold in range(n_folds)),
        reason=reason,
    )


def _one_fold(is_valid: npt.NDArray[np.bool_], reason: str) -> Folds:
    return Folds((np.flatnonzero(~is_valid),), (np.flatnonzero(is_valid),), reason)


def _holdout(strata: Codes, basis: str, fraction: float, generator: np.random.Generator) -> Folds:
    """Hold out evenly spaced rows of the ordered strata; one row of each stratum always trains."""
    n_samples = len(strata)
    n_valid = min(max(1, round(fraction * n_samples)), n_samples - 1)
    order = _shuffled_within(strata, generator)
    ordered = strata[order]
    is_first = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    # with one row in every stratum there is no choice but to validate unlearned classes
    candidates = order if is_first.all() else order[~is_first]
    n_valid = min(n_valid, len(candidates))
    step = len(candidates) / n_valid
    positions = ((np.arange(n_valid) + generator.random()) * step).astype(np.intp)
    is_valid = np.zeros(n_samples, dtype=bool)
    is_valid[candidates[np.minimum(positions, len(candidates) - 1)]] = True
    share = is_valid.mean()
    return _one_fold(is_valid, f"a holdout of {share:.1%} of the rows, stratified on {basis}")


def check_weights(folds: Folds, weight: npt.NDArray[np.float64] | None) -> None:
    """Raise unless each fold has rows that count, to learn from and to be judged on.

    Raises
    ------
    DataError
        When all rows of one part of a fold weigh nothing.
    """
    if weight is None or (weight > 0).all():
        return
    for number, parts in enumerate(zip(folds.train, folds.valid, strict=True), 1):
        for rows, use in zip(parts, ("learns from", "is judged on"), strict=True):
            if not weight[rows].sum() > 0:
                raise DataError(
                    f"Each fold must have rows of a weight above 0, got none among the {len(rows)} "
                    f"that fold {number} of {len(folds)} {use}; leave rows of weight 0 out of the "
                    "table, or give them a small weight."
                )


def group_codes(groups: npt.ArrayLike | pd.Series, n_samples: int) -> Rows:
    """Return a code from 0 for each row's group."""
    _check_length("groups", groups, n_samples)
    codes, names = _codes_of(pd.Series(groups), "group", mark_missing=False)
    if len(names) < 2:
        raise DataError(
            f"The group column must hold at least 2 groups, got only {str(names[0])!r}; "
            "leave it out or choose another column."
        )
    return np.asarray(codes, dtype=np.intp)


def _codes_of(column: pd.Series, role: str, *, mark_missing: bool = True) -> tuple[Any, Any]:
    """Return a code from 0 for each row, -1 where missing values are marked, and the values."""
    try:
        return factorize(column, mark_missing=mark_missing)
    except (TypeError, NotImplementedError) as error:  # lists, dictionaries
        raise DataError(
            f"The {role} column must hold numbers or texts, got values such as {column.iloc[0]!r} "
            f"({error}); convert them to text."
        ) from error


def _check_length(name: str, values: Any, n_samples: int) -> None:
    if len(values) != n_samples:
        raise DataError(f"{name} must have {n_samples} values, one a row, got {len(values)}.")


def _by_group(
    units: Rows,
    strata: Codes,
    n_folds: int,
    holdout_fraction: float | None,
    generator: np.random.Generator,
) -> Folds:
    n_groups = int(units.max()) + 1
    if holdout_fraction is None:
        n_made = min(n_folds, n_groups)
        fold_of = _place_groups(units, strata, n_made, generator)
        reason = f"{n_made} folds that keep each of {n_groups} groups together"
        return _from_assignment(fold_of, n_made, reason + _fewer(n_made, n_folds, "groups"))
    # a holdout is one of so many folds, or all but one of them when it is the larger part
    smaller = min(holdout_fraction, 1.0 - holdout_fraction)
    n_parts = min(max(2, round(1.0 / smaller)), n_groups)
    fold_of = _place_groups(units, strata, n_parts, generator)
    shares = np.bincount(fold_of, minlength=n_parts) / len(fold_of)
    held_out = fold_of == np.abs(shares - smaller).argmin()
    is_valid = held_out if holdout_fraction <= 0.5 else ~held_out
    reason = f"a holdout of {is_valid.mean():.1%} of the rows that keeps groups together"
    return _one_fold(is_valid, reason)


def _place_groups(
    units: Rows, strata: Codes, n_folds: int, generator: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Return a fold for each row, folds alike in size and in strata.

    Units are placed from the largest to the smallest, each in the fold where the sum of squares
    of all relative counts (strata and size) grows least. An empty fold always comes first, so no
    fold stays empty while there are as many groups as folds.
    """
    if units.max() >= _MAX_UNITS:
        units = _bundles(units, strata)[units]
    counts = _unit_counts(units, strata)
    sizes = counts[:, -1]
    shuffled = generator.permutation(len(sizes))
    order = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    pulls = counts / np.square(counts.sum(axis=0))
    filled = np.zeros((n_folds, counts.shape[1]))
    fold_of_unit = np.empty(len(sizes), dtype=np.int64)
    for unit in order:
        fold = (filled @ pulls[unit]).argmin()
        fold_of_unit[unit] = fold
        filled[fold] += counts[unit]
    return fold_of_unit[units]


def _unit_counts(units: Rows, strata: Codes) -> npt.NDArray[np.float64]:
    """Return rows of each unit in each stratum, shape (n_units, n_strata + 1), sizes last."""
    n_units, n_strata = int(units.max()) + 1, int(strata.max()) + 1
    sizes = np.bincount(units, minlength=n_units)[:, None]
    if not 2 <= n_strata <= _MAX_STRATA:  # too many to keep alike: sizes only
        return sizes.astype(np.float64)
    cells = np.bincount(units * n_strata + strata, minlength=n_units * n_strata)
    table = cells.reshape(n_units, n_strata)
    present = table[:, table.any(axis=0)]  # a stratum without rows would divide by 0
    return np.hstack([present, sizes]).astype(np.float64)


def _bundles(units: Rows, strata: Codes) -> Rows:
    """Return a bundle for each unit, so that at most `_MAX_UNITS` bundles are to be placed.

    Units of like strata and size are bundled: small ones with small ones.
    """
    sizes = np.bincount(units)
    mean_stratum = np.bincount(units, weights=strata) / sizes
    order = np.lexsort((mean_stratum, -sizes))
    bundle = np.empty(len(sizes), dtype=np.intp)
    bundle[order] = np.arange(len(sizes)) * _MAX_UNITS // len(sizes)
    return bundle


def _read_time(time: npt.ArrayLike | pd.Series, n_samples: int) -> npt.NDArray[Any]:
    """Return values whose order is the order of time."""
    _check_length("time", time, n_samples)
    given = pd.Series(time)
    _check_known(given, given)
    values = given.reset_index(drop=True)
    moments = _as_moments(values)
    _check_known(given, moments)  # texts such as "NaT" are only missing when they are read
    if (moments == moments.iloc[0]).all():
        raise DataError(
            f"The time column must hold at least 2 different times, got only {str(values[0])!r}; "
            "leave it out or choose another column."
        )
    if isinstance(moments.dtype, np.dtype):
        return moments.to_numpy()
    return pd.factorize(moments, sort=True)[0]  # numpy cannot sort time zones and nullable numbers


def _check_known(given: pd.Series, moments: pd.Series) -> None:
    missing = moments.isna().to_numpy()
    if missing.any():
        row = unwrapped(given.index[missing][0])
        raise DataError(
            f"The time column must have no missing values, got {int(missing.sum())}, the first in "
            f"row {row!r}; fill them or leave those rows out."
        )


def _as_moments(values: pd.Series) -> pd.Series:
    """Return values that sort in time: numbers and dates as they are, text read as dates."""
    dtype = values.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return _as_moments(values.astype(dtype.categories.dtype))
    if not (pd.api.types.is_object_dtype(dtype) or pd.api.types.is_string_dtype(dtype)):
        return values
    numbers = pd.to_numeric(values, errors="coerce")
    if numbers.notna().all():
        return numbers
    for utc in (False, True):  # the latter for offsets that change, as with daylight saving
        try:
            with warnings.catch_warnings():  # pandas 2.2 only warns of them
                warnings.simplefilter("error", FutureWarning)
                return pd.to_datetime(values, format="ISO8601", utc=utc)
        except (ValueError, TypeError, FutureWarning):
            pass
    try:
        with warnings.catch_warnings():  # dates in no common format are an error below
            warnings.simplefilter("ignore", UserWarning)
            return pd.to_datetime(values)
    except (ValueError, TypeError) as error:
        first: Hashable = values.iloc[0]
        raise DataError(
            "The time column must hold numbers or dates in one format, got text such as "
            f"{first!r} ({error}); convert it with pandas.to_datetime."
        ) from error


def _in_time_order(
    moments: npt.NDArray[Any], n_folds: int, holdout_fraction: float | None
) -> Folds:
    """Validate blocks of the later rows, each after everything that trains for it."""
    n_samples = len(moments)
    order = np.argsort(moments, kind="stable")
    ordered = moments[order]
    starts = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1  # where a new time begins
    if holdout_fraction is None:
        later = np.arange(n_folds) / n_folds * (1.0 - _TIME_TRAINING_SHARE)
        targets = n_samples * (_TIME_TRAINING_SHARE + later)
    else:
        targets = np.array([n_samples * (1.0 - holdout_fraction)])
    borders = np.unique(_nearest(starts, targets))
    block = np.empty(n_samples, dtype=np.int16)  # 0 trains only, fold i validates block i + 1
    block[order] = np.searchsorted(borders, np.arange(n_samples), side="right")
    n_made = len(borders)
    train = tuple(np.flatnonzero(block <= fold) for fold in range(n_made))
    valid = tuple(np.flatnonzero(block == fold + 1) for fold in range(n_made))
    if holdout_fraction is not None:
        reason = f"a holdout of the latest {len(valid[0]) / n_samples:.1%} of the rows"
        return Folds(train, valid, reason)
    reason = f"{n_made} folds in time order, each trained on all earlier rows"
    return Folds(train, valid, reason + _fewer(n_made, n_folds, "different times"))


def _nearest(sorted_values: Rows, targets: npt.NDArray[np.float64]) -> Rows:
    """Return the value nearest to each target."""
    right = np.searchsorted(sorted_values, targets).clip(0, len(sorted_values) - 1)
    left = np.maximum(right - 1, 0)
    is_left = targets - sorted_values[left] <= sorted_values[right] - targets
    nearest: Rows = np.where(is_left, sorted_values[left], sorted_values[right])
    return nearest

"""A predictor that answers single rows in a millisecond or so."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tabular_automl.core.errors import DataError, InvalidOptionError, must_be
from tabular_automl.data.table import FeatureTable
from tabular_automl.deployment.fast_bags import (
    FEW_ROWS,
    FastBag,
    fast_bag,
    probe_table,
    soon_joined,
    unjoined_bag,
)
from tabular_automl.deployment.row_reader import Row, RowReader
from tabular_automl.encoders.storage import is_narrow_float
from tabular_automl.ensemble.bagging import Bag
from tabular_automl.fitted import FittedPipeline
from tabular_automl.models.base import Prediction

Columns = Mapping[Hashable, Any]


class CompiledPredictor:
    """Predicts rows given as dictionaries; made by `Predictor.compile`.

    Answers equal those of the predictor within 1e-6. Any number of threads may ask at once.
    Nothing of the predictor is changed. Up to 64 rows at once are read without pandas, except for
    texts, images and values of unusual types and forms; more are read as a frame.

    Attributes
    ----------
    classes : list or None
        The class labels in the order of the probabilities; None for a regression.
    models : list of str
        The models that are asked.
    slow_paths : dict of str to str
        Models that are asked the ordinary way, with the reason; all others have a fast one.

    Examples
    --------
    >>> import pandas as pd
    >>> from tabular_automl import Predictor
    >>> rows = [{"x": number / 2, "y": "low" if number < 30 else "high"} for number in range(60)]
    >>> predictor = Predictor("y", verbosity=0)
    >>> predictor = predictor.fit(pd.DataFrame(rows), time_limit=10, presets="fast")
    >>> predictor.compile().predict_one({"x": 27.5})
    'high'
    """

    def __init__(self, pipeline: FittedPipeline) -> None:
        self._pipeline = pipeline
        self._reader = RowReader(pipeline.featurizer)
        codec = pipeline.codec
        self.classes: list[Any] | None = None
        if codec.task.is_classification:
            self._labels = codec.labels(np.arange(codec.task.n_classes)).to_numpy()
            self.classes = self._labels.tolist()
        self.models = [bag.key for bag in pipeline.stack.bags]
        bags = [bag for bag in pipeline.stack.bags if isinstance(bag, FastBag)]
        self.slow_paths = {bag.key: bag.reason for bag in bags if bag.joined is None}

    def predict_one(self, row: Row) -> Any:
        """Return the predicted label of one row.

        Parameters
        ----------
        row : mapping
            Column name to value; None is missing, other columns are ignored.

        Raises
        ------
        MissingColumnsError
            When used columns are absent.
        DataError
            When a value cannot be read as its column's kind.
        """
        return self.answer(self.read(row))

    def answer(self, features: FeatureTable) -> Any:
        """Return the predicted label of one row that `read` returned."""
        decided = self._pipeline.decide(self._predict_features(features))[0]
        if self.classes is not None:
            return self.classes[int(decided)]
        return self._values(np.array([decided]))[0].item()

    def predict_proba_one(self, row: Row) -> dict[Any, float]:
        """Return the probability of each class, by label, of one row.

        Raises
        ------
        InvalidOptionError
            When the task is a regression.
        """
        classes = self._classes()
        probabilities = self._predict_features(self.read(row))[0]
        return dict(zip(classes, probabilities.tolist(), strict=True))

    def predict_many(self, columns: Columns) -> npt.NDArray[Any]:
        """Return the predicted labels of many rows, shape (n_rows,).

        Up to 64 rows are read one by one, without pandas; more are read as a frame.

        Parameters
        ----------
        columns : mapping
            Column name to an array or list with a value for each row.

        Raises
        ------
        DataError
            When columns differ in length, and as in `predict_one`.
        """
        decided = self._pipeline.decide(self._predict_columns(columns))
        return self._labels[decided] if self.classes is not None else self._values(decided)

    def predict_proba_many(self, columns: Columns) -> npt.NDArray[np.float64]:
        """Return the probabilities of many rows, shape (n_rows, n_classes), as `classes` has them.

        Rows are read as in `predict_many`.

        Raises
        ------
        InvalidOptionError
            When the task is a regression.
        """
        self._classes()
        return np.asarray(self._predict_columns(columns), dtype=np.float64)

    def read(self, row: Row) -> FeatureTable:
        """Return one row's features, as models read them."""
        return self._reader.read(row)

    def _predict_features(self, features: FeatureTable) -> Prediction:
        return self._pipeline.combine(self._pipeline.predict_each_of(features))

    def _predict_columns(self, columns: Columns) -> Prediction:
        n_rows = _length(columns)
        if n_rows > FEW_ROWS:
            # a Series would be put in the order of its index, not in that of its rows
            cells = {n: v.array if isinstance(v, pd.Series) else v for n, v in columns.items()}
            return self._pipeline.predict(pd.DataFrame(cells))
        rows = zip(*(_cells(values) for values in columns.values()), strict=True)
        tables = [self._reader.read(dict(zip(columns, row, strict=True))) for row in rows]
        if not tables:
            return np.empty((0, self._pipeline.task.n_outputs))
        return self._predict_features(_stacked(tables))

    def _values(self, numbers: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return regression values in the dtype that `Predictor.predict` gives them."""
        single = self._pipeline.codec.dtype == np.float32
        return numbers.astype(np.float32 if single else np.float64)

    def _classes(self) -> list[Any]:
        if self.classes is None:
            raise InvalidOptionError(
                "Probabilities must be asked of a classification, got a regression; use "
                "predict_one or predict_many."
            )
        return self.classes


def compile_pipeline(pipeline: FittedPipeline, n_threads: int = 1) -> CompiledPredictor:
    """Return the compiled form of a fitted pipeline; see `Predictor.compile`."""
    return CompiledPredictor(fast_pipeline(pipeline, n_threads))


def fast_pipeline(
    pipeline: FittedPipeline, n_threads: int = 1, *, most_seconds: float = math.inf
) -> FittedPipeline:
    """Return a pipeline that predicts equally, whose bags answer few rows at once.

    Those that would not be joined in ``most_seconds``, all together, stay as they are.
    """
    if not isinstance(n_threads, int) or isinstance(n_threads, bool) or n_threads < 1:
        raise InvalidOptionError(must_be("n_threads", "a positive whole number", n_threads))
    stack = pipeline.stack
    tables = {1: probe_rows(pipeline, [bag for bag in stack.bags if bag.layer == 1])}
    joining = {bag.key for bag in soon_joined(stack.bags, most_seconds)}
    bags: list[FastBag] = []
    for bag in stack.bags:
        if bag.layer not in tables:
            tables[bag.layer] = stack.inputs_of(bag.layer, tables[1], _outputs(bags, tables))
        is_joined = bag.key in joining
        table = tables[bag.layer]
        bags.append(fast_bag(bag, table, n_threads) if is_joined else unjoined_bag(bag, n_threads))
    return replace(pipeline, stack=replace(stack, bags=tuple(bags)))


def _outputs(bags: list[FastBag], tables: Mapping[int, FeatureTable]) -> dict[str, Prediction]:
    return {bag.key: bag.predict(tables[bag.layer]) for bag in bags}


def probe_rows(pipeline: FittedPipeline, bags: Sequence[Bag]) -> FeatureTable:
    """Return rows of a pipeline's features to try bags of its first layer on."""
    return probe_table(_blank_of(pipeline), bags)


def _blank_of(pipeline: FittedPipeline) -> FeatureTable:
    """Return an empty table of the pipeline's features, raw columns included."""
    featurizer = pipeline.featurizer
    kept = [part.raw_name for part in featurizer.parts if part.raw_name is not None]
    return featurizer.blank(0, {name: np.empty(0, dtype=object) for name in kept})


def _length(columns: Columns) -> int:
    if not isinstance(columns, Mapping):
        wanted = "a mapping of column name to an array or list"
        raise DataError(must_be("columns", wanted, columns))
    for name, values in columns.items():
        if isinstance(values, str) or np.ndim(values) == 0:
            raise DataError(f"Column {name!r}: " + must_be("values", "an array or list", values))
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name!r}: {length}" for name, length in list(lengths.items())[:5])
        raise DataError(f"Columns must have one length, got {listed}; check the arrays.")
    return next(iter(lengths.values()), 0)


def _cells(values: Any) -> list[Any]:
    """Return the values of a column as a list, numpy's and pandas' own types kept where odd."""
    if isinstance(values, np.ndarray) and (
        values.dtype.kind in "mM" or is_narrow_float(values.dtype)
    ):
        return list(values)  # tolist would make whole numbers of nanoseconds, and more digits
    if isinstance(values, pd.Series) and is_narrow_float(values.dtype):
        return list(values.array)
    return values.tolist() if isinstance(values, (np.ndarray, pd.Series)) else list(values)


def _stacked(tables: list[FeatureTable]) -> FeatureTable:
    """Return one table of the rows of several."""
    first = tables[0]
    return FeatureTable(
        np.concatenate([table.numeric for table in tables]),
        np.concatenate([table.codes for table in tables]),
        first.numeric_names,
        first.code_names,
        first.n_levels,
        {name: np.concatenate([table.raw[name] for table in tables]) for name in first.raw},
        first.raw_kinds,
    )

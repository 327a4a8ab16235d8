"""From the inputs of an ONNX graph, a table's columns, to the features that models read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tabular_automl.data.table import FIRST_LEVEL, MISSING_LEVEL, OTHER_LEVEL
from tabular_automl.deployment.onnx_dates import Calendar
from tabular_automl.deployment.onnx_graph import TREES, Graph, Value
from tabular_automl.deployment.onnx_inputs import INPUTS
from tabular_automl.encoders.category import CategoryEncoder
from tabular_automl.encoders.datetime import DAY, DatetimeEncoder
from tabular_automl.encoders.feature_parts import FeaturePart
from tabular_automl.encoders.featurizer import Featurizer
from tabular_automl.encoders.fills import Fills
from tabular_automl.encoders.numeric import LIMIT

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Features:
    """The two blocks of a feature table, and both as one, in a graph.

    Attributes
    ----------
    numeric : Value or None
        float32, shape (n_rows, n_numeric); None where there are no such features.
    codes : Value or None
        int64, shape (n_rows, n_categorical).
    matrix : Value
        Both side by side, float64, shape (n_rows, n_features).
    n_numeric : int
    n_levels : tuple of int
    """

    numeric: Value | None
    codes: Value | None
    matrix: Value
    n_numeric: int
    n_levels: tuple[int, ...]

    @classmethod
    def of(
        cls, graph: Graph, blocks: tuple[Value | None, Value | None], n_numeric: int, n_levels: Any
    ) -> Features:
        """Put the numeric block and the codes together."""
        present = [graph.cast(block, np.float64) for block in blocks if block is not None]
        return cls(*blocks, graph.side_by_side(present), n_numeric, tuple(n_levels))

    def with_numeric(self, graph: Graph, block: Value, width: int) -> Features:
        """Return the features with more numeric ones, float32, appended to theirs."""
        numeric = block if self.numeric is None else graph.side_by_side([self.numeric, block])
        return Features.of(graph, (numeric, self.codes), self.n_numeric + width, self.n_levels)

    @property
    def n_features(self) -> int:
        """Number of features in both blocks."""
        return self.n_numeric + len(self.n_levels)


def add_features(graph: Graph, parts: Sequence[FeaturePart], featurizer: Featurizer) -> Features:
    """Return the features of a graph's inputs, which are made here.

    Parameters
    ----------
    graph : Graph
        Without inputs.
    parts : sequence of FeaturePart
        As `exported_parts` returns them.
    featurizer : Featurizer
        Theirs.
    """
    values = {
        part.name: graph.input(str(part.name), INPUTS[type(part.encoder)].dtype) for part in parts
    }
    graph.count_rows(next(iter(values.values())))
    numbers, dates, categories = (
        [part for part in parts if isinstance(part.encoder, encoder)] for encoder in INPUTS
    )
    codes = [_codes(graph, _category(part), values[part.name]) for part in categories]
    blocks = _NumericBlocks(graph)
    if numbers:
        blocks.add_numbers(numbers, [values[part.name] for part in numbers])
    if dates:
        blocks.add_dates(dates, [values[part.name] for part in dates])
    for part, code in zip(categories, codes, strict=True):
        blocks.add_categories(part, code)
    pairs = featurizer.pairs
    blocks.add_intervals([(values[first], values[second]) for first, second in pairs])
    kept = [(p, c) for p, c in zip(categories, codes, strict=True) if len(p.codes)]
    code_block = _stacked(graph, [code for _, code in kept]) if kept else None
    n_levels = [len(_category(part).levels) + FIRST_LEVEL for part, _ in kept]
    numeric = _filled(graph, blocks.joined(), featurizer.fills)
    return Features.of(graph, (numeric, code_block), len(blocks.places), n_levels)


class _NumericBlocks:
    """Blocks of numeric features and where each of their columns belongs."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._blocks: list[Value] = []
        self._width = 0
        self.places: dict[int, int] = {}

    def add_numbers(self, parts: Sequence[FeaturePart], raw: Sequence[Value]) -> None:
        """Add what `NumericEncoder` makes of columns of numbers, all at once."""
        graph = self._graph
        values = _stacked(graph, raw)
        self._add(_scaled(graph, parts, values), len(parts), [part.place_of(0) for part in parts])
        flagged = [i for i, part in enumerate(parts) if part.place_of(1) >= 0]
        if flagged:
            missing = graph.add("IsNaN", graph.columns(values, flagged))
            places = [parts[i].place_of(1) for i in flagged]
            self._add(graph.cast(missing, np.float32), len(flagged), places)

    def add_dates(self, parts: Sequence[FeaturePart], raw: Sequence[Value]) -> None:
        """Add what `DatetimeEncoder` makes of columns of times, all at once."""
        graph, encoders = self._graph, [_date(part) for part in parts]
        seconds = _stacked(graph, raw)
        center = np.array([encoder.center for encoder in encoders])
        elapsed = graph.add("Div", graph.add("Sub", seconds, center), np.float64(DAY))
        for name, block in {"elapsed": elapsed, **Calendar(graph, seconds).parts()}.items():
            orders = [encoder.own_features for encoder in encoders]
            own = [order.index(name) if name in order else -1 for order in orders]
            places = [part.place_of(i) for part, i in zip(parts, own, strict=True)]
            if max(places) >= 0:
                self._add(graph.cast(block, np.float32), len(parts), places)

    def add_intervals(self, pairs: Sequence[tuple[Value, Value]]) -> None:
        """Add the days between columns of times, which come last."""
        for first, second in pairs:
            since = self._graph.add("Sub", second, first)
            days = _stacked(self._graph, [self._graph.add("Div", since, np.float64(DAY))])
            self._add(self._graph.cast(days, np.float32), 1, [len(self.places)])

    def add_categories(self, part: FeaturePart, code: Value) -> None:
        """Add the numbers that stand for the levels of a category, if there are any."""
        if len(part.numeric):
            numbers = _numbers_of_levels(_category(part))[:, None]
            self._add(self._graph.add("Gather", numbers, code), 1, [part.place_of(0)])

    def joined(self) -> Value | None:
        """Return all features in the order of the feature table."""
        if not self.places:
            return None
        order = [self.places[place] for place in sorted(self.places)]
        return self._graph.columns(self._graph.side_by_side(self._blocks), order)

    def _add(self, block: Value, width: int, places: Sequence[int]) -> None:
        self._blocks.append(block)
        self.places |= {p: self._width + i for i, p in enumerate(places) if p >= 0}
        self._width += width


def _category(part: FeaturePart) -> CategoryEncoder:
    assert isinstance(part.encoder, CategoryEncoder)
    return part.encoder


def _date(part: FeaturePart) -> DatetimeEncoder:
    assert isinstance(part.encoder, DatetimeEncoder)
    return part.encoder


def _stacked(graph: Graph, values: Sequence[Value]) -> Value:
    """Return values of shape (n_rows,) as one of shape (n_rows, n_values)."""
    last = np.array([1], dtype=np.int64)
    return graph.side_by_side([graph.add("Unsqueeze", value, last) for value in values])


def _scaled(graph: Graph, parts: Sequence[FeaturePart], values: Value) -> Value:
    """Do what `NumericEncoder.scaled` does, for many columns."""
    encoders: list[Any] = [part.encoder for part in parts]
    center, scale, low, high = (
        np.array([getattr(e, name) for e in encoders], dtype=np.float64)
        for name in ("center", "scale", "low", "high")
    )
    too_high = graph.add("IsInf", values, detect_negative=0)
    too_low = graph.add("IsInf", values, detect_positive=0)
    values = graph.add("Where", too_high, high, values)
    values = graph.add("Where", too_low, low, values)
    values = graph.add("Div", graph.add("Sub", values, center), scale)
    bound = np.float64(LIMIT)  # by comparisons, which leave NaN as it is on every runtime
    values = graph.add("Where", graph.add("Greater", values, bound), bound, values)
    values = graph.add("Where", graph.add("Less", values, -bound), -bound, values)
    return graph.cast(values, np.float32)


def _filled(graph: Graph, numeric: Value | None, fills: Fills) -> Value | None:
    """Do what `Fills.write` does."""
    if numeric is None or not fills.any:
        return numeric
    return graph.add("Where", graph.add("IsNaN", numeric), fills.middles, numeric)


def _codes(graph: Graph, encoder: CategoryEncoder, texts: Value) -> Value:
    """Return the code of each text, shape (n_rows,)."""
    known = _known_texts(encoder)
    return graph.add(
        "LabelEncoder",
        texts,
        domain=TREES,
        keys_strings=list(known),
        values_int64s=np.array(list(known.values()), dtype=np.int64),
        default_int64=OTHER_LEVEL,
    )


def _known_texts(encoder: CategoryEncoder) -> dict[str, int]:
    """Return the code of each text that may stand for a level: 1 is also written 1.0."""
    texts = {**encoder.spellings, "": MISSING_LEVEL}
    for text, code in encoder.spellings.items():
        if text.lstrip("-").isdigit() and encoder.code_of(f"{text}.0") == code:
            texts.setdefault(f"{text}.0", code)
    return texts


def _numbers_of_levels(encoder: CategoryEncoder) -> Floats:
    """Return the 0/1 feature or the count that each code stands for."""
    if encoder.is_binary:
        return np.array([np.nan, np.nan, 0.0, 1.0], dtype=np.float32)
    return encoder.log_counts()

"""Where each column's features land, and all columns of plain numbers encoded together."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tabular_automl.data.table import FeatureTable
from tabular_automl.encoders.base import ColumnEncoder
from tabular_automl.encoders.numeric import LIMIT, NumericEncoder

Positions = dict[Hashable, int]


@dataclass(frozen=True)
class FeaturePart:
    """One column's encoder, and which of its features go where.

    ``numeric`` and ``codes`` say which of the encoder's own features are kept; they land side by
    side in the featurizer's blocks, from ``numeric_at`` and ``codes_at`` on. ``raw_name`` is the
    column's name among the untouched ones, where it is one.
    """

    name: Hashable
    encoder: ColumnEncoder
    numeric: npt.NDArray[np.intp]
    codes: npt.NDArray[np.intp]
    numeric_at: int
    codes_at: int
    raw_name: str | None = None

    def write(self, block: FeatureTable, out: FeatureTable) -> None:
        """Copy the kept features of the encoder's block to their place."""
        n_numeric, n_codes = len(self.numeric), len(self.codes)
        if n_numeric:
            at = slice(self.numeric_at, self.numeric_at + n_numeric)
            out.numeric[:, at] = block.numeric[:, self.numeric]
        if n_codes:
            at = slice(self.codes_at, self.codes_at + n_codes)
            out.codes[:, at] = block.codes[:, self.codes]

    @property
    def topics_at(self) -> npt.NDArray[np.intp]:
        """Where the kept topics of the column's texts are in the numeric block."""
        topics = self.encoder.topics
        is_topic = (self.numeric >= topics.start) & (self.numeric < topics.stop)
        return self.numeric_at + np.flatnonzero(is_topic)

    def place_of(self, feature: int) -> int:
        """Return where an encoder's own feature lands in the numeric block, -1 when left out."""
        found = np.flatnonzero(self.numeric == feature)
        return self.numeric_at + int(found[0]) if len(found) else -1


class PlainNumbers:
    """All columns of numbers, encoded together: what a frame costs per column it costs once."""

    def __init__(self, parts: list[FeaturePart]) -> None:
        self._indices = [i for i, part in enumerate(parts) if type(part.encoder) is NumericEncoder]
        self._parts = [parts[i] for i in self._indices]
        encoders: list[Any] = [part.encoder for part in self._parts]
        self._center = np.array([e.center for e in encoders], dtype=np.float64)
        self._scale = np.array([e.scale for e in encoders], dtype=np.float64)
        self._low = np.array([e.low for e in encoders], dtype=np.float64)
        self._high = np.array([e.high for e in encoders], dtype=np.float64)
        self._value_at = np.array([part.place_of(0) for part in self._parts], dtype=np.intp)
        self._missing_at = np.array([part.place_of(1) for part in self._parts], dtype=np.intp)

    def write(
        self,
        table: pd.DataFrame,
        positions: Positions,
        numeric: npt.NDArray[np.float32],
        parts: list[FeaturePart],
    ) -> list[FeaturePart]:
        """Write the features of columns with a plain dtype; return the parts that are left."""
        dtypes = table.dtypes.to_numpy()
        at = [positions[part.name] for part in self._parts]
        plain = [i for i, position in enumerate(at) if _is_plain(dtypes[position])]
        if len(plain) < 2:
            return parts
        values = table.iloc[:, [at[i] for i in plain]].to_numpy(dtype=np.float64)
        value_at, missing_at = self._value_at[plain], self._missing_at[plain]
        kept, flagged = value_at >= 0, missing_at >= 0
        numeric[:, value_at[kept]] = self._scaled(values, plain)[:, kept]
        numeric[:, missing_at[flagged]] = np.isnan(values[:, flagged])
        done = {self._indices[i] for i in plain}
        return [part for i, part in enumerate(parts) if i not in done]

    def _scaled(self, values: npt.NDArray[np.float64], plain: list[int]) -> npt.NDArray[np.float32]:
        """Do what `NumericEncoder.scaled` does, for many columns."""
        if np.isinf(values).any():
            values = np.where(values == np.inf, self._high[plain], values)
            values = np.where(values == -np.inf, self._low[plain], values)
        scaled = (values - self._center[plain]) / self._scale[plain]
        return np.clip(scaled, -float(LIMIT), float(LIMIT)).astype(np.float32)


def _is_plain(dtype: Any) -> bool:
    return isinstance(dtype, np.dtype) and dtype.kind in "biuf"

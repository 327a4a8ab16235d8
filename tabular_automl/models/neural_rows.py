"""Rows that stacked networks learn from: those of a fold, and of several filled up to one shape."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Rows:
    """Encoded rows: inputs (n_samples, n_inputs), targets and weights (n_samples,)."""

    x: npt.NDArray[np.float32]
    y: Array
    weight: Array | None


@dataclass(frozen=True)
class FoldRows:
    """What the networks of one fold learn from; folds may differ in rows and in inputs.

    Attributes
    ----------
    wavy : ndarray of int
        The inputs that get a periodic embedding; the same number in every fold.
    offset : ndarray of shape (n_outputs,)
        Where the last layer's bias starts.
    """

    train: Rows
    valid: Rows | None
    wavy: npt.NDArray[np.intp]
    offset: npt.NDArray[np.float32]
    seed: int


@dataclass(frozen=True)
class Padded:
    """The rows of several folds, filled up with zeros to one shape (n_folds, n_rows, ...).

    The filling weighs nothing. The inputs, by far the largest, stay as the folds have them, and are
    filled up as they are read.
    """

    x: tuple[Tensor, ...]
    y: Tensor
    weight: Tensor
    n_inputs: int

    @classmethod
    def of(cls, parts: Sequence[Rows], n_inputs: int, loss: str, device: torch.device) -> Padded:
        """Return the rows on a device, their inputs to be filled up to ``n_inputs``."""
        n_rows = max(len(part.y) for part in parts)
        kind = np.int64 if loss == "log_loss" else np.float32
        y = np.zeros((len(parts), n_rows), dtype=kind)
        weight = np.zeros((len(parts), n_rows), dtype=np.float32)
        for fold, part in enumerate(parts):
            rows = slice(len(part.y))
            y[fold, rows] = part.y
            weight[fold, rows] = 1.0 if part.weight is None else part.weight
        x = tuple(torch.from_numpy(part.x).to(device) for part in parts)
        return cls(x, torch.from_numpy(y).to(device), torch.from_numpy(weight).to(device), n_inputs)

    def inputs(self, rows: Tensor) -> Tensor:
        """Return the inputs (n_nets, n, n_inputs) of rows (n_nets, n) of the networks' folds."""
        of_folds = rows.unflatten(0, (len(self.x), -1))
        return torch.cat(
            [self._filled(x[own], own.shape[1]) for x, own in zip(self.x, of_folds, strict=True)]
        )

    def inputs_of(self, rows: slice) -> Tensor:
        """Return the inputs (n_folds, n, n_inputs) of the same rows of all folds."""
        n_rows = len(range(*rows.indices(self.y.shape[1])))
        return torch.stack([self._filled(x[rows], n_rows) for x in self.x])

    def _filled(self, x: Tensor, n_rows: int) -> Tensor:
        gaps = (0, self.n_inputs - x.shape[-1], 0, n_rows - x.shape[-2])
        return torch.nn.functional.pad(x, gaps) if any(gaps) else x

    def normalised(self) -> Padded:
        """Return the same rows with weights that sum to 1 in each fold."""
        total = self.weight.sum(1, keepdim=True).clamp(min=1e-12)
        return dataclasses.replace(self, weight=self.weight / total)

"""Networks and linear models: a row encoded, and predicted, for all folds of a bag at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tabular_automl.artifacts.state import State
from tabular_automl.core.links import softmax
from tabular_automl.data.table import FeatureTable
from tabular_automl.models.base import Prediction
from tabular_automl.models.dense import FAR, DenseEncoder
from tabular_automl.models.linear import Linear
from tabular_automl.models.neural import NeuralNetwork

Floats = npt.NDArray[np.float32]
Reals = npt.NDArray[np.float64]


class JoinedDense:
    """The dense encoders of a bag's folds as arrays, for one row at a time.

    Parameters
    ----------
    encoders : sequence of DenseEncoder
        Fitted; none of them weighs counts of words.

    Attributes
    ----------
    widths : list of int
        Columns of each fold's own matrix.
    """

    def __init__(self, encoders: Sequence[DenseEncoder]) -> None:
        if any(len(encoder.count_column) for encoder in encoders):
            raise ValueError("encoders of counts of words are not joined")
        self.widths = [encoder.width for encoder in encoders]
        self._clip = encoders[0].clip
        self._center = np.stack([encoder.center for encoder in encoders])
        self._scale = np.stack([encoder.scale for encoder in encoders])
        self._piece_column = np.concatenate([e.piece_column for e in encoders])
        self._piece_low = np.concatenate([e.piece_low for e in encoders])
        self._piece_slope = np.concatenate([e.piece_slope for e in encoders])
        self._join_levels([encoder.tables or [] for encoder in encoders])
        self._place([len(encoder.piece_column) for encoder in encoders])

    def encode(self, table: FeatureTable, row: int = 0) -> Floats:
        """Return a row for each fold, shape (n_folds, max(widths)), zeros behind narrower ones."""
        numeric, codes = table.numeric[row], table.codes[row]
        scaled = (numeric - self._center) * self._scale
        np.clip(scaled, -FAR, FAR, out=scaled)
        if self._clip:
            scaled /= np.sqrt(1.0 + (scaled * np.float32(1 / 3)) ** 2)
        with np.errstate(over="ignore"):  # an infinity is clipped like any number far behind
            risen = (numeric[self._piece_column] - self._piece_low) * self._piece_slope
        risen = np.clip(risen, 0.0, 1.0) - np.float32(0.5)
        levels = self._levels[self._base + codes[self._column] * self._stride]
        numbers = np.concatenate([scaled.ravel(), risen])
        numbers[np.isnan(numbers)] = 0.0
        return np.concatenate([numbers, levels, np.zeros(1, np.float32)])[self._from]

    def _join_levels(self, tables: Sequence[Sequence[Floats]]) -> None:
        """Put all tables of levels into one array; each column reads one number of its level."""
        flat, base, column, stride, self._n_level_columns = [], [], [], [], []
        offset = 0
        for fold in tables:
            for number, levels in enumerate(fold):
                width = levels.shape[1]
                flat.append(levels.ravel())
                base.append(offset + np.arange(width))
                column.append(np.full(width, number))
                stride.append(np.full(width, width))
                offset += levels.size
            self._n_level_columns.append(sum(levels.shape[1] for levels in fold))
        none = np.empty(0, dtype=np.intp)
        self._levels = np.concatenate([np.empty(0, np.float32), *flat])
        self._base = np.concatenate([none, *base])
        self._column = np.concatenate([none, *column])
        self._stride = np.concatenate([none, *stride])

    def _place(self, n_pieces: Sequence[int]) -> None:
        """Say where each fold's columns stand among all numbers, pieces and levels."""
        n_folds, n_numeric = self._center.shape
        n_numbers, n_risen = n_folds * n_numeric, sum(n_pieces)
        padding = n_numbers + n_risen + len(self._base)
        self._from = np.full((n_folds, max(self.widths)), padding, dtype=np.intp)
        piece, level = n_numbers, n_numbers + n_risen
        for fold in range(n_folds):
            n_levels = self._n_level_columns[fold]
            own = np.concatenate(
                [
                    np.arange(fold * n_numeric, (fold + 1) * n_numeric),
                    np.arange(piece, piece + n_pieces[fold]),
                    np.arange(level, level + n_levels),
                ]
            )
            self._from[fold, : len(own)] = own
            piece, level = piece + n_pieces[fold], level + n_levels


class JoinedNetworks:
    """A bag of networks as one with all folds' members.

    Parameters
    ----------
    models : sequence of NeuralNetwork
    """

    def __init__(self, models: Sequence[NeuralNetwork]) -> None:
        states = [model.state() for model in models]
        self._dense = JoinedDense([_encoder_of(state) for state in states])
        self._is_classification = models[0].setting.task.is_classification
        self._ranges = np.stack([state.arrays["range"] for state in states])
        n_members = [len(state.arrays["net.bias_0"]) for state in states]
        self._fold_of = np.repeat(np.arange(len(models)), n_members)
        self._first_member = np.cumsum([0, *n_members])[:-1]
        self._n_members = np.array(n_members, dtype=np.float64)
        arrays = {name: self._joined(name, states) for name in states[0].arrays}
        arrays |= {name: states[0].arrays[name] for name in ("range", "wavy")}
        if any(not np.array_equal(s.arrays["wavy"], arrays["wavy"]) for s in states):
            raise ValueError("the folds must embed the same features")
        networks = {n.partition("net.")[2]: array for n, array in arrays.items() if "net." in n}
        self._network = NeuralNetwork(models[0].params, models[0].setting)
        self._network.use(networks, arrays["wavy"])

    def predict(self, table: FeatureTable) -> Prediction:
        """Return the mean prediction of the folds, shape (n_samples, n_outputs)."""
        return np.stack([self._predict_row(table, row) for row in range(len(table))])

    def _predict_row(self, table: FeatureTable, row: int) -> Reals:
        x = self._dense.encode(table, row)[self._fold_of]
        outputs = self._network.outputs(x[:, None, :])[:, 0, :]
        if self._is_classification:
            outputs = softmax(outputs)
        sums = np.add.reduceat(outputs, self._first_member, axis=0)
        means = sums / self._n_members[:, None]
        if not self._is_classification:
            means = np.clip(means, self._ranges[:, :1], self._ranges[:, 1:])
        return np.asarray(means.mean(axis=0))

    def _joined(self, name: str, states: Sequence[State]) -> npt.NDArray[Any]:
        """Return one array of all folds' members; inputs that a fold does not have weigh 0."""
        parts = [state.arrays[name] for state in states]
        if name in ("range", "wavy"):
            return parts[0]
        if name == "net.weight_0":
            widest = max(self._dense.widths)
            for i, width in enumerate(self._dense.widths):
                gap = np.zeros((len(parts[i]), widest - width, parts[i].shape[2]), np.float32)
                parts[i] = np.concatenate([parts[i][:, :width], gap, parts[i][:, width:]], axis=1)
        return np.concatenate(parts)


class JoinedLinear:
    """A bag of linear models.

    Parameters
    ----------
    models : sequence of Linear
    """

    def __init__(self, models: Sequence[Linear]) -> None:
        self._dense = JoinedDense([model.encoder for model in models])
        widest = max(self._dense.widths)
        n_scores = models[0].coefficients.shape[1]
        self._coefficients = np.zeros((len(models), widest, n_scores), dtype=np.float32)
        for fold, model in enumerate(models):
            self._coefficients[fold, : len(model.coefficients)] = model.coefficients
        self._intercepts = np.stack([model.intercept for model in models])
        self._bounds = np.stack([model.bounds for model in models])
        self._task = models[0].setting.task

    def predict(self, table: FeatureTable) -> Prediction:
        """Return the mean prediction of the folds, shape (n_samples, n_outputs)."""
        return np.stack([self._predict_row(table, row) for row in range(len(table))])

    def _predict_row(self, table: FeatureTable, row: int) -> Reals:
        x = self._dense.encode(table, row)
        scores = (x[:, None, :] @ self._coefficients)[:, 0, :] + self._intercepts
        if not self._task.is_classification:
            clipped = np.clip(scores, self._bounds[:, :1], self._bounds[:, 1:])
            return np.asarray(clipped.astype(np.float64).mean(axis=0))
        if self._task.n_classes == 2:
            scores = np.hstack([np.zeros_like(scores), scores])
        return np.asarray(softmax(scores.astype(np.float64)).mean(axis=0))


def _encoder_of(state: State) -> DenseEncoder:
    encoder = DenseEncoder()
    encoder.restore(state.children["encoder"])
    return encoder

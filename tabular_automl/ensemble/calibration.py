"""Calibration on out-of-fold predictions: honest probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tabular_automl.artifacts.state import State
from tabular_automl.ensemble.decision import DecisionRule as DecisionRule

Floats = npt.NDArray[np.float64]

_N_PARTS = 5  # of the rows, to judge the temperature on rows that did not choose it
_POWER_BOUNDS = (0.1, 2.5)  # above, float64 makes ties of probabilities near 0 and 1
_FLOORS = (1e-6, 1e-3)


@dataclass(frozen=True)
class Temperature:
    """One power for all probabilities, which changes no order, and a floor below them.

    Two classes: the log-odds are multiplied; more: probabilities are raised and normalised. No
    probability is ever 0, so that one surprise cannot make the log loss infinite.

    Attributes
    ----------
    power : float
        1 leaves probabilities as they are; above 1 sharpens, below 1 softens. The inverse of what
        is usually called the temperature.
    floor : float
        Share of the uniform distribution that is mixed in.

    References
    ----------
    Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", ICML 2017.
    """

    power: float = 1.0
    floor: float = _FLOORS[0]

    @classmethod
    def fit(
        cls,
        probabilities: npt.NDArray[Any],
        y: npt.NDArray[Any],
        weight: npt.NDArray[Any] | None = None,
    ) -> Temperature:
        """Return the temperature of the least log loss, or 1 where that is not worth it.

        The power must lower the log loss of rows that did not choose it, by more than one standard
        error of the mean difference; otherwise it stays 1.

        Parameters
        ----------
        probabilities : ndarray of shape (n_samples, n_classes)
            Out-of-fold.
        y : ndarray of shape (n_samples,)
            Class codes.
        weight : ndarray of shape (n_samples,), optional
        """
        n_samples = len(y)
        floor = float(np.clip(0.1 / max(n_samples, 1), *_FLOORS))
        logs = np.log(_mix(probabilities, floor))
        w = np.ones(n_samples) if weight is None else np.asarray(weight, dtype=np.float64)
        if not _gains(logs, y.astype(np.intp), w):
            return cls(1.0, floor)
        return cls(_best_power(logs, y.astype(np.intp), w), floor)

    def apply(self, probabilities: npt.NDArray[Any]) -> Floats:
        """Return calibrated probabilities; rows sum to 1 and hold no 0.

        Parameters
        ----------
        probabilities : ndarray of shape (n_samples, n_classes)
        """
        mixed = _mix(probabilities, self.floor)
        return mixed if self.power == 1.0 else _softmax(self.power * np.log(mixed))

    def state(self) -> State:
        """Return what `from_state` needs."""
        return State(meta={"power": self.power, "floor": self.floor})

    @classmethod
    def from_state(cls, state: State) -> Temperature:
        """Build the temperature again."""
        return cls(float(state.meta["power"]), float(state.meta["floor"]))


def _mix(probabilities: npt.NDArray[Any], floor: float) -> Floats:
    """Mix in the uniform distribution: clipping would make ties, this keeps every order."""
    p = np.asarray(probabilities, dtype=np.float64)
    p = p / p.sum(axis=1, keepdims=True)
    return (1.0 - floor) * p + floor / p.shape[1]


def _softmax(logs: Floats) -> Floats:
    shifted = np.exp(logs - logs.max(axis=1, keepdims=True))
    result: Floats = shifted / shifted.sum(axis=1, keepdims=True)
    return result


def _gains(logs: Floats, y: npt.NDArray[np.intp], w: Floats) -> bool:
    """Return whether a power pays on rows that did not choose it."""
    n_samples = len(y)
    if n_samples < 2 * _N_PARTS:
        return False
    part = np.random.default_rng(0).permutation(n_samples) % _N_PARTS
    gain = np.empty(n_samples)
    for k in range(_N_PARTS):
        held, rest = part == k, part != k
        power = _best_power(logs[rest], y[rest], w[rest])
        gain[held] = _surprise(logs[held], y[held], 1.0) - _surprise(logs[held], y[held], power)
    gain *= w
    return bool(gain.mean() > gain.std() / np.sqrt(n_samples))


def _surprise(logs: Floats, y: npt.NDArray[np.intp], power: float) -> Floats:
    """Return the negative log probability of each row's own class."""
    return -np.log(_softmax(power * logs)[np.arange(len(y)), y])


def _best_power(logs: Floats, y: npt.NDArray[np.intp], w: Floats) -> float:
    """Return the power of the least log loss: Newton's steps on a convex function of one number."""
    rows = np.arange(len(y))
    own, power, total = logs[rows, y], 1.0, w.sum()
    if not total > 0:
        return 1.0
    for _ in range(20):
        p = _softmax(power * logs)
        expected = np.einsum("ij,ij->i", p, logs)
        slope = w @ (expected - own) / total
        curvature = w @ (np.einsum("ij,ij->i", p, logs * logs) - expected**2) / total
        if not curvature > 1e-12:
            break
        step = float(np.clip(slope / curvature, -0.5 * power, power))
        power, before = float(np.clip(power - step, *_POWER_BOUNDS)), power
        if abs(power - before) < 1e-6:
            break
    return power

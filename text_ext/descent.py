"""Several smooth convex problems of one shape, minimised side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
# Given positions of shape (n_variables, n_problems, n_scores): (losses, slopes), one loss each.
Objective = Callable[[Array], tuple[Array, Array]]

_MEMORY = 6
_SUFFICIENT = 1e-4
_MAX_HALVINGS = 6


def descend(
    objective: Objective,
    start: Array,
    expired: Callable[[], bool],
    *,
    max_iterations: int,
    tolerance: float,
) -> Array:
    """Return the positions of lowest loss found by L-BFGS [1]_, shape as ``start``.

    Each problem has its own steps and its own memory of curvature; one call of the objective
    serves all of them. Ends when no loss improved by more than ``tolerance`` of itself in a step.

    References
    ----------
    .. [1] Liu, Nocedal, "On the limited memory BFGS method for large scale optimization",
       Mathematical Programming 45, 1989.
    """
    position = start
    losses, slope = objective(position)
    memory: list[tuple[Array, Array, Array]] = []
    for _ in range(max_iterations):
        direction = -_conditioned(slope, memory)
        descent = dots(direction, slope)
        found = _searched(objective, position, losses, direction, descent, first=not memory)
        if found is None:
            break
        moved, new_losses, new_slope = found
        _remember(memory, moved - position, new_slope - slope)
        gain = losses - new_losses
        position, losses, slope = moved, new_losses, new_slope
        if expired() or not np.any(gain > tolerance * np.abs(losses)):
            break
    return position


def dots(first: Array, second: Array) -> Array:
    """Return each problem's inner product, shape (n_problems,)."""
    by_score: Array = np.einsum("vps,vps->ps", first, second).sum(axis=1, dtype=np.float64)
    return by_score


def _conditioned(slope: Array, memory: list[tuple[Array, Array, Array]]) -> Array:
    """Return the slope times the inverse curvature that the memory holds."""
    if not memory:
        size = np.sqrt(np.maximum(dots(slope, slope), 1e-30))
        return slope / _by_problem(size)
    conditioned = slope.copy()
    steps = []
    for step, change, inverse in reversed(memory):
        along = inverse * dots(step, conditioned)
        conditioned -= _by_problem(along) * change
        steps.append(along)
    step, change, inverse = memory[-1]
    scale = 1.0 / np.maximum(inverse * dots(change, change), 1e-30)
    conditioned *= _by_problem(np.where(inverse > 0, scale, 1.0))
    for (step, change, inverse), along in zip(memory, reversed(steps), strict=True):
        conditioned += _by_problem(along - inverse * dots(change, conditioned)) * step
    return conditioned


def _remember(memory: list[tuple[Array, Array, Array]], step: Array, change: Array) -> None:
    """Keep a step with the change of the slope along it; flat ones count for nothing."""
    curvature = dots(step, change)
    sound = curvature > 1e-10 * dots(change, change)
    inverse = np.where(sound, 1.0 / np.where(sound, curvature, 1.0), 0.0)
    memory.append((step, change, inverse))
    del memory[:-_MEMORY]


def _searched(
    objective: Objective,
    position: Array,
    losses: Array,
    direction: Array,
    descent: Array,
    *,
    first: bool,
) -> tuple[Array, Array, Array] | None:
    """Return (position, losses, slope) after a step that lowers each loss enough, if any does.

    A problem that finds none stays where it is.
    """
    length = np.where(descent < 0, 1.0, 0.0)
    if not first and not length.any():
        return None
    for _ in range(_MAX_HALVINGS):
        moved = position + _by_problem(length) * direction
        new_losses, slope = objective(moved)
        bad = new_losses > losses + _SUFFICIENT * length * descent
        if not bad.any():
            return moved, new_losses, slope
        # The parabola through the loss here, its slope here and the loss there says where to go.
        bent = np.maximum(new_losses - losses - length * descent, 1e-30)
        lowest = -0.5 * descent * length**2 / bent
        length = np.where(bad, np.clip(lowest, 0.02 * length, 0.5 * length), length)
    length = np.where(bad, 0.0, length)
    if not length.any():
        return None
    moved = position + _by_problem(length) * direction
    return moved, *objective(moved)


def _by_problem(values: Array) -> Array:
    return values.astype(np.float32)[:, None]

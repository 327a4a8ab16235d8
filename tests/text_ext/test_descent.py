from __future__ import annotations

import numpy as np

from text_ext.descent import descend


def test_several_quadratics_reach_their_own_minimum() -> None:
    rng = np.random.default_rng(0)
    curvature = rng.uniform(0.1, 10.0, size=(30, 3, 1)).astype(np.float32)
    lowest = rng.normal(size=(30, 3, 1)).astype(np.float32)

    def objective(position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        off = position - lowest
        return 0.5 * (curvature * off**2).sum(axis=(0, 2)), curvature * off

    start = np.zeros((30, 3, 1), dtype=np.float32)
    found = descend(objective, start, lambda: False, max_iterations=200, tolerance=1e-9)
    assert np.abs(found - lowest).max() < 1e-2
    assert not start.any()


def test_every_step_lowers_the_loss_and_time_ends_the_search() -> None:
    seen: list[float] = []

    def objective(position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.logaddexp(0, -position).sum(axis=(0, 2)), -1 / (1 + np.exp(position))

    def expired() -> bool:
        seen.append(1.0)
        return len(seen) >= 3

    start = np.full((4, 1, 1), -3.0, dtype=np.float32)
    found = descend(objective, start, expired, max_iterations=50, tolerance=0.0)
    assert len(seen) == 3
    assert objective(found)[0] < objective(start)[0]


def test_a_problem_at_its_minimum_stays_there() -> None:
    start = np.zeros((5, 2, 1), dtype=np.float32)
    found = descend(
        lambda at: (0.5 * np.square(at).sum(axis=(0, 2)), at.copy()),
        start,
        lambda: False,
        max_iterations=10,
        tolerance=0.0,
    )
    assert not found.any()

"""The systems that can be compared, by name; each is imported in its worker process only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """Where a system's class is, and whether it takes a time limit."""

    target: str
    timed: bool = False


SYSTEMS = {
    "ours": Entry("benchmarks.systems.ours:Ours", timed=True),
    "lightgbm": Entry("benchmarks.systems.lightgbm:LightGBM"),
    "catboost": Entry("benchmarks.systems.catboost:CatBoost"),
    "hist_gradient_boosting": Entry(
        "benchmarks.systems.hist_gradient_boosting:HistGradientBoosting"
    ),
}

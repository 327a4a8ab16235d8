"""The systems that can be compared, by name; each is imported in its worker process only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """Where a system's class is.

    Attributes
    ----------
    target : str
        The class, as ``"module:Class"``.
    timed : bool
        Whether it takes a time limit.
    environment : str
        Folder of the virtual environment that `make peers` makes for it; empty for the project's.
    """

    target: str
    timed: bool = False
    environment: str = ""


_AUTOGLUON = "benchmarks.systems.autogluon:"
_OF_AUTOGLUON = ".venv-autogluon"
_OF_FLAML = ".venv-flaml"


SYSTEMS = {
    "ours": Entry("benchmarks.systems.ours:Ours", timed=True),
    "lightgbm": Entry("benchmarks.systems.lightgbm:LightGBM"),
    "catboost": Entry("benchmarks.systems.catboost:CatBoost"),
    "hist_gradient_boosting": Entry(
        "benchmarks.systems.hist_gradient_boosting:HistGradientBoosting"
    ),
    "autogluon_medium": Entry(f"{_AUTOGLUON}MediumQuality", True, _OF_AUTOGLUON),
    "autogluon_best": Entry(f"{_AUTOGLUON}BestQuality", True, _OF_AUTOGLUON),
    "autogluon_best_v150": Entry(f"{_AUTOGLUON}BestQualityV150", True, _OF_AUTOGLUON),
    "flaml": Entry("benchmarks.systems.flaml:FLAML", True, _OF_FLAML),
}

# Those that can be run in the project's own environment; the others need `make peers`.
BASELINES = ("lightgbm", "catboost", "hist_gradient_boosting")

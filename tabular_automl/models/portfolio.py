"""The specs to try, in order: data, not logic. The plan decides which of them a fit can afford."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tabular_automl.data.task import Task
from tabular_automl.models.base import ModelSpec


@dataclass(frozen=True)
class Entry:
    """One candidate spec with the tables it suits.

    Attributes
    ----------
    key, family : str
    params : mapping
        Hyperparameters that differ from the family's defaults.
    cost : float
        Time it needs next to a plain LightGBM; its share of a limited budget follows from it.
    min_rows, max_rows : int
        Training rows between which it is worth its time.
    max_classes : int
        Most classes it copes with in reasonable time.
    tasks : tuple of str
        Problem types it is tried on.
    after : str or None
        Key of a cheaper entry that must have earned weight before.
    like : str or None
        Key of an entry before it that tells, where time is short, whether this one is worth any.
    """

    key: str
    family: str
    params: Mapping[str, Any] = field(default_factory=dict)
    cost: float = 1.0
    min_rows: int = 0
    max_rows: float = math.inf
    max_classes: float = math.inf
    tasks: tuple[str, ...] = ("binary", "multiclass", "regression")
    after: str | None = None
    like: str | None = None

    def suits(self, task: Task, n_rows: int) -> bool:
        """Return whether the entry is worth trying on such a table."""
        return (
            task.problem_type.value in self.tasks
            and self.min_rows <= n_rows <= self.max_rows
            and task.n_classes <= self.max_classes
        )

    def spec(self) -> ModelSpec:
        """Return the entry as a spec."""
        return ModelSpec.make(self.family, self.key, **self.params)


# The first few are what an expensive table gets; see `plan.py`.
PORTFOLIO: tuple[Entry, ...] = (
    Entry("lightgbm", "lightgbm", cost=1.0, max_rows=200_000),
    Entry("lightgbm_large", "lightgbm", {"num_leaves": 255}, cost=7.0, min_rows=200_001),
    Entry("catboost", "catboost", cost=3.0, max_rows=200_000),
    # What two columns give together (a ratio, a difference) costs trees of single ones many splits.
    Entry(
        "lightgbm_pairs",
        "lightgbm",
        {"n_pairs": 40},
        cost=2.5,
        min_rows=5_000,
        max_rows=200_000,
        max_classes=10,
    ),
    Entry(
        "lightgbm_pairs_extra",
        "lightgbm",
        # Random thresholds and half of the features: many of these features are nearly the same.
        {
            "n_pairs": 40,
            "extra_trees": True,
            "num_leaves": 64,
            "learning_rate": 0.03,
            "feature_fraction": 0.5,
        },
        cost=2.0,
        min_rows=500,
        max_rows=20_000,
        max_classes=10,
    ),
    # Can be better than boosters where rows nearly come back, as those of one place (decision 39).
    Entry("extra_trees", "extra_trees", cost=0.8, max_rows=200_000),
    Entry("neural", "neural", cost=3.0, max_rows=10_000),
    Entry(
        "neural_wavy",
        "neural",
        {"learning_rate": 0.1, "frequency_scale": 1.0, "n_frequencies": 16},
        cost=3.0,
        min_rows=2_000,
        max_rows=100_000,
    ),
    Entry("xgboost", "xgboost", cost=1.2),
    Entry(
        "lightgbm_extra",
        "lightgbm",
        # Random thresholds make the trees differ enough: each may see all features.
        {"extra_trees": True, "num_leaves": 48, "learning_rate": 0.08, "feature_fraction": 1.0},
        cost=1.2,
        max_rows=200_000,
    ),
    Entry("linear", "linear", cost=0.5, max_rows=200_000, max_classes=20),
    Entry(
        "catboost_pairs",
        "catboost",
        {"n_pairs": 40},
        cost=5.0,
        min_rows=1_000,
        max_rows=100_000,
        max_classes=10,
    ),
    Entry(
        "lightgbm_linear",
        "lightgbm",
        {"linear_tree": True, "num_leaves": 8, "lambda_l2": 5.0, "linear_lambda": 1.0},
        cost=1.0,
        max_rows=100_000,
        tasks=("regression",),
    ),
    # On large tables the spec above has fast waves; some tables are smoother than that.
    Entry(
        "neural_smooth",
        "neural",
        {"learning_rate": 0.1, "frequency_scale": 0.12, "n_frequencies": 16},
        cost=3.0,
        min_rows=10_001,
        max_rows=100_000,
        like="neural_wavy",
    ),
    # Pieces bend more sharply than waves, where there are rows enough to learn each of them.
    Entry(
        "neural_pieces",
        "neural",
        {"learning_rate": 0.05, "n_frequencies": 0, "n_knots": 24},
        cost=3.0,
        min_rows=10_001,
        max_rows=100_000,
        like="neural_wavy",
    ),
    Entry("catboost_deep", "catboost", {"depth": 8}, cost=3.0, min_rows=5_000, like="catboost"),
    Entry("neighbors", "neighbors", {"max_rows": 20_000}, cost=0.6, max_rows=50_000),
    Entry(
        "lightgbm_deep",
        "lightgbm",
        {"num_leaves": 96},
        cost=1.6,
        min_rows=5_000,
        max_rows=200_000,
    ),
    Entry("random_forest", "random_forest", cost=0.8, max_rows=100_000, like="extra_trees"),
)

"""Where to look for variants of a family: narrower than what its hyperparameters may be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tabular_automl.models.base import ModelSpec


@dataclass(frozen=True)
class Between:
    """A number between two bounds, evenly on its own or on a logarithmic scale."""

    low: float
    high: float
    log: bool = False

    def draw(self, rng: np.random.Generator) -> float | int:
        """Return a number of the bounds' own type."""
        if self.log:
            value = math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
        else:
            value = float(rng.uniform(self.low, self.high))
        return round(value) if isinstance(self.low, int) else float(f"{value:.4g}")


@dataclass(frozen=True)
class Among:
    """One of several values, each as likely."""

    values: tuple[Any, ...]

    def draw(self, rng: np.random.Generator) -> Any:
        """Return one of the values."""
        return self.values[int(rng.integers(len(self.values)))]


_FOREST: Mapping[str, Between | Among] = {
    "max_features": Between(0.2, 1.0),
    "min_samples_leaf": Between(1, 8, log=True),
    "criterion": Among(("gini", "entropy")),
}
# Ranges about those of published benchmarks of tuned models, such as TabArena (arXiv 2506.16791).
SPACES: Mapping[str, Mapping[str, Between | Among]] = {
    "lightgbm": {
        "num_leaves": Between(8, 200, log=True),
        "min_data_in_leaf": Between(3, 60, log=True),
        "feature_fraction": Between(0.4, 1.0),
        "bagging_fraction": Between(0.7, 1.0),
        "lambda_l2": Between(0.01, 20.0, log=True),
        "lambda_l1": Among((0.0, 0.0, 0.1, 1.0)),
        "extra_trees": Among((False, True)),
        "path_smooth": Among((0.0, 0.0, 1.0, 5.0)),
        "n_pairs": Among((0, 40)),
    },
    "xgboost": {
        "max_depth": Between(4, 10),
        "min_child_weight": Between(0.01, 10.0, log=True),
        "subsample": Between(0.6, 1.0),
        "colsample_bytree": Between(0.5, 1.0),
        "colsample_bynode": Between(0.5, 1.0),
        "reg_lambda": Between(0.1, 10.0, log=True),
        "reg_alpha": Among((0.0, 0.0, 0.1, 1.0)),
    },
    "catboost": {
        "depth": Between(4, 8),
        "random_strength": Between(0.3, 5.0, log=True),
        "rsm": Between(0.6, 1.0),
        "max_ctr_complexity": Between(1, 3),
    },
    "neural": {
        "n_layers": Between(2, 4),
        "dropout": Between(0.0, 0.4),
        "learning_rate": Between(0.02, 0.12, log=True),
        "weight_decay": Between(0.002, 0.1, log=True),
        "frequency_scale": Between(0.05, 1.0, log=True),
        "n_knots": Among((0, 0, 8, 24)),
        "activation": Among(("mish", "selu")),
    },
    "extra_trees": _FOREST,
    "random_forest": _FOREST,
}


# What a variant takes over from its family's best bag: how long that one had to learn.
_TAKEN_OVER: Mapping[str, tuple[str, ...]] = {"catboost": ("n_rounds", "learning_rate")}


def draw_variant(
    family: str, key: str, rng: np.random.Generator, best: ModelSpec | None = None
) -> ModelSpec:
    """Return a spec of one of the families in `SPACES`, its hyperparameters drawn at random.

    Parameters
    ----------
    family, key : str
    rng : Generator
    best : ModelSpec, optional
        The best of the family so far, which says how long a variant is to learn.
    """
    drawn = {name: domain.draw(rng) for name, domain in SPACES[family].items()}
    if best is not None:
        known = best.params.to_dict()
        drawn |= {name: known[name] for name in _TAKEN_OVER.get(family, ())}
    return ModelSpec.make(family, key, **drawn)

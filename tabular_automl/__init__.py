"""AutoML for tables: bagged, stacked ensembles, on time, safe to load.

>>> from tabular_automl import Predictor
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tabular_automl.config import FitConfig
    from tabular_automl.core.errors import AutoMLError
    from tabular_automl.predictor import Predictor
    from tabular_automl.sklearn import AutoMLClassifier, AutoMLRegressor

# Read by GNU OpenMP when a booster is first imported. By default its threads spin for milliseconds
# while they wait for each other, which makes a fit many times slower as soon as any other process
# uses one of the cores; a short spin keeps two threads as fast on an idle machine (decision 6).
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

__version__ = "0.1.0"
__all__ = [
    "AutoMLClassifier",
    "AutoMLError",
    "AutoMLRegressor",
    "FitConfig",
    "Predictor",
    "__version__",
]

_HOME = {
    "AutoMLClassifier": "tabular_automl.sklearn",
    "AutoMLRegressor": "tabular_automl.sklearn",
    "AutoMLError": "tabular_automl.core.errors",
    "FitConfig": "tabular_automl.config",
    "Predictor": "tabular_automl.predictor",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that the package itself costs nothing."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__

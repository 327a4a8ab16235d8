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

# Read by OpenMP when a booster is first imported. By default its threads spin while they wait for
# each other: with one other busy process a LightGBM fit took 17 to 60 times longer (decision 6).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
__all__ = ["AutoMLError", "FitConfig", "Predictor", "__version__"]

_HOME = {
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

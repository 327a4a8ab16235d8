"""Importing the library loads nothing heavy."""

import subprocess
import sys

import pytest

HEAVY = ["torch", "sklearn", "lightgbm", "xgboost", "catboost", "scipy", "matplotlib", "polars"]


@pytest.mark.parametrize(
    "statement",
    [
        "import tabular_automl",
        "from tabular_automl import Predictor",
        "import tabular_automl.cli",
        "import tabular_automl.extend",
        "from tabular_automl.models.base import MODELS; MODELS.names()",
    ],
)
def test_import_leaves_heavy_packages_alone(statement):
    code = f"{statement}; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & set(HEAVY)

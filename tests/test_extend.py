from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from tabular_automl import extend
from tabular_automl.encoders.base import ENCODERS
from tabular_automl.metrics.base import METRICS
from tabular_automl.models.base import MODELS
from tabular_automl.models.prior import Prior


@pytest.mark.parametrize("name", extend.__all__)
def test_every_public_name_can_be_imported(name: str) -> None:
    assert getattr(extend, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'check_everything'"):
        extend.check_everything  # noqa: B018


def test_contract_suites_are_imported_when_asked_for() -> None:
    code = (
        "import sys; from tabular_automl import extend\n"
        "assert 'tabular_automl.models.contract' not in sys.modules\n"
        "assert not {'sklearn', 'torch', 'lightgbm', 'scipy'} & set(sys.modules)\n"
        "extend.check_model\n"
        "assert 'tabular_automl.models.contract' in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_decorators_register_and_return_what_they_decorate() -> None:
    def plain(y_true: np.ndarray, y_pred: np.ndarray) -> float:
        return float(np.abs(y_true - y_pred).max())

    try:
        assert extend.register_model("mine")(Prior) is Prior
        assert MODELS.get("mine") is Prior
        decorate = extend.register_metric("largest_miss", greater_is_better=False, needs="value")
        assert decorate(plain) is plain
        metric = METRICS.get("largest_miss")
        assert metric.name == "largest_miss"
        assert metric.score(np.array([1.0, 2.0]), np.array([[1.0], [5.0]])) == -3.0
    finally:
        MODELS.unregister("mine")
        METRICS.unregister("largest_miss")


def test_decorators_refuse_what_is_of_another_role() -> None:
    with pytest.raises(extend.InvalidOptionError, match="must be a subclass of Model"):
        extend.register_model("mine")(dict)
    with pytest.raises(extend.InvalidOptionError, match="must be a subclass of ColumnEncoder"):
        extend.register_encoder("mine")(Prior)
    with pytest.raises(extend.InvalidOptionError, match="function must be callable"):
        extend.register_metric("mine")(3)
    assert "mine" not in MODELS
    assert "mine" not in ENCODERS

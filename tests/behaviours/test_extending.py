"""What authors of plug-ins rely on."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from tabular_automl import FitConfig, Predictor
from tabular_automl.encoders.base import ENCODERS
from tabular_automl.extend import (
    ColumnEncoder,
    FeatureTable,
    Kind,
    Model,
    ModelSpec,
    State,
    check_metric,
    make_metric,
    register_encoder,
    register_metric,
    register_model,
)
from tabular_automl.metrics.base import METRICS
from tabular_automl.models.base import MODELS
from tests.conftest import make_table


class NearestMean(Model):
    """Predicts the target's mean in each quarter of the first feature."""

    interruptible = True

    def fit(self, train, valid, budget):
        budget.expired()
        x = np.nan_to_num(train.table.matrix()[:, 0])
        self.cuts = np.quantile(x, [0.25, 0.5, 0.75])
        task = self.setting.task
        y = np.eye(task.n_classes)[train.y] if task.is_classification else train.y[:, None]
        weight = np.ones(len(train)) if train.weight is None else train.weight
        place = np.searchsorted(self.cuts, x)
        prior = np.average(y, axis=0, weights=weight)
        self.means = np.array(
            [
                (weight[place == k] @ y[place == k] + prior) / (weight[place == k].sum() + 1)
                for k in range(4)
            ]
        )
        return self

    def predict(self, table):
        return self.means[np.searchsorted(self.cuts, np.nan_to_num(table.matrix()[:, 0]))]

    def state(self):
        return State(arrays={"cuts": self.cuts, "means": self.means})

    def restore(self, state):
        self.cuts, self.means = state.arrays["cuts"], state.arrays["means"]


@pytest.fixture
def nearest_mean():
    register_model("nearest_mean")(NearestMean)
    yield "nearest_mean"
    MODELS.unregister("nearest_mean")


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_40_a_custom_model_joins_is_saved_and_loads(nearest_mean, tmp_path, task):
    table = make_table(task)
    config = FitConfig(specs=(ModelSpec.make(nearest_mean),), max_specs=1, n_folds=3)
    predictor = Predictor("y", path=tmp_path / "p", verbosity=0).fit(table, config=config)
    assert predictor.leaderboard()["model"].tolist()[:2] == ["ensemble", "nearest_mean"]
    loaded = Predictor.load(tmp_path / "p", verbosity=0)
    pd.testing.assert_series_equal(loaded.predict(table), predictor.predict(table))


def test_40_a_custom_metric_joins_by_name_and_can_be_checked(tmp_path, regression_table):
    def worst_case(y_true, y_pred):
        return float(np.max(np.abs(np.asarray(y_true) - np.asarray(y_pred))))

    metric = make_metric(worst_case, greater_is_better=False, needs="value")
    check_metric(metric)
    register_metric("worst_case", greater_is_better=False, needs="value")(worst_case)
    try:
        predictor = Predictor("y", eval_metric="worst_case", path=tmp_path / "p", verbosity=0)
        predictor.fit(regression_table, config=FitConfig(max_specs=1, n_folds=2))
        loaded = Predictor.load(tmp_path / "p", verbosity=0)
        assert loaded.evaluate(regression_table)["worst_case"] == pytest.approx(
            worst_case(regression_table["y"], predictor.predict(regression_table))
        )
    finally:
        METRICS.unregister("worst_case")


class LengthEncoder(ColumnEncoder):
    """How long each text is; claims columns whose name says that it is a plate."""

    kind = Kind.CATEGORY

    @classmethod
    def claims(cls, sample):
        return "number plates" if str(sample.name) == "plate" else None

    def fit(self, column):
        self.usual = float(column.astype(str).str.len().median())
        return self

    def transform(self, column):
        lengths = column.astype(str).str.len().to_numpy(np.float32).reshape(-1, 1)
        without = np.empty((len(column), 0), np.int32)
        return FeatureTable(lengths - np.float32(self.usual), without, (f"{column.name}:length",))

    def state(self):
        return State(meta={"usual": self.usual})

    def restore(self, state):
        self.usual = state.number("usual")


@pytest.fixture
def lengths():
    register_encoder("lengths")(LengthEncoder)
    yield "lengths"
    ENCODERS.unregister("lengths")


@pytest.mark.parametrize("method", ["fit", "transform"])
def test_41_an_encoder_that_fails_is_named_with_its_column(lengths, tmp_path, monkeypatch, method):
    def fail(encoder, column):
        raise ZeroDivisionError("no plates")

    monkeypatch.setattr(LengthEncoder, method, fail)
    table = make_table("regression")[["rooms", "y"]].assign(plate="ZH 123456")
    table.loc[::2, "plate"] = "ZH 12"
    predictor = Predictor("y", path=tmp_path / "p", verbosity=0)
    with pytest.raises(ValueError, match="LengthEncoder of an extension failed on column 'plate'"):
        predictor.fit(table, config=FitConfig(max_specs=1, n_folds=2))


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_40_a_custom_encoder_joins_is_saved_and_loads(lengths, tmp_path, task):
    table = make_table(task)
    long = table["y"].rank(method="dense", pct=True) > 0.5
    table = table[["rooms", "y"]].assign(plate=np.where(long, "ZH 123456", "ZH 12"))
    config = FitConfig(max_specs=2, n_folds=2, on_error="raise")
    predictor = Predictor("y", path=tmp_path / "p", verbosity=0).fit(table, config=config)
    (plate,) = [column for column in predictor.schema if column.name == "plate"]
    assert (plate.encoder, plate.reason) == (lengths, "number plates")
    strange = table.assign(plate="AG 654321")  # as long as one of training, and seen in none
    expected = predictor.predict(table.assign(plate="ZH 123456"))
    loaded = Predictor.load(tmp_path / "p", verbosity=0)
    for one in (predictor, loaded):
        pd.testing.assert_series_equal(one.predict(strange), expected)
        pd.testing.assert_series_equal(one.predict(table), predictor.predict(table))


_BROKEN = """
import importlib.metadata
real = importlib.metadata.entry_points
class Broken:
    name, value = "broken", "no_such_module:Thing"
importlib.metadata.entry_points = lambda **kw: [*real(**kw), Broken()]
import pandas as pd
from tabular_automl import FitConfig, Predictor
table = pd.DataFrame({"x": range(40), "y": [0, 1] * 20})
config = FitConfig(max_specs=1, n_folds=2)
print(len(Predictor("y", path="p", verbosity=0).fit(table, config=config).predict(table)))
"""


def test_41_a_broken_plug_in_breaks_neither_import_nor_fit(tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", _BROKEN], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert run.stdout.strip() == "40", run.stderr

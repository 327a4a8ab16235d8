"""Every family learns a quantile when the loss is one."""

import numpy as np
import pytest

from tabular_automl.core.budget import Budget
from tabular_automl.data.table import FeatureTable, Samples
from tabular_automl.data.task import ProblemType, Task
from tabular_automl.metrics.regression import pinball
from tabular_automl.models.base import MODELS, Setting

FAMILIES = {
    "catboost": {"learning_rate": 0.1},
    "extra_trees": {},
    "lightgbm": {"learning_rate": 0.05},
    "linear": {},
    "neighbors": {},
    "neural": {},
    "random_forest": {},
    "xgboost": {"learning_rate": 0.05},
}


def rows(n_rows, seed):
    """Return rows whose spread grows with their only feature, and their mean hardly."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.0, 1.0, (n_rows, 1)).astype(np.float32)
    y = 0.2 * x[:, 0] + (0.1 + x[:, 0]) * rng.exponential(size=n_rows) - 0.6
    return Samples(FeatureTable(x, np.empty((n_rows, 0), np.int32), ("x",)), y)


@pytest.mark.parametrize("quantile", [0.1, 0.9])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_quantile_is_learned(family, quantile):
    kind = MODELS.get(family)
    train, valid, test = rows(2000, 0), rows(1000, 1), rows(4000, 2)

    def predicted(loss):
        model = kind(kind.Params(**FAMILIES[family]), Setting(Task(ProblemType.REGRESSION), loss))
        return model.fit(train, valid, Budget.unlimited()).predict(test.table)

    found = predicted(f"quantile_{quantile}")
    assert np.mean(test.y <= found[:, 0]) == pytest.approx(quantile, abs=0.05)
    loss = pinball(quantile)
    exact = 0.2 * test.table.numeric - (0.1 + test.table.numeric) * np.log1p(-quantile) - 0.6
    least, of_medians = loss.raw(test.y, exact), loss.raw(test.y, predicted("absolute_error"))
    assert loss.raw(test.y, found) - least < 0.2 * (of_medians - least)


@pytest.mark.parametrize(("quantile", "answer"), [(0.5, 0.0), (0.9, 15.0)])
def test_the_base_rate_is_the_quantile(quantile, answer):
    train = rows(10, 0).table, np.array([0.0] * 8 + [10.0, 20.0])
    kind = MODELS.get("prior")
    setting = Setting(Task(ProblemType.REGRESSION), f"quantile_{quantile}")
    prior = kind(kind.Params(), setting).fit(Samples(*train), None, Budget.unlimited())
    assert prior.predict(rows(2, 0).table).tolist() == [[answer], [answer]]

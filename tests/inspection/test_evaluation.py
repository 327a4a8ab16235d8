import numpy as np
import pandas as pd
import pytest

from tabular_automl import FitConfig, Predictor
from tabular_automl.core.errors import LabelError
from tabular_automl.inspection.evaluation import read_labels


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    table = pd.DataFrame({"x": np.arange(80.0), "y": np.repeat([0, 1], 40)})
    path = tmp_path_factory.mktemp("evaluation") / "p"
    predictor = Predictor("y", eval_metric="f1", path=path, verbosity=0)
    return predictor.fit(table, config=FitConfig(max_specs=1, n_folds=2))


def test_the_optimised_metric_comes_first_and_none_twice(fitted):
    figures = fitted.evaluate(pd.DataFrame({"x": [1.0, 70.0], "y": [0, 1]}))
    assert next(iter(figures)) == "f1"
    assert len(figures) == len(set(figures))


def test_label_metrics_judge_what_predict_returns(fitted):
    table = pd.DataFrame({"x": np.arange(80.0), "y": np.repeat([0, 1], 40)})
    accuracy = float((fitted.predict(table) == table["y"]).mean())
    assert fitted.evaluate(table)["accuracy"] == pytest.approx(accuracy)


def test_labels_not_seen_in_training_raise(fitted):
    with pytest.raises(LabelError, match="7"):
        read_labels(fitted._fitted(), pd.Series([0, 7], name="y"))

"""Which of two predictors is better, and what could be chance."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from tabular_automl import FitConfig, Predictor
from tabular_automl.core.errors import InvalidOptionError
from tabular_automl.inspection import comparing
from tabular_automl.inspection.comparing import compare
from tabular_automl.inspection.evaluation import LabelledRows
from tabular_automl.metrics.base import METRICS
from tabular_automl.metrics.resolve import make_metric
from tests.conftest import make_table

RMSE = METRICS.get("root_mean_squared_error")
LINEAR = FitConfig(max_specs=1, n_folds=2, families=("linear",))


def judged(y, predictions, metric=RMSE, weight=None, groups=None):
    shown = [np.asarray(each) if np.ndim(each) == 2 else each[:, None] for each in predictions]
    return compare(
        LabelledRows(pd.DataFrame(index=range(len(y))), y, weight), groups, shown, metric
    )


def noisy(n_rows, first, second, seed=0):
    """Return values and two predictions that are off by so much, mostly in the same rows."""
    rng = np.random.default_rng(seed)
    y, shared = rng.normal(size=n_rows), rng.normal(size=n_rows)
    return y, [y + size * (shared + 0.1 * rng.normal(size=n_rows)) for size in (first, second)]


def test_what_is_better_by_more_than_chance_is_told_from_what_is_not():
    better = judged(*noisy(500, 1.0, 0.9))
    assert better.verdict == "better"
    assert better.low < better.gain < better.high
    assert better.gain == pytest.approx(better.figure - better.other_figure)
    assert judged(*noisy(500, 0.9, 1.0)).verdict == "worse"
    assert judged(*noisy(500, 1.0, 1.0, seed=1)).verdict == "no different beyond chance"


def test_the_interval_covers_the_true_gain_about_as_often_as_it_says():
    inside = [
        found.low <= 0.1 * np.sqrt(1.01) <= found.high
        for found in (judged(*noisy(300, 1.0, 0.9, seed)) for seed in range(60))
    ]
    assert np.mean(inside) >= 0.85


def test_of_many_rows_a_part_is_drawn_and_the_interval_is_that_of_all(monkeypatch):
    whole = judged(*noisy(4_000, 1.0, 0.95))
    monkeypatch.setattr(comparing, "_MOST_ROWS", 500)
    part = judged(*noisy(4_000, 1.0, 0.95))
    assert part.gain == whole.gain
    assert part.high - part.low == pytest.approx(whole.high - whole.low, rel=0.3)


def test_draws_have_rows_of_a_rare_class(monkeypatch):
    monkeypatch.setattr(comparing, "_MOST_ROWS", 100)
    rng, y = np.random.default_rng(0), (np.arange(5_000) < 60).astype(int)
    one = np.clip(0.5 + 0.1 * (y - 0.5) + 0.2 * rng.normal(size=5_000), 0.0, 1.0)
    other = np.clip(one + 0.1 * rng.normal(size=5_000), 0.0, 1.0)
    shown = [np.column_stack([1 - each, each]) for each in (one, other)]
    part = judged(y, shown, METRICS.get("roc_auc"))
    monkeypatch.setattr(comparing, "_MOST_ROWS", 5_000)
    whole = judged(y, shown, METRICS.get("roc_auc"))
    assert part.high - part.low == pytest.approx(whole.high - whole.low, rel=0.3)


def test_rows_without_weight_change_nothing():
    y, predictions = noisy(400, 1.0, 0.9)
    weight = np.repeat([1.0, 0.0], 200)
    heavy = judged(y, predictions, weight=weight)
    light = judged(y[:200], [each[:200] for each in predictions])
    assert heavy.gain == pytest.approx(light.gain)
    assert (heavy.low, heavy.high) == pytest.approx((light.low, light.high))


def test_few_rows_say_nothing_of_chance():
    found = judged(*noisy(20, 1.0, 0.1))
    assert found.verdict == "no different beyond chance"
    assert "too little is there to tell" in str(found)


@pytest.mark.parametrize("most_rows", [20_000, 200])
def test_rows_of_a_group_are_drawn_together(monkeypatch, most_rows):
    monkeypatch.setattr(comparing, "_MOST_ROWS", most_rows)
    rng = np.random.default_rng(0)
    groups, y = np.arange(1_000) // 20, rng.normal(size=1_000)
    luck = rng.normal(size=50)[groups]  # all rows of a group are off alike
    predictions = [y + 1.0, y + 1.0 + 0.3 * luck]
    alone, grouped = judged(y, predictions), judged(y, predictions, groups=groups)
    assert grouped.gain == alone.gain
    assert grouped.high - grouped.low > 2.5 * (alone.high - alone.low)


def test_large_groups_of_one_class_each_leave_room_for_chance(monkeypatch):
    monkeypatch.setattr(comparing, "_MOST_ROWS", 400)
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 400)
    y = groups % 2
    of_group = rng.uniform(size=(2, 60))[:, groups]
    shown = [np.column_stack([1 - each, each]) for each in of_group]
    found = judged(y, shown, METRICS.get("roc_auc"), groups=groups)
    assert found.verdict == "no different beyond chance"
    assert found.high - found.low > 0.1


def test_a_metric_that_cannot_judge_draws_says_nothing_of_chance():
    def stubborn(y, prediction):
        if len(np.unique(y)) < len(y):  # a row came twice
            raise ZeroDivisionError
        return float(np.abs(y - prediction).mean())

    metric = make_metric(stubborn, needs="value", greater_is_better=False)
    found = judged(*noisy(50, 1.0, 0.5), metric)
    assert found.verdict == "no different beyond chance"
    assert (found.low, found.high) == (-np.inf, np.inf)
    assert found.gain > 0


def test_a_slow_metric_has_a_bound(monkeypatch):
    monkeypatch.setattr(comparing, "_MOST_SECONDS", 0.0)
    assert np.isinf(judged(*noisy(500, 1.0, 0.9)).high)


@pytest.fixture(scope="module")
def predictors(tmp_path_factory):
    """Return one fitted on few columns and one on all of them."""
    folder, binary_table = tmp_path_factory.mktemp("compared"), make_table("binary")
    config = FitConfig(max_specs=1, n_folds=2, families=("lightgbm",))
    tables = {"few": binary_table[["y", "constant"]], "all": binary_table}
    return [
        Predictor("y", path=folder / name, verbosity=0).fit(table, config=config)
        for name, table in tables.items()
    ]


def test_predictors_are_compared_on_a_table(predictors, binary_table):
    few, of_all = predictors
    found = few.compare(of_all, binary_table)
    assert found.verdict == "better"
    assert found.figure == pytest.approx(few.evaluate(binary_table)[found.metric])
    assert found.other_figure == pytest.approx(of_all.evaluate(binary_table)[found.metric])
    assert str(found).startswith(f"{found.metric} on {len(binary_table)} rows: ")
    assert of_all.compare(few, binary_table).verdict == "worse"
    assert of_all.compare(of_all, binary_table).gain == 0.0


@pytest.mark.parametrize("metric", ["f1", "average_precision", "log_loss"])
def test_the_order_of_classes_is_that_of_the_predictor_that_is_asked(
    tmp_path, binary_table, metric
):
    turned = binary_table.assign(y=pd.Categorical(binary_table["y"], ["yes", "no"]))
    one, other = (
        Predictor("y", path=tmp_path / str(i), verbosity=0, eval_metric=metric).fit(
            table, config=LINEAR
        )
        for i, table in enumerate((binary_table, turned))
    )
    assert list(one.classes) != list(other.classes)
    found = one.compare(other, binary_table)
    assert found.other_figure == pytest.approx(found.figure, abs=0.05)
    assert found.figure == pytest.approx(one.evaluate(binary_table)[found.metric])


def test_a_class_that_only_the_newer_predictor_knows_does_not_count_against_it(
    tmp_path, multiclass_table
):
    more = pd.concat([multiclass_table, multiclass_table.head(20).assign(y="aaa new")])
    one, other = (
        Predictor("y", path=tmp_path / str(i), verbosity=0, eval_metric="average_precision").fit(
            table.reset_index(drop=True), config=LINEAR
        )
        for i, table in enumerate((multiclass_table, more))
    )
    found = one.compare(other, multiclass_table)
    assert found.other_figure == pytest.approx(found.figure, rel=0.1)
    assert list(one.classes) == list(other.classes)[1:]


@pytest.mark.parametrize("asked", ["binary", "regression"])
def test_predictors_of_different_things_are_refused(
    predictors, binary_table, regression_table, tmp_path, asked
):
    other = Predictor("y", path=tmp_path / "p", verbosity=0).fit(regression_table, config=LINEAR)
    pair = [predictors[0], other]
    one, two = pair if asked == "binary" else pair[::-1]
    with pytest.raises(InvalidOptionError, match=rf"does, 'y' \({asked}\), got a predictor of"):
        one.compare(two, binary_table)
    rooms = Predictor("rooms", path=tmp_path / "q", verbosity=0, problem_type="regression")
    rooms.fit(regression_table, config=LINEAR)
    with pytest.raises(InvalidOptionError, match="got a predictor of 'rooms'"):
        other.compare(rooms, regression_table)


def test_predictors_of_other_classes_are_refused(predictors, binary_table, tmp_path):
    turned = binary_table.assign(y=binary_table["y"].map({"no": "maybe", "yes": "yes"}))
    other = Predictor("y", path=tmp_path / "p", verbosity=0).fit(turned, config=LINEAR)
    with pytest.raises(InvalidOptionError, match=r"\['no', 'yes'\], got \['maybe', 'yes'\]"):
        predictors[0].compare(other, binary_table)
    with pytest.raises(InvalidOptionError, match="other must be a fitted Predictor, got 'model'"):
        predictors[0].compare("model", binary_table)


@pytest.mark.parametrize("is_categorical", [False, True])
def test_classes_keep_their_order_where_the_predictor_in_use_lacks_one(tmp_path, is_categorical):
    rng = np.random.default_rng(0)
    size = rng.normal(size=400)
    grade = pd.cut(size + 0.3 * rng.normal(size=400), [-9, -1, 0, 1, 9], labels=False) + 1
    table = pd.DataFrame({"size": size, "y": grade})
    if is_categorical:
        table["y"] = pd.Categorical(grade, categories=[1, 2, 3, 4], ordered=True)
    later = table[grade > 1].reset_index(drop=True)
    one, other = (
        Predictor("y", path=tmp_path / str(i), verbosity=0, eval_metric="quadratic_kappa").fit(
            each, config=LINEAR
        )
        for i, each in enumerate((later, table))
    )
    assert list(one.classes) == [2, 3, 4]
    found = one.compare(other, later)
    assert found.figure == pytest.approx(one.evaluate(later)["quadratic_kappa"])
    assert found.other_figure == pytest.approx(other.evaluate(later)["quadratic_kappa"])


def test_ordered_classes_that_no_predictor_has_all_of_keep_the_order_of_the_first():
    def knowing(*classes):
        dtype = pd.CategoricalDtype(classes, ordered=True)
        return SimpleNamespace(codec=SimpleNamespace(classes=pd.Index(classes), dtype=dtype))

    both = comparing.classes_of_both(knowing("low", "mid", "high"), knowing("mid", "high", "top"))
    assert both == ["low", "mid", "high", "top"]

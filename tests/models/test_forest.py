import dataclasses

import numpy as np
import pytest

from tabular_automl.core.budget import Budget
from tabular_automl.core.errors import ArtifactError, DataError, OutOfTimeError
from tabular_automl.data.table import FeatureTable, Samples
from tabular_automl.data.task import ProblemType, Task
from tabular_automl.models import forest
from tabular_automl.models.base import MODELS, FittedSpec, Setting
from tabular_automl.models.forest_nodes import Nodes

BINARY = Task(ProblemType.BINARY, 2)
MULTICLASS = Task(ProblemType.MULTICLASS, 4)
REGRESSION = Task(ProblemType.REGRESSION)
FAMILIES = ["extra_trees", "random_forest"]


def samples(task, n_rows=240, seed=0):
    rng = np.random.default_rng(seed)
    numeric = rng.normal(size=(n_rows, 3)).astype(np.float32)
    codes = rng.integers(0, 7, (n_rows, 1)).astype(np.int32)
    signal = numeric[:, 0] + (codes[:, 0] % 2) + 0.1 * rng.normal(size=n_rows)
    y = (signal - signal.mean()) / signal.std()
    if task.is_classification:
        n_seen = max(2, task.n_classes - 1)
        y = np.digitize(y, np.quantile(y, np.arange(1, n_seen) / n_seen)).astype(np.int64)
    numeric[rng.random(numeric.shape) < 0.05] = np.nan
    table = FeatureTable(numeric, codes, ("a", "b", "c"), ("d",), (7,))
    return Samples(table, y)


def fitted(family, task, *, budget=None, n_threads=1, loss="squared_error", valid=None, **params):
    kind = MODELS.get(family)
    train = samples(task)
    setting = Setting(task, "log_loss" if task.is_classification else loss, 3, n_threads)
    model = kind(kind.Params.from_dict({"n_trees": 12, **params}), setting)
    return model.fit(train, valid, budget or Budget.unlimited())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("task", [BINARY, MULTICLASS, REGRESSION], ids=str)
def test_both_ways_to_predict_agree(family, task):
    model = fitted(family, task)
    table = samples(task, 250, seed=1).table
    batch = model.predict(table)
    for rows in (range(40), [7], []):
        few = model.predict(table.take(list(rows)))
        assert np.allclose(few, batch[list(rows)], atol=1e-6)
    assert batch.shape == (250, task.n_outputs)


@pytest.mark.parametrize(
    ("family", "task", "n_rows", "params", "n_tried"),
    [
        ("extra_trees", REGRESSION, 10_000, {}, 12),
        ("extra_trees", REGRESSION, 9_999, {}, 8),
        ("random_forest", REGRESSION, 10_000, {}, 8),
        ("extra_trees", BINARY, 10_000, {}, 4),
        ("extra_trees", REGRESSION, 10_000, {"max_features": 0.25}, 4),
    ],
)
def test_extra_trees_for_numbers_try_more_features_on_many_rows(
    family, task, n_rows, params, n_tried
):
    kind = MODELS.get(family)
    model = kind(kind.Params.from_dict(params), Setting(task, "squared_error"))
    table = FeatureTable(
        np.zeros((n_rows, 1), np.float32), np.zeros((n_rows, 0), np.int32), ("a",), (), ()
    )
    train = Samples(table, np.zeros(n_rows, np.int64))
    growth = forest._Growth(model, np.zeros((n_rows, 16), np.float32), train)
    assert growth._options(seed=0)["max_features"] == n_tried


def test_artifacts_of_before_smoothing_was_saved_are_read():
    model = fitted("extra_trees", BINARY)
    state = model.state()
    del state.meta["smoothing"]
    restored = type(model)(model.params, model.setting)
    restored.restore(state)
    table = samples(BINARY).table
    assert np.array_equal(restored.predict(table), model.predict(table))
    assert restored.fitted_params() == model.params


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("task", [MULTICLASS, REGRESSION], ids=str)
def test_nodes_predict_what_scikit_learn_trees_do(family, task):
    model = fitted(family, task, leaf_smoothing=0.001 if task.is_classification else None)
    train = samples(task)
    trees = _scikit_learn_trees(model, train)
    matrix = model._encoded(train.table)
    expected = np.mean([tree.tree_.predict(matrix) for tree in trees], axis=0)
    got = model.predict(train.table)
    if task.is_classification:
        got = got[:, trees[0].classes_]
    assert np.allclose(got, expected, atol=5e-3 if task.is_classification else 1e-6)


def _scikit_learn_trees(model, train):
    from tabular_automl.models.forest import _Growth

    growth = _Growth(model, model._encoded(train.table), train)
    seeds = np.random.SeedSequence(model.setting.seed).generate_state(model.params.n_trees)
    trees = []
    for seed in seeds.tolist():
        tree = model._tree(**growth._options(seed))
        trees.append(tree.fit(growth.matrix, train.y, sample_weight=growth._drawn(seed)))
    return trees


@pytest.mark.parametrize("family", FAMILIES)
def test_a_restored_forest_predicts_identically_on_any_number_of_threads(family):
    model = fitted(family, MULTICLASS)
    table = samples(MULTICLASS, 200, seed=2).table
    state = FittedSpec(family, model).state()
    again = FittedSpec.from_state(state, n_threads=2).model
    assert np.array_equal(again.predict(table), model.predict(table))


@pytest.mark.parametrize("family", FAMILIES)
def test_threads_change_nothing(family):
    table = samples(BINARY, 50, seed=2).table
    one, three = (fitted(family, BINARY, n_threads=n).predict(table) for n in (1, 3))
    assert np.array_equal(one, three)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_class_that_no_training_row_has_stays_possible(family):
    prediction = fitted(family, MULTICLASS).predict(samples(MULTICLASS).table)
    assert (prediction[:, 3] > 0).all()
    assert prediction.sum(axis=1) == pytest.approx(1)


@pytest.mark.parametrize("family", FAMILIES)
def test_leaf_smoothing_is_chosen_on_validation_rows_and_kept_for_a_refit(family):
    train = samples(BINARY)
    noise = Samples(train.table, np.random.default_rng(0).integers(0, 2, len(train)))
    strong = fitted(family, BINARY, valid=noise).fitted_params().leaf_smoothing
    weak = fitted(family, BINARY, valid=train).fitted_params().leaf_smoothing
    assert weak < 1 < strong


def test_absolute_error_is_answered_with_medians():
    y = np.concatenate([np.zeros(30), np.full(20, 10.0)])
    train = Samples(
        FeatureTable(np.zeros((50, 1), np.float32), np.empty((50, 0), np.int32), ("a",)), y
    )
    kind = MODELS.get("extra_trees")
    for loss, expected in (("squared_error", 4.0), ("absolute_error", 0.0)):
        model = kind(kind.Params(n_trees=3), Setting(REGRESSION, loss))
        model.fit(train, None, Budget.unlimited())
        assert model.predict(train.table)[0, 0] == pytest.approx(expected)


def test_medians_heed_weights():
    y, weight = np.repeat([0.0, 1.0], [20, 10]), np.repeat([0.15, 2.7], [20, 10])
    rows = FeatureTable(np.zeros((30, 1), np.float32), np.empty((30, 0), np.int32), ("a",))
    for family in FAMILIES:
        kind = MODELS.get(family)
        model = kind(kind.Params(n_trees=3), Setting(REGRESSION, "absolute_error"))
        model.fit(Samples(rows, y, weight), None, Budget.unlimited())
        assert model.predict(rows)[0, 0] == pytest.approx(1.0)


def test_leaf_smoothing_heeds_weights():
    train = samples(BINARY)
    noise = np.random.default_rng(0).integers(0, 2, len(train))
    is_true = np.arange(len(train)) % 2 == 0
    y = np.where(is_true, train.y, noise)
    chosen = [
        fitted("extra_trees", BINARY, valid=Samples(train.table, y, weight)).fitted_params()
        for weight in (1.0 * is_true, 1.0 * ~is_true)
    ]
    assert chosen[0].leaf_smoothing < 1 < chosen[1].leaf_smoothing


@pytest.mark.parametrize("family", FAMILIES)
def test_a_forest_without_time_raises(family):
    with pytest.raises(OutOfTimeError, match="one tree"):
        fitted(family, BINARY, budget=Budget.start(0))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_deadline_ends_growth_with_the_trees_so_far(family):
    model = fitted(family, BINARY, budget=Budget.start(0.3), n_trees=5000)
    assert 1 <= model.nodes.n_trees < 5000
    assert np.isfinite(model.predict(samples(BINARY).table)).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_enough_time_gives_the_forest_of_unlimited_time(family):
    table = samples(REGRESSION, 30, seed=5).table
    models = [fitted(family, REGRESSION, budget=b) for b in (Budget.start(600), None)]
    assert np.array_equal(models[0].predict(table), models[1].predict(table))


def test_a_table_without_features_is_refused():
    kind = MODELS.get("extra_trees")
    train = Samples(FeatureTable.empty(9), np.arange(9) % 2)
    with pytest.raises(DataError, match="at least 1 feature"):
        kind(kind.Params(), Setting(BINARY, "log_loss")).fit(train, None, Budget.unlimited())


def test_a_max_depth_bounds_the_nodes():
    assert len(fitted("extra_trees", REGRESSION, n_trees=4, max_depth=2).nodes.feature) <= 4 * 7


@pytest.mark.parametrize(
    ("name", "position", "value"),
    [
        ("child", 0, 0),  # a root that is its own child
        ("child", 0, 10**6),
        ("child", -1, 10**6),  # a leaf without a value
        ("child", -1, -1),
        ("feature", 0, 4),
        ("feature", 0, -2),
        ("threshold", 0, np.nan),
        ("values", 0, np.inf),
        ("values", 0, -1),
        ("starts", 1, 0),
        ("starts", 1, 10**9),
        ("fill", 0, np.nan),
        ("levels", 0, np.nan),
    ],
)
def test_nodes_that_lead_nowhere_are_refused(name, position, value):
    model = fitted("random_forest", BINARY)
    state = model.state()
    array = state.arrays[name].copy()
    array[position] = value
    damaged = dataclasses.replace(state, arrays={**state.arrays, name: array})
    with pytest.raises(ArtifactError, match=r"'child' must lead from every|must be \w+ of shape"):
        model.restore(damaged)


def test_joined_trees_keep_their_own_values():
    leaf = np.array([-1], np.int32), np.zeros(1, np.float32), np.zeros(1, np.int32)
    starts = np.array([0, 1], np.int32)
    trees = [Nodes(*leaf, np.array([[value]], np.float32), starts) for value in (2.0, 5.0)]
    joined = Nodes.join(trees)
    assert joined.all_end()
    matrix = np.zeros((3, 1), np.float32)
    assert joined.values[joined.leaves_of_few(matrix)][0, :, 0].tolist() == [2, 5]
    assert joined.add_up(matrix, 2).tolist() == [[7], [7], [7]]

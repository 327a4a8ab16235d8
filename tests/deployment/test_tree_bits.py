"""Trees as bits answer what LightGBM does that walks them."""

from __future__ import annotations

import numpy as np
import pytest

from tabular_automl.data.task import Task
from tabular_automl.deployment import tree_bits
from tabular_automl.deployment.joined_boosters import trees_of
from tabular_automl.deployment.tree_bits import TreeBits
from tests.deployment.bags import BINARY, FOUR_CLASSES, REGRESSION, bag_of, features

N_FEATURES = features(0).n_features


@pytest.fixture(autouse=True)
def few_trees_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_bits, "_LEAST_TREES", 1)


def booster_and_trees(task: Task, **params: object) -> tuple[object, list[str]]:
    model = bag_of("lightgbm", task, **params).models[0].model
    return model._booster.get(), trees_of(model.state().blobs["booster.txt"].decode())


@pytest.mark.parametrize("num_leaves", [2, 3, 32, 33, 64])
@pytest.mark.parametrize("task", [BINARY, FOUR_CLASSES, REGRESSION], ids=lambda t: t.problem_type)
def test_rows_reach_the_leaves_that_lightgbm_says(task: Task, num_leaves: int) -> None:
    params = {"num_leaves": num_leaves, "min_data_in_leaf": 1, "max_cat_to_onehot": 2}
    booster, trees = booster_and_trees(task, n_rounds=12, **params)
    matrix = features(200, seed=3).matrix()
    n_outputs = task.n_classes if task == FOUR_CLASSES else 1
    expected = booster.predict(matrix, pred_leaf=True).reshape(200, -1)
    bits = TreeBits(trees, "pred_leaf", n_outputs, N_FEATURES)
    np.testing.assert_array_equal(bits.predict(matrix), expected)
    raw = booster.predict(matrix, raw_score=True).reshape(200, -1)
    bits = TreeBits(trees, "raw_score", n_outputs, N_FEATURES)
    np.testing.assert_allclose(bits.predict(matrix), raw, rtol=1e-12, atol=1e-12)


def test_values_at_borders_far_out_and_missing_go_where_lightgbm_sends_them() -> None:
    booster, trees = booster_and_trees(REGRESSION, n_rounds=20)
    borders = {
        float(word)
        for tree in trees
        for line in tree.splitlines()
        if line.startswith("threshold=")
        for word in line.partition("=")[2].split()
    }
    values = np.array([*borders, np.nan, np.inf, -np.inf, 0.0, -0.0], dtype=np.float32)
    around = np.concatenate([values, np.nextafter(values, np.float32(np.inf))])
    matrix = np.repeat(around[:, np.newaxis], N_FEATURES, axis=1)
    codes = features(len(matrix), seed=3).codes
    matrix[:, N_FEATURES - codes.shape[1] :] = codes
    expected = booster.predict(matrix, pred_leaf=True)
    bits = TreeBits(trees, "pred_leaf", 1, N_FEATURES)
    np.testing.assert_array_equal(bits.predict(matrix), expected)


def test_levels_that_no_set_holds_go_right() -> None:
    booster, trees = booster_and_trees(REGRESSION, n_rounds=20, max_cat_to_onehot=1)
    matrix = features(40, seed=3).matrix().copy()
    n_codes = features(0).codes.shape[1]
    matrix[:, N_FEATURES - n_codes :] = np.arange(40)[:, np.newaxis] * 7
    expected = booster.predict(matrix, pred_leaf=True)
    bits = TreeBits(trees, "pred_leaf", 1, N_FEATURES)
    np.testing.assert_array_equal(bits.predict(matrix), expected)


def test_trees_without_a_split_answer_their_value() -> None:
    _, trees = booster_and_trees(REGRESSION, n_rounds=3)
    leaf = "num_leaves=1\nnum_cat=0\nleaf_value=2.5\nis_linear=0\nshrinkage=1\n\n\n"
    matrix = features(5, seed=3).matrix()
    alone = TreeBits(trees, "raw_score", 1, N_FEATURES).predict(matrix)
    joined = TreeBits([leaf, *trees, leaf], "raw_score", 1, N_FEATURES).predict(matrix)
    np.testing.assert_allclose(joined, alone + 5.0)


@pytest.mark.parametrize(
    ("params", "limit", "message"),
    [
        ({"n_rounds": 4}, ("_LEAST_TREES", 5), "fewer than 5 trees"),
        ({"n_rounds": 4}, ("MOST_BYTES", 100), "at most 100 bytes"),
        ({"n_rounds": 4, "num_leaves": 80, "min_data_in_leaf": 1}, None, "at most 64 leaves"),
        ({"n_rounds": 15, "linear_tree": True, "num_leaves": 6}, None, "not linear models"),
    ],
)
def test_what_does_not_pay_or_is_not_read_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    params: dict[str, object],
    limit: tuple[str, int] | None,
    message: str,
) -> None:
    _, trees = booster_and_trees(REGRESSION, **params)
    if limit is not None:
        monkeypatch.setattr(tree_bits, *limit)
    with pytest.raises(ValueError, match=message):
        TreeBits(trees, "raw_score", 1, N_FEATURES)


def test_stumps_alone_and_splits_in_another_order_are_refused() -> None:
    leaf = "num_leaves=1\nnum_cat=0\nleaf_value=2.5\nis_linear=0\nshrinkage=1\n\n\n"
    with pytest.raises(ValueError, match="must split"):
        TreeBits([leaf], "raw_score", 1, N_FEATURES)
    upside_down = (
        "num_leaves=3\nnum_cat=0\nsplit_feature=0 0\nthreshold=1 2\ndecision_type=10 10\n"
        "left_child=-1 0\nright_child=-2 -3\nleaf_value=1 2 3\nis_linear=0\n"
    )
    with pytest.raises(ValueError, match="smaller number"):
        TreeBits([upside_down], "raw_score", 1, N_FEATURES)

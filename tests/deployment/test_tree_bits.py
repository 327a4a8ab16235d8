"""Trees as bits answer what LightGBM does that walks them."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import lightgbm
import numpy as np
import pytest

from tabular_automl.data.task import Task
from tabular_automl.deployment import tree_bits
from tabular_automl.deployment.joined_boosters import trees_of
from tabular_automl.deployment.tree_bits import NotAsBitsError, TreeBits
from tests.deployment.bags import BINARY, FOUR_CLASSES, REGRESSION, bag_of, features

N_FEATURES = features(0).n_features


@pytest.fixture(autouse=True)
def few_trees_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_bits, "LEAST_TREES", 1)


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
    sets = {"max_cat_to_onehot": 1, "min_data_per_group": 2, "cat_smooth": 1.0}
    booster, trees = booster_and_trees(REGRESSION, n_rounds=20, **sets)
    assert any("cat_threshold" in tree for tree in trees)
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
        ({"n_rounds": 4}, ("LEAST_TREES", 5), "fewer than 5 trees"),
        ({"n_rounds": 4}, ("MOST_BYTES", 100), "at most 100 bytes"),
        ({"n_rounds": 4}, ("_MOST_BYTES_OF_TREE", 4), "features take longer than to walk"),
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
    with pytest.raises(NotAsBitsError, match=message):
        TreeBits(trees, "raw_score", 1, N_FEATURES)


def tree_of(**changed: str) -> str:
    """A tree of three leaves: 0 up to 1, then 1 up to 2, then 2."""
    lines = {
        "num_leaves": "3",
        "num_cat": "0",
        "split_feature": "0 0",
        "threshold": "1 2",
        "decision_type": "10 10",
        "left_child": "-1 -2",
        "right_child": "1 -3",
        "leaf_value": "10 20 30",
        "is_linear": "0",
    }
    return "".join(f"{name}={value}\n" for name, value in {**lines, **changed}.items())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"left_child": "-1 0", "right_child": "-2 -3"}, "smaller number"),
        ({"split_feature": "0 7"}, "features below 7, got 7"),
        ({"split_feature": "-1 0"}, "features below 7"),
        ({"decision_type": "10 6"}, "zeros must not stand for missing"),
        ({"leaf_value": "10 20"}, "must have 3 of leaf_value, got 2"),
        ({"threshold": "1 2 3"}, "must have 2 of threshold, got 3"),
        (
            {"num_cat": "1", "decision_type": "10 1", "threshold": "1 0"}
            | {"cat_boundaries": "0 1", "cat_threshold": "5"},
            "a number or a category, not both",
        ),
    ],
)
def test_text_that_contradicts_itself_is_refused(changed: dict[str, str], message: str) -> None:
    matrix = np.zeros((3, N_FEATURES), dtype=np.float32)
    matrix[:, 0] = 1, 2, 3
    right = TreeBits([tree_of()], "raw_score", 1, N_FEATURES)
    assert right.predict(matrix).ravel().tolist() == [10, 20, 30]
    with pytest.raises(ValueError, match=message):
        TreeBits([tree_of(**changed)], "raw_score", 1, N_FEATURES)


def test_trees_without_any_split_are_refused() -> None:
    leaf = "num_leaves=1\nnum_cat=0\nleaf_value=2.5\nis_linear=0\nshrinkage=1\n\n\n"
    with pytest.raises(NotAsBitsError, match="must split"):
        TreeBits([leaf], "raw_score", 1, N_FEATURES)


@pytest.mark.parametrize("n_leaves", [2, 31, 32, 33, 63, 64])
@pytest.mark.parametrize("deep", ["left", "right"])
def test_every_bit_of_a_chain_is_reached(n_leaves: int, deep: str) -> None:
    n_inner = n_leaves - 1
    following = [*range(1, n_inner), -n_leaves]
    leaves = [-k - 1 for k in range(n_inner)]
    left, right = (following, leaves) if deep == "left" else (leaves, following)
    borders = range(n_inner, 0, -1) if deep == "left" else range(1, n_inner + 1)
    tree = tree_of(
        num_leaves=str(n_leaves),
        split_feature=" ".join("0" * n_inner),
        threshold=" ".join(map(str, borders)),
        decision_type=" ".join(["10"] * n_inner),
        left_child=" ".join(map(str, left)),
        right_child=" ".join(map(str, right)),
        leaf_value=" ".join(map(str, range(n_leaves))),
    )
    matrix = np.zeros((n_leaves, N_FEATURES), dtype=np.float32)
    matrix[:, 0] = np.arange(n_leaves) + 1
    reached = TreeBits([tree], "pred_leaf", 1, N_FEATURES).predict(matrix).ravel()
    # The leaf of the last split comes first from the side to which the chain goes.
    in_order = np.arange(n_leaves) if deep == "right" else np.arange(n_leaves)[::-1]
    assert reached.tolist() == in_order.tolist()


def test_numbers_missing_where_training_had_none_are_taken_for_0() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 3)).astype(np.float32)
    dataset = lightgbm.Dataset(x, x[:, 0] * x[:, 1] + x[:, 2])
    booster = lightgbm.train({"verbosity": -1, "min_data_in_leaf": 5}, dataset, 20)
    trees = trees_of(booster.model_to_string())
    assert not any("decision_type=10" in tree for tree in trees)
    x[rng.random(x.shape) < 0.5] = np.nan
    bits = TreeBits(trees, "pred_leaf", 1, 3)
    np.testing.assert_array_equal(bits.predict(x), booster.predict(x, pred_leaf=True))


def test_threads_and_copies_answer_the_same() -> None:
    _, trees = booster_and_trees(REGRESSION, n_rounds=30)
    bits = TreeBits(trees, "raw_score", 1, N_FEATURES)
    matrix = features(300, seed=3).matrix()
    expected = bits.predict(matrix)
    copy = pickle.loads(pickle.dumps(bits))
    with ThreadPoolExecutor(8) as executor:
        for answer in executor.map(copy.predict, [matrix] * 16):
            np.testing.assert_array_equal(answer, expected)

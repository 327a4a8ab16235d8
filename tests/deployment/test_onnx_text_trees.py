"""Trees in LightGBM's text: sets of levels, missing numbers, linear leaves."""

import numpy as np
import pytest

from tabular_automl.deployment.onnx_columns import Features
from tabular_automl.deployment.onnx_text_trees import tree_of_text
from tests.deployment.bags import REGRESSION, bag_of
from tests.deployment.onnx_runs import assert_converts

STUMP = """num_leaves=2
num_cat={n_sets}
split_feature={feature}
threshold={threshold}
decision_type={kind}
left_child=-1
right_child=-2
leaf_value=1.5 2.5
cat_boundaries=0 2
cat_threshold={bits}
is_linear=0
"""
FEATURES = Features(None, None, "", 1, (64,))


def stump(kind, threshold=0.5, feature=0, bits="0 0"):
    text = STUMP.format(n_sets=1, feature=feature, threshold=threshold, kind=kind, bits=bits)
    return tree_of_text(text, FEATURES, 0)


@pytest.mark.parametrize(
    ("kind", "threshold", "expected"),
    [(8, 0.5, False), (10, 0.5, True), (0, 0.5, True), (2, -0.5, False)],
    ids=["right", "left", "as zero, left", "as zero, right"],
)
def test_missing_numbers_go_where_lightgbm_sends_them(kind, threshold, expected):
    assert stump(kind, threshold).missing_yes[0] == expected


def test_zeros_that_stand_for_missing_numbers_are_refused():
    with pytest.raises(ValueError, match="zeros must not stand for missing"):
        stump(4)


def test_a_small_set_is_asked_level_by_level():
    tree = stump(9, threshold=0, feature=1, bits=f"{1 << 5} {1 << 1}")
    asked = tree.threshold[tree.is_level]
    assert sorted(asked) == [5, 33]
    assert tree.value[tree.yes[tree.is_level] - 1].tolist() == [1.5, 1.5]


def test_of_a_large_set_the_other_levels_are_asked():
    words = 2**32 - 1
    tree = stump(9, threshold=0, feature=1, bits=f"{words - 1} {words - 4}")
    assert sorted(tree.threshold[tree.is_level]) == [0, 34]
    assert tree.value[tree.yes[tree.is_level] - 1].tolist() == [2.5, 2.5]


def test_an_empty_set_leads_to_the_right_only():
    tree = stump(9, threshold=0, feature=1)
    assert tree.threshold[tree.is_level].tolist() == [-1]


def test_other_values_may_stand_in_the_leaves():
    text = STUMP.format(n_sets=0, feature=0, threshold=0.5, kind=8, bits="0 0")
    assert tree_of_text(text, FEATURES, 3, [7.0, 8.0]).value.tolist() == [7.0, 8.0]
    assert tree_of_text(text, FEATURES, 3).output.tolist() == [3, 3]


@pytest.mark.parametrize("block", [None, "numeric"])
def test_linear_leaves_and_their_constants_are_converted(block):
    params = {"linear_tree": True, "num_leaves": 6, "linear_lambda": 0.1}
    bag = bag_of("lightgbm", REGRESSION, block=block, n_rounds=15, **params)
    text = bag.models[0].model.state().blobs["booster.txt"].decode()
    assert "is_linear=1" in text
    assert any(
        np.any([float(w) for w in line[11:].split()])
        for line in text.splitlines()
        if line.startswith("leaf_coeff=")
    )
    assert_converts(bag, block, atol=3e-6)

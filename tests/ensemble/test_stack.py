from dataclasses import replace

import numpy as np
import pytest

from tabular_automl.core.budget import Budget
from tabular_automl.core.errors import ArtifactError
from tabular_automl.data.table import FeatureTable, Samples
from tabular_automl.data.task import ProblemType, Task
from tabular_automl.ensemble.bagging import Bag
from tabular_automl.ensemble.stack import FittedStack, extend_table, stack_features
from tabular_automl.models.base import FittedSpec, Setting
from tabular_automl.models.prior import Prior

REGRESSION = Task(ProblemType.REGRESSION)


def table(n_rows=6):
    numeric = np.arange(n_rows, dtype=np.float32).reshape(-1, 1)
    return FeatureTable(numeric, np.empty((n_rows, 0), np.int32), ("x",))


def bag(key, layer, *averages):
    """Return a bag of constant models."""
    models = []
    for average in averages:
        model = Prior(Prior.Params(), Setting(REGRESSION, "squared_error"))
        model.fit(Samples(table(), np.full(6, float(average))), None, Budget.unlimited())
        models.append(FittedSpec("prior", model))
    return Bag(key, layer, tuple(models))


def test_a_bag_predicts_the_mean_of_its_models():
    np.testing.assert_allclose(bag("a", 1, 1, 2, 6).predict(table()), 3.0)


def test_only_needed_bags_are_kept():
    bags = [bag("a", 1, 1), bag("b", 1, 2), bag("c", 1, 3), bag("top", 2, 4)]
    weights = {"a": 0.0, "b": 0.0, "c": 0.4, "top": 0.6}
    stack = FittedStack.of_needed(bags, {2: ("a",)}, weights)
    assert [kept.key for kept in stack.bags] == ["a", "c", "top"]
    assert stack.weights == {"c": 0.4, "top": 0.6}


def test_feeds_of_dropped_layers_are_dropped():
    bags = [bag("a", 1, 1), bag("top", 2, 4)]
    stack = FittedStack.of_needed(bags, {2: ("a",)}, {"a": 1.0, "top": 0.0})
    assert stack.feeds == {}


def test_a_later_layer_reads_features_and_outputs_of_its_feeds():
    extended = extend_table(table(), [bag("a", 1, 1)], [np.full((6, 1), 7.0)])
    assert extended.numeric_names == ("x", "a:0")
    np.testing.assert_array_equal(extended.numeric[:, 1], 7.0)


def test_stack_features_leave_out_the_first_class():
    probabilities = np.array([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]])
    np.testing.assert_allclose(stack_features([probabilities]), probabilities[:, 1:], rtol=1e-6)


@pytest.mark.parametrize(
    ("feeds", "weights", "words"),
    [
        ({"2": ["top"]}, {"a": 1.0}, "earlier layers"),
        ({"2": ["b"]}, {"a": 1.0}, "earlier layers"),
        ({}, {"a": 1.0}, "earlier layers"),
        ({"2": ["a"]}, {"b": 1.0}, "shares of the bags"),
        ({"2": ["a"]}, {"a": 2.0, "top": -1.0}, "shares of the bags"),
        ({"2": ["a"]}, {"a": np.nan}, "shares of the bags"),
    ],
)
def test_a_stack_that_does_not_hold_together_is_refused(feeds, weights, words):
    stack = FittedStack((bag("a", 1, 1), bag("top", 2, 4)), {2: ("a",)}, {"a": 1.0})
    state = stack.state()
    forged = replace(state, meta={**state.meta, "feeds": feeds, "weights": weights})
    with pytest.raises(ArtifactError, match=words):
        FittedStack.from_state(forged, n_threads=1)


def test_state_round_trip_predicts_equally():
    stack = FittedStack.of_needed(
        [bag("a", 1, 1, 3), bag("top", 2, 4)], {2: ("a",)}, {"a": 0.25, "top": 0.75}
    )
    restored = FittedStack.from_state(stack.state(), n_threads=1)
    assert restored.weights == stack.weights
    assert restored.feeds == {2: ("a",)}
    for key, output in stack.outputs(table()).items():
        np.testing.assert_array_equal(restored.outputs(table())[key], output)


def test_a_spare_is_saved_and_may_answer_for_all():
    some = FittedStack((bag("a", 1, 1),), {}, {"a": 1.0}, (bag("b", 1, 2, 4), bag("c", 1, 9)))
    restored = FittedStack.from_state(some.state(), n_threads=1)
    assert [spare.key for spare in restored.spares] == ["b", "c"]
    assert set(restored.outputs(table())) == {"a"}
    assert restored.weighed({"a": 1.0}).spares == restored.spares
    alone = restored.weighed({"b": 1.0})
    np.testing.assert_allclose(alone.outputs(table())["b"], 3.0)
    assert alone.weights == {"b": 1.0}
    assert [spare.key for spare in alone.spares] == ["c"]


def test_a_stack_saved_before_there_were_spares_has_none():
    state = FittedStack((bag("a", 1, 1),), {}, {"a": 1.0}).state()
    meta = {name: value for name, value in state.meta.items() if name != "spares"}
    assert FittedStack.from_state(replace(state, meta=meta), n_threads=1).spares == ()


@pytest.mark.parametrize("key", ["a", "b"])
def test_a_spare_needs_a_name_of_its_own(key):
    spares = (bag("b", 1, 2), bag(key, 1, 3))
    state = FittedStack((bag("a", 1, 1),), {}, {"a": 1.0}, spares).state()
    with pytest.raises(ArtifactError, match="names of their own"):
        FittedStack.from_state(state, n_threads=1)

"""Bags of every family in a graph, or a refusal that names them."""

import pytest

from tabular_automl.core.errors import ExportError
from tabular_automl.deployment import onnx_bags
from tabular_automl.deployment.onnx_bags import add_bag, check_bag
from tabular_automl.models.base import MODELS
from tabular_automl.models.linear import Linear
from tests.deployment.bags import BINARY, FAMILIES, FOUR_CLASSES, REGRESSION, bag_of, features
from tests.deployment.onnx_runs import assert_converts, with_inputs

REFUSED = {
    "neighbors",
    "image_embedding",
    "image_network",
    "text_embedding",
    "text_linear",
    "text_transformer",
}


@pytest.mark.parametrize("task", [BINARY, REGRESSION], ids=lambda task: task.problem_type)
def test_the_base_rate_is_converted(task):
    assert_converts(bag_of("prior", task))


@pytest.mark.parametrize("task", [BINARY, FOUR_CLASSES, REGRESSION], ids=lambda t: t.problem_type)
@pytest.mark.parametrize("family", ["lightgbm", "catboost"])
def test_features_that_each_model_made_of_others_are_converted(family, task):
    bag = bag_of(family, task, **FAMILIES[family], n_pairs=6)
    assert all(len(fitted.model.pairs) for fitted in bag.models)
    assert_converts(bag)


def test_every_built_in_family_is_converted_but_those_listed():
    converted = {family.__name__ for family in onnx_bags._CONVERTERS}
    others = {name for name in MODELS.names() if MODELS.get(name).__name__ not in converted}
    assert others <= REFUSED


def test_a_family_that_is_not_converted_is_refused_by_name_with_the_reason():
    with pytest.raises(ExportError, match=r"'neighbors'.*rounding.*without=\['neighbors'\]"):
        check_bag(bag_of("neighbors", BINARY))


def test_a_family_of_a_third_party_is_refused():
    class Own(Linear):
        pass

    bag = bag_of("linear", BINARY, regularization=1.0)
    bag.models[0].model.__class__ = Own
    with pytest.raises(ExportError, match="its family is not converted"):
        check_bag(bag)


def test_a_description_that_is_not_understood_is_a_refusal(monkeypatch):
    def fail(graph, models, features):
        raise KeyError("split_indices")

    bag = bag_of("linear", BINARY, regularization=1.0)
    monkeypatch.setitem(onnx_bags._CONVERTERS, Linear, fail)
    with pytest.raises(ExportError, match="'linear': 'split_indices'"):
        add_bag(*(lambda graph, inputs: (graph, bag, inputs))(*with_inputs(features(5))))

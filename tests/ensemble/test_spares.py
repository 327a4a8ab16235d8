"""What is much quicker than an ensemble is kept beside it, unless something else beats it."""

import numpy as np
import pytest

from tabular_automl.ensemble.bagging import Bag, BagFit
from tabular_automl.ensemble.candidates import Candidate
from tabular_automl.ensemble.spares import find_spares
from tabular_automl.ensemble.stack import FittedStack
from tabular_automl.models.base import FittedSpec, ModelSpec, Setting
from tabular_automl.models.prior import Prior
from tests.ensemble.test_stack import REGRESSION


def candidate(key, score, seconds, *, layer=1, n_models=1):
    spec = ModelSpec.make("prior")
    model = Prior(Prior.Params(), Setting(REGRESSION, "squared_error"))
    model.value = np.zeros(1)
    bag = Bag(key, layer, (FittedSpec("prior", model),) * n_models)
    nothing = np.empty((0, 1))
    return Candidate(BagFit(spec, bag, nothing, 1.0, seconds), nothing, score)


def spares(*tried, asked=("slow",), refit=False):
    bags = [each.bag for each in tried]
    stack = FittedStack.of_needed(bags, {2: ("slow",)}, dict.fromkeys(asked, 1.0))
    return [bag.key for bag in find_spares(tried, stack, refit=refit)]


@pytest.fixture(autouse=True)
def small_models(monkeypatch):
    monkeypatch.setattr("tabular_automl.ensemble.spares._is_small", lambda bag: True)


def test_the_best_of_each_kind_of_quick_is_kept():
    slow, three = candidate("slow", 0.9, 30.0), candidate("three", 0.8, 9.0)
    worse, ten = candidate("worse", 0.7, 8.0), candidate("ten", 0.6, 2.0)
    assert spares(slow, three, worse, ten) == ["three", "ten"]
    assert spares(slow, candidate("twice", 0.8, 15.0)) == []


def test_what_a_bag_of_the_ensemble_beats_is_not_kept():
    slow, member = candidate("slow", 0.9, 30.0), candidate("member", 0.8, 3.0)
    quick, better = candidate("quick", 0.7, 2.0), candidate("better", 0.85, 3.0)
    assert spares(slow, member, quick, asked=("slow", "member")) == []
    assert spares(slow, member, better, asked=("slow", "member")) == ["better"]


def test_a_bag_that_reads_others_is_none():
    slow, top = candidate("slow", 0.9, 30.0), candidate("top", 0.95, 0.1, layer=2)
    quick = candidate("quick", 0.7, 2.0)
    assert spares(slow, top, quick) == ["quick"]
    # Nor does it beat one: it answers no sooner than what it reads.
    assert spares(slow, top, quick, asked=("top",)) == ["quick"]


def test_each_model_of_a_bag_takes_its_time_unless_one_answers():
    slow, bag = candidate("slow", 0.9, 30.0), candidate("bag", 0.8, 5.0, n_models=4)
    assert spares(slow, bag) == []
    assert spares(slow, bag, refit=True) == ["bag"]


def test_what_is_large_is_not_kept(monkeypatch):
    monkeypatch.setattr("tabular_automl.ensemble.spares._is_small", lambda bag: bag.key != "forest")
    slow, forest = candidate("slow", 0.9, 30.0), candidate("forest", 0.8, 2.0)
    assert spares(slow, forest, candidate("quick", 0.7, 2.0)) == ["quick"]

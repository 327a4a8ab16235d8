from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabular_automl.core.errors import InvalidOptionError
from tabular_automl.core.params import Params, param
from tabular_automl.models.base import MODELS
from tabular_automl.search.sampling import sample_params


@dataclass(frozen=True)
class Shape(Params):
    rate: float = param(0.1, 1e-4, 1.0, log=True)
    depth: int = param(3, 1, 4)
    offset: int = param(5, 0, 100, log=True)
    kind: str = param("a", choices=("a", "b"))
    flag: bool = param(True)
    rounds: int | None = param(None, 10, 20)
    open_ended: float = param(2.5, 0.0)


def drawn(n_draws=400, **options):
    rng = np.random.default_rng(0)
    return [sample_params(Shape, rng, **options) for _ in range(n_draws)]


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_every_draw_lies_in_its_domain(seed):
    params = sample_params(Shape, np.random.default_rng(seed))
    for name, domain in Shape.domains().items():
        assert domain.allows(getattr(params, name))
    assert isinstance(params.depth, int)


@given(st.sampled_from(["extra_trees", "random_forest", "linear", "neighbors", "prior"]))
@settings(max_examples=20, deadline=None)
def test_every_family_can_be_sampled(family):
    params_type = MODELS.get(family).Params
    assert isinstance(sample_params(params_type, np.random.default_rng(1)), params_type)


def test_a_seed_fixes_the_draws():
    assert drawn(5) == drawn(5)


def test_logarithmic_numbers_are_even_over_the_decades():
    rates = np.log10([params.rate for params in drawn()])
    assert np.median(rates) == pytest.approx(-2, abs=0.3)


def test_whole_numbers_reach_both_ends_as_often_as_the_middle():
    counts = np.bincount([params.depth for params in drawn(2000)], minlength=5)[1:]
    assert counts.min() > 400


def test_logarithmic_domains_may_start_at_zero():
    offsets = [params.offset for params in drawn()]
    assert min(offsets) == 0
    assert 3 < np.median(offsets) < 20


def test_optional_hyperparameters_stay_none_half_of_the_time():
    share = np.mean([params.rounds is None for params in drawn()])
    assert share == pytest.approx(0.5, abs=0.1)


def test_open_ended_hyperparameters_keep_their_default():
    assert {params.open_ended for params in drawn(20)} == {2.5}


def test_fixing_one_leaves_the_other_draws_as_they_were():
    for free, held in zip(drawn(10), drawn(10, fixed={"depth": 2}), strict=True):
        assert held.depth == 2
        assert (held.rate, held.kind, held.rounds) == (free.rate, free.kind, free.rounds)


def test_fixing_an_unknown_name_is_refused():
    with pytest.raises(InvalidOptionError, match="Unknown hyperparameter 'deep'"):
        drawn(1, fixed={"deep": 2})

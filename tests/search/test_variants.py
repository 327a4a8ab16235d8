import numpy as np
import pytest

from tabular_automl.models.base import MODELS, ModelSpec
from tabular_automl.search.variants import SPACES, Among, Between, draw_variant


@pytest.mark.parametrize("family", SPACES)
def test_every_draw_is_a_valid_spec_and_draws_differ(family):
    specs = [draw_variant(family, "v", np.random.default_rng(seed)) for seed in range(50)]
    assert all(isinstance(spec.params, MODELS.get(family).Params) for spec in specs)
    assert len({spec.params for spec in specs}) > 40


def test_the_generator_alone_decides_the_draw():
    first, again = (draw_variant("catboost", "v", np.random.default_rng(3)) for _ in range(2))
    assert first == again


def test_a_variant_learns_as_long_as_the_best_of_its_family():
    best = ModelSpec.make("catboost", "catboost_long", n_rounds=10_000, learning_rate=0.07, depth=4)
    drawn = draw_variant("catboost", "v", np.random.default_rng(3), best)
    assert (drawn.params.n_rounds, drawn.params.learning_rate) == (10_000, 0.07)
    plain = draw_variant("catboost", "v", np.random.default_rng(3))
    assert drawn.params.depth == plain.params.depth


def test_numbers_stay_between_their_bounds_and_keep_their_type():
    rng = np.random.default_rng(0)
    whole = [Between(1, 8, log=True).draw(rng) for _ in range(200)]
    assert set(whole) == set(range(1, 9))
    assert all(0.5 <= Between(0.5, 2.0).draw(rng) <= 2.0 for _ in range(100))


def test_each_value_of_several_is_drawn():
    rng = np.random.default_rng(0)
    assert {Among(("a", "b")).draw(rng) for _ in range(50)} == {"a", "b"}

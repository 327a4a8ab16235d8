from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tabular_automl.config import PRESETS, FitConfig
from tabular_automl.data.folds import given_folds
from tabular_automl.data.schema import Kind
from tabular_automl.plan import is_finite_limit, n_to_learn_from
from tests.plans import BINARY, MACHINE, REGRESSION, keys, plan


def test_small_tables_are_bagged_and_huge_ones_held_out():
    assert plan(n_samples=1000).holdout_fraction is None
    huge = plan(n_samples=5_000_000, n_features=30)
    assert 0 < huge.holdout_fraction <= 0.02
    assert huge.n_folds == 1


def test_folds_that_the_table_gives_come_before_all_settings():
    fold = pd.Series(np.arange(6_000) % 3)
    given = given_folds(fold)
    made = plan(FitConfig(n_folds=7, n_layers=2, refit=False), n_samples=6_000, given=given)
    assert (made.n_folds, made.holdout_fraction, len(made.layers)) == (3, None, 2)
    some = given_folds(fold.mask(fold == 2))
    made = plan(FitConfig(n_layers=2, refit=False), n_samples=6_000, given=some)
    assert (made.n_folds, len(made.layers)) == (2, 1)  # a second layer would lack rows
    one = given_folds(fold.where(fold == 2))
    made = plan(FitConfig(n_folds=7), n_samples=6_000, given=one)
    assert (made.n_folds, made.holdout_fraction) == (1, pytest.approx(1 / 3))
    assert "A holdout, as the table gives it." in made.describe()


def test_more_time_never_means_fewer_folds():
    for config in (FitConfig(), FitConfig(refit=False)):
        limits = (5, 15, 60, 300, 3000)
        folds = [plan(config, n_samples=20_000, limit=limit).n_folds for limit in limits]
        assert folds == sorted(folds)


def test_a_latency_limit_has_time_of_its_own():
    limited = plan(FitConfig(max_latency_ms=5.0))
    assert limited.reserve == pytest.approx(plan().reserve + 2.0)
    assert plan(FitConfig(max_latency_ms=5.0), limit=2.0).reserve == 0.5


def test_the_reserve_is_a_small_part_of_any_limit():
    for limit in (1.0, 5.0, 60.0, 3600.0):
        for rows in (100, 1_000_000):
            assert 0 < plan(n_samples=rows, limit=limit).reserve <= 0.25 * limit


def test_without_a_limit_the_plan_sets_one_and_grows_it_with_the_rows():
    small, large = plan(limit=None), plan(limit=None, n_samples=500_000)
    assert small.time_limit <= 600
    assert large.time_limit > small.time_limit
    assert small.patience is not None


def test_a_budget_in_trials_does_not_look_at_the_clock():
    trials = plan(FitConfig(max_specs=2), limit=None)
    assert trials.time_limit is None
    assert trials.reserve == 0
    assert len(trials.layers[0]) == 2
    assert ("neural", "beyond max_specs") in trials.left_out


def test_a_second_layer_needs_time_rows_and_complete_out_of_fold_predictions():
    of_folds = FitConfig(refit=False)
    assert len(plan(of_folds, n_samples=10_000, limit=599).layers) == 2
    assert len(plan(of_folds, n_samples=10_000, limit=60).layers) == 1
    assert len(plan(of_folds, n_samples=500, limit=600).layers) == 1
    assert len(plan(of_folds, n_samples=10_000, limit=600, in_time_order=True).layers) == 1


def test_a_forest_is_among_the_first_specs_of_a_table_that_is_large_for_its_time():
    found = plan(task=REGRESSION, n_samples=40_000, n_features=20, limit=60.0)
    assert found.n_first == 7
    assert "extra_trees" in keys(found.layers[0])[:7]


@pytest.mark.parametrize(("n_specs", "first_pass"), [(5, 1.0), (6, 0.6)])
def test_few_specs_have_all_the_time_at_once(n_specs, first_pass):
    found = plan(FitConfig(max_specs=n_specs), task=REGRESSION, n_samples=10_000, limit=600.0)
    assert found.first_pass == first_pass


def test_a_model_of_all_rows_is_preferred_to_a_second_layer():
    found = plan(n_samples=10_000, limit=3600)
    assert (len(found.layers), found.refit) == (1, True)
    asked = plan(FitConfig(n_layers=2), n_samples=10_000, limit=3600)
    assert (len(asked.layers), asked.refit) == (2, False)


@pytest.mark.parametrize(
    ("config", "shape", "expected"),
    [
        (FitConfig(), {}, True),
        (FitConfig(), {"n_samples": 2_499}, False),
        (FitConfig(), {"in_time_order": True}, False),
        (FitConfig(), {"n_samples": 200_000, "limit": 10.0}, False),  # a holdout
        (FitConfig(), {"limit": None}, False),
        (FitConfig(max_specs=4), {}, False),
        (FitConfig(n_layers=1), {}, False),
        (FitConfig(refit=False), {}, False),
        (PRESETS["deploy"], {}, False),
        (FitConfig(families=("xgboost", "linear")), {}, False),
        (FitConfig(), {"task": BINARY}, False),
    ],
)
def test_time_that_is_left_may_go_to_a_second_layer(config, shape, expected):
    found = plan(config, **{"task": REGRESSION, "n_samples": 2_500, "limit": 60.0} | shape)
    late = ["lightgbm", "catboost", "extra_trees", "neural"] if expected else []
    assert keys(found.late_layer) == late
    assert ("second layer" in found.describe()) is expected
    assert len(found.layers) == 1


@pytest.mark.parametrize(
    ("config", "shape", "expected"),
    [
        (FitConfig(), {"n_samples": 2_500}, 4),
        (FitConfig(), {"n_samples": 2_499}, 8),
        (FitConfig(refit=False), {"n_samples": 5_000}, 8),
        (FitConfig(refit=True), {"n_samples": 2_500, "raw_kinds": frozenset({Kind.TEXT})}, 4),
        (FitConfig(refit=True), {"n_samples": 100}, 8),
        (FitConfig(), {"n_samples": 2_500, "in_time_order": True}, 4),
        (FitConfig(n_layers=2), {"n_samples": 5_000}, 8),
        (FitConfig(n_folds=9), {"n_samples": 5_000}, 9),
        (FitConfig(max_specs=3), {"n_samples": 5_000, "limit": None}, 8),
        (FitConfig(), {"n_samples": 79}, 4),
    ],
)
def test_few_folds_choose_where_a_model_of_all_rows_answers(config, shape, expected):
    assert plan(config, **{"limit": 3_600.0} | shape).n_folds == expected


@pytest.mark.parametrize(("n_samples", "expected"), [(79, 5), (80, 8), (5_000, 8)])
@pytest.mark.parametrize("n_cores", [1, 2, 3, 16])
def test_a_budget_in_trials_gives_the_same_folds_on_any_machine(n_cores, n_samples, expected):
    machine = replace(MACHINE, n_cores=n_cores)
    config = FitConfig(max_specs=2)
    assert plan(config, n_samples=n_samples, limit=None, machine=machine).n_folds == expected


@pytest.mark.parametrize(("n_cores", "expected"), [(1, 4), (2, 4), (3, 4), (4, 4), (6, 6), (64, 8)])
def test_folds_that_choose_are_as_many_as_the_cores_fit_side_by_side(n_cores, expected):
    machine = replace(MACHINE, n_cores=n_cores)
    assert plan(n_samples=2_500, limit=3_600.0, machine=machine).n_folds == expected


def test_the_time_kept_for_a_refit_follows_the_folds():
    deploy = PRESETS["deploy"]
    assert plan(replace(deploy, n_folds=4), limit=60).refit_seconds == pytest.approx(9)
    assert plan(replace(deploy, n_folds=9), limit=60).refit_seconds == pytest.approx(4.5)
    assert plan(replace(deploy, holdout_fraction=0.1), limit=60).refit_seconds == pytest.approx(15)
    in_trials = plan(replace(deploy, max_specs=2), limit=None)
    assert in_trials.refit_seconds == plan(n_samples=500, limit=60).refit_seconds == 0
    assert len(plan(deploy, n_samples=10_000, limit=3600).layers) == 1


@pytest.mark.parametrize(
    ("config", "shape", "expected"),
    [
        (FitConfig(), {"n_samples": 999}, False),
        (FitConfig(), {"n_samples": 1_000}, True),
        (FitConfig(), {"n_samples": 999, "in_time_order": True}, True),
        (FitConfig(refit=False), {"n_samples": 5_000}, False),
        (FitConfig(refit=True), {"n_samples": 100}, True),
        (FitConfig(cluster="dask"), {"n_samples": 5_000}, False),
        (FitConfig(cluster="dask", max_specs=2), {"n_samples": 5_000, "limit": None}, True),
        (FitConfig(), {"n_samples": 5_000, "raw_kinds": frozenset({Kind.TEXT})}, False),
        (FitConfig(holdout_fraction=0.1), {"n_samples": 1_000}, True),
        (FitConfig(holdout_fraction=0.08), {"n_samples": 5_000}, False),
        (FitConfig(holdout_fraction=0.2), {"n_samples": 400_000}, False),  # it shrinks
        (PRESETS["fast"], {"n_samples": 5_000}, False),
        (FitConfig(n_layers=2), {"n_samples": 5_000, "limit": 3600.0}, False),
    ],
)
def test_tables_of_some_size_are_answered_by_models_of_all_rows(config, shape, expected):
    assert plan(config, **shape).refit is expected


@pytest.mark.parametrize(
    ("n_rarest", "expected"), [(None, 0.1), (9_000, 0.1), (250, 0.2), (50, 0.33), (1, 0.33)]
)
def test_a_holdout_has_enough_rows_of_the_rarer_class(n_rarest, expected):
    shape = {"n_samples": 20_000, "n_features": 200, "n_rarest": n_rarest}
    assert plan(limit=10.0, **shape).holdout_fraction == pytest.approx(expected)


@pytest.mark.parametrize("n_rarest", [None, 100, 1_000, 50_000])
@pytest.mark.parametrize("n_samples", [20_000, 200_000, 5_000_000])
def test_a_fit_that_is_continued_holds_out_the_same_rows(n_samples, n_rarest):
    shape = {"n_samples": n_samples, "n_features": 200, "n_rarest": n_rarest}
    fraction = plan(limit=10.0, **shape).holdout_fraction
    again = plan(FitConfig(holdout_fraction=fraction), limit=1_000.0, **shape)
    assert again.holdout_fraction == fraction


def test_there_are_no_more_folds_than_groups():
    assert plan(n_samples=5_000, n_groups=3).n_folds == 3
    assert plan(n_samples=5_000, n_groups=1).n_folds == 2  # which is for the folds to refuse
    assert plan(n_samples=5_000, n_groups=1_000).n_folds == plan(n_samples=5_000).n_folds


def test_the_plan_is_a_pure_function():
    assert plan() == plan()


def test_the_fast_preset_fits_few_models():
    assert len(plan(PRESETS["fast"], limit=None).layers[0]) <= 5
    assert plan(replace(PRESETS["fast"], n_folds=3), limit=None).n_folds == 3


def test_describe_names_folds_and_specs():
    text = plan().describe()
    assert "folds" in text
    assert "lightgbm" in text


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "60", True, None])
def test_only_positive_finite_numbers_are_time_limits(value):
    assert not is_finite_limit(value)
    assert is_finite_limit(0.5)


def test_layers_that_cannot_be_are_said():
    asked = plan(FitConfig(n_layers=2), in_time_order=True)
    assert len(asked.layers) == 1
    assert any("One layer" in note for note in asked.notes)


def test_few_passes_over_images_are_made_by_one_network_instead_of_a_bag():
    images = frozenset({Kind.IMAGE})
    short = plan(limit=60.0, n_samples=3_000, n_features=200, raw_kinds=images)
    assert short.holdout_fraction == 0.1
    assert plan(limit=60.0, n_samples=3_000, n_features=200).holdout_fraction is None
    assert plan(limit=60.0, n_samples=300, raw_kinds=images).holdout_fraction is None
    long = plan(limit=3_600.0, n_samples=3_000, n_features=200, raw_kinds=images)
    assert long.n_folds > 1


def test_the_family_that_most_of_the_time_is_for_is_not_cut_short():
    assert plan().first_pass < 1.0
    with_images = plan(raw_kinds=frozenset({Kind.IMAGE}))
    assert keys(with_images.layers[0])[0] == "image_network"
    assert with_images.first_pass == 1.0


def n_learned(n_samples, limit, config=None, n_features=60):
    return n_to_learn_from(config or FitConfig(), n_samples, n_features, MACHINE, limit)


def test_all_rows_are_learned_from_unless_their_features_take_too_much_of_the_time():
    assert n_learned(50_000, limit=1.0) == 50_000
    assert n_learned(1_000_000, limit=300.0) == 1_000_000
    assert n_learned(10_000_000, limit=None, config=FitConfig(max_specs=3)) == 10_000_000
    learned = [n_learned(5_000_000, limit) for limit in (0.5, 10.0, 30.0, 60.0, 300.0)]
    assert learned == sorted(learned)
    assert 50_000 == learned[0] < learned[1] < learned[-1] == 5_000_000


def test_no_more_rows_are_learned_from_than_memory_holds():
    assert n_learned(100_000_000, limit=1e6) == MACHINE.n_bytes // (24 * 60)


def test_as_many_rows_are_learned_from_as_the_settings_ask():
    few = FitConfig(max_rows=1_000)
    assert n_learned(5_000, limit=None, config=few) == 1_000
    assert n_learned(500, limit=60.0, config=few) == 500
    assert n_learned(10_000_000, limit=1.0, config=FitConfig(max_rows=10**9)) == 10_000_000

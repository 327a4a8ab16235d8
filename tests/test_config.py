import inspect
from dataclasses import replace

import numpy as np
import pytest

from tabular_automl.config import PRESETS, FitConfig, describe_settings, resolve_config
from tabular_automl.core.errors import InvalidOptionError
from tabular_automl.models.base import ModelSpec


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(InvalidOptionError, match="Did you mean 'balanced'"):
        resolve_config("balancd", None)


@pytest.mark.parametrize("preset", [["best"], {"best": 1}, None, 3])
def test_a_preset_that_is_no_text_is_unknown(preset):
    with pytest.raises(InvalidOptionError, match=r"Unknown preset .* Known: balanced, best"):
        resolve_config(preset, None)


def test_changed_fields_override_the_preset_and_others_stay():
    config = resolve_config("fast", FitConfig(seed=7))
    assert config.seed == 7
    assert config.families == PRESETS["fast"].families


def test_config_must_be_a_fit_config():
    with pytest.raises(InvalidOptionError, match="config must be a FitConfig"):
        resolve_config("best", {"seed": 1})


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("n_folds", 1, "n_folds must be an integer from 2 to 50"),
        ("n_folds", True, "n_folds must be an integer"),
        ("n_layers", 9, "n_layers must be an integer from 1 to 3"),
        ("max_specs", 0, "max_specs must be an integer from 1"),
        ("max_rows", 1, "max_rows must be an integer of at least 2, got 1"),
        ("holdout_fraction", 1.5, "holdout_fraction must be between 0 and 0.9"),
        ("holdout_fraction", "0.1", "holdout_fraction must be between"),
        ("n_jobs", "2", "n_jobs must be a positive integer, -1 or None"),
        ("n_jobs", 0, "n_jobs must be a positive integer, -1 or None, got 0"),
        ("n_jobs", True, "n_jobs must be a positive integer"),
        ("seed", -1, "seed must be an integer from 0"),
        ("seed", None, "seed must be an integer from 0"),
        ("max_seconds_without_limit", "60", "must be a positive number of seconds, got '60'"),
        ("max_seconds_without_limit", -1, "max_seconds_without_limit must be a positive number"),
        ("max_seconds_without_limit", None, "max_seconds_without_limit must be a positive number"),
        ("max_latency_ms", 0, "max_latency_ms must be a positive number of milliseconds or None"),
        ("max_error_cost", False, "max_error_cost must be a positive share, such as 0.01, or 0"),
        ("max_error_cost", "1%", "max_error_cost must be a positive share.*got '1%'"),
        ("families", "linear", "families must be a tuple of names"),
        ("families", (5,), "families must be a tuple of names"),
        ("exclude", None, "exclude must be a tuple of names, got None"),
        ("exclude", "linear", "exclude must be a tuple of names"),
        ("specs", ("lightgbm",), r"specs must be a tuple of ModelSpec.*got \('lightgbm',\)"),
        ("specs", None, "specs must be a tuple of ModelSpec"),
        ("calibrate", "no", "calibrate must be True or False, got 'no'"),
        ("calibrate", None, "calibrate must be True or False"),
        ("on_error", "ignore", "on_error must be 'skip' or 'raise'"),
    ],
)
def test_a_wrong_value_says_what_was_expected(field, value, expected):
    with pytest.raises(InvalidOptionError, match=expected):
        FitConfig(**{field: value})


@pytest.mark.parametrize("make", [FitConfig, lambda **named: replace(FitConfig(), **named)])
def test_a_misspelt_field_names_the_nearest(make):
    with pytest.raises(InvalidOptionError, match=r"Unknown field .* 'n_fold'. Did you mean"):
        make(n_fold=3)


def test_the_fields_can_still_be_looked_up():
    parameters = inspect.signature(FitConfig).parameters
    assert list(parameters) == list(vars(FitConfig()))
    assert parameters["seed"].default == 0


@pytest.mark.parametrize("n_jobs", [None, -1, 1, np.int64(3)])
def test_all_cores_and_any_number_of_them_are_fine(n_jobs):
    assert FitConfig(n_jobs=n_jobs).n_jobs == n_jobs


def test_settings_are_described_as_plain_data():
    spec = ModelSpec.make("linear", "mine")
    config = FitConfig(seed=np.int64(3), n_folds=4, specs=(spec,), exclude=("neural",))
    assert describe_settings("fast", 20, config) == {
        "presets": "fast",
        "time_limit": 20,
        "seed": 3,
        "config": {
            "n_folds": 4,
            "exclude": ["neural"],
            "specs": [{"family": "linear", "key": "mine", "params": spec.params.to_dict()}],
        },
    }
    described = describe_settings("best", None, None)
    assert described == {"presets": "best", "time_limit": None, "seed": 0, "config": {}}

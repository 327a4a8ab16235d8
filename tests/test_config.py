import pytest

from tabular_automl.config import PRESETS, FitConfig, resolve_config
from tabular_automl.core.errors import InvalidOptionError


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
        ("holdout_fraction", 1.5, "holdout_fraction must be between 0 and 0.9"),
        ("holdout_fraction", "0.1", "holdout_fraction must be between"),
        ("n_jobs", "2", "n_jobs must be an integer of at least -1"),
        ("seed", -1, "seed must be an integer from 0"),
        ("max_latency_ms", 0, "max_latency_ms must be a positive number of milliseconds or None"),
        ("families", "linear", "families must be a tuple of names"),
        ("on_error", "ignore", "on_error must be 'skip' or 'raise'"),
    ],
)
def test_a_wrong_value_says_what_was_expected(field, value, expected):
    with pytest.raises(InvalidOptionError, match=expected):
        FitConfig(**{field: value})

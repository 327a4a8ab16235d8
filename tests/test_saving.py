import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tabular_automl import FitConfig, Predictor
from tabular_automl.artifacts.contract import require_plain, through_files
from tabular_automl.core.errors import ArtifactError, AutoMLError, InvalidOptionError
from tabular_automl.saving import load_saved, saved_bytes, saved_state


def mean_error(y_true, y_pred):
    return float(np.mean(np.abs(np.asarray(y_true) - np.asarray(y_pred))))


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    from tests.conftest import make_table

    path = tmp_path_factory.mktemp("saving") / "p"
    config = FitConfig(max_specs=2, n_folds=2)
    predictor = Predictor("y", eval_metric=mean_error, path=path, verbosity=0)
    return predictor.fit(make_table("regression"), config=config)


def state_of(predictor):
    return saved_state(predictor.label, predictor._fitted(), predictor._fit_record())


def test_the_state_is_plain_data(fitted):
    require_plain(state_of(fitted), "predictor")


def test_what_was_saved_comes_back(fitted, regression_table):
    saved = load_saved(through_files(state_of(fitted)), n_threads=1)
    assert saved.label == "y"
    assert saved.record.plan == fitted.plan
    assert saved.record.models == fitted._fit_record().models
    np.testing.assert_allclose(
        saved.pipeline.predict(regression_table)[:, 0], fitted.predict(regression_table), rtol=1e-6
    )


def test_loading_does_not_import_the_libraries_of_the_boosters(fitted):
    code = (
        "import sys; from tabular_automl import Predictor; "
        f"p = Predictor.load({str(fitted.path)!r}, verbosity=0); p.leaderboard(); p.disk_usage(); "
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"lightgbm", "catboost", "xgboost", "torch", "sklearn"} & set(done.stdout.split())


def test_bytes_are_counted_once(fitted):
    sizes = saved_bytes(state_of(fitted))
    assert all(size > 0 for size in sizes.values())
    on_disk = sum(file.stat().st_size for file in fitted.path.rglob("*") if file.is_file())
    assert sum(sizes.values()) <= on_disk


def test_a_metric_of_the_users_own_says_that_it_was_not_saved(fitted, regression_table):
    loaded = Predictor.load(fitted.path, verbosity=0)
    assert loaded.metric.name == "mean_error"
    assert not loaded.metric.greater_is_better
    with pytest.raises(InvalidOptionError, match="function of your own, which is not saved"):
        loaded.evaluate(regression_table)


def test_a_quantile_is_predicted_and_loaded(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.uniform(size=900)
    table = pd.DataFrame({"x": x, "y": x + (0.1 + x) * rng.exponential(size=900)})
    config = FitConfig(max_specs=2, n_folds=2)
    predictor = Predictor("y", eval_metric="pinball_0.9", path=tmp_path / "p", verbosity=0)
    predictor.fit(table.iloc[:500], config=config)
    loaded = Predictor.load(tmp_path / "p", verbosity=0)
    unseen = table.iloc[500:]
    assert loaded.evaluate(unseen)["pinball_0.9"] == predictor.evaluate(unseen)["pinball_0.9"]
    assert 0.8 < np.mean(unseen["y"] <= loaded.predict(unseen)) < 0.96
    copied = Predictor.load(pickle.loads(pickle.dumps(loaded)).save(tmp_path / "copy"), verbosity=0)
    assert copied.evaluate(unseen) == loaded.evaluate(unseen)


def test_a_function_named_like_a_built_in_metric_does_not_become_it(tmp_path, binary_table):
    def accuracy(y_true, y_pred):
        return float(np.mean(np.asarray(y_true) == np.asarray(y_pred))) / 2

    predictor = Predictor("y", eval_metric=accuracy, path=tmp_path / "p", verbosity=0)
    predictor.fit(binary_table, config=FitConfig(max_specs=1, n_folds=2))
    with pytest.raises(InvalidOptionError, match="function of your own"):
        Predictor.load(tmp_path / "p", verbosity=0).evaluate(binary_table)


def test_a_state_whose_parts_do_not_fit_together_is_refused_in_a_sentence(fitted):
    state = state_of(fitted)
    meta = {name: value for name, value in state.meta.items() if name != "plan"}
    with pytest.raises(ArtifactError, match=r"could not be put together .*'plan'"):
        load_saved(replace(state, meta=meta), n_threads=1)


def test_a_family_that_is_not_installed_is_named(fitted, monkeypatch):
    def missing(name):
        raise MissingPartError(f"family {name!r} is not registered")

    monkeypatch.setattr("tabular_automl.models.base.MODELS.get", missing)
    with pytest.raises(MissingPartError, match="is not registered"):
        load_saved(through_files(state_of(fitted)), n_threads=1)


class MissingPartError(AutoMLError, ValueError):
    """As an error of the library's own that is a ValueError as well."""


def test_an_older_artifact_has_no_settings_and_made_up_ones_are_refused(fitted):
    state = state_of(fitted)
    older = {name: value for name, value in state.meta.items() if name != "settings"}
    assert load_saved(replace(state, meta=older), n_threads=1).settings == {}
    forged = replace(state, meta={**older, "settings": 5})
    with pytest.raises(ArtifactError, match="'settings' must be a mapping"):
        load_saved(forged, n_threads=1)

"""What a process of its own says of a predictor that somebody else made."""

import time

import numpy as np
import pandas as pd
import pytest

from tabular_automl import FitConfig, Predictor, vetting
from tabular_automl.core.errors import ArtifactError, InvalidOptionError
from tests.faults.forging import first_blob, forge, forge_state

FREE = 10**10


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"x": rng.normal(size=80), "c": rng.choice(list("abc"), 80)})
    table["y"] = np.where(table["x"] + (table["c"] == "a") > 0.3, "yes", "no")
    return table


@pytest.fixture(scope="module")
def fitted(tmp_path_factory, table):
    path = tmp_path_factory.mktemp("vetted") / "model"
    config = FitConfig(max_specs=1, n_folds=2, families=("lightgbm",))
    return Predictor("y", path=path, verbosity=0).fit(table, config=config)


@pytest.fixture
def saved(fitted, tmp_path):
    return fitted.clone_for_deployment(tmp_path / "model").path


def test_a_predictor_of_ours_passes_and_predicts_as_it_did(fitted, saved, table):
    loaded = Predictor.load(saved, verbosity=0, untrusted=True)
    assert loaded.predict_proba(table).equals(fitted.predict_proba(table))


def test_a_booster_that_ends_its_process_is_refused(saved):
    name, content = first_blob(saved)
    forge(saved, name, content.replace(b"tree_sizes=", b"tree_sizes=7", 1))
    with pytest.raises(ArtifactError, match=r"its process was ended by SIG\w+; do not use it"):
        vetting.vet_artifact(saved, FREE)


def test_what_the_process_refuses_is_refused_in_its_words(saved):
    forge_state(saved, lambda tree: tree["children"]["record"].update(arrays=[]))
    with pytest.raises(ArtifactError, match="no place for the array"):
        vetting.vet_artifact(saved, FREE)


def test_an_unknown_family_is_named_as_in_any_load(saved):
    def rename(tree):
        stack = tree["children"]["pipeline"]["children"]["stack"]
        stack["children"]["bag0"]["children"]["model0"]["meta"]["family"] = "os.system"

    forge_state(saved, rename)
    with pytest.raises(InvalidOptionError, match=r"Unknown model family 'os\.system'"):
        vetting.vet_artifact(saved, FREE)


def test_a_process_that_takes_too_much_memory_is_ended(saved):
    with pytest.raises(ArtifactError, match=r"took more than 0\.0 GB of memory"):
        vetting.vet_artifact(saved, 10**6)


def test_a_process_that_is_there_too_long_is_ended(saved, monkeypatch):
    monkeypatch.setattr(vetting, "_PATIENCE", 0.0)
    began = time.monotonic()
    with pytest.raises(ArtifactError, match="took more than 0 s"):
        vetting.vet_artifact(saved, FREE)
    assert time.monotonic() - began < 30


def test_what_is_replaced_after_it_was_tried_is_not_loaded(fitted, saved, monkeypatch):
    def vet_and_replace(path, n_free_bytes):
        fitted.save(path, overwrite=True)

    monkeypatch.setattr(vetting, "vet_artifact", vet_and_replace)
    with pytest.raises(ArtifactError, match="was replaced while it was tried; load it again"):
        Predictor.load(saved, verbosity=0, untrusted=True)

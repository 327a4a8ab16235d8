import numpy as np
import pandas as pd
import pytest

from tabular_automl.core.budget import Budget
from tabular_automl.encoders import topics_in_time
from tabular_automl.encoders.category import CategoryEncoder
from tabular_automl.encoders.featurizer import Featurizer
from tabular_automl.encoders.inference import infer_schema
from tabular_automl.encoders.numeric import NumericEncoder
from tabular_automl.encoders.text import TextEncoder
from tabular_automl.encoders.topics_in_time import learn_in_time


@pytest.fixture(autouse=True)
def few_rows(monkeypatch):
    monkeypatch.setattr(topics_in_time, "FEW_ROWS", 100)
    monkeypatch.setattr(topics_in_time, "_ROWS_TIMED", 20)


def texts(n_rows, name="review"):
    rng = np.random.default_rng(n_rows)
    words = [f"word{i}" for i in range(30)]
    return pd.Series([" ".join(rng.choice(words, 12)) for _ in range(n_rows)], name=name)


@pytest.mark.parametrize("encoder_type", [TextEncoder, CategoryEncoder])
def test_topics_are_left_out_where_they_take_longer_than_the_budget(encoder_type):
    column = texts(150)
    usual = encoder_type().fit_transform(column)
    for budget in (Budget.unlimited(), Budget.start(3_600)):
        features, too_slow = learn_in_time(encoder_type(), column, budget)
        assert not too_slow
        assert features.names == usual.names
        np.testing.assert_allclose(features.numeric, usual.numeric, rtol=1e-6, atol=1e-6)
    encoder = encoder_type()
    features, too_slow = learn_in_time(encoder, column, Budget.start(0))
    assert too_slow
    assert features.names == tuple(name for name in usual.names if ":topic" not in name)
    assert len(features.names) < len(usual.names)
    restored = encoder_type()
    restored.restore(encoder.state())
    np.testing.assert_array_equal(restored.transform(column).numeric, features.numeric)


@pytest.mark.parametrize("column", [texts(100), texts(150).mask(np.arange(150) >= 0)])
def test_topics_of_few_rows_and_of_no_texts_take_what_they_take(column):
    assert not learn_in_time(TextEncoder(), column, Budget.start(0))[1]


def test_texts_that_come_back_are_timed_once(monkeypatch):
    column = pd.concat([texts(50)] * 40, ignore_index=True)
    seconds = {}
    monkeypatch.setattr(topics_in_time, "_ROWS_TIMED", 1_000)
    encoder = TextEncoder().fit(column)
    monkeypatch.setattr(encoder, "transform", lambda rows: seconds.setdefault("rows", len(rows)))
    topics_in_time._seconds(encoder, column)
    assert seconds["rows"] == 50


def test_an_encoder_without_topics_is_not_asked(monkeypatch):
    monkeypatch.setattr(topics_in_time, "_seconds", lambda *arguments: pytest.fail("was timed"))
    column = pd.Series(np.arange(200.0), name="x")
    assert not learn_in_time(NumericEncoder(), column, Budget.start(0))[1]


def test_a_fit_that_continues_leaves_out_what_the_earlier_one_did():
    table = pd.DataFrame({"x": np.arange(150.0), "review": texts(150), "note": texts(150) + "!"})
    table["note"] = table["note"].iloc[::-1].tolist()
    featurizer = Featurizer(infer_schema(table))
    whole = featurizer.fit_transform(table)
    assert featurizer.without_topics == []
    late = featurizer.fit_transform(table, Budget.start(0))
    assert featurizer.without_topics == ["review", "note"]
    assert not any(":topic" in name for name in late.names)
    again = featurizer.fit_transform(table, Budget.start(0), ["note"])
    assert featurizer.without_topics == ["note"]
    assert again.names == tuple(n for n in whole.names if not n.startswith("note:topic"))
    assert featurizer.fit_transform(table, Budget.start(0), []).names == whole.names

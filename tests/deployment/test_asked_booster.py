"""Single rows by a prepared call get the answers that LightGBM gives in a batch."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import lightgbm
import numpy as np
import pytest

from tabular_automl.deployment import asked_booster
from tabular_automl.deployment.asked_booster import AskedBooster


@pytest.fixture(scope="module")
def rows():
    rows = np.random.default_rng(0).normal(size=(400, 5)).astype(np.float32)
    rows[::7, 2] = np.nan
    return rows


@pytest.fixture(scope="module")
def booster(rows):
    y = np.digitize(rows[:, 0] + rows[:, 1], [-0.5, 0.5])
    options = {"objective": "multiclass", "num_class": 3, "verbose": -1, "num_threads": 1}
    return lightgbm.train(options, lightgbm.Dataset(rows, y), num_boost_round=20)


@pytest.fixture(params=["raw_score", "pred_leaf"])
def asked(request, booster):
    n_columns = {"raw_score": 3, "pred_leaf": booster.num_trees()}[request.param]
    return AskedBooster(booster, request.param, n_columns, n_threads=1)


def one_by_one(asked, rows):
    return np.concatenate([asked.predict(rows[[i]]) for i in range(len(rows))])


def test_a_row_is_answered_as_in_a_batch(asked, rows):
    np.testing.assert_array_equal(one_by_one(asked, rows[:50]), asked.predict(rows[:50]))
    assert asked._prepared(rows.shape[1]) is not None  # LightGBM still has what it takes


def test_answers_stay_when_the_next_row_is_asked(asked, rows):
    first = asked.predict(rows[:1])
    kept = first.copy()
    asked.predict(rows[1:2])
    np.testing.assert_array_equal(first, kept)


def test_many_threads_get_their_own_answers(asked, rows):
    expected = asked.predict(rows)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda i: asked.predict(rows[[i]]), list(range(400)) * 3))
    np.testing.assert_array_equal(np.concatenate(answers[800:]), expected)


def test_without_the_call_the_booster_answers(asked, rows, monkeypatch):
    expected = one_by_one(asked, rows[:5])
    monkeypatch.setattr(asked_booster, "_library", lambda: None)
    fresh = pickle.loads(pickle.dumps(asked))
    np.testing.assert_array_equal(one_by_one(fresh, rows[:5]), expected)
    assert fresh._prepared(rows.shape[1]) is None


def test_a_row_in_another_layout_is_read_right(asked, rows):
    wide = np.asfortranarray(rows[:2].astype(np.float64))
    np.testing.assert_array_equal(asked.predict(wide[:1]), asked.predict(rows[:1]))


def test_a_row_of_another_width_is_refused(asked, rows):
    asked.predict(rows[:1])
    with pytest.raises(lightgbm.basic.LightGBMError, match="number of features"):
        asked.predict(rows[:1, :3])


def test_a_pickled_one_answers_alike(asked, rows):
    again = pickle.loads(pickle.dumps(asked))
    np.testing.assert_array_equal(one_by_one(again, rows[:9]), one_by_one(asked, rows[:9]))

"""The form for few rows: which bags it joins, and that nothing of it can make predict fail."""

import copy
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from tabular_automl import FitConfig, Predictor
from tabular_automl.deployment import fast_bags, few_rows
from tabular_automl.deployment.fast_bags import FastBag
from tabular_automl.deployment.few_rows import MOST_ROWS, FewRows, quick_pipeline


@pytest.fixture(scope="module")
def predictor(curved_table, tmp_path_factory):
    config = FitConfig(max_specs=3, n_folds=2, families=("lightgbm", "xgboost", "linear"))
    path = tmp_path_factory.mktemp("few") / "p"
    return Predictor("y", path=path, verbosity=0).fit(curved_table, config=config)


def joined_keys(pipeline):
    return {bag.key for bag in pipeline.stack.bags if isinstance(bag, FastBag)}


def test_bags_of_the_first_layer_are_joined(predictor, monkeypatch):
    pipeline = predictor._pipeline
    bags = pipeline.stack.bags
    assert joined_keys(quick_pipeline(pipeline)) == {bag.key for bag in bags}
    asked = []
    monkeypatch.setattr(fast_bags, "soon_joined", lambda bags, seconds: asked.extend(bags) or [])
    later = (replace(bags[0], layer=2), *bags[1:])
    quick_pipeline(replace(pipeline, stack=replace(pipeline.stack, bags=later)))
    assert asked == list(bags[1:])


def test_what_takes_long_to_join_stays_as_it_is(predictor, monkeypatch):
    bags = predictor._pipeline.stack.bags
    assert len(bags) > 1
    monkeypatch.setattr(few_rows, "_MOST_SECONDS", 1.0)
    by_key = {bag.key: float(number) for number, bag in enumerate(bags)}
    monkeypatch.setattr(fast_bags, "seconds_to_join", lambda bag: 0.4 + by_key[bag.key])
    assert joined_keys(quick_pipeline(predictor._pipeline)) == {bags[0].key}
    monkeypatch.setattr(fast_bags, "seconds_to_join", lambda bag: 1.5)
    assert quick_pipeline(predictor._pipeline) is predictor._pipeline


def test_seconds_follow_from_what_folds_hold(predictor):
    for bag in predictor._pipeline.stack.bags:
        half = fast_bags.seconds_to_join(type(bag)(bag.key, bag.layer, bag.models[:1]))
        assert 0 < half < fast_bags.seconds_to_join(bag) < 1


@pytest.mark.parametrize("error", [OSError("disk full"), RuntimeError("no"), MemoryError()])
def test_a_form_that_fails_leaves_the_ordinary_way(predictor, curved_table, monkeypatch, error):
    def failing(models, rows, n_threads):
        def predict(rows):
            raise error

        return SimpleNamespace(predict=predict)

    monkeypatch.setattr(fast_bags, "_join", failing)
    form = quick_pipeline(predictor._pipeline)
    assert not joined_keys(form)
    features = curved_table.drop(columns="y").head(2)
    np.testing.assert_array_equal(form.predict(features), predictor._pipeline.predict(features))


def test_only_few_rows_get_the_form(predictor):
    few = FewRows()
    pipeline = predictor._pipeline
    assert few.form_of(pipeline, MOST_ROWS + 1) is pipeline
    assert few.form_of(pipeline, 0) is pipeline
    assert few.form_of(pipeline, MOST_ROWS) is not pipeline


def test_threads_share_a_form_and_each_pipeline_has_its_own(predictor, monkeypatch):
    made = []
    started = threading.Barrier(4)

    def counted(pipeline):
        made.append(pipeline)
        return SimpleNamespace(made_of=pipeline)

    monkeypatch.setattr(few_rows, "quick_pipeline", counted)
    few = FewRows()

    def ask(_):
        started.wait()
        return few.form_of(predictor._pipeline, 1)

    with ThreadPoolExecutor(4) as pool:
        forms = list(pool.map(ask, range(4)))
    assert len(made) == 1
    assert all(form is forms[0] for form in forms)
    another = replace(predictor._pipeline)
    assert few.form_of(another, 1).made_of is another


@pytest.mark.parametrize("travel", [lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy])
def test_it_travels_without_the_form(predictor, travel):
    few = FewRows()
    few.form_of(predictor._pipeline, 1)
    assert travel(few)._form is None

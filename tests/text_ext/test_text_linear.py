from __future__ import annotations

import copy
import dataclasses
import tracemalloc

import numpy as np
import pandas as pd
import pytest

from tabular_automl.artifacts.contract import through_files
from tabular_automl.core.contract import Check
from tabular_automl.deployment.fast_bags import fast_bag
from tabular_automl.ensemble.bagging import Bag
from tabular_automl.extend import (
    ArtifactError,
    Budget,
    FeatureTable,
    Kind,
    NotFittedError,
    OutOfTimeError,
    ProblemType,
    Samples,
    Task,
)
from tabular_automl.models.base import FittedSpec
from tabular_automl.models.contract import Candidate, iter_checks
from tests.text_ext.conftest import reviews, setting, text_table
from text_ext import linear
from text_ext.linear import TextLinear

REGRESSION = Task(ProblemType.REGRESSION)


def fitted(samples: Samples, task: Task | None = None, **params: object) -> TextLinear:
    kind = setting() if task is None else setting(task)
    model = TextLinear(TextLinear.Params.from_dict(params), kind)
    n_train = 3 * len(samples) // 4
    train = samples.take(np.arange(n_train))
    return model.fit(train, samples.take(np.arange(n_train, len(samples))), Budget.unlimited())


def accuracy(model: TextLinear, seed: int = 1) -> float:
    texts, y = reviews(200, seed=seed)
    return float((model.predict(text_table(texts)).argmax(axis=1) == y).mean())


@pytest.mark.parametrize("check", iter_checks(), ids=str)
def test_the_family_keeps_the_contract(check: Check[Candidate]) -> None:
    check(Candidate(TextLinear))


def test_the_words_of_a_text_are_learned(samples: Samples) -> None:
    assert accuracy(fitted(samples)) > 0.97


def test_numbers_are_read_beside_the_text() -> None:
    texts, y = reviews()
    number = np.random.default_rng(0).normal(size=len(y))
    target = (y - 0.5) + number
    samples = Samples(text_table(texts, number), (target - target.mean()) / target.std())
    model = fitted(samples, REGRESSION)
    left = samples.y - model.predict(samples.table)[:, 0]
    assert left.std() < 0.3
    assert np.corrcoef(model.predict(text_table(texts))[:, 0], y)[0, 1] > 0.9


def three_folds(y: np.ndarray, texts: list[str], task: Task) -> list[TextLinear]:
    number = np.random.default_rng(0).normal(size=len(y))
    samples, rows = Samples(text_table(texts, number), y), np.arange(len(y))
    folds = [
        (samples.take(rows[rows % 3 != fold]), samples.take(rows[rows % 3 == fold]))
        for fold in range(3)
    ]
    kinds = [setting(task)] * 3
    models = TextLinear.fit_folds(TextLinear.Params(), kinds, folds, Budget.unlimited())
    assert models is not None
    return models


@pytest.mark.parametrize(
    "task",
    [Task(ProblemType.BINARY, 2), Task(ProblemType.MULTICLASS, 3), REGRESSION],
    ids=lambda task: task.problem_type,
)
def test_folds_answer_as_one(task: Task) -> None:
    texts, y = reviews()
    if task.n_classes == 3:
        y = np.where(np.arange(len(y)) % 5 == 0, 2, y)
    models = three_folds(y.astype(float) if task is REGRESSION else y, texts, task)
    others, _ = reviews(40, seed=3)
    table = text_table(pd.Series([*others, None], dtype=object), np.linspace(-9, 9, 41))
    expected = np.mean([model.predict(table) for model in models], axis=0)
    specs = tuple(FittedSpec("text_linear", model) for model in models)
    fast = fast_bag(
        Bag("text_linear", 1, specs),
        text_table(pd.Series([None] * 4, dtype=object), np.zeros(4)),
        1,
    )
    assert fast.reason == ""
    assert fast.joined is not None
    np.testing.assert_allclose(fast.predict(table), expected, rtol=1e-5, atol=1e-6)
    assert not np.allclose(models[0].predict(table), expected, atol=1e-3)


def test_folds_that_read_texts_in_other_ways_are_not_joined() -> None:
    texts, y = reviews()
    models = three_folds(y, texts, Task(ProblemType.BINARY, 2))
    other = copy.copy(models[1])
    other.reading = dataclasses.replace(other.reading, sizes=((),))
    assert TextLinear.join([models[0], other]) is None


def test_folds_fitted_together_are_like_folds_fitted_alone(samples: Samples) -> None:
    rows = np.arange(len(samples))
    folds = [
        (samples.take(rows[rows % 3 != fold]), samples.take(rows[rows % 3 == fold]))
        for fold in range(3)
    ]
    params = TextLinear.Params(regularization=1.0)
    together = TextLinear.fit_folds(params, [setting()] * 3, folds, Budget.unlimited())
    assert together is not None
    for model, (train, valid) in zip(together, folds, strict=True):
        alone = TextLinear(params, setting()).fit(train, valid, Budget.unlimited())
        apart = np.abs(model.predict(valid.table) - alone.predict(valid.table)).max()
        assert apart < 0.02


def test_folds_too_large_to_fit_together_are_fitted_in_turn(
    samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linear, "_MAX_VARIABLES", 3000)
    model = fitted(samples)
    assert len(model.slots) <= 3000
    assert accuracy(model) > 0.9


def test_missing_texts_and_other_values_are_read(samples: Samples) -> None:
    model = fitted(samples)
    odd = pd.Series([None, np.nan, pd.NA, 17, "", "lovely great"], dtype=object)
    prediction = model.predict(text_table(odd))
    assert np.isfinite(prediction).all()
    assert np.allclose(prediction[0], prediction[1])
    assert prediction[-1, 1] > 0.9


def test_texts_without_spaces_are_learned_by_their_characters() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=200)
    texts = pd.Series(
        ["".join(rng.choice(list("这个东西我们昨天收到包装颜色"), 20)) + "差好"[k] for k in y]
    )
    model = fitted(Samples(text_table(texts), y))
    assert (model.predict(text_table(texts)).argmax(axis=1) == y).mean() > 0.95


def test_state_holds_only_ngrams_that_tell(samples: Samples) -> None:
    model = fitted(samples)
    arrays = model.state().arrays
    n_seen = np.unique(model.reading.slots(samples.table).indices).size
    assert 0 < len(arrays["slots"]) < n_seen
    assert arrays["weights"].dtype == np.float32
    again = TextLinear(model.params, model.setting)
    again.restore(through_files(model.state()))
    assert np.array_equal(again.predict(samples.table), model.predict(samples.table))


def test_damaged_weights_are_refused(samples: Samples) -> None:
    model = fitted(samples)
    state = model.state()
    arrays = {**state.arrays, "weights": state.arrays["weights"][:-1]}
    broken = TextLinear(model.params, model.setting)
    with pytest.raises(ArtifactError, match=r"'weights' must be float32 of shape"):
        broken.restore(type(state)(meta=state.meta, arrays=arrays))


def test_short_of_time_words_alone_are_hashed_or_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts, y = reviews(700)
    samples = Samples(text_table(texts), y)
    seconds = {True: 50.0, False: 5.0}
    monkeypatch.setattr(
        linear, "_seconds_to_read", lambda table, reading: seconds[any(reading.sizes)]
    )
    model = TextLinear(TextLinear.Params(), setting())
    model.fit(samples, samples.take(np.arange(100)), Budget.start(100.0))
    assert model.reading.sizes == ((),)
    assert accuracy(model) > 0.9
    with pytest.raises(OutOfTimeError, match="hashing the n-grams of 700 rows"):
        model.fit(samples, None, Budget.start(8.0))


def test_texts_that_were_hashed_before_cost_nothing_more() -> None:
    texts, y = reviews(700)
    samples = Samples(text_table(texts), y)
    TextLinear(TextLinear.Params(), setting()).fit(samples, None, Budget.unlimited())
    reading = linear.Reading.of(samples.table)
    assert linear._seconds_to_read(samples.table, reading) == 0.0


def test_the_seconds_of_hashing_grow_with_the_table() -> None:
    table = text_table(reviews(1300)[0])
    reading = linear.Reading.of(table)
    assert linear._seconds_to_read(table, reading) > 0.0
    assert linear._seconds_to_read(table.take(np.arange(10)), reading) == 0.0


def test_memory_grows_with_the_texts() -> None:
    short, long = text_table(reviews(50)[0]), text_table(50 * reviews(50)[0])
    sizes = [
        TextLinear.estimate_bytes(TextLinear.Params(), t, setting().task) for t in (short, long)
    ]
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize("n_words", [8, 80, 900], ids=["short", "long", "cut"])
def test_the_memory_of_texts_is_about_what_their_n_grams_take(
    n_words: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    words = [f"w{number:x}" for number in rng.integers(0, 10**6, 3000)]
    texts = pd.Series([" ".join(rng.choice(words, n_words)) for _ in range(300)])
    table = text_table(texts)
    tracemalloc.start()
    slots = linear.Reading.of(table).slots(table)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert TextLinear.estimate_bytes(TextLinear.Params(), table, setting().task) > peak
    monkeypatch.setattr(linear, "_MAX_VARIABLES", 0)  # of the search, whatever the texts
    n_bytes = TextLinear.estimate_bytes(TextLinear.Params(), table, setting().task)
    matrix = slots.data.nbytes + slots.indices.nbytes
    assert matrix < n_bytes < 5 * matrix


def test_an_unfitted_model_says_so() -> None:
    with pytest.raises(NotFittedError, match="TextLinear must be fitted"):
        TextLinear(TextLinear.Params(), setting()).predict(FeatureTable.empty(2))


def test_it_reads_text() -> None:
    assert TextLinear.reads == {Kind.TEXT}

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tabular_automl import FitConfig, Predictor
from tabular_automl.artifacts.contract import through_files
from tabular_automl.extend import (
    MODELS,
    Budget,
    FeatureTable,
    InvalidOptionError,
    Kind,
    MissingDependencyError,
    ModelSpec,
    NotFittedError,
    OutOfTimeError,
    ProblemType,
    Samples,
    Task,
)
from tabular_automl.models.trial import FadingBudget
from tests.text_ext.conftest import BINARY, reviews, setting, text_table
from text_ext import encoders
from text_ext.transformer import TextTransformer

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

REGRESSION = Task(ProblemType.REGRESSION)
THREE = Task(ProblemType.MULTICLASS, 3)
# The encoder of the tests has weights at random, and is so small that it needs large steps.
QUICK = {
    "learning_rate": 0.01,
    "head_learning_rate": 0.03,
    "n_tuned_layers": 2,
    "n_epochs": 10,
}


def build(folder: Path | str, task: Task = BINARY, **params: object) -> TextTransformer:
    values = {"encoder": str(folder), **QUICK, **params}
    return TextTransformer(TextTransformer.Params.from_dict(values), setting(task))


def fitted(
    folder: Path, samples: Samples, task: Task = BINARY, **params: object
) -> TextTransformer:
    n_train = 3 * len(samples) // 4
    rows = np.arange(len(samples))
    train, valid = samples.take(rows[:n_train]), samples.take(rows[n_train:])
    return build(folder, task, **params).fit(train, valid, Budget.unlimited())


def word_order(n_rows: int, seed: int = 0) -> Samples:
    """Return texts of the same words, of which the first one decides: no mean of words tells."""
    rng = np.random.default_rng(seed)
    y = (rng.random(n_rows) < 0.5).astype(np.int64)
    texts = [
        f"{first} {second} {' '.join(rng.choice(['the', 'dress', 'was', 'a'], 2))}"
        for first, second in (("lovely", "awful") if good else ("awful", "lovely") for good in y)
    ]
    return Samples(text_table(pd.Series(texts, name="review")), y)


def accuracy(model: TextTransformer, samples: Samples) -> float:
    return float((model.predict(samples.table).argmax(axis=1) == samples.y).mean())


def test_tuning_learns_what_the_frozen_encoder_does_not_tell(tiny_encoder: Path) -> None:
    samples, new = word_order(240), word_order(200, seed=1)
    tuned = fitted(tiny_encoder, samples)
    frozen = fitted(tiny_encoder, samples, n_tuned_layers=0)
    assert accuracy(tuned, new) > 0.95
    assert accuracy(tuned, new) > accuracy(frozen, new) + 0.1


def test_the_tables_numbers_are_read_beside_the_text(tiny_encoder: Path) -> None:
    texts, y = reviews()
    number = np.random.default_rng(0).normal(size=len(y))
    target = (y - 0.5) * 2 + number
    samples = Samples(text_table(texts, number), (target - target.mean()) / target.std())
    model = fitted(tiny_encoder, samples, REGRESSION)
    left = samples.y - model.predict(samples.table)[:, 0]
    assert left.std() < 0.4
    without = samples.y - model.predict(text_table(texts))[:, 0]
    assert without.std() > 0.5
    assert np.corrcoef(model.predict(text_table(texts))[:, 0], y)[0, 1] > 0.9


def test_three_classes_are_told_apart(tiny_encoder: Path) -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 240)
    words = ["lovely", "ugly", "monday"]
    texts = pd.Series([f"the dress was {words[k]} {rng.choice(['a', 'it'])}" for k in y])
    samples = Samples(text_table(texts), y)
    model = fitted(tiny_encoder, samples, THREE)
    assert accuracy(model, samples) > 0.95
    assert model.predict(samples.table).sum(axis=1) == pytest.approx(1.0)


def test_heavy_rows_are_believed(tiny_encoder: Path) -> None:
    texts, y = reviews()
    both = pd.concat([texts, texts], ignore_index=True)
    code = np.repeat([0, 1], len(y))
    means = []
    for heavy in (0, 1):
        weight = np.where(code == heavy, 1.9, 0.1)
        samples = Samples(text_table(both), code, weight)
        rows = np.random.default_rng(0).permutation(len(code))
        means.append(fitted(tiny_encoder, samples.take(rows)).predict(samples.table)[:, 1].mean())
    assert means[0] < 0.3
    assert means[1] > 0.7


def test_several_columns_are_read_and_an_empty_one_does_no_harm(tiny_encoder: Path) -> None:
    texts, y = reviews()
    blank = np.array(["", None] * (len(y) // 2), dtype=object)
    table = FeatureTable(
        np.empty((len(y), 0), np.float32),
        np.empty((len(y), 0), np.int32),
        raw={"title": blank, "review": texts.to_numpy(dtype=object)},
        raw_kinds={"title": Kind.TEXT, "review": Kind.TEXT},
    )
    model = fitted(tiny_encoder, Samples(table, y))
    assert accuracy(model, Samples(table, y)) > 0.95
    assert np.isfinite(model.predict(table.take([0, 1]))).all()


def test_a_row_is_predicted_as_in_a_batch(tiny_encoder: Path, samples: Samples) -> None:
    model = fitted(tiny_encoder, samples)
    table = text_table(pd.Series(["lovely", "the dress was ugly and sad " * 3, "", "great a"]))
    whole = model.predict(table)
    for row in range(len(table)):
        assert model.predict(table.take([row])) == pytest.approx(whole[row : row + 1], abs=1e-5)


def test_a_seed_fixes_the_predictions(tiny_encoder: Path, samples: Samples) -> None:
    first, second = (fitted(tiny_encoder, samples, n_epochs=2) for _ in range(2))
    assert np.array_equal(first.predict(samples.table), second.predict(samples.table))


def test_the_encoder_itself_is_left_as_it_was(tiny_encoder: Path, samples: Samples) -> None:
    encoder = encoders.load_encoder(str(tiny_encoder), 43)
    before = {name: value.clone() for name, value in encoder.model.state_dict().items()}
    model = fitted(tiny_encoder, samples, n_tuned_layers=1, max_tokens=43)
    assert all(value.equal(before[name]) for name, value in encoder.model.state_dict().items())
    assert not any(p.requires_grad for p in encoder.model.parameters())
    tuned = {name for name in model._arrays if name.startswith("encoder.")}
    assert tuned
    assert all(".layer.1." in name for name in tuned)


def test_a_saved_model_predicts_where_the_folder_is_gone(
    tiny_encoder: Path, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fitted(tiny_encoder, samples)
    expected = model.predict(samples.table)
    state = through_files(model.state())
    assert {"model.safetensors", "config.json"} <= state.children["encoder"].blobs.keys()
    monkeypatch.setattr(encoders, "_loaded", {})
    monkeypatch.setattr(encoders, "_copies", {})
    again = build("no/such/folder")
    again.restore(state)
    assert again.predict(text_table(reviews()[0])) == pytest.approx(expected, abs=1e-6)
    assert again.state().meta == state.meta


def test_an_artifact_that_names_another_encoder_asks_no_hub_for_it(
    tiny_encoder: Path, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = fitted(tiny_encoder, samples, n_epochs=1).state()
    meta, children = {**state.meta, "encoder": "some/model"}, {"dense": state.children["dense"]}
    model = build(tiny_encoder)
    model.restore(dataclasses.replace(state, meta=meta, children=children))
    asked: list[bool] = []

    def refuse(name: str, *, local_files_only: bool = False, **_: object) -> None:
        asked.append(not local_files_only)
        raise OSError("no such model here")

    tokenizers = pytest.importorskip("transformers").AutoTokenizer
    monkeypatch.setattr(tokenizers, "from_pretrained", refuse)
    with pytest.raises(InvalidOptionError, match="got 'some/model'"):
        model.predict(text_table(reviews(5)[0]))
    assert asked == [False]


def test_one_model_of_a_bag_keeps_the_encoder(tiny_encoder: Path, samples: Samples) -> None:
    rows = np.arange(len(samples))
    folds = [(samples.take(rows[rows % 2 == k]), samples.take(rows[rows % 2 != k])) for k in (0, 1)]
    params = build(tiny_encoder, n_epochs=1).params
    models = TextTransformer.fit_folds(params, [setting()] * 2, folds, Budget.unlimited())
    assert models is not None
    states = [model.state() for model in models]
    assert ["encoder" in state.children for state in states] == [True, False]
    assert states[0].meta["encoder"] == states[1].meta["encoder"]
    tuned = [name for name in states[1].arrays if name.startswith("net.encoder.")]
    assert all(states[1].arrays[name].dtype == np.float16 for name in tuned)


@pytest.mark.parametrize("n_asks", [1, 4, 20, 60, 120])
def test_a_deadline_leaves_a_model_or_says_so(
    tiny_encoder: Path, samples: Samples, n_asks: int
) -> None:
    budget = FadingBudget(Budget.start(3600.0).deadline, n_asks=n_asks)
    train, valid = samples.take(np.arange(180)), samples.take(np.arange(180, 240))
    try:
        model = build(tiny_encoder).fit(train, valid, budget)
    except OutOfTimeError:
        return
    assert np.isfinite(model.predict(samples.table)).all()
    assert len(budget.asks) < n_asks + 30  # it stops soon after


def test_a_table_too_large_for_the_time_is_given_up(
    tiny_encoder: Path, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    from text_ext import transformer_training

    monkeypatch.setattr(transformer_training._Run, "_seconds_per_token", lambda *_: 10.0)
    with pytest.raises(OutOfTimeError, match=r"tuning the encoder .* would take about \d+ s"):
        build(tiny_encoder).fit(samples, None, Budget.start(60.0))


def test_texts_are_cut_shorter_before_there_are_too_few_epochs(
    tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from text_ext import transformer_training

    texts, y = reviews(320)
    samples = Samples(text_table(pd.Series([f"{text} " * 6 for text in texts])), y)
    seconds = {"of_token": 0.0}
    monkeypatch.setattr(
        transformer_training._Run, "_seconds_per_token", lambda *_: seconds["of_token"]
    )
    lengths = {}
    for seconds["of_token"] in (1e-6, 60.0 / (320 * 64)):
        model = build(tiny_encoder).fit(samples, None, Budget.start(60.0))
        lengths[seconds["of_token"]] = model._max_tokens
    assert list(lengths.values()) == [56, 32]


def test_without_time_nothing_is_loaded(tiny_encoder: Path, samples: Samples) -> None:
    with pytest.raises(OutOfTimeError, match=r"needs at least 0\.5 seconds"):
        build(tiny_encoder).fit(samples, None, Budget.start(0.0))


def test_predict_needs_a_fit(tiny_encoder: Path, samples: Samples) -> None:
    with pytest.raises(NotFittedError, match="must be fitted before predict"):
        build(tiny_encoder).predict(samples.table)


def test_the_bundled_encoder_names_its_extra(
    samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str, *, extra: str, purpose: str) -> None:
        raise MissingDependencyError(f"{purpose} needs {name}: tabular-automl[{extra}]")

    pytest.importorskip("torch")
    monkeypatch.setattr(encoders, "import_optional", absent)
    monkeypatch.setattr(encoders, "_loaded", {})
    with pytest.raises(MissingDependencyError, match=r"encoder 'minilm' needs .*\[text\]"):
        build(encoders.BUNDLED).fit(samples, None, Budget.unlimited())


def test_an_encoder_without_layers_is_refused() -> None:
    torch = pytest.importorskip("torch")
    from text_ext.transformer_modules import layers_of

    with pytest.raises(InvalidOptionError, match="a stack of layers"):
        layers_of(torch.nn.Linear(2, 2), "flat")


def test_a_refit_takes_over_what_the_fold_chose(tiny_encoder: Path, samples: Samples) -> None:
    model = fitted(tiny_encoder, samples, n_tuned_layers=None, n_epochs=None)
    params = model.fitted_params()
    assert params.n_tuned_layers == 1
    assert params.n_epochs == 20
    assert params.max_tokens <= 64
    again = TextTransformer(dataclasses.replace(params, n_epochs=2), model.setting)
    model.restore(through_files(model.state()))
    again.take_over(model)
    again.fit(samples, None, Budget.unlimited())
    assert again._copied == model._copied
    assert np.isfinite(again.predict(samples.table)).all()


@pytest.fixture
def registered() -> None:
    """Make the family known where the distribution was installed before it had it."""
    if "text_transformer" not in MODELS:
        MODELS.register("text_transformer", TextTransformer)


@pytest.mark.slow
@pytest.mark.usefixtures("registered")
def test_an_artifact_is_all_that_a_prediction_needs(
    tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts, y = reviews(160)
    rows = pd.DataFrame({"review": [f"{text} {i}" for i, text in enumerate(texts)], "good": y})
    folder = shutil.copytree(tiny_encoder, tmp_path / "encoder")
    spec = ModelSpec.make("text_transformer", "tuned", encoder=str(folder), **QUICK)
    config = FitConfig(specs=(spec,), max_specs=1, n_folds=2, on_error="raise")
    first = Predictor("good", path=tmp_path / "p", verbosity=0).fit(rows, config=config)
    assert first.leaderboard().set_index("model").loc["tuned", "weight"] > 0
    expected = first.predict_proba(rows).to_numpy()
    copies = [*(tmp_path / "p").glob("data-*/**/*model.safetensors")]  # not the journal's
    assert len(copies) == 1
    shutil.rmtree(folder)
    monkeypatch.setattr(encoders, "_loaded", {})
    loaded = Predictor.load(tmp_path / "p", verbosity=0)
    assert loaded.predict_proba(rows).to_numpy() == pytest.approx(expected, abs=1e-6)
    assert loaded.refit(rows).evaluate(rows)["accuracy"] > 0.9

from __future__ import annotations

import json
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tabular_automl.artifacts.contract import through_files
from tabular_automl.core.contract import Check
from tabular_automl.extend import (
    ArtifactError,
    Budget,
    InvalidOptionError,
    OutOfTimeError,
    Samples,
)
from tabular_automl.models.contract import Candidate, iter_checks
from tests.text_ext.conftest import made_encoder, reviews, setting, text_table
from text_ext import encoders
from text_ext.embedding import TextEmbedding

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def build(folder: Path | str, **params: object) -> TextEmbedding:
    return TextEmbedding(
        TextEmbedding.Params.from_dict({"encoder": str(folder), **params}), setting()
    )


def fitted(folder: Path, samples: Samples, **params: object) -> TextEmbedding:
    train, valid = samples.take(np.arange(180)), samples.take(np.arange(180, 240))
    return build(folder, **params).fit(train, valid, Budget.unlimited())


@pytest.mark.parametrize("check", iter_checks(), ids=str)
def test_the_family_keeps_the_contract_on_tables_without_text(check: Check[Candidate]) -> None:
    check(Candidate(TextEmbedding))


def test_texts_are_learned_through_an_encoder(tiny_encoder: Path, samples: Samples) -> None:
    model = fitted(tiny_encoder, samples)
    texts, y = reviews(100, seed=1)
    table = text_table(texts)
    assert (model.predict(table).argmax(axis=1) == y).mean() > 0.95
    assert len(model.numbers) == 2  # the numbers, and the embeddings
    one = model.predict(table.take([7]))
    assert one == pytest.approx(model.predict(table)[7:8], abs=1e-5)


def test_every_text_is_embedded_once(
    tiny_encoder: Path, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = encoders.load_encoder(str(tiny_encoder), 33)
    embedded: list[bytes] = []
    vectors = encoder._vectors

    def counted(keys: list[bytes], texts: dict[bytes, str]) -> dict[bytes, np.ndarray]:
        embedded.extend(keys)
        return vectors(keys, texts)

    monkeypatch.setattr(encoder, "_vectors", counted)
    rows = np.arange(len(samples))
    folds = [(samples.take(rows[rows % 2 == k]), samples.take(rows[rows % 2 != k])) for k in (0, 1)]
    params = build(tiny_encoder, max_tokens=33).params
    models = TextEmbedding.fit_folds(params, [setting()] * 2, folds, Budget.unlimited())
    assert models is not None
    n_texts = len(set(samples.table.raw["review"]))
    assert len(embedded) == len(set(embedded)) == n_texts
    for model in models:
        model.predict(text_table(reviews()[0]))
    assert len(embedded) == n_texts


def test_a_copied_encoder_predicts_where_the_folder_is_gone(
    tiny_encoder: Path, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fitted(tiny_encoder, samples, copy_encoder=True)
    expected = model.predict(samples.table)
    state = through_files(model.state())
    assert "model.safetensors" in state.children["encoder"].blobs
    monkeypatch.setattr(encoders, "_loaded", {})
    monkeypatch.setattr(encoders, "_copies", {})
    again = build("no/such/folder", copy_encoder=True)
    again.restore(state)
    table = text_table(reviews()[0])  # not embedded yet
    assert again.predict(table) == pytest.approx(expected, abs=1e-5)
    assert again.state().meta["encoder"] == state.meta["encoder"]
    assert again.state().children["encoder"].blobs.keys() == state.children["encoder"].blobs.keys()


def test_one_model_of_a_bag_keeps_the_copy(
    tiny_encoder: Path, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[object] = []
    files = encoders.SentenceEncoder.files
    monkeypatch.setattr(
        encoders.SentenceEncoder, "files", lambda self: written.append(self) or files(self)
    )
    rows = np.arange(len(samples))
    folds = [(samples.take(rows[rows % 2 == k]), samples.take(rows[rows % 2 != k])) for k in (0, 1)]
    params = build(tiny_encoder, copy_encoder=True, max_tokens=41).params
    models = TextEmbedding.fit_folds(params, [setting()] * 2, folds, Budget.unlimited())
    assert models is not None
    states = [model.state() for model in models]
    assert ["encoder" in state.children for state in states] == [True, False]
    assert states[0].meta["encoder"] == states[1].meta["encoder"]
    assert len(written) == 1


def test_without_a_copy_the_encoder_is_kept_by_name(tiny_encoder: Path, samples: Samples) -> None:
    state = fitted(tiny_encoder, samples).state()
    assert not state.children
    assert not state.blobs


def test_texts_that_would_take_too_long_are_not_embedded(
    tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = encoders.load_encoder(str(tiny_encoder), 34)
    clock = iter(np.arange(0.0, 1e6, 5.0))
    monkeypatch.setattr(encoders.time, "monotonic", lambda: float(next(clock)))
    texts = [f"text {i}" for i in range(2000)]
    with pytest.raises(OutOfTimeError, match="embedding 2000 texts would take about"):
        encoder.embed(texts, Budget(deadline=100.0))


def test_a_deadline_amid_embedding_keeps_what_was_done(tiny_encoder: Path) -> None:
    encoder = encoders.load_encoder(str(tiny_encoder), 35)
    texts = [f"text {i}" for i in range(50)]
    with pytest.raises(OutOfTimeError, match="embedded 0 of 50 texts in time"):
        encoder.embed(texts, Budget.start(0.0))
    assert encoder.embed(texts, Budget.unlimited()).shape == (50, 16)


def test_vectors_do_not_depend_on_the_texts_beside(tiny_encoder: Path) -> None:
    texts = ["lovely", "the dress was lovely and great " * 3, "", "  "]
    vectors = encoders.load_encoder(str(tiny_encoder), 36).embed(texts, Budget.unlimited())
    alone = encoders.load_encoder(str(tiny_encoder), 37)
    for text, vector in zip(texts, vectors, strict=True):
        assert alone.embed([text], Budget.unlimited())[0] == pytest.approx(vector, abs=1e-5)
    assert np.linalg.norm(vectors[:2], axis=1) == pytest.approx(1.0, abs=1e-5)
    assert not vectors[2:].any()


def test_the_cache_forgets_the_oldest(tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "_CACHE_BYTES", 4 * 16 * 10)
    encoder = encoders.load_encoder(str(tiny_encoder), 38)
    vectors = encoder.embed([f"text {i}" for i in range(40)], Budget.unlimited())
    assert vectors.shape == (40, 16)
    assert len(encoder._cache) == 10


def test_an_encoder_that_is_nowhere_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InvalidOptionError, match=r"encoder must be a folder.*'/no/such/folder'"):
        encoders.load_encoder("/no/such/folder", 16)


def test_code_that_comes_with_an_encoder_is_neither_run_nor_asked_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers")
    asked: list[str] = []
    monkeypatch.setattr("builtins.input", lambda text="": asked.append(text) or "y")
    classes = {"AutoConfig": "own.Own", "AutoModel": "own.Own", "AutoTokenizer": ["own.Own", None]}
    config = json.dumps({"model_type": "own", "auto_map": classes})
    for name in ("config.json", "tokenizer_config.json"):
        (tmp_path / name).write_text(config)
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(InvalidOptionError, match="encoder must be a folder"):
        encoders.load_encoder(str(tmp_path), 16)
    assert asked == []
    assert not (tmp_path / "ran").exists()


def test_a_saved_model_asks_no_hub_for_its_encoder(
    tiny_encoder: Path, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = through_files(fitted(tiny_encoder, samples).state())
    transformers = pytest.importorskip("transformers")
    asked: list[bool] = []

    def refuse(name: str, *, local_files_only: bool = False, **_: object) -> None:
        asked.append(not local_files_only)
        raise OSError("no such model here")

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", refuse)
    again = build("some/model")
    again.restore(state)
    refit = build("some/model")
    refit.take_over(again)
    with pytest.raises(InvalidOptionError, match=r"'some/model'.*; download it once, or fit with"):
        again.predict(samples.table.take([0]))
    with pytest.raises(InvalidOptionError, match=r"'some/model'.*; download it once, or fit with"):
        refit.fit(samples, None, Budget.unlimited())
    downloaded: list[str] = []

    def unreachable(name: str, **_: object) -> None:
        downloaded.append(name)
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.snapshot_download", unreachable)
    with pytest.raises(InvalidOptionError, match=r"\(no network\); check the name, or connect"):
        build("some/model").fit(samples, None, Budget.unlimited())
    assert asked == [False, False, False]
    assert downloaded == ["some/model"]


def test_an_encoder_of_the_hub_is_read_once_it_is_in_the_cache(
    tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def download(name: str, *, allow_patterns: list[str]) -> None:
        files = [path for pattern in allow_patterns for path in tiny_encoder.glob(pattern)]
        (tmp_path / name).mkdir(parents=True)  # where a name of the hub is looked for first
        for path in files:
            shutil.copy(path, tmp_path / name)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    encoder = encoders.load_encoder("some/other", 16, Budget.start(600.0))
    assert encoder.embed(["lovely"], Budget.unlimited()).any()


def test_a_hub_that_does_not_answer_is_not_waited_for_and_holds_nobody_up(
    tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, released = threading.Event(), threading.Event()

    def hang(name: str, **_: object) -> None:
        asked.set()
        released.wait(30)

    monkeypatch.setattr("huggingface_hub.snapshot_download", hang)
    monkeypatch.setattr(encoders, "_loaded", {})
    with ThreadPoolExecutor(1) as executor:
        waiting = executor.submit(encoders.load_encoder, "some/slow", 16, Budget.start(10.0))
        assert asked.wait(30)
        assert encoders.load_encoder(str(tiny_encoder), 16).max_tokens == 16
        assert not waiting.done()
        with pytest.raises(InvalidOptionError, match=r"\(no answer of the hub in 3 s\)"):
            waiting.result()
    released.set()


def test_one_encoder_is_loaded_once_by_many_threads(
    tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoders, "_loaded", {})
    with ThreadPoolExecutor(4) as executor:
        loading = [executor.submit(encoders.load_encoder, str(tiny_encoder), 17) for _ in range(4)]
    assert len({id(each.result()) for each in loading}) == 1


def test_transformers_is_as_loud_after_two_threads_kept_it_quiet() -> None:
    logging = pytest.importorskip("transformers").utils.logging
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    first, second = encoders._quiet(), encoders._quiet()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not logging.is_progress_bar_enabled()
    second.__exit__(None, None, None)
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def test_roberta_reads_no_more_tokens_than_it_has_positions_for(tmp_path: Path) -> None:
    folder = made_encoder(tmp_path, "Roberta")
    encoder = encoders.load_encoder(str(folder), 128)
    assert encoder.max_tokens == 62  # of 64 positions, two come before the first token
    vectors = encoder.embed(["lovely " * 100], Budget.unlimited())
    assert np.linalg.norm(vectors) == pytest.approx(1.0, abs=1e-5)


def test_a_folder_is_read_again_when_its_files_have_changed(
    tiny_encoder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "encoder"
    shutil.copytree(tiny_encoder, folder)
    first = encoders.load_encoder(str(folder), 16)
    later = max(path.stat().st_mtime_ns for path in folder.iterdir()) + 10**9
    os.utime(folder / "vocab.txt", ns=(later, later))
    second = encoders.load_encoder(str(folder), 16)
    assert second is not first
    shutil.rmtree(folder)
    assert encoders.load_encoder(str(folder), 16) is second


def test_there_must_be_time_to_load(tiny_encoder: Path) -> None:
    with pytest.raises(OutOfTimeError, match="loading the encoder"):
        encoders.load_encoder(str(tiny_encoder), 39, Budget.start(0.5))


def test_an_encoder_is_a_text() -> None:
    with pytest.raises(InvalidOptionError, match="encoder must be a text, got 3"):
        TextEmbedding.Params(encoder=3)  # type: ignore[arg-type]


def test_a_copy_under_a_name_that_others_know_is_refused() -> None:
    with pytest.raises(ArtifactError, match="must be named by its files, got 'minilm'"):
        encoders.remember_copy("minilm", {"config.json": b"{}"})

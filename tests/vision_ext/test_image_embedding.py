from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tabular_automl import FitConfig, Predictor
from tabular_automl.artifacts.contract import through_files
from tabular_automl.core.contract import Check
from tabular_automl.core.params import Params
from tabular_automl.extend import (
    Budget,
    DataError,
    FeatureTable,
    Kind,
    ModelSpec,
    OutOfTimeError,
    register_model,
)
from tabular_automl.models import trial
from tabular_automl.models.base import MODELS
from tabular_automl.models.contract import Candidate, iter_checks
from tests.vision_ext.conftest import blob
from vision_ext import backbone
from vision_ext.backbone import load_backbone
from vision_ext.embedding import ImageEmbedding

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
SafetensorError = pytest.importorskip("safetensors").SafetensorError

TINY = {
    "convnext": lambda: transformers.ConvNextConfig(
        num_stages=2, hidden_sizes=[8, 16], depths=[1, 1], image_size=32
    ),
    "resnet": lambda: transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"
    ),
    "vit": lambda: transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=8,
    ),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Tiny backbones with drawn weights, saved as a download would be."""
    torch.manual_seed(0)
    saved = {}
    for name, config in TINY.items():
        saved[name] = str(tmp_path_factory.mktemp(name))
        transformers.AutoModel.from_config(config()).save_pretrained(saved[name])
    return saved


def params(folder: str, **other: object) -> Params:
    return ImageEmbedding.Params.from_dict({"backbone": folder, "side": 32} | other)


def with_photos(*arguments: object) -> FeatureTable:
    """Lay a trial's table out with a column of images that say nothing."""
    table = LAY_OUT(*arguments)
    rng = np.random.default_rng(len(table))
    photos = [blob(rng) if i % 9 else None for i in range(min(len(table), 18))]
    column = np.array([photos[i % len(photos)] for i in range(len(table))], dtype=object)
    return FeatureTable(
        table.numeric,
        table.codes,
        table.numeric_names,
        table.code_names,
        table.n_levels,
        {"photo": column},
        {"photo": Kind.IMAGE},
    )


LAY_OUT = trial.lay_out


@pytest.mark.parametrize("check", iter_checks(), ids=str)
def test_the_family_keeps_the_contract_on_tables_with_images(
    check: Check[Candidate], folders: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tabular_automl.models.trial.lay_out", with_photos)
    monkeypatch.setattr("tabular_automl.models.contract.lay_out", with_photos)
    check(Candidate(ImageEmbedding, params(folders["resnet"])))


@pytest.mark.parametrize("name", TINY)
def test_any_architecture_gives_one_row_for_each_image(name: str, folders: dict[str, str]) -> None:
    rng = np.random.default_rng(0)
    values = [blob(rng), None, blob(rng, colour=1), b"\x89PNG but no more"]
    loaded = load_backbone(folders[name], 32, "cpu", Budget.unlimited())
    rows = loaded.embed(values, 1, Budget.unlimited())
    assert rows.shape == (4, 32 if name == "vit" else 16)
    assert np.isnan(rows).all(axis=1).tolist() == [False, True, False, True]
    assert not np.array_equal(rows[0], rows[2])


def test_an_image_is_embedded_once(folders: dict[str, str], monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(1)
    values = [blob(rng) for _ in range(3)]
    loaded = load_backbone(folders["convnext"], 32, "cpu", Budget.unlimited())
    first = loaded.embed([*values, values[0]], 1, Budget.unlimited())
    np.testing.assert_array_equal(first[0], first[3])
    monkeypatch.setattr(backbone, "read_pictures", lambda *_, **__: pytest.fail("read again"))
    np.testing.assert_array_equal(loaded.embed(values, 1, Budget.unlimited()), first[:3])


def test_what_the_files_say_of_size_and_colours_is_followed(tmp_path: Path):
    transformers.AutoModel.from_config(TINY["resnet"]()).save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(
        '{"size": {"shortest_edge": 48}, "image_mean": [0.1, 0.2, 0.3], "image_std": [1, 1, 2]}'
    )
    loaded = load_backbone(str(tmp_path), None, "cpu", Budget.unlimited())
    assert (loaded.side, loaded.center, loaded.scale) == (48, (0.1, 0.2, 0.3), (1, 1, 2))


def test_embedding_stops_at_the_deadline(folders: dict[str, str]):
    loaded = load_backbone(folders["resnet"], 32, "cpu", Budget.unlimited())
    images = [blob(np.random.default_rng(99))]
    with pytest.raises(OutOfTimeError, match="after 0 of 1 images were embedded"):
        loaded.embed(images, 1, Budget.start(0.0))


def test_a_hub_that_cannot_be_reached_is_said_in_one_sentence(monkeypatch: pytest.MonkeyPatch):
    def refuse(name: str, *, local_files_only: bool, **_: object) -> None:
        raise OSError("no such model here" if local_files_only else "We couldn't\nconnect")

    monkeypatch.setattr(transformers.AutoModel, "from_pretrained", refuse)
    with pytest.raises(
        backbone.AutoMLError, match=r"got 'some/model' \(We couldn't connect\); dow"
    ):
        load_backbone("some/model", None, "cpu", Budget.unlimited())


def test_a_hub_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch):
    released = threading.Event()

    def hang(name: str, *, local_files_only: bool, **_: object) -> None:
        if not local_files_only:
            released.wait(30)
        raise OSError("nothing")

    monkeypatch.setattr(transformers.AutoModel, "from_pretrained", hang)
    with pytest.raises(backbone.AutoMLError, match="no answer in"):
        load_backbone("some/model", None, "cpu", Budget.start(0.5))
    released.set()


@pytest.mark.parametrize("error", [RuntimeError, KeyError, SafetensorError])
def test_a_damaged_backbone_is_said_in_one_sentence(
    error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(name: str, *, local_files_only: bool, **_: object) -> None:
        raise error("damaged")

    monkeypatch.setattr(transformers.AutoModel, "from_pretrained", fail)
    for name in (str(tmp_path), "some/model"):
        with pytest.raises(backbone.AutoMLError, match=r"\('?damaged'?\); download it once"):
            load_backbone(name, None, "cpu", Budget.unlimited())


def test_code_that_comes_with_a_backbone_is_neither_run_nor_asked_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked: list[str] = []
    monkeypatch.setattr("builtins.input", lambda text="": asked.append(text) or "y")
    config = {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModel": "own.Own"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(backbone.AutoMLError, match="must be a folder that save_pretrained wrote"):
        load_backbone(str(tmp_path), None, "cpu", Budget.unlimited())
    assert asked == []
    assert not (tmp_path / "ran").exists()


def saved_with(
    folder: str, monkeypatch: pytest.MonkeyPatch, **wanted: object
) -> tuple[ImageEmbedding, FeatureTable, np.ndarray]:
    """Return a model made of what another saved, a table, and what the other predicts for it."""
    monkeypatch.setattr("tabular_automl.models.trial.lay_out", with_photos)
    data = trial.Trial.make(trial.BINARY)
    fitted = Candidate(ImageEmbedding, params(folder, device="cpu")).build(trial.BINARY)
    fitted.fit(data.train, data.valid, Budget.unlimited())
    model = ImageEmbedding(params(folder, **wanted), fitted.setting)
    model.restore(through_files(fitted.state()))
    return model, data.valid.table, fitted.predict(data.valid.table)


def test_a_saved_model_asks_no_hub_for_its_backbone(
    folders: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    model, table, _ = saved_with(folders["resnet"], monkeypatch, backbone="some/model")
    asked: list[bool] = []

    def refuse(name: str, *, local_files_only: bool, **_: object) -> None:
        asked.append(not local_files_only)
        raise OSError("no such model here")

    monkeypatch.setattr(transformers.AutoModel, "from_pretrained", refuse)
    with pytest.raises(backbone.AutoMLError, match=r"must be on this machine, got 'some/model'"):
        model.predict(table)
    again = ImageEmbedding(model.params, model.setting)
    again.take_over(model)
    with pytest.raises(backbone.AutoMLError, match=r"must be on this machine, got 'some/model'"):
        again.fit(trial.Trial.make(trial.BINARY).train, None, Budget.unlimited())
    assert asked == [False, False]


def test_what_was_fitted_on_a_gpu_predicts_without_one(
    folders: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    model, table, expected = saved_with(folders["resnet"], monkeypatch, device="cuda")
    np.testing.assert_allclose(model.predict(table), expected, rtol=1e-5)
    with pytest.raises(backbone.AutoMLError, match="needs a CUDA device"):
        ImageEmbedding(model.params, model.setting)._load(Budget.unlimited())


def test_what_no_one_expects_is_not_waited_for():
    def fail() -> None:
        raise AssertionError("of some library")

    with pytest.raises(AssertionError, match="of some library"):
        backbone._within(10, fail)


def test_a_folder_is_read_again_when_its_files_have_changed(tmp_path: Path):
    model = transformers.AutoModel.from_config(TINY["resnet"]())
    model.save_pretrained(tmp_path)
    first = load_backbone(str(tmp_path), 32, "cpu", Budget.unlimited())
    assert load_backbone(str(tmp_path), 32, "cpu", Budget.unlimited()) is first
    later = (tmp_path / "config.json").stat().st_mtime_ns + 10**9
    os.utime(tmp_path / "config.json", ns=(later, later))
    assert load_backbone(str(tmp_path), 32, "cpu", Budget.unlimited()) is not first


def test_a_refit_has_a_head_with_the_choices_of_the_fold(
    folders: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("tabular_automl.models.trial.lay_out", with_photos)
    data = trial.Trial.make(trial.BINARY)
    chosen = params(folders["resnet"], head="lightgbm")
    fold = Candidate(ImageEmbedding, chosen).build(trial.BINARY)
    fold.fit(data.train, data.valid, Budget.unlimited())
    n_rounds = fold._head.fitted_params().n_rounds
    assert n_rounds < fold._head.params.n_rounds  # it stopped early
    again = ImageEmbedding(fold.fitted_params(), fold.setting)
    again.take_over(fold)
    again.fit(data.train, None, Budget.unlimited())
    assert again._head.fitted_params().n_rounds == n_rounds


def test_a_table_without_images_is_refused(folders: dict[str, str]):
    data = trial.Trial.make(trial.BINARY)
    model = Candidate(ImageEmbedding, params(folders["resnet"])).build(trial.BINARY)
    with pytest.raises(DataError, match="needs a column of images"):
        model.fit(data.train, data.valid, Budget.unlimited())


@pytest.fixture
def registered_embedding():
    absent = "image_embedding" not in MODELS
    if absent:
        register_model("image_embedding")(ImageEmbedding)
    yield
    if absent:
        MODELS.unregister("image_embedding")


@pytest.mark.usefixtures("registered_embedding")
def test_a_predictor_loads_without_the_folder_when_the_backbone_was_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / "backbone"
    torch.manual_seed(0)
    transformers.AutoModel.from_config(TINY["resnet"]()).save_pretrained(folder)
    rng = np.random.default_rng(2)
    label = rng.integers(0, 2, 80)
    images = [blob(rng, colour=2 * int(value)) for value in label]
    frame = pd.DataFrame({"photo": images, "y": label})
    spec = ModelSpec.make(
        "image_embedding", backbone=str(folder), side=32, copy_backbone=True, device="cpu"
    )
    config = FitConfig(specs=(spec,), families=(), max_specs=1, n_folds=2, on_error="raise")
    predictor = Predictor(label="y", path=tmp_path / "model", verbosity=0)
    predictor.fit(frame.iloc[:60], config=config)
    assert predictor.evaluate(frame.iloc[60:])["accuracy"] > 0.9
    expected = predictor.predict_proba(frame.iloc[60:])

    folder.rename(tmp_path / "gone")
    monkeypatch.setattr(backbone._Loaded, "backbones", {})
    loaded = Predictor.load(tmp_path / "model")
    again = loaded.predict_proba(frame.iloc[60:])
    pd.testing.assert_frame_equal(again, expected, rtol=1e-4)
    assert loaded.refit(frame.iloc[:60]).evaluate(frame.iloc[60:])["accuracy"] > 0.9


@pytest.mark.usefixtures("registered_embedding")
def test_a_backbone_that_is_not_there_is_a_row_of_the_leaderboard(tmp_path: Path):
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"photo": [blob(rng) for _ in range(40)], "y": [0, 1] * 20})
    (tmp_path / "empty").mkdir()
    spec = ModelSpec.make("image_embedding", backbone=str(tmp_path / "empty"))
    config = FitConfig(specs=(spec,), families=("linear",), max_specs=2, n_folds=2)
    predictor = Predictor(label="y", path=tmp_path / "model", verbosity=0)
    predictor.fit(frame, config=config)
    board = predictor.leaderboard().set_index("model")
    assert board.loc["image_embedding", "status"] == "failed"
    assert "must be a folder that save_pretrained wrote" in board.loc["image_embedding", "reason"]


def test_files_of_a_backbone_stay_in_the_folder_they_are_unpacked_to(tmp_path, monkeypatch):
    found = []
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(backbone._Loaded, "backbones", {})
    monkeypatch.setattr(
        backbone, "_load", lambda folder, *_, **__: found.extend(os.listdir(folder))
    )
    backbone.unpacked_backbone({"../escaped.txt": b"", "/also/escaped.txt": b""}, None, "cpu")
    assert found == ["escaped.txt"]
    assert os.listdir(tmp_path) == []

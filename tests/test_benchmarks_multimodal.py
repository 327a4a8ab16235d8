"""The pieces of the multimodal benchmark; no system is run."""

import numpy as np
import pandas as pd
import pytest

from benchmarks import multimodal, run
from benchmarks.datasets import read_index, read_split
from benchmarks.errors import accuracy_of

Image = pytest.importorskip("PIL.Image")


@pytest.fixture
def folder(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    Image.new("RGB", (4, 4)).save(source / "a.png")
    frame = pd.DataFrame(
        {
            "photo": ["a.png", None] * 5,
            "text": ["ends with .png"] * 10,
            "split": "train",
            "y": ["u", "v"] * 5,
        }
    )
    frame.to_csv(source / "pets.csv", index=False)
    (source / "index.csv").write_text(
        "name,file,label,problem_type,eval_metric\npets,pets.csv,y,binary,roc_auc\n"
    )
    return source


def test_mixed_sets_are_written_without_their_images_too_where_asked(folder, tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    frame = pd.read_csv(folder / "pets.csv").assign(text="a word")
    frame.to_csv(folder / "pets.csv", index=False)
    sets = {data.name: data for data in multimodal.prepare(folder, target, blind_too=True)}
    assert list(sets) == ["pets", "pets_without_images", "digits_png"]
    blind = pd.read_parquet(target / sets["pets_without_images"].file)
    assert list(blind.columns) == ["text", "y"]
    assert sets["pets_without_images"].label == "y"


def test_images_are_found_from_anywhere_and_the_official_split_is_left_out(folder):
    frame = pd.read_csv(folder / "pets.csv").drop(columns="text")
    ready = multimodal.cleaned(frame, folder)
    assert list(ready.columns) == ["photo", "y"]
    assert ready["photo"].dropna().unique().tolist() == [str(folder / "a.png")]
    assert ready["photo"].isna().sum() == 5


def test_prepared_sets_can_be_split_and_digits_are_one_of_them(folder, tmp_path):
    target = tmp_path / "prepared"
    target.mkdir()
    multimodal.write_index(target, list(multimodal.prepare(folder, target)))
    pets, digits = read_index(target)
    train, test = read_split(target, pets, 0)
    assert (len(train), len(test)) == (8, 2)
    train, test = read_split(target, digits, 0)
    assert len(train) + len(test) == 1_797
    with Image.open(train["image"].iloc[0]) as image:
        assert image.size == (8, 8)
        assert np.asarray(image).max() > 200


def test_rows_have_the_accuracy_and_are_not_run_again(folder, tmp_path, monkeypatch, capsys):
    ran = []

    def pretend(data, seed, name, options):
        ran.append(data.name)
        key = run.key_of(data.name, name, options, seed)
        row = dict(zip(run.FIELDS, key, strict=False)) | {"metric": data.eval_metric}
        figures = {"error": 0.25, "accuracy": 0.75, "fit_seconds": 9.0, "single_row_ms": 5.0}
        return row | figures | {"failure": "" if data.name == "pets" else "fit ended with 1: boom"}

    monkeypatch.setattr(run, "run_one", pretend)
    out = tmp_path / "out.csv"
    for _ in range(2):
        multimodal.main([str(folder), "--time-limit", "30", "--out", str(out)])
    assert ran == ["pets", "digits_png"]
    rows = pd.read_csv(out)
    assert list(rows.columns) == list(multimodal.FIELDS)
    assert rows["accuracy"].tolist() == [0.75, 0.75]
    said = capsys.readouterr().out
    start = "pets                 ours                 seed 0"
    assert f"{start}: roc_auc error 0.25, accuracy 0.7500, 9.0 s" in said
    assert "digits_png           ours                 seed 0: fit ended with 1: boom" in said


def test_results_are_dated_by_default(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(multimodal, "RESULTS", tmp_path)
    monkeypatch.setattr(
        run,
        "run_one",
        lambda data, seed, name, options: {
            "set": data.name,
            "system": name,
            "seed": seed,
            "failure": "pretended",
        },
    )
    multimodal.main([str(folder), "--time-limit", "7.5", "--sets", "pets"])
    (written,) = tmp_path.glob("*.csv")
    assert written.name.endswith("-multimodal-7.5s.csv")
    assert len(written.name.split("-")[0]) == 4


def test_accuracy_is_the_share_of_right_classes():
    proba = pd.DataFrame({"a": [0.9, 0.2, 0.4], "b": [0.1, 0.8, 0.6]})
    assert accuracy_of(pd.Series(["a", "b", "a"]), proba) == pytest.approx(2 / 3)
    assert accuracy_of(pd.Series(["a", "b", "never seen"]), proba) == pytest.approx(2 / 3)

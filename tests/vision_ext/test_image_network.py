from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tabular_automl import FitConfig, Predictor
from tabular_automl.artifacts.contract import through_files
from tabular_automl.extend import (
    Budget,
    FeatureTable,
    Kind,
    ModelSpec,
    OutOfTimeError,
    ProblemType,
    Samples,
    Setting,
    Task,
)
from tabular_automl.models.trial import FadingBudget
from tests.vision_ext.conftest import blob
from vision_ext.network import ImageNetwork

pytest.importorskip("torch")

BINARY = Task(ProblemType.BINARY, 2)
REGRESSION = Task(ProblemType.REGRESSION)
QUICK = ImageNetwork.Params(n_epochs=8, width=16, batch_size=32, side=32)


def table_of(columns: dict[str, list[bytes | None]], numbers: np.ndarray | None = None):
    n_rows = len(next(iter(columns.values())))
    numeric = np.zeros((n_rows, 0)) if numbers is None else numbers.reshape(n_rows, -1)
    names = tuple(f"number {i}" for i in range(numeric.shape[1]))
    return FeatureTable(
        np.ascontiguousarray(numeric, dtype=np.float32),
        np.empty((n_rows, 0), dtype=np.int32),
        names,
        raw={name: np.array(values, dtype=object) for name, values in columns.items()},
        raw_kinds=dict.fromkeys(columns, Kind.IMAGE),
    )


def split(table: FeatureTable, y: np.ndarray) -> list[Samples]:
    n = len(y)
    bounds = [int(0.6 * n), int(0.8 * n)]
    return [Samples(table, y).take(rows) for rows in np.split(np.arange(n), bounds)]


def fitted(task: Task, parts: list[Samples], params=QUICK, budget=None) -> ImageNetwork:
    loss = "log_loss" if task.is_classification else "squared_error"
    model = ImageNetwork(params, Setting(task, loss, seed=1))
    return model.fit(parts[0], parts[1], budget or Budget.unlimited())


def accuracy(model: ImageNetwork, samples: Samples) -> float:
    return float((model.predict(samples.table).argmax(axis=1) == samples.y).mean())


@pytest.fixture(scope="module")
def coloured() -> list[Samples]:
    """240 rows whose label is the colour of a disc that lies anywhere."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 240)
    images = [blob(rng, x=rng.uniform(0.2, 0.8), colour=2 * int(label)) for label in y]
    return split(table_of({"photo": images}), y)


@pytest.fixture(scope="module")
def by_colour(coloured: list[Samples]) -> ImageNetwork:
    return fitted(BINARY, coloured)


def test_pictures_are_told_apart(coloured, by_colour):
    assert accuracy(by_colour, coloured[2]) > 0.95


def test_mirroring_is_chosen_where_it_changes_nothing(by_colour):
    assert by_colour.fitted_params().flip is True


def test_mirroring_is_left_out_where_left_and_right_differ():
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 320)
    table = table_of({"photo": [blob(rng, x=0.2 + 0.6 * label) for label in y]})
    parts = split(table, y)
    model = fitted(BINARY, parts)
    assert model.fitted_params().flip is False
    assert accuracy(model, parts[2]) > 0.9


def test_a_number_is_read_from_pictures_and_other_features():
    rng = np.random.default_rng(2)
    light, other = rng.uniform(0, 1, 300), rng.normal(size=300)
    y = 3 * light + other
    y = (y - y.mean()) / y.std()
    table = table_of({"photo": [blob(rng, light=value) for value in light]}, other)
    parts = split(table, y)
    params = ImageNetwork.Params(n_epochs=20, width=16, batch_size=32, side=32)
    model = fitted(REGRESSION, parts, params)
    error = np.mean((model.predict(parts[2].table)[:, 0] - parts[2].y) ** 2)
    assert error < 0.35  # either half alone leaves more than 0.4


def test_rows_without_pictures_are_predicted_by_their_other_features():
    rng = np.random.default_rng(3)
    y = rng.integers(0, 2, 240)
    shown = rng.random(240) < 0.5
    images = [
        blob(rng, colour=2 * int(label)) if there else None
        for label, there in zip(y, shown, strict=True)
    ]
    number = np.where(shown, 0.0, 2.0 * y - 1.0) + 0.1 * rng.normal(size=240)
    parts = split(table_of({"photo": images}, number), y)
    params = ImageNetwork.Params(n_epochs=20, width=16, batch_size=32, side=32)
    assert accuracy(fitted(BINARY, parts, params), parts[2]) > 0.9


def test_several_columns_of_pictures_are_read():
    rng = np.random.default_rng(4)
    colours = rng.integers(0, 2, (240, 2))
    columns = {
        name: [blob(rng, colour=2 * int(c)) for c in colours[:, i]]
        for i, name in enumerate(("front", "back"))
    }
    y = colours.sum(axis=1)
    parts = split(table_of(columns), y)
    model = fitted(Task(ProblemType.MULTICLASS, 3), parts)
    assert accuracy(model, parts[2]) > 0.9


def test_broken_pictures_count_as_missing(coloured, by_colour):
    broken = table_of({"photo": [b"\x89PNG but no more", "nowhere.png", None]})
    prediction = by_colour.predict(broken)
    assert np.isfinite(prediction).all()
    np.testing.assert_allclose(prediction[0], prediction[2])


def test_a_restored_network_predicts_the_same(coloured, by_colour):
    again = ImageNetwork(by_colour.params, by_colour.setting)
    again.restore(through_files(by_colour.state()))
    table = coloured[2].table
    np.testing.assert_allclose(again.predict(table), by_colour.predict(table), atol=1e-6)


def test_a_row_is_predicted_alone_as_among_others(coloured, by_colour, monkeypatch):
    whole = by_colour.predict(coloured[2].table)
    alone = by_colour.predict(coloured[2].table.take([3]))
    np.testing.assert_allclose(alone[0], whole[3], atol=1e-5)
    monkeypatch.setattr("vision_ext.network._BLOCK", 7)
    root = coloured[2].table.root
    fresh = table_of({"photo": root.raw["photo"].tolist()})
    np.testing.assert_allclose(by_colour.predict(fresh), by_colour.predict(root), atol=1e-5)


def test_one_seed_gives_one_network(coloured):
    params = ImageNetwork.Params(n_epochs=2, width=8, side=32)
    first, second = (fitted(BINARY, coloured, params) for _ in range(2))
    table = coloured[2].table
    np.testing.assert_array_equal(first.predict(table), second.predict(table))


def test_a_refit_without_validation_rows_keeps_the_choices(coloured, by_colour):
    again = ImageNetwork(by_colour.fitted_params(), by_colour.setting)
    again.take_over(by_colour)
    again.fit(coloured[0], None, Budget.unlimited())
    assert again.fitted_params().flip is True
    assert again.state().meta["temperature"] == by_colour.state().meta["temperature"] != 1.0
    assert accuracy(again, coloured[2]) > 0.9


@pytest.mark.parametrize("n_asks", [40, 200])
def test_a_deadline_amid_the_fit_leaves_the_network_so_far(coloured, n_asks):
    budget = FadingBudget(Budget.start(3600.0).deadline, n_asks=n_asks)
    model = fitted(BINARY, coloured, QUICK, budget)
    assert model.predict(coloured[2].table).shape == (len(coloured[2]), 2)


@pytest.mark.parametrize("n_asks", [1, 5, 12])
def test_a_deadline_before_the_first_steps_is_said(coloured, n_asks):
    budget = FadingBudget(Budget.start(3600.0).deadline, n_asks=n_asks)
    with pytest.raises(OutOfTimeError, match="raise the time limit"):
        fitted(BINARY, coloured, QUICK, budget)


def test_the_memory_of_many_pictures_is_estimated_as_it_is():
    n_images = 400_000  # more than fit within the limit at any size
    table = table_of({"photo": [None] * n_images})
    n_bytes = ImageNetwork.estimate_bytes(ImageNetwork.Params(), table, BINARY)
    assert n_bytes > 2 * 3 * 32**2 * n_images  # of the table, and of a fold
    few = table_of({"photo": [None] * 1_000})
    assert ImageNetwork.estimate_bytes(ImageNetwork.Params(), few, BINARY) < 3e8
    large = ImageNetwork.estimate_bytes(ImageNetwork.Params(side=128), table, BINARY)
    assert large > 2 * 3 * 128**2 * n_images


def test_small_pictures_are_not_blown_up(coloured):
    params = ImageNetwork.Params(n_epochs=1, width=8)
    assert fitted(BINARY, coloured, params).fitted_params().side == 32


def test_features_made_of_the_pictures_are_not_read_twice():
    rng = np.random.default_rng(5)
    images = [blob(rng) for _ in range(60)]
    base = table_of({"photo": images}, rng.normal(size=60))
    made = base.with_numeric(rng.normal(size=(60, 2)), ("photo:mean red", "photo:edge 0.0"))
    y = rng.integers(0, 2, 60)
    model = fitted(BINARY, split(made, y), ImageNetwork.Params(n_epochs=1, width=8, side=32))
    assert model.state().arrays["kept"].tolist() == [0]


@pytest.mark.usefixtures("registered")
def test_a_predictor_uses_the_network_and_ranks_the_picture_as_one_column(tmp_path):
    rng = np.random.default_rng(6)
    label = rng.integers(0, 2, 160)
    frame = pd.DataFrame(
        {
            "photo": [blob(rng, colour=2 * int(value)) for value in label],
            "number": rng.normal(size=160),
            "y": np.where(label, "blue", "red"),
        }
    )
    predictor = Predictor(label="y", path=tmp_path / "model", verbosity=0)
    quick = ModelSpec.make("image_network", n_epochs=8, width=16)
    config = FitConfig(
        specs=(quick,), families=("linear",), max_specs=2, n_folds=2, on_error="raise"
    )
    predictor.fit(frame.iloc[:120], config=config)
    board = predictor.leaderboard().set_index("model")
    assert board.loc["image_network", "status"] == "ok"
    importance = predictor.feature_importance(frame.iloc[120:], n_repeats=2)
    assert list(importance.index) == ["photo", "number"]
    assert importance.loc["photo", "importance"] > 0.1

    loaded = Predictor.load(tmp_path / "model")
    rows = frame.iloc[120:124].drop(columns="y")
    pd.testing.assert_frame_equal(loaded.predict_proba(rows), predictor.predict_proba(rows))
    rows["photo"] = [rows["photo"].iloc[0], b"\x89PNG but no more", None, "nowhere.png"]
    with pytest.warns(UserWarning, match=r"'photo': 2 of 4 images .*row 121: 16 bytes, row 123"):
        assert loaded.predict(rows).notna().all()

from __future__ import annotations

import re
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import lightgbm
import numpy as np
import pytest

from tabular_automl.artifacts.state import State
from tabular_automl.core.budget import Budget
from tabular_automl.core.errors import ArtifactError, DataError, InvalidOptionError, OutOfTimeError
from tabular_automl.data.table import FeatureTable, Samples
from tabular_automl.data.task import ProblemType, Task
from tabular_automl.models import lightgbm as lightgbm_family
from tabular_automl.models.base import MODELS, ModelSpec, Setting
from tabular_automl.models.boosting import _ONE_THREAD_VALUES
from tabular_automl.models.lightgbm import LightGBM

BINARY = Task(ProblemType.BINARY, 2)
MULTICLASS = Task(ProblemType.MULTICLASS, 4)
REGRESSION = Task(ProblemType.REGRESSION)
TASKS = [BINARY, MULTICLASS, REGRESSION]


def samples(task: Task, n_rows: int = 300, seed: int = 0) -> Samples:
    """Rows whose target follows the first number and the first category; a NaN here and there."""
    rng = np.random.default_rng(seed)
    numeric = rng.normal(size=(n_rows, 3)).astype(np.float32)
    codes = rng.integers(0, 6, size=(n_rows, 2)).astype(np.int32)
    signal = numeric[:, 0] + 0.7 * codes[:, 0] + 0.3 * rng.normal(size=n_rows)
    numeric[rng.random(numeric.shape) < 0.05] = np.nan
    table = FeatureTable(numeric, codes, ("a", "b", "c"), ("d", "e"), (6, 6))
    if not task.is_classification:
        return Samples(table, (signal - signal.mean()) / signal.std())
    cuts = np.quantile(signal, np.arange(1, task.n_classes) / task.n_classes)
    return Samples(table, np.searchsorted(cuts, signal))


def build(
    task: Task, *, seed: int = 0, n_threads: int = 1, loss: str = "", **params: object
) -> LightGBM:
    loss = loss or ("log_loss" if task.is_classification else "squared_error")
    values = {"n_rounds": 40, "learning_rate": 0.1} | params
    return LightGBM(LightGBM.Params.from_dict(values), Setting(task, loss, seed, n_threads))


def split(data: Samples) -> tuple[Samples, Samples]:
    """Training rows in no order, and validation rows."""
    order = np.random.default_rng(1).permutation(len(data))
    return data.take(order[:220]), data.take(order[220:])


def fit(task: Task, **params: object) -> tuple[LightGBM, Samples]:
    train, valid = split(samples(task))
    return build(task, **params).fit(train, valid, Budget.unlimited()), valid


def error(task: Task, y: np.ndarray, prediction: np.ndarray) -> float:
    if task.is_classification:
        return float(-np.log(np.clip(prediction[np.arange(len(y)), y], 1e-9, 1.0)).mean())
    return float(((y - prediction[:, 0]) ** 2).mean())


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.problem_type)
def test_it_learns_and_its_state_predicts_the_same(task: Task) -> None:
    model, valid = fit(task)
    prediction = model.predict(valid.table)
    assert prediction.shape == (len(valid), task.n_outputs)
    assert prediction.dtype == np.float64
    base = np.log(task.n_classes) if task.is_classification else 1.0
    assert error(task, valid.y, prediction) < 0.7 * base
    restored = build(task)
    restored.restore(model.state())
    np.testing.assert_allclose(restored.predict(valid.table), prediction, atol=1e-9)
    assert restored.fitted_params() == model.fitted_params()


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.problem_type)
def test_single_rows_and_no_rows_are_predicted_as_in_the_batch(task: Task) -> None:
    model, valid = fit(task)
    whole = model.predict(valid.table)
    np.testing.assert_allclose(model.predict(valid.table.take([3])), whole[[3]], atol=1e-6)
    assert model.predict(valid.table.take([])).shape == (0, task.n_outputs)


@pytest.mark.parametrize(
    ("task", "n_features", "n_calls", "n_threads"),
    [*((task, 5, 4, 2) for task in TASKS), (BINARY, 5, 4, 1), (REGRESSION, 200, 1, 2)],
    ids=str,
)
def test_many_rows_pass_few_trees_at_a_time_and_get_what_lightgbm_says(
    task: Task, n_features: int, n_calls: int, n_threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = samples(task, 2_048)
    noise = np.random.default_rng(3).normal(size=(2_048, n_features - 5)).astype(np.float32)
    table = train.table.with_numeric(noise, tuple(f"n{i}" for i in range(n_features - 5)))
    n_rounds = 40 if task.n_classes < 3 else 10
    model = build(task, n_threads=n_threads, n_rounds=n_rounds, num_leaves=70)
    model.fit(Samples(table, train.y), None, Budget.unlimited())
    booster = lightgbm.Booster(model_str=model.state().blobs["booster.txt"].decode())
    expected = model.outputs.decode(np.asarray(booster.predict(table.matrix())), 2_048)
    calls = []
    predict = lightgbm.Booster.predict

    def counted(self: lightgbm.Booster, *args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        return predict(self, *args, **kwargs)

    monkeypatch.setattr(lightgbm.Booster, "predict", counted)
    np.testing.assert_allclose(model.predict(table), expected, rtol=1e-12, atol=1e-12)
    assert len(calls) == n_calls
    few = table.take(np.arange(9))
    np.testing.assert_allclose(model.predict(few), expected[:9], rtol=1e-12, atol=1e-12)
    assert len(calls) == n_calls + 1


def test_threads_that_ask_for_few_and_many_rows_at_once_get_their_own_answers() -> None:
    train = samples(REGRESSION, 1_500)
    model = build(REGRESSION, n_rounds=200, num_leaves=70).fit(train, None, Budget.unlimited())
    parts = [train.table.take(np.arange(n_rows)) for n_rows in (1_500, 40, 1_200, 9)]
    expected = [model.predict(part) for part in parts]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda turn: model.predict(parts[turn % 4]), range(80)))
    for turn, answer in enumerate(answers):
        np.testing.assert_array_equal(answer, expected[turn % 4])


def test_unsorted_training_rows_keep_their_own_targets() -> None:
    data = samples(REGRESSION)
    order = np.random.default_rng(2).permutation(len(data))
    shuffled = build(REGRESSION).fit(data.take(order), None, Budget.unlimited())
    assert error(REGRESSION, data.y, shuffled.predict(data.table)) < 0.3


def test_the_seed_decides_and_threads_do_not() -> None:
    data = samples(BINARY, 3_000)
    train, valid = data.take(np.arange(2_500)), data.take(np.arange(2_500, 3_000))
    assert len(train) * train.table.n_features > _ONE_THREAD_VALUES
    same = [
        build(BINARY, seed=3, n_threads=n).fit(train, valid, Budget.unlimited()) for n in (1, 1, 2)
    ]
    first, second, threaded = (model.predict(valid.table) for model in same)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, threaded, atol=1e-9)


def test_folds_trained_side_by_side_equal_folds_trained_in_turn() -> None:
    data = samples(BINARY)
    rows = np.arange(len(data))
    folds = [(data.take(rows[rows % 2 != i]), data.take(rows[rows % 2 == i])) for i in (0, 1)]
    in_turn = [build(BINARY).fit(*fold, Budget.unlimited()) for fold in folds]
    fresh = samples(BINARY)
    together = [build(BINARY), build(BINARY)]

    def run(i: int) -> None:
        train, valid = fresh.take(rows[rows % 2 != i]), fresh.take(rows[rows % 2 == i])
        together[i].fit(train, valid, Budget.unlimited())

    threads = [threading.Thread(target=run, args=(i,)) for i in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for alone, beside in zip(in_turn, together, strict=True):
        np.testing.assert_array_equal(alone.predict(data.table), beside.predict(data.table))


def test_fitted_params_refit_with_the_rounds_and_the_rate_used() -> None:
    train, valid = split(samples(BINARY))
    model = build(BINARY, n_rounds=500, learning_rate=None).fit(train, valid, Budget.unlimited())
    chosen = model.fitted_params()
    assert chosen.n_rounds < 500
    assert chosen.learning_rate is not None
    refitted = LightGBM(chosen, model.setting).fit(train, None, Budget.unlimited())
    assert refitted.fitted_params().n_rounds == chosen.n_rounds
    assert model.params.n_rounds == 500
    np.testing.assert_allclose(refitted.predict(valid.table), model.predict(valid.table), atol=1e-4)


def test_classes_without_training_rows_get_a_small_probability() -> None:
    train, valid = split(samples(MULTICLASS))
    train = train.take(np.flatnonzero(train.y != 2))
    model = build(MULTICLASS).fit(train, valid, Budget.unlimited())
    prediction = model.predict(valid.table)
    np.testing.assert_allclose(prediction.sum(axis=1), 1.0)
    assert 0.0 < prediction[:, 2].max() < 0.01


def test_training_rows_of_one_class_give_that_class() -> None:
    train, valid = split(samples(BINARY))
    train = Samples(train.table, np.ones_like(train.y))
    model = build(BINARY).fit(train, valid, Budget.unlimited())
    restored = build(BINARY)
    restored.restore(model.state())
    assert (restored.predict(valid.table)[:, 1] > 0.99).all()


def test_one_target_value_is_predicted_exactly() -> None:
    train, valid = split(samples(REGRESSION))
    train = Samples(train.table, np.full(len(train), 0.25))
    model = build(REGRESSION).fit(train, valid, Budget.unlimited())
    np.testing.assert_array_equal(model.predict(valid.table), 0.25)


def test_weights_pull_predictions_towards_heavy_rows() -> None:
    train, valid = split(samples(REGRESSION))
    means = []
    for heavy in (train.y > 0, train.y < 0):
        weighted = Samples(train.table, train.y, np.where(heavy, 1.9, 0.1))
        model = build(REGRESSION).fit(weighted, valid, Budget.unlimited())
        means.append(model.predict(valid.table).mean())
    assert means[0] > means[1] + 0.2


def test_absolute_error_is_minimised_when_asked_for() -> None:
    train, valid = split(samples(REGRESSION))
    model = build(REGRESSION, loss="absolute_error").fit(train, valid, Budget.unlimited())
    assert np.abs(model.predict(valid.table)[:, 0] - valid.y).mean() < 0.5


def test_unseen_levels_and_missing_values_are_predicted() -> None:
    train, valid = split(samples(BINARY))
    train = train.take(np.flatnonzero(train.table.codes[:, 0] != 5))
    model = build(BINARY).fit(train, valid, Budget.unlimited())
    table = FeatureTable(
        np.full((2, 3), np.nan, dtype=np.float32),
        np.array([[5, 5], [0, 0]], dtype=np.int32),
        *(valid.table.numeric_names, valid.table.code_names, valid.table.n_levels),
    )
    assert np.isfinite(model.predict(table)).all()


def test_a_short_deadline_gives_a_model_or_a_clear_error() -> None:
    train, valid = split(samples(BINARY))
    with pytest.raises(OutOfTimeError, match="LightGBM needs time for at least one tree"):
        build(BINARY).fit(train, valid, Budget.start(0.0))


def test_a_deadline_ends_endless_boosting() -> None:
    train, valid = split(samples(REGRESSION))
    params = {"n_rounds": 100_000, "learning_rate": 0.001}
    model = build(REGRESSION, **params).fit(train, None, Budget.start(2.0))
    assert 0 < model.fitted_params().n_rounds < 100_000
    assert np.isfinite(model.predict(valid.table)).all()


def test_a_table_without_features_is_refused() -> None:
    table = FeatureTable.empty(10)
    with pytest.raises(DataError, match="LightGBM needs at least one feature"):
        build(BINARY).fit(Samples(table, np.arange(10) % 2), None, Budget.unlimited())


def test_an_unknown_hyperparameter_is_refused() -> None:
    with pytest.raises(InvalidOptionError, match="learning_rate"):
        build(BINARY, learning_rat=0.1)


def test_nothing_is_printed_and_nothing_warned(capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model, valid = fit(MULTICLASS)
        model.predict(valid.table)
        build(MULTICLASS).restore(model.state())
    assert capfd.readouterr() == ("", "")


def test_the_memory_estimate_grows_with_the_rows() -> None:
    params = LightGBM.Params()
    small, large = (samples(BINARY, n_rows=n).table for n in (100, 10_000))
    estimates = [LightGBM.estimate_bytes(params, table, BINARY) for table in (small, large)]
    assert large.n_bytes < estimates[1]
    assert estimates[0] < estimates[1]


def test_state_holds_one_native_blob() -> None:
    state = fit(BINARY)[0].state()
    assert isinstance(state, State)
    assert list(state.blobs) == ["booster.txt"]
    assert not state.arrays


@pytest.mark.parametrize("part_bytes", [1, 20_000, 10**9])
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.problem_type)
@pytest.mark.parametrize("linear_tree", [False, True])
def test_trees_are_written_in_parts_and_without_what_no_prediction_reads(
    task: Task, linear_tree: bool, part_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = samples(task)
    objective = {2: "binary", 4: "multiclass"}.get(task.n_classes, "regression")
    n_classes = task.n_classes if objective == "multiclass" else 1
    options = {"objective": objective, "num_class": n_classes, "linear_tree": linear_tree}
    options |= {"num_leaves": 15, "verbosity": -1, "num_threads": 1}
    dataset = lightgbm.Dataset(data.table.matrix(), data.y, params=options, categorical_feature=[3])
    trained = lightgbm.train(options, dataset, 30)
    whole = trained.model_to_string(num_iteration=20).encode()
    monkeypatch.setattr(lightgbm_family, "_PART_BYTES", part_bytes)
    stored = lightgbm_family._stored(trained, 20)
    assert len(stored.raw) < 0.85 * len(whole)
    assert b"leaf_weight=" in whole
    assert not re.search(rb"^(leaf_weight|leaf_count|split_gain|internal_\w+)=", stored.raw, re.M)
    matrix = data.table.matrix()
    expected = trained.predict(matrix, num_iteration=20)
    np.testing.assert_array_equal(stored.get().predict(matrix), expected)
    assert stored.get().num_trees() == 20 * trained.num_model_per_iteration()


@pytest.mark.parametrize("family", ["lightgbm", "xgboost", "catboost"])
def test_boosters_that_are_set_aside_predict_as_before(family: str) -> None:
    train, valid = split(samples(MULTICLASS))
    spec = ModelSpec.make(family, n_rounds=10)
    model = MODELS.get(family)(spec.params, Setting(MULTICLASS, "log_loss"))
    model.fit(train, valid, Budget.unlimited())
    expected, state = model.predict(valid.table), model.state()
    model.set_aside()
    assert model._booster._booster is None
    assert model.state().blobs == state.blobs
    np.testing.assert_array_equal(model.predict(valid.table), expected)


def test_bins_are_made_once_for_all_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    data = samples(BINARY)
    tables = []
    bin_table = lightgbm_family._bin

    def note(table: FeatureTable, options: dict[str, object]) -> object:
        tables.append(table)
        return bin_table(table, options)

    monkeypatch.setattr(lightgbm_family, "_bin", note)
    for rows in (np.arange(200), np.arange(100, 300)):
        build(BINARY).fit(data.take(rows), None, Budget.unlimited())
    assert tables == [data.table]


def test_validation_rows_of_another_table_use_the_same_bins() -> None:
    train, valid = samples(BINARY), samples(BINARY, seed=5)
    model = build(BINARY, n_rounds=400).fit(train, valid, Budget.unlimited())
    assert error(BINARY, valid.y, model.predict(valid.table)) < 0.5


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error"])
def test_linear_trees_fit_a_line_better_than_constant_leaves_do(loss: str) -> None:
    data = samples(REGRESSION)
    line = Samples(data.table, np.nan_to_num(data.table.numeric[:, 0]).astype(np.float64))
    train, valid = split(line)
    errors = []
    for linear in (True, False):
        model = build(REGRESSION, linear_tree=linear, loss=loss, num_leaves=4, n_rounds=20)
        model.fit(train, valid, Budget.unlimited())
        errors.append(error(REGRESSION, valid.y, model.predict(valid.table)))
    assert errors[0] < errors[1] if loss == "squared_error" else errors[0] == errors[1]


def test_the_end_is_rehearsed_on_the_threads_that_were_chosen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used: list[int] = []
    predict_on = LightGBM._predict_on

    def watched(self: LightGBM, trees: object, table: FeatureTable, n_threads: int) -> object:
        used.append(n_threads)
        return predict_on(self, trees, table, n_threads)  # type: ignore[arg-type]

    monkeypatch.setattr(LightGBM, "_predict_on", watched)
    asked: list[tuple[int, int]] = []

    def quickest(start: object, n_threads: int, shape: tuple[int, int], budget: Budget) -> int:
        asked.append(shape)
        return 1

    monkeypatch.setattr(lightgbm_family, "quickest_threads", quickest)
    train, valid = split(samples(REGRESSION))
    build(REGRESSION, n_threads=2).fit(train, valid, Budget.start(60))
    assert asked == [(220, 5)]
    assert set(used) == {1}
    used.clear()
    build(REGRESSION, n_threads=2).fit(train, valid, Budget.unlimited())
    assert used == []


def test_trees_of_a_quantile_are_vetted_without_complaint() -> None:
    model, valid = fit(REGRESSION, loss="quantile_0.9")
    restored = build(REGRESSION, loss="quantile_0.9")
    restored.restore(model.state())
    restored.vet(valid.table)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.problem_type)
@pytest.mark.parametrize("linear_tree", [False, True])
def test_trees_of_ours_are_vetted_without_complaint(task: Task, linear_tree: bool) -> None:
    model, valid = fit(task, linear_tree=linear_tree)
    restored = build(task, linear_tree=linear_tree)
    restored.restore(model.state())
    restored.vet(valid.table)
    with pytest.raises(ArtifactError, match="must have max_feature_idx=1, got '4'"):
        restored.vet(FeatureTable(valid.table.numeric[:, :2], valid.table.codes[:, :0], ("a", "b")))


def test_trees_that_lightgbm_does_not_read_are_vetted_too() -> None:
    """Its text says how long each tree is: what lies behind one is passed over."""
    model, valid = fit(REGRESSION)
    state = model.state()
    text = state.blobs["booster.txt"].decode()
    sizes = re.search(r"^tree_sizes=(.*)$", text, re.M)
    assert sizes is not None
    first = sizes[1].split()[0]
    end = text.index("\n\n\n", text.index("Tree=0")) + 3
    hidden = "Tree=1\nnum_leaves=2\nnum_cat=0\nsplit_feature=999\nthreshold=0\n\n\n"
    longer = f"{int(first) + len(hidden)} {sizes[1].partition(' ')[2]}"
    forged = text[:end] + hidden + text[end:]
    forged = forged.replace(f"tree_sizes={sizes[1]}", f"tree_sizes={longer.strip()}")
    read = lightgbm.Booster(model_str=forged).model_to_string()
    assert "split_feature=999" in forged
    assert "split_feature=999" not in read
    restored = build(REGRESSION)
    restored.restore(State(state.meta, state.arrays, {"booster.txt": forged.encode()}))
    with pytest.raises(ArtifactError, match="lead from its root to leaves"):
        restored.vet(valid.table)


def test_trees_that_are_no_trees_are_refused() -> None:
    model, _ = fit(BINARY)
    blob = model.state().blobs["booster.txt"]
    for raw in (blob[:-500] + b"\xff" + blob[-499:], b""):
        restored = build(BINARY)
        restored.restore(State(meta=model.state().meta, blobs={"booster.txt": raw}))
        with pytest.raises(ArtifactError, match="must be readable by LightGBM"):
            restored.predict(samples(BINARY).table)


TREE = {
    "num_leaves": "3",
    "num_cat": "1",
    "split_feature": "0 1",
    "threshold": "0.5 0",
    "decision_type": "2 1",
    "left_child": "1 -1",
    "right_child": "-2 -3",
    "leaf_value": "0.1 0.2 0.3",
    "cat_boundaries": "0 1",
    "cat_threshold": "6",
    "is_linear": "0",
}
LINEAR = {"is_linear": "1", "num_features": "1 0 1", "leaf_features": "0 1", "leaf_coeff": "1 2"}


@pytest.mark.parametrize(
    "change",
    [
        {"left_child": "0 -1"},  # a root that is its own child
        {"left_child": "1 1"},
        {"left_child": "2 -1"},
        {"left_child": "1 -4"},
        {"left_child": "1"},
        {"right_child": "1 -3"},
        {"split_feature": "0 2"},
        {"split_feature": "0 -1"},
        {"split_feature": "0"},
        {"threshold": "0.5 1"},  # a set that is not there
        {"threshold": "0.5"},
        {"decision_type": "2"},
        {"cat_boundaries": "0 2"},
        {"cat_boundaries": "1 0"},
        {"leaf_value": "0.1 0.2"},
        {"leaf_value": "0.1 0.2 nan"},
        {"num_leaves": "4"},
        LINEAR | {"leaf_features": "0 2"},
        LINEAR | {"num_features": "1 1 1"},
        LINEAR | {"leaf_coeff": "1"},
    ],
)
def test_a_tree_that_leads_nowhere_is_seen(change: dict[str, str]) -> None:
    assert lightgbm_family._is_walkable(TREE, 2)
    assert lightgbm_family._is_walkable(TREE | LINEAR, 2)
    assert lightgbm_family._is_walkable({"num_leaves": "1", "leaf_value": "0"}, 2)
    assert not lightgbm_family._is_walkable(TREE | change, 2)


@pytest.mark.parametrize("family", ["lightgbm", "xgboost"])
def test_validation_rows_of_unknown_classes_do_not_mean_all_rounds(family: str) -> None:
    known, unknown = samples(MULTICLASS), samples(MULTICLASS, 20, seed=1)
    known.y[:], unknown.y[:] = np.minimum(known.y, 2), 3
    params = ModelSpec.make(family, learning_rate=0.5).params
    model = MODELS.get(family)(params, Setting(MULTICLASS, "log_loss", 0))
    model.fit(known, unknown, Budget.unlimited())
    assert model.fitted_params().to_dict()["n_rounds"] == 100

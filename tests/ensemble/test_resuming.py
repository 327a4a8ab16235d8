import dataclasses

import numpy as np
import pandas as pd
import pytest

from tabular_automl.artifacts.journal import Journal
from tabular_automl.artifacts.state import State
from tabular_automl.config import FitConfig
from tabular_automl.core.budget import Budget
from tabular_automl.core.errors import PathError, ResumeError
from tabular_automl.core.events import Note, silent
from tabular_automl.core.parallel import Machine
from tabular_automl.data.folds import make_folds
from tabular_automl.data.table import FeatureTable, Samples
from tabular_automl.data.task import ProblemType, Task
from tabular_automl.ensemble import resuming
from tabular_automl.ensemble.bagging import fit_bag
from tabular_automl.ensemble.fold_work import BagRequest
from tabular_automl.ensemble.resuming import FitIdentity, Workbook
from tabular_automl.models.base import MODELS, ModelSpec, Setting

TASK = Task(ProblemType.REGRESSION)
IDENTITY = FitIdentity.of(pd.DataFrame({"x": [1, 2]}), FitConfig(), label="y")


@pytest.fixture(autouse=True)
def written_at_once(monkeypatch):
    monkeypatch.setattr(resuming, "_WRITING_SHARE", 1e9)


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "model" / "journal")


def bag_request(key="linear", layer=1, seed=0, shift=0.0, **params):
    numeric = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32) + shift
    table = FeatureTable(numeric, np.empty((60, 0), np.int32), ("a", "b", "c"))
    y = numeric[:, 0].astype(float)
    folds = make_folds(TASK, y, n_folds=3)
    setting = Setting(TASK, "squared_error", seed)
    return BagRequest(
        ModelSpec.make("linear", key, **params), key, layer, setting, Samples(table, y), folds
    )


def opened(journal, report=silent):
    return Workbook.open(Journal(journal.path), IDENTITY, report)


def finished(journal, request):
    """Fit a bag of which every fold goes to the journal."""
    book = Workbook.open(journal, IDENTITY, silent)
    book.begin(n_folds=3, holdout_fraction=None)
    return fit_bag(request, Budget.unlimited(), Machine(1, 10**9), memory=book)


def test_recalled_bag_is_the_fitted_one(journal):
    request = bag_request()
    fit = finished(journal, request)
    again = fit_bag(request, Budget.start(0.0), Machine(1, 10**9), memory=opened(journal))
    assert np.array_equal(again.oof, fit.oof)
    assert again.fit_seconds == fit.fit_seconds
    assert again.given_seconds == fit.given_seconds == float("inf")
    table = request.samples.table
    assert np.array_equal(again.bag.predict(table), fit.bag.predict(table))


@pytest.mark.parametrize(
    "change",
    [
        {"key": "other"},
        {"layer": 2},
        {"seed": 1},
        {"n_knots": 4},
    ],
    ids=lambda change: next(iter(change)),
)
def test_bag_that_learns_something_else_is_not_recalled(journal, change):
    finished(journal, bag_request())
    book = opened(journal)
    assert not book.holds(bag_request(**change))
    assert book.recall(bag_request(**change)) == {}
    assert book.holds(bag_request())


def test_bag_of_a_later_layer_is_recalled_only_with_equal_inputs(journal):
    finished(journal, bag_request(layer=2))
    book = opened(journal)
    assert not book.holds(bag_request(layer=2, shift=0.5))
    assert book.holds(bag_request(layer=2))


def test_bags_on_other_folds_are_kept_apart(journal):
    request = bag_request()
    finished(journal, request)
    other = make_folds(TASK, request.samples.y, n_folds=3, seed=1)
    assert opened(journal).recall(dataclasses.replace(request, folds=other)) == {}


def test_only_missing_folds_are_fitted(journal):
    request = bag_request()
    fit = finished(journal, request)
    book = opened(journal)
    state = next(key for key in book._finished if "/linear/1/" in key)
    del book._finished[state]
    recorded = []
    book.record = lambda request, folds: recorded.extend(folds)
    again = fit_bag(request, Budget.unlimited(), Machine(1, 10**9), memory=book)
    assert recorded == [1]
    assert np.array_equal(again.oof, fit.oof)


def test_folds_lie_on_disk_until_they_are_recalled(journal):
    request = bag_request()
    fit = finished(journal, request)
    book = opened(journal)
    book._give_up(PathError("the disk is full"))  # what was written is there all the same
    recalled = book.recall(request)
    assert sorted(recalled) == [0, 1, 2]
    for fold, found in recalled.items():
        assert np.array_equal(found.prediction, fit.oof[request.folds.valid[fold]])
    assert book.recall(request) == {}


def test_a_fold_that_can_no_longer_be_read_is_fitted_again(journal):
    request = bag_request()
    fit = finished(journal, request)
    book = opened(journal)
    for path in journal.path.glob("0*/data-*/arrays.npz"):
        path.write_bytes(b"")
    again = fit_bag(request, Budget.unlimited(), Machine(1, 10**9), memory=book)
    assert np.array_equal(again.oof, fit.oof)


def test_unclaimed_bags_are_those_that_nobody_recalled(journal):
    finished(journal, bag_request("first"))
    finished(journal, bag_request("second"))
    book = opened(journal)
    book.recall(bag_request("first"))
    found = book.unclaimed(lambda spec, key: dataclasses.replace(bag_request(key), spec=spec))
    assert [(spec.key, spec.family) for spec in found] == [("second", "linear")]


def test_the_folds_of_the_earlier_fit_are_told(journal):
    finished(journal, bag_request())
    told = {"n_folds": 3, "holdout_fraction": None, "max_rows": None}
    assert opened(journal).folds == told


def test_a_journal_from_before_rows_were_drawn_tells_of_all_rows(journal, monkeypatch):
    finished(journal, bag_request())
    read = Journal.read

    def older(self, key):
        state = read(self, key)
        state.meta.get("folds", {}).pop("max_rows", None)
        return state

    monkeypatch.setattr(Journal, "read", older)
    assert opened(journal).folds["max_rows"] == 2


def test_another_identity_is_refused_with_what_differs(journal):
    finished(journal, bag_request())
    other = FitIdentity.of(pd.DataFrame({"x": [1, 3]}), FitConfig(seed=4, n_jobs=1), label="y")
    with pytest.raises(ResumeError, match=r"in 'x'; seed is 4 instead of 0\. Give what"):
        Workbook.open(Journal(journal.path), other, silent)


def test_folds_are_written_when_the_time_allows(journal, monkeypatch):
    monkeypatch.setattr(resuming, "_WRITING_SHARE", 0.0)
    book = Workbook.open(journal, IDENTITY, silent)
    book.begin(3, None)
    fit_bag(bag_request(), Budget.unlimited(), Machine(1, 10**9), memory=book)
    assert len(Journal(journal.path).keys()) == 1
    book.close(0.0)
    assert len(Journal(journal.path).keys()) == 1
    book.close(float("inf"))
    assert opened(journal).holds(bag_request())


def refuse(key, state):
    raise PathError("No space left on device.")


def test_a_disk_that_refuses_ends_the_journal_and_not_the_fit(journal, monkeypatch):
    notes = []
    book = Workbook.open(journal, IDENTITY, notes.append)
    book.begin(3, None)
    monkeypatch.setattr(journal, "append", refuse)
    fit = fit_bag(bag_request(), Budget.unlimited(), Machine(1, 10**9), memory=book)
    assert len(fit.bag.models) == 3
    assert notes == [Note("From here on this fit cannot be resumed: No space left on device.")]


def test_a_disk_that_refuses_the_first_entry_ends_the_fit_before_the_work(journal, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    book = Workbook.open(journal, IDENTITY, silent)
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(PathError, match=r"has not begun.*No space left on device.*Make room"):
        book.begin(3, None)
    assert list(journal.path.iterdir()) == []


def test_without_a_journal_nothing_is_kept():
    book = Workbook.open(None, IDENTITY, silent)
    book.begin(3, None)
    fit_bag(bag_request(), Budget.unlimited(), Machine(1, 10**9), memory=book)
    book.close(float("inf"))
    assert not book.holds(bag_request())


UNSAVABLE = {
    "a state that raises": lambda model: 1 / 0,
    "a state of objects": lambda model: State(arrays={"array": np.array([object()])}),
    "no state": lambda model: None,
}


@pytest.mark.parametrize("state", UNSAVABLE.values(), ids=UNSAVABLE.keys())
def test_a_fold_that_cannot_be_saved_is_told_and_costs_only_itself(journal, monkeypatch, state):
    family, notes = MODELS.get("linear"), []
    sound, seed = family.state, bag_request().setting.seed
    monkeypatch.setattr(  # the first fold has the bag's own seed
        family, "state", lambda model: (state if model.setting.seed == seed else sound)(model)
    )
    book = Workbook.open(journal, IDENTITY, notes.append)
    book.begin(3, None)
    fit = fit_bag(bag_request(), Budget.unlimited(), Machine(3, 10**9), memory=book)
    book.close(float("inf"))
    assert len(fit.bag.models) == 3
    assert len(notes) == 1
    assert notes[0].text.startswith("Fold 1 of linear cannot be kept for a resume: ")
    assert sorted(opened(journal).recall(bag_request())) == [1, 2]


def test_a_disk_that_refuses_after_a_fold_that_cannot_be_saved_ends_the_journal(
    journal, monkeypatch
):
    write, notes = journal.append, []

    def append(key, state):
        if key != "fit" and len(state.children) == 1:
            raise PathError("No space left on device")
        write(key, state)

    monkeypatch.setattr(journal, "append", append)
    monkeypatch.setattr(MODELS.get("linear"), "state", lambda model: None)
    book = Workbook.open(journal, IDENTITY, notes.append)
    book.begin(3, None)
    fit_bag(bag_request(), Budget.unlimited(), Machine(3, 10**9), memory=book)
    book.close(float("inf"))
    assert notes == [Note("From here on this fit cannot be resumed: No space left on device")]


def test_folds_of_a_fit_that_is_not_known_do_not_come_back(journal):
    finished(journal, bag_request())
    (journal.path / "000000" / "manifest.json").unlink()
    other, notes = FitIdentity.of(pd.DataFrame({"x": [1, 3]}), FitConfig(), label="y"), []
    Workbook.open(Journal(journal.path), other, notes.append).begin(3, None)
    assert notes == [Note("The record of the earlier fit is damaged: the fit starts anew.")]
    again = Workbook.open(Journal(journal.path), other, silent)
    assert not again.holds(bag_request())


def test_a_fit_that_starts_anew_keeps_the_earlier_work_until_it_begins(journal):
    finished(journal, bag_request())
    book = Workbook.open(Journal(journal.path), IDENTITY, silent, anew=True)
    assert not book.folds
    assert opened(journal).holds(bag_request())
    book.begin(3, None)
    assert not opened(journal).holds(bag_request())


def test_columns_without_topics_are_told_to_the_fit_that_continues(journal):
    book = Workbook.open(journal, IDENTITY, silent)
    assert book.without_topics is None
    book.begin(3, None, ["review", ("a", 1)])
    assert opened(journal).without_topics is None
    assert not opened(journal).folds
    fit_bag(bag_request(), Budget.unlimited(), Machine(1, 10**9), memory=book)
    assert opened(journal).without_topics == ["review", ("a", 1)]


def test_the_last_write_ends_with_its_seconds(journal, monkeypatch):
    monkeypatch.setattr(resuming, "_WRITING_SHARE", 0.0)
    folds = fit_folds_of(bag_request())
    clock, write = [0.0], journal.append

    def append(key, state):
        clock[0] += 1.0
        write(key, state)

    monkeypatch.setattr(journal, "append", append)
    monkeypatch.setattr(resuming.time, "monotonic", lambda: clock[0])
    book = Workbook.open(journal, IDENTITY, silent)
    book.begin(3, None)
    book.record(bag_request(), folds)
    book.close(2.5)
    assert sorted(opened(journal).recall(bag_request())) == [0, 1]


def fit_folds_of(request):
    """Return the folds of a bag as a workbook is told them."""
    told = {}

    class Memory:
        def recall(self, request):
            return {}

        def record(self, request, folds):
            told.update(folds)

    fit_bag(request, Budget.unlimited(), Machine(1, 10**9), memory=Memory())
    return told


def test_bags_of_families_that_are_not_registered_are_left_alone(journal):
    finished(journal, bag_request())
    book = opened(journal)
    for key, state in book._finished.items():
        gone = {**state.meta, "family": "uninstalled"}
        book._finished[key] = dataclasses.replace(state, meta=gone)
    assert book.unclaimed(lambda spec, key: bag_request(key)) == []


def test_bags_whose_hyperparameters_are_no_longer_known_are_left_alone(journal):
    finished(journal, bag_request())
    book = opened(journal)
    for key, state in book._finished.items():
        renamed = {**state.meta, "params": {**state.meta["params"], "renamed": 3}}
        book._finished[key] = dataclasses.replace(state, meta=renamed)
    assert book.unclaimed(lambda spec, key: bag_request(key)) == []

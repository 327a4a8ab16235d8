"""What is finished is never lost: interrupts, kills, and fits that continue."""

import dataclasses
import os
import shutil
import signal
import threading

import numpy as np
import pytest

from tabular_automl import Predictor
from tabular_automl.core.errors import (
    AutoMLError,
    InterruptedFitWarning,
    PathError,
    ResumeError,
)
from tabular_automl.core.events import EnsembleFinished, Note, SpecFinished
from tabular_automl.models.base import MODELS
from tests.conftest import make_table
from tests.faults.counted import Counted, counted_config, fits_noted

TABLE = make_table("binary")
CONFIG = counted_config()
N_FITS = 3 * 3 + 3  # three specs and one of a second layer, on three folds


@pytest.fixture(autouse=True, scope="module")
def _counted_family():
    MODELS.register("counted", Counted)
    yield
    MODELS.unregister("counted")


@pytest.fixture
def log(tmp_path, monkeypatch):
    """Return the file in which every fit of a model is noted."""
    monkeypatch.setenv("COUNTED_LOG", str(tmp_path / "log"))
    return tmp_path / "log"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return a predictor whose fit was not interrupted."""
    return fit(tmp_path_factory.mktemp("whole") / "model")


def fit(path, table=TABLE, config=CONFIG, reporter=None, label="y", **arguments):
    predictor = Predictor(label, path=path, verbosity=0, reporter=reporter)
    return predictor.fit(table, config=config, **arguments)


def signalling(*numbers, at="counted1", kind=SpecFinished):
    """Return a reporter that raises signals once a spec is finished, and its notes."""

    def report(event):
        if isinstance(event, kind) and getattr(event, "key", at) == at:
            for number in numbers:
                signal.raise_signal(number)

    return report


def same_predictions(one, other):
    new = make_table("binary", n_rows=50, seed=9)
    return np.array_equal(one.predict_proba(new).to_numpy(), other.predict_proba(new).to_numpy())


def rows_of(predictor):
    board = predictor.leaderboard().set_index("model")
    return {key: (row["status"], row["reason"]) for key, row in board.iterrows()}


# Interrupts --------------------------------------------------------------------------------------


def test_ctrl_c_leaves_a_usable_saved_predictor_of_what_is_done(path, log):
    with pytest.warns(InterruptedFitWarning, match="resume=True"):
        predictor = fit(path, reporter=signalling(signal.SIGINT))
    assert predictor.interrupted
    rows = rows_of(Predictor.load(path))
    assert rows["counted0"] == rows["counted1"] == ("ok", "")
    assert rows["counted2"] == ("skipped", "interrupted")
    assert sum(fits_noted(log).values()) == 6
    assert predictor.predict(TABLE).notna().all()


def test_an_interrupted_fit_continues_to_the_predictor_of_one_that_was_not(path, log, whole):
    with pytest.warns(InterruptedFitWarning):
        fit(path, reporter=signalling(signal.SIGINT))
    continued = fit(path, resume=True)
    assert not continued.interrupted
    assert set(fits_noted(log).values()) == {1}
    assert sum(fits_noted(log).values()) == N_FITS
    assert same_predictions(continued, whole)
    assert same_predictions(Predictor.load(path), whole)


def test_a_second_ctrl_c_stops_at_once_and_the_work_continues_later(path, log, whole):
    with pytest.raises(KeyboardInterrupt):
        fit(path, reporter=signalling(signal.SIGINT, signal.SIGINT))
    assert not (path / "manifest.json").exists()
    assert same_predictions(fit(path, resume=True), whole)
    assert set(fits_noted(log).values()) == {1}


def test_ctrl_c_while_saving_still_saves(path, whole):
    with pytest.warns(InterruptedFitWarning):
        fit(path, reporter=signalling(signal.SIGINT, kind=EnsembleFinished))
    assert same_predictions(Predictor.load(path), whole)


def test_an_interrupt_is_told_to_the_reporter(path):
    told = []
    stop = signalling(signal.SIGINT)

    def report(event):
        told.append(event)
        stop(event)

    with pytest.warns(InterruptedFitWarning):
        fit(path, reporter=report)
    assert any(isinstance(e, Note) and e.text.startswith("Interrupted") for e in told)


def test_ctrl_c_before_anything_is_finished_raises_and_replaces_nothing(path, whole):
    shutil.copytree(whole.path, path)
    config = counted_config(pause=30.0)
    timer = threading.Timer(0.7, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        fit(path, config=config, overwrite=True)
    timer.join()
    assert same_predictions(Predictor.load(path), whole)


def test_an_interrupted_resume_loses_nothing_that_was_finished_before(path, log):
    fit(path)
    with pytest.warns(InterruptedFitWarning):
        again = fit(path, resume=True, reporter=signalling(signal.SIGINT, at="counted0"))
    assert rows_of(again)["counted2"] == ("ok", "")
    assert set(fits_noted(log).values()) == {1}


def test_sigterm_saves_what_is_done_before_it_is_delivered(path):
    seen = []
    previous = signal.signal(signal.SIGTERM, lambda *unused: seen.append(path.exists()))
    try:
        with pytest.warns(InterruptedFitWarning):
            fit(path, reporter=signalling(signal.SIGTERM))
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert seen == [True]
    assert rows_of(Predictor.load(path))["counted1"] == ("ok", "")


def test_signal_handlers_are_given_back(path):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    fit(path)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_fit_in_a_thread_works_without_handlers(path, whole):
    fitted = []
    thread = threading.Thread(target=lambda: fitted.append(fit(path)))
    thread.start()
    thread.join()
    assert same_predictions(fitted[0], whole)


# Continuing --------------------------------------------------------------------------------------

CHANGED_TABLES = {
    "other values": (TABLE.assign(rooms=1), "other values, dtypes or row order in 'rooms'"),
    "fewer rows": (TABLE.iloc[:-1], "the table has 239 rows instead of 240"),
    "a column less": (TABLE.drop(columns="city"), "the table lacks 'city'"),
    "a column more": (TABLE.assign(more=1), "the table adds 'more'"),
    "shuffled rows": (TABLE.iloc[::-1], "row order in"),
    "shuffled columns": (TABLE[TABLE.columns[::-1]], "the columns are in another order"),
}


@pytest.mark.parametrize(("table", "reason"), CHANGED_TABLES.values(), ids=CHANGED_TABLES.keys())
def test_resuming_with_another_table_says_what_differs(whole, table, reason):
    with pytest.raises(ResumeError, match=reason):
        fit(whole.path, table, resume=True)


CHANGED_SETTINGS = {
    "seed": ({"config": dataclasses.replace(CONFIG, seed=1)}, "seed is 1 instead of 0"),
    "folds": ({"config": dataclasses.replace(CONFIG, n_folds=4)}, "n_folds is 4 instead of 3"),
    "specs": ({"config": counted_config(2)}, "specs is"),
    "columns": ({"columns": {"rooms": "category"}}, r"columns is .*rooms"),
    "label": ({"label": "garden"}, r"label is .*garden"),
}


@pytest.mark.parametrize(
    ("changes", "reason"), CHANGED_SETTINGS.values(), ids=CHANGED_SETTINGS.keys()
)
def test_resuming_with_other_settings_says_what_differs(whole, changes, reason):
    with pytest.raises(ResumeError, match=reason):
        fit(whole.path, resume=True, **changes)
    assert same_predictions(Predictor.load(whole.path), whole)


def test_resuming_where_nothing_was_started_starts_with_a_note(path, whole):
    events = []
    assert same_predictions(fit(path, resume=True, reporter=events.append), whole)
    assert any(isinstance(e, Note) and "Nothing to continue" in e.text for e in events)


def test_more_trials_continue_a_finished_fit(path, log, whole):
    fit(path, config=dataclasses.replace(CONFIG, max_specs=1))
    assert sum(fits_noted(log).values()) == 6
    continued = fit(path, resume=True)
    assert set(fits_noted(log).values()) == {1}
    assert rows_of(continued)["counted2"] == ("ok", "")
    assert same_predictions(continued, whole)


def test_a_loaded_predictor_continues_with_more_time(path, log):
    fit(path)
    loaded = Predictor.load(path, verbosity=0)
    loaded.fit(TABLE, config=CONFIG, resume=True, time_limit=30)
    assert set(fits_noted(log).values()) == {1}
    assert rows_of(loaded)["counted2"] == ("ok", "")


def test_a_predictor_of_which_no_fold_was_finished_continues_with_more_time(path, log, whole):
    fit(path)
    for entry in sorted((path / "journal").glob("0*"))[1:]:
        shutil.rmtree(entry)
    assert same_predictions(fit(path, resume=True), whole)


def test_what_is_finished_needs_no_memory_to_be_fitted(path, log, whole, monkeypatch):
    fit(path)
    monkeypatch.setattr("tabular_automl.ensemble.layer._MEMORY_SHARE", 0.0)
    continued = fit(path, resume=True)
    assert set(fits_noted(log).values()) == {1}
    assert same_predictions(continued, whole)


def test_a_predictor_without_a_path_of_its_own_continues_where_it_was_saved(
    tmp_path, log, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    predictor = fit(None)
    first = predictor.path
    assert predictor.fit(TABLE, config=CONFIG, resume=True).path == first
    assert set(fits_noted(log).values()) == {1}


def test_an_unfinished_fit_is_only_replaced_when_allowed(path, log, whole):
    with pytest.raises(KeyboardInterrupt):
        fit(path, reporter=signalling(signal.SIGINT, signal.SIGINT))
    with pytest.raises(PathError, match="holds an unfinished fit; continue it with resume=True"):
        fit(path)
    assert same_predictions(fit(path, overwrite=True), whole)
    assert max(fits_noted(log).values()) == 2


@pytest.mark.parametrize(
    ("mistake", "reason"),
    [
        ({"label": "absent"}, "Unknown label column"),
        ({"columns": {"absent": "category"}}, "absent"),
        ({"table": "absent.csv"}, "must exist"),
    ],
    ids=["label", "columns", "table"],
)
def test_a_mistake_beside_overwrite_costs_no_finished_work(path, log, whole, mistake, reason):
    with pytest.raises(KeyboardInterrupt):
        fit(path, reporter=signalling(signal.SIGINT, signal.SIGINT))
    with pytest.raises(AutoMLError, match=reason):
        fit(path, overwrite=True, **mistake)
    assert same_predictions(fit(path, resume=True), whole)
    assert set(fits_noted(log).values()) == {1}


def test_a_damaged_entry_of_the_journal_is_work_to_do_again(path, log, whole):
    fit(path)
    arrays = next((path / "journal" / "000001").glob("data-*/arrays.npz"))
    arrays.write_bytes(arrays.read_bytes()[:-7] + b"damaged")
    assert same_predictions(fit(path, resume=True), whole)
    assert max(fits_noted(log).values()) == 2


def test_work_is_kept_when_the_fit_raises(path, log, whole):
    def fail_once(event):
        if isinstance(event, SpecFinished) and event.key == "counted1":
            raise OSError("the log server is gone")

    with pytest.raises(OSError, match="log server"):
        fit(path, reporter=fail_once)
    assert same_predictions(fit(path, resume=True), whole)
    assert set(fits_noted(log).values()) == {1}


def test_the_journal_shows_on_disk_and_stays_out_of_a_copy_for_deployment(tmp_path, whole):
    assert whole.disk_usage()["journal"] > 0
    clone = whole.clone_for_deployment(tmp_path / "clone")
    assert "journal" not in clone.disk_usage()
    assert same_predictions(clone, whole)

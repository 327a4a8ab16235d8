"""Fits that are killed at any moment: nothing that was finished is lost, and the result is equal.

    python -m pytest -m slow -s tests/faults/test_kill.py

kills 200 fits and prints how many were continued to the same predictor.
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tabular_automl import Predictor
from tabular_automl.artifacts.journal import Journal
from tabular_automl.core.errors import AutoMLError, PathError
from tabular_automl.models.base import MODELS
from tests.conftest import make_table
from tests.faults.counted import Counted, counted_config, fits_noted

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks the fits it kills")


@pytest.fixture(autouse=True, scope="module")
def _counted_family():
    MODELS.register("counted", Counted)
    yield
    MODELS.unregister("counted")


class Program:
    """The program that fits; `start` gives an order and `end` waits for it."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.counted"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, **order):
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        told = self.told(str.isdigit)
        self.pid = int(told[-1])
        self.early = told[:-1]  # a fork may speak before the program tells its id

    def told(self, is_last):
        """Return the lines up to one."""
        lines = []
        while not lines or not is_last(lines[-1]):
            line = self.process.stdout.readline()
            assert line, "the program has ended"
            lines.append(line.strip())
        return lines

    def wait_for(self, event):
        if event not in self.early:
            self.told(lambda line: line == event or line.startswith("status"))

    def end(self):
        """Return the exit status."""
        return int(self.told(lambda line: line.startswith("status"))[-1].split()[1])

    def run(self, **order):
        self.start(**order)
        return self.end()


@pytest.fixture(scope="module")
def program():
    program = Program()
    yield program
    program.process.stdin.close()
    program.process.stdout.close()
    program.process.wait()


@pytest.fixture
def order(tmp_path):
    return {
        "path": str(tmp_path / "model"),
        "log": str(tmp_path / "log"),
        "predictions": str(tmp_path / "predictions.npy"),
    }


@pytest.fixture(scope="module")
def whole(program, tmp_path_factory):
    """Return the predictions of a fit that was never interrupted, and the seconds it took."""
    folder = tmp_path_factory.mktemp("whole")
    order = {"path": str(folder / "model"), "log": str(folder / "log")}
    start = time.monotonic()
    assert program.run(**order, predictions=str(folder / "predictions.npy")) == 0
    seconds = time.monotonic() - start
    assert max(fits_noted(order["log"]).values()) == 1
    return np.load(folder / "predictions.npy"), seconds


def folds_on_disk(order):
    """Return the fits in the journal, as the log notes them, and the bags they belong to."""
    journal = Journal(os.path.join(order["path"], "journal"))
    noted = set()
    for key in journal.keys()[1:]:
        for state in journal.read(key).children.values():
            fitted, meta = state.children["fitted"].meta, state.meta
            noted.add((meta["params"]["penalty"], fitted["seed"], meta["layer"]))
    return noted


def as_noted(log):
    """Return how often each fit was noted; layers are told apart by their number of features."""
    counts = fits_noted(log)
    widths = sorted({int(line.split()[2]) for line in counts})
    return {
        (float(penalty), int(seed), widths.index(int(width)) + 1): n
        for (penalty, seed, width), n in ((line.split(), n) for line, n in counts.items())
    }


def kill_and_continue(program, order, moments):
    """Kill as often as there are moments, then let it end; return the number of folds kept."""
    kept = set()
    before = {}
    for event, seconds in moments:
        program.start(**order)
        program.wait_for(event)
        time.sleep(seconds)
        with contextlib.suppress(ProcessLookupError):  # it was quicker
            os.kill(program.pid, signal.SIGKILL)
        program.end()
        for fit in kept:
            assert as_noted(order["log"])[fit] == before[fit], f"{fit} was done again"
        kept = folds_on_disk(order)
        before = as_noted(order["log"])
        assert_whole_or_absent(order)
    assert program.run(**order) == 0
    after = as_noted(order["log"])
    for fit in kept:
        assert after[fit] == before[fit], f"{fit} was done again"
    return len(kept)


def assert_whole_or_absent(order):
    if os.path.exists(os.path.join(order["path"], "manifest.json")):
        Predictor.load(order["path"])


MOMENTS = {
    "early": [("FitStarted", 0.1)],
    "amid the specs": [("SpecFinished", 0.15)],
    "at the save": [("EnsembleFinished", 0.01)],
    "during resume too": [("SpecFinished", 0.1), ("SpecStarted", 0.05), ("SpecFinished", 0.2)],
}
SLOW = ("early", "amid the specs")  # the last has both of them


@pytest.mark.parametrize(
    "moments",
    [
        pytest.param(moments, id=name, marks=[pytest.mark.slow] if name in SLOW else [])
        for name, moments in MOMENTS.items()
    ],
)
def test_a_killed_fit_continues_to_the_same_predictor(program, order, whole, moments):
    kill_and_continue(program, order, moments)
    assert np.array_equal(np.load(order["predictions"]), whole[0])


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_hundred_kills(program, whole, tmp_path):
    rng, n_equal, n_kept = random.Random(0), 0, 0
    for number in range(200):
        folder = tmp_path / str(number)
        folder.mkdir()
        order = {"path": str(folder / "model"), "log": str(folder / "log")}
        order["predictions"] = str(folder / "predictions.npy")
        n_kills = 1 + (number % 4 == 0)  # every fourth is killed during the resume too
        moments = [("FitStarted", rng.uniform(0.0, whole[1])) for _ in range(n_kills)]
        if number % 10 == 0:
            moments[-1] = ("EnsembleFinished", rng.uniform(0.0, 0.1))
        n_kept += kill_and_continue(program, order, moments)
        n_equal += np.array_equal(np.load(order["predictions"]), whole[0])
    print(f"\n{n_equal} of 200 resumed to equal predictions; {n_kept} finished folds kept")
    assert n_equal == 200


def test_sigterm_saves_what_is_done_and_ends_the_process(program, order, whole):
    program.start(**order, pause=0.2)
    program.wait_for("SpecFinished")
    os.kill(program.pid, signal.SIGTERM)
    assert program.end() == -signal.SIGTERM
    board = Predictor.load(order["path"]).leaderboard().set_index("model")
    assert board.loc["counted0", "status"] == "ok"
    assert board.loc["counted2", "reason"] == "interrupted"


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGTERM, 143),
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),
    ],
)
def test_the_command_line_saves_and_ends_with_the_conventional_code(tmp_path, number, code):
    make_table("binary").to_csv(tmp_path / "train.csv", index=False)
    command = [sys.executable, "-m", "tabular_automl.cli", "fit", str(tmp_path / "train.csv")]
    command += ["--label", "y", "--out", str(tmp_path / "model"), "--preset", "fast"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as fit:
        while b"roc_auc  " not in fit.stdout.readline():
            pass
        fit.send_signal(number)
        fit.communicate()
    assert fit.returncode == code
    reasons = Predictor.load(tmp_path / "model").leaderboard()["reason"]
    assert "interrupted" in set(reasons)


def test_a_full_disk_raises_before_any_work_and_leaves_the_old_predictor(program, order, whole):
    assert program.run(**order) == 0
    again = {**order, "log": order["log"] + " of the second"}
    # Too few bytes to record the fit, and enough for the notes of one that goes on regardless.
    program.start(**again, overwrite=True, resume=False, most_bytes=500)
    assert "PathError" in [*program.early, *program.told(lambda line: line.startswith("status"))]
    assert not fits_noted(again["log"])
    loaded = Predictor.load(order["path"], verbosity=0)
    assert np.array_equal(loaded.predict_proba(make_table("binary")).to_numpy(), whole[0])


def test_a_second_fit_in_the_same_path_raises(tmp_path):
    with (
        Journal(tmp_path / "model" / "journal").locked(),
        pytest.raises(PathError, match="Another fit is writing"),
    ):
        fit(tmp_path / "model")


@pytest.mark.skipif(sys.platform != "linux", reason="needs a folder that even root cannot write")
def test_a_read_only_path_raises_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setenv("COUNTED_LOG", str(tmp_path / "log"))
    with pytest.raises(PathError, match="cannot be written"):
        fit("/proc/self/model")
    assert not fits_noted(tmp_path / "log")


def test_a_fit_that_raises_before_any_work_leaves_nothing(tmp_path):
    with pytest.raises(AutoMLError, match="Unknown label column"):
        Predictor("absent", path=tmp_path / "model", verbosity=0).fit(make_table("binary"))
    assert os.listdir(tmp_path) == []


def fit(path):
    Predictor("y", path=path, verbosity=0).fit(make_table("binary"), config=counted_config(1))

"""A process of its own for a model that cannot be asked to stop: it is ended when it must be.

The parent writes the samples once for all folds as plain arrays, which the children map into their
memory, and what else the fit needs as a message; a child leaves its fitted state as an artifact.
"""

from __future__ import annotations

import builtins
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tabular_automl.artifacts.paths import MANIFEST
from tabular_automl.artifacts.storage import read_artifact
from tabular_automl.core.budget import Budget
from tabular_automl.core.children import (
    LOOK_EVERY,
    end_child,
    how_it_ended,
    resident_bytes,
    start_child,
)
from tabular_automl.core.errors import (
    CrashedModelError,
    OutOfMemoryError,
    OutOfTimeError,
    OverrunError,
)
from tabular_automl.core.parallel import Machine
from tabular_automl.data.table import FeatureTable, Samples
from tabular_automl.models.base import MODELS, FittedSpec, ModelSpec, Prediction, Setting

CHILD_MODULE = "tabular_automl.ensemble.contained_child"
ARRAYS, MESSAGE, RESULT, ERROR = ("arrays", "message", "result", "error.json")

_MEMORY_SHARE = 0.8  # of the free memory, for all children at once
_TOLD_SHARE = 0.8  # of the time that is left: a child that stops by itself must get to its result
_OUTPUT = "output.txt"
_GIVEN_UP = "given up, since another fold has failed"


@dataclass(frozen=True)
class ContainedFit:
    """What a child gives back: the model, and its predictions of the validation rows."""

    fitted: FittedSpec
    prediction: Prediction
    predict_seconds: float


@dataclass(frozen=True)
class Message:
    """What a child is told; the family travels as a class, since it may live in a notebook."""

    family: type[Any]
    spec: ModelSpec
    setting: Setting
    names: tuple[tuple[str, ...], tuple[str, ...], tuple[int, ...]]
    raw: tuple[dict[str, Any], dict[str, Any]]
    rows: tuple[Any, Any]
    deadline: float


class Containment:
    """Samples that children can read, and the limits that children are held to.

    Parameters
    ----------
    folder : Path
        Of its own, removed afterwards by whoever made it.
    samples : Samples
    n_bytes : int
        Memory that one child may use.
    """

    def __init__(self, folder: Path, samples: Samples, n_bytes: int) -> None:
        self._folder = folder
        self._table = samples.table
        self._n_bytes = n_bytes
        self._children = _Children()
        arrays = {"numeric": samples.table.numeric, "codes": samples.table.codes, "y": samples.y}
        if samples.weight is not None:
            arrays["weight"] = samples.weight
        (folder / ARRAYS).mkdir()
        for name, array in arrays.items():
            np.save(folder / ARRAYS / f"{name}.npy", array, allow_pickle=False)

    @classmethod
    @contextmanager
    def of(cls, samples: Samples, machine: Machine, n_at_once: int) -> Iterator[Containment]:
        """Return a containment for a bag of which ``n_at_once`` folds are fitted side by side.

        Children that still run when it is left, since another fold has failed, are ended.
        """
        folder = Path(tempfile.mkdtemp(prefix="tabular-automl-"))
        try:
            containment = cls(folder, samples, int(_MEMORY_SHARE * machine.n_bytes / n_at_once))
            try:
                yield containment
            finally:
                containment._children.close()
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def fit(
        self, spec: ModelSpec, setting: Setting, rows: tuple[Any, Any], budget: Budget
    ) -> ContainedFit:
        """Fit on the first and predict the second of ``rows`` in a child.

        Raises
        ------
        OutOfTimeError
            When the child was ended with its share of time, the fit was interrupted, or the
            containment was left.
        OutOfMemoryError
            When it was ended at its share of memory, by us or by the system.
        CrashedModelError
            When it ended without a result.
        """
        place = Path(tempfile.mkdtemp(dir=self._folder))
        self._write_message(place / MESSAGE, spec, setting, rows, budget)
        with self._children.started(self._folder, place) as child:
            self._watch(child, place, budget)
        return _result(place, child.returncode, setting.n_threads)

    def _write_message(
        self, path: Path, spec: ModelSpec, setting: Setting, rows: tuple[Any, Any], budget: Budget
    ) -> None:
        # The way joblib sends work to its processes. Read by our own child only, from a folder
        # that only this user can write to.
        from joblib.externals.loky.backend.reduction import dumps

        table = self._table
        names = (table.numeric_names, table.code_names, table.n_levels)
        raw = dict(table.raw), dict(table.raw_kinds)
        deadline = budget.share(_TOLD_SHARE).deadline
        message = Message(MODELS.get(spec.family), spec, setting, names, raw, rows, deadline)
        path.write_bytes(dumps(message))

    def _watch(self, child: subprocess.Popen[bytes], place: Path, budget: Budget) -> None:
        """Wait for a child or its result, and raise once it has used up its time or its memory."""
        while child.poll() is None and not _is_done(place):
            if self._children.closed:
                raise OutOfTimeError(_GIVEN_UP)
            if budget.stopped:
                raise OutOfTimeError("interrupted")
            if budget.expired():
                raise OverrunError("its process was ended at its share of time")
            used = resident_bytes(child.pid)
            if used > self._n_bytes:
                raise OutOfMemoryError(
                    f"its process was ended at {used / 1e9:.2f} GB, "
                    f"its share of memory is {self._n_bytes / 1e9:.2f} GB"
                )
            time.sleep(LOOK_EVERY)


class _Children:
    """The processes of a containment, which are all gone once it is closed.

    Attributes
    ----------
    closed : bool
        Whether those that run are to be ended, and no other may start.
    """

    def __init__(self) -> None:
        self.closed = False
        self._n_running = 0
        self._change = threading.Condition()

    def __reduce__(self) -> tuple[type[_Children], tuple[()]]:
        # Locks do not travel to another process, and the parent's children are not that one's.
        return _Children, ()

    @contextmanager
    def started(self, folder: Path, place: Path) -> Iterator[subprocess.Popen[bytes]]:
        """Return a running child, and see to it that it has ended afterwards."""
        with self._change:
            if self.closed:
                raise OutOfTimeError(_GIVEN_UP)
            child = start_child(CHILD_MODULE, str(folder), str(place), output=place / _OUTPUT)
            self._n_running += 1
        try:
            yield child
        finally:
            end_child(child)
            with self._change:
                self._n_running -= 1
                self._change.notify_all()

    def close(self) -> None:
        """Have the threads that watch over children end them, and wait until they have."""
        with self._change:
            self.closed = True
            self._change.wait_for(lambda: self._n_running == 0)


def read_samples(folder: Path, message: Message) -> Samples:
    """Map the samples that the parent wrote into memory."""

    def read(name: str) -> Any:
        path = folder / ARRAYS / f"{name}.npy"
        return np.load(path, mmap_mode="r", allow_pickle=False) if path.exists() else None

    table = FeatureTable(read("numeric"), read("codes"), *message.names, *message.raw)
    return Samples(table, np.asarray(read("y")), read("weight"))


def _is_done(place: Path) -> bool:
    """Return whether a child's result is whole; its process may linger, or fall over at its end."""
    return (place / RESULT / MANIFEST).is_file()


def _result(place: Path, code: int, n_threads: int) -> ContainedFit:
    """Return what an ended child left, or raise what its end means."""
    if _is_done(place):
        state = read_artifact(place / RESULT)
        fitted = FittedSpec.from_state(state.children["fitted"], n_threads)
        seconds = float(state.meta["predict_seconds"])
        return ContainedFit(fitted, state.arrays["prediction"], seconds)
    if (place / ERROR).is_file():
        raise _as_raised(json.loads((place / ERROR).read_text()))
    if os.name == "posix" and code == -signal.SIGKILL:
        raise OutOfMemoryError("its process was killed, most likely by the system to free memory")
    raise CrashedModelError(f"its process {how_it_ended(code)} without a result")


def _as_raised(error: dict[str, Any]) -> Exception:
    """Return the error that a child's fit raised, as one of the same meaning here."""
    kind, text, bases = error["kind"], error["text"], error["bases"]
    if OutOfTimeError.__name__ in bases:
        return OutOfTimeError(text)
    if MemoryError.__name__ in bases:
        return OutOfMemoryError(text)
    known = getattr(builtins, kind, None)
    if isinstance(known, type) and issubclass(known, Exception):
        try:
            return known(text)
        except TypeError:  # some errors want more than a text
            pass
    return CrashedModelError(f"{kind}: {text}")

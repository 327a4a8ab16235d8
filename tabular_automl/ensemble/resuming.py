"""The workbook of a fit: finished folds go to its journal, and come back when it is resumed."""

from __future__ import annotations

import hashlib
import json
import math
import secrets
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from tabular_automl.artifacts.journal import Journal
from tabular_automl.artifacts.state import State
from tabular_automl.artifacts.storage import library_version
from tabular_automl.core.errors import ArtifactError, InvalidOptionError, PathError, ResumeError
from tabular_automl.core.events import Note, Reporter
from tabular_automl.data.column_names import name_from_json, name_to_json
from tabular_automl.data.fingerprint import fingerprint_table, table_differences
from tabular_automl.data.table import FeatureTable
from tabular_automl.ensemble.fold_work import BagRequest, FoldFit
from tabular_automl.models.base import MODELS, ModelSpec

_HEADER = "fit"
_WRITING_SHARE = 0.015  # of the time since the fit began, at most, is spent on writing
_WRITE_SECONDS = 0.03  # what a write of next to nothing takes: several files are synced
_WORTH_A_WRITE = 8  # folds, where more are finished than there is time to write


# Settings that change which work is done, or how fast, but nothing about work that is finished.
_FREE = (
    *("max_specs", "max_seconds_without_limit", "max_latency_ms", "max_error_cost", "refit"),
    *("n_jobs", "cluster", "on_error"),
)


@dataclass(frozen=True)
class FitIdentity:
    """What makes two fits the same: one can continue the other.

    Attributes
    ----------
    table : mapping
        From `tabular_automl.data.fingerprint.fingerprint_table`.
    settings : mapping of str to object
        Everything else that finished folds depend on, as json holds it.
    """

    table: Mapping[str, Any]
    settings: Mapping[str, Any]

    @classmethod
    def of(cls, table: pd.DataFrame, config: object, **others: Any) -> FitIdentity:
        """Return the identity of a fit from its table, its `FitConfig` and other settings."""
        settings = {name: v for name, v in vars(config).items() if name not in _FREE} | others
        settings["library version"] = library_version()
        plain = json.loads(json.dumps(settings, default=repr))  # tuples as they are read back
        return cls(fingerprint_table(table), plain)

    def differences(self, before: FitIdentity) -> list[str]:
        """Return what is not as it was ``before``, one clause each."""
        found = table_differences(before.table, self.table)
        for name in sorted(before.settings.keys() | self.settings.keys()):
            then, now = before.settings.get(name), self.settings.get(name)
            if name == "columns":  # in the order in which they were named
                then, now = sorted(then or ()), sorted(now or ())
            if then != now:
                found.append(f"{name} is {now!r} instead of {then!r}")
        return found


@dataclass(frozen=True)
class _Finished:
    """Where a finished fold lies, and what it is; the fold itself may be large."""

    entry: str
    meta: Mapping[str, Any]


class Workbook:
    """Folds that are finished: those read from a journal, and those written to it.

    A fold is written as soon as writing stays a small part of the time; what a kill can cost is the
    work since the last write, some seventy times the seconds that a write takes.

    Parameters
    ----------
    journal : Journal or None
        Locked by the caller; None keeps nothing.
    identity : FitIdentity
    report : Reporter

    Attributes
    ----------
    folds : mapping of str to object
        Settings of a `FitConfig` that make the folds of the earlier fit; empty without one, and
        where no fold was finished.
    without_topics : list of column names or None
        Whose topics the earlier fit had no time to find; None as above.
    """

    def __init__(self, journal: Journal | None, identity: FitIdentity, report: Reporter) -> None:
        self.folds: Mapping[str, Any] = {}
        self.without_topics: list[Hashable] | None = None
        self._journal = journal
        self._earlier = journal  # is read where nothing can be written any more
        self._last_read, self._of_last_read = "", dict[str, State]()  # bags are often one entry's
        self._identity = identity
        self._report = report
        self._finished: dict[str, _Finished] = {}
        self._unwritten: dict[str, tuple[BagRequest, int, FoldFit]] = {}
        self._n_writes = 0
        self._n_written = 0
        self._spent = 0.0
        self._started = time.monotonic()

    @classmethod
    def open(
        cls, journal: Journal | None, identity: FitIdentity, report: Reporter, *, anew: bool = False
    ) -> Workbook:
        """Return the workbook of an earlier fit, or a new one where there is nothing to continue.

        With ``anew`` there never is; the journal stays as it is until `begin`.

        Raises
        ------
        ResumeError
            When the earlier fit was one of another table or other settings.
        """
        book = cls(journal, identity, report)
        if journal is None or anew:
            return book
        keys = journal.keys()
        if _HEADER not in keys:
            if not journal.is_empty:
                report(Note("The record of the earlier fit is damaged: the fit starts anew."))
            return book
        meta = journal.read(_HEADER).meta
        different = identity.differences(FitIdentity(meta["table"], meta["settings"]))
        if different:
            raise ResumeError(
                f"The fit in {str(journal.path.parent)!r} cannot be continued: "
                f"{'; '.join(different)}. Give what it was started with, or choose another path, "
                "or start again with overwrite=True (on the command line: --overwrite)."
            )
        for entry in keys:
            if entry != _HEADER:
                folds = journal.read(entry).children
                book._finished |= {key: _Finished(entry, fold.meta) for key, fold in folds.items()}
        if book._finished:  # or all may be as the time allows now
            # What was written before rows were drawn had all of them.
            book.folds = {"max_rows": meta["table"]["n_rows"], **meta["folds"]}
            book.without_topics = [name_from_json(name) for name in meta.get("without_topics", [])]
        report(Note(f"Continuing: {len(book._finished)} folds are finished already."))
        return book

    def begin(
        self,
        n_folds: int,
        holdout_fraction: float | None,
        without_topics: Sequence[Hashable] = (),
        n_rows: int | None = None,
    ) -> None:
        """Write what the fit is and how its folds are made, unless an earlier fit has done so.

        Whatever else the journal holds is removed: folds of nobody knows which table among it.

        Parameters
        ----------
        n_folds : int
        holdout_fraction : float or None
        without_topics : sequence of column names
        n_rows : int, optional
            So many of the table's are learned from.

        Raises
        ------
        PathError
            When the disk refuses: nothing is fitted yet that could be lost.
        """
        if self.folds:
            return
        self.folds = {
            "n_folds": None if holdout_fraction is not None else n_folds,
            "holdout_fraction": holdout_fraction,
            "max_rows": n_rows,
        }
        if self._journal is None:
            return
        self._journal.clear()
        known = {"table": self._identity.table, "settings": self._identity.settings}
        names = [name_to_json(name) for name in without_topics]
        try:
            meta = {**known, "folds": self.folds, "without_topics": names}
            self._journal.append(_HEADER, State(meta=meta))
        except PathError as error:
            self._journal.clear()  # the folder of the refused entry
            raise PathError(
                f"The fit has not begun, since it could not be recorded: {error} Make room, or "
                "choose another path."
            ) from error
        except ArtifactError as error:  # a setting that is no data: the predictor may still be
            self._give_up(error)

    def holds(self, request: BagRequest) -> bool:
        """Return whether every fold of a bag is finished."""
        keys = (_key(request, fold) for fold in range(len(request.folds)))
        return all(key in self._finished for key in keys)

    def unclaimed(self, request_of: Callable[[ModelSpec, str], BagRequest]) -> list[ModelSpec]:
        """Return the specs of finished bags that nobody has recalled.

        Parameters
        ----------
        request_of : callable
            Gives the request for a spec and a bag's key in the layer that asks.
        """
        metas = {fold.meta["bag"]: fold.meta for fold in self._finished.values()}
        found = []
        for key, meta in metas.items():
            if meta["family"] not in MODELS:  # a third party's, which is not registered this time
                continue
            try:
                spec = ModelSpec.make(meta["family"], key, **meta["params"])
            except InvalidOptionError:  # hyperparameters that a newer plug-in no longer has
                continue
            if self.holds(request_of(spec, key)):
                found.append(spec)
        return found

    def recall(self, request: BagRequest) -> dict[int, FoldFit]:
        """Return the finished folds of a bag, by number."""
        keys = {fold: _key(request, fold) for fold in range(len(request.folds))}
        places = {
            key: self._finished.pop(key).entry for key in keys.values() if key in self._finished
        }
        states = {key: self._read(entry, key) for key, entry in places.items()}
        found = {fold: states.get(key) for fold, key in keys.items()}
        return {
            fold: FoldFit.from_state(state) for fold, state in found.items() if state is not None
        }

    def _read(self, entry: str, key: str) -> State | None:
        """Return a finished fold; None where it cannot be read any more, and is to be fitted."""
        if self._earlier is not None and entry != self._last_read:
            try:
                self._of_last_read = dict(self._earlier.read(entry).children)
            except (ArtifactError, PathError):
                self._of_last_read = {}
            self._last_read = entry
        return self._of_last_read.pop(key, None)

    def record(self, request: BagRequest, folds: Mapping[int, FoldFit]) -> None:
        """Keep folds that were finished just now, and write what is at stake when it is much."""
        if self._journal is None:
            return
        for fold, fit in folds.items():
            self._unwritten[_key(request, fold)] = request, fold, fit
        allowed = _WRITING_SHARE * (time.monotonic() - self._started) - self._spent
        n_folds = self._affordable(allowed)
        if n_folds >= min(_WORTH_A_WRITE, len(self._unwritten)):
            self._write(n_folds)

    def close(self, seconds: float) -> None:
        """Write what is not on disk yet, fold by fold until about so many seconds are over."""
        while math.isinf(seconds) and self._unwritten:
            self._write(_WORTH_A_WRITE)  # few at a time: an entry is read as a whole
        end, longest = time.monotonic() + seconds, _WRITE_SECONDS
        while self._unwritten and (start := time.monotonic()) + longest < end:
            self._write(1)
            longest = max(longest, time.monotonic() - start)

    def _affordable(self, seconds: float) -> int:
        """Return how many of the unwritten folds can be written in about so many seconds."""
        measured = self._spent - self._n_writes * _WRITE_SECONDS
        per_fold = max(1e-4, measured / self._n_written) if self._n_written else 0.01
        n_folds = max(0.0, seconds - _WRITE_SECONDS) / per_fold
        return int(min(n_folds, len(self._unwritten)))

    def _write(self, n_folds: int) -> None:
        """Write the oldest folds of those that are not on disk yet."""
        keys = list(self._unwritten)[:n_folds]
        if not keys:
            return
        start = time.monotonic()
        self._append_folds(keys)
        for key in keys:
            self._unwritten.pop(key, None)  # not before: an interrupt may have ended the write
        self._spent += time.monotonic() - start
        self._n_writes += 1
        self._n_written += len(keys)

    def _append_folds(self, keys: Sequence[str]) -> None:
        """Write folds as one entry, or each as its own where one of them cannot be saved."""
        if self._journal is None:
            return
        try:
            states = {key: _fold_state(*self._unwritten[key]) for key in keys}
            self._append(f"folds {secrets.token_hex(8)}", State(children=states))
        except Exception as error:  # a third party's state, and no reason to lose the model
            if self._journal is None:  # the write has been dealt with: it is the reporter's
                raise
            if len(keys) == 1:
                self._leave_out(keys[0], error)
                return
            for key in keys:
                self._append_folds([key])

    def _leave_out(self, key: str, error: Exception) -> None:
        """Tell that a fold is lost to a resume; this fit goes on with it."""
        request, fold, _ = self._unwritten[key]
        cause = f"{type(error).__name__}: {error}"
        self._report(Note(f"Fold {fold + 1} of {request.key} cannot be kept for a resume: {cause}"))

    def _append(self, key: str, state: State) -> None:
        """Write one entry; where the disk refuses, the journal is given up, not the fit."""
        if self._journal is None:
            return
        try:
            self._journal.append(key, state)
        except PathError as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        """Write nothing from here on."""
        self._journal = None
        self._unwritten.clear()
        self._report(Note(f"From here on this fit cannot be resumed: {error}"))


def _key(request: BagRequest, fold: int) -> str:
    """Return a name that two folds share only if they learn the same from the same."""
    spec, setting = request.spec, request.setting
    learned = {
        "family": spec.family,
        "params": spec.params.to_dict(),
        "seed": setting.seed,
        "loss": setting.loss,
        "features": request.samples.table.names,
    }
    digest = hashlib.blake2b(json.dumps(learned, default=repr).encode(), digest_size=12)
    for rows in (request.folds.train[fold], request.folds.valid[fold]):
        digest.update(np.ascontiguousarray(rows, dtype=np.int64).data)
    if request.layer > 1:  # features of the first layer are the table's, which is checked
        digest.update(request.samples.table.derived("digest", _digest_numbers))
    return f"{request.layer}/{request.key}/{fold}/{digest.hexdigest()}"


def _digest_numbers(table: FeatureTable) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(table.numeric).data, digest_size=12).digest()


def _fold_state(request: BagRequest, fold: int, fit: FoldFit) -> State:
    """Return a finished fold as data; its bag and number are there for people to read."""
    state = fit.state(request.spec.family)
    meta = {
        "bag": request.key,
        "family": request.spec.family,
        "params": request.spec.params.to_dict(),
        "layer": request.layer,
        "fold": fold,
    }
    return replace(state, meta={**meta, **state.meta})

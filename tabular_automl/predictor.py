"""Predictor: the facade that users see."""

from __future__ import annotations

import secrets
import time
import warnings
from collections.abc import Hashable, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from tabular_automl.answers import Answers, check_time_limit
from tabular_automl.artifacts.journal import Journal
from tabular_automl.artifacts.paths import JOURNAL, ROOM_TO_FIT
from tabular_automl.artifacts.storage import (
    check_writable,
    disk_usage,
    name_of_save,
    read_save,
    write_artifact,
)
from tabular_automl.config import FitConfig, describe_settings, resolve_config
from tabular_automl.core.budget import Budget, Stop
from tabular_automl.core.errors import (
    ArtifactError,
    InterruptedFitWarning,
    InvalidOptionError,
    must_be,
    unknown_name,
)
from tabular_automl.core.events import FitFinished, Note, Reporter
from tabular_automl.core.interrupts import stopping_on_signals
from tabular_automl.core.parallel import Machine
from tabular_automl.data.reading import TableLike, path_of, read_table
from tabular_automl.data.task import ProblemType
from tabular_automl.deployment.few_rows import FewRows
from tabular_automl.deployment.refit import refit_pipeline
from tabular_automl.fitted import FitRecord, FittedPipeline
from tabular_automl.inspection.comparing import (
    Comparison,
    check_alike,
    classes_of_both,
    compare,
    groups_of,
    labelled_in,
    shown_in,
)
from tabular_automl.inspection.drift import OnMismatch, made_to_fit
from tabular_automl.inspection.evaluation import read_labelled, read_labels
from tabular_automl.inspection.progress import make_reporter
from tabular_automl.intake import FitRequest, unlabelled_later
from tabular_automl.metrics.resolve import resolve_metric
from tabular_automl.pipeline import Choice, fit_pipeline
from tabular_automl.saving import check_journal, load_saved, saved_bytes, saved_state
from tabular_automl.spec_choice import check_names

MetricLike = Any  # a name, a Metric, or a function ``(y_true, y_pred) -> float``
_ENDED_EARLY = (
    "The fit was interrupted and ended early: the predictor is saved and holds what was finished. "
    "Call fit with resume=True to continue it."
)


class Predictor(Answers):
    """Learns to predict one column of a table from the others.

    Parameters
    ----------
    label : hashable
        Name of the column to predict.
    problem_type : {"binary", "multiclass", "regression"}, optional
        Inferred from the label's values when absent.
    eval_metric : str, Metric or callable, optional
        What to optimise; roc_auc, log_loss or root_mean_squared_error by default. A function
        ``(y_true, y_pred) -> float`` is taken with greater as better, unless its name ends in
        ``_error``, ``_loss`` or ``_deviance``. With "pinball_0.9" the quantile 0.9 is predicted.
    path : path-like, optional
        Folder for the saved predictor; when absent a new one, named by the time and at random.
    verbosity : {0, 1, 2, 3}
        0 is silent, 1 tells the result and what needs attention, 2 shows progress, 3 everything.
    reporter : callable, optional
        Takes the events of `tabular_automl.core.events` instead of the built-in progress.

    Attributes
    ----------
    interrupted : bool
        Whether Ctrl-C ended the last fit early.

    Examples
    --------
    >>> import pandas as pd
    >>> sizes = [row / 2 for row in range(60)]
    >>> table = pd.DataFrame({"x": sizes, "y": ["low"] * 30 + ["high"] * 30})
    >>> predictor = Predictor("y", verbosity=0).fit(table, time_limit=10, presets="fast")
    >>> list(predictor.predict(pd.DataFrame({"x": [1.5, 27.5]})))
    ['low', 'high']
    """

    def __init__(
        self,
        label: Hashable,
        *,
        problem_type: str | None = None,
        eval_metric: MetricLike = None,
        path: str | PathLike[str] | None = None,
        verbosity: int = 2,
        reporter: Reporter | None = None,
    ) -> None:
        if problem_type is not None and problem_type not in list(ProblemType):
            raise InvalidOptionError(unknown_name("problem_type", problem_type, ProblemType))
        if label is None:
            raise InvalidOptionError(must_be("label", "the name of a column", label))
        if isinstance(eval_metric, str):
            resolve_metric(eval_metric, ProblemType(problem_type) if problem_type else None)
        if verbosity not in (0, 1, 2, 3):
            raise InvalidOptionError(must_be("verbosity", "0, 1, 2 or 3", verbosity))
        self.label = self._given_label = label
        self._given_problem_type = self.problem_type = problem_type
        self.eval_metric = eval_metric
        self._given_path = _folder(path) if path is not None else None
        self.path = self._given_path
        self.verbosity = verbosity
        self.interrupted = False
        self._reporter = reporter
        self._pipeline: FittedPipeline | None = None
        self._record: FitRecord | None = None
        self._settings: Mapping[str, Any] = {}
        self._saved_as = _new_name()
        self._few_rows = FewRows()

    def fit(
        self,
        train: TableLike,
        *,
        time_limit: float | None = None,
        presets: str = "best",
        columns: Mapping[Hashable, str] | None = None,
        config: FitConfig | None = None,
        overwrite: bool = False,
        resume: bool = False,
    ) -> Self:
        """Fit the ensemble and save it to `path`.

        Finished work is on disk while the fit runs. Ctrl-C ends the fit early: what is done is
        saved, and fit returns as usual with an `InterruptedFitWarning`; a second Ctrl-C raises
        KeyboardInterrupt at once, as does one before the first model is finished. SIGTERM saves as
        well before it ends the process.

        Parameters
        ----------
        train : DataFrame or path
            A pandas, polars or pyarrow table, or the path of a CSV or Parquet file or folder.
        time_limit : float, optional
            Seconds for everything, reading and saving included. When absent, at most 9 minutes, 2
            with "balanced", 20 seconds with "fast" (more above 50,000 rows), and less where more
            models no longer help.
        presets : {"best", "deploy", "balanced", "fast"}
            "deploy" is as "best" with fewer models, for an out-of-fold error up to 5 % larger.
        columns : mapping, optional
            Column to kind ("numeric", "category", "datetime", "text", "image", "identifier",
            "ignored"), where the inferred one is wrong, or to role ("weight", "group", "time",
            "fold": the folds of your own, one a value; rows without one train only).
        config : FitConfig, optional
            Everything else.
        overwrite : bool
            Whether an existing predictor or an unfinished fit at `path` may be replaced.
        resume : bool
            Continue the fit at `path` that was interrupted, or give a finished one more time. The
            table and the settings must be those it was started with; ``time_limit``, on top of the
            time spent before, and ``max_specs`` may be others. Starts anew if there is none.

        Returns
        -------
        self

        Raises
        ------
        AutoMLError
            Before any work, when an argument, the path or the table cannot be used; see
            `tabular_automl.core.errors`.
        ResumeError
            With ``resume``, when the table or a setting is not what the fit was started with.
        """
        start = time.monotonic()
        check_time_limit(time_limit)
        if columns is not None and not isinstance(columns, Mapping):
            raise InvalidOptionError(
                must_be("columns", "a mapping of column to kind or role, or None", columns)
            )
        stop = Stop()
        budget = Budget.start(time_limit, stop)
        settings = resolve_config(presets, config)
        check_names(settings)
        path = self._given_path or (self.path if resume and self.path else _fresh_path())
        journal = Journal(path / JOURNAL)
        may_replace = overwrite or (resume and journal.is_begun)
        check_writable(path, overwrite=may_replace, n_bytes=ROOM_TO_FIT)
        with (
            make_reporter(self.verbosity, reporter=self._reporter) as report,
            stopping_on_signals(stop),
            journal.locked(),
        ):
            check_journal(journal, report, resume=resume, overwrite=overwrite)
            table = read_table(train, label=self._given_label)
            self.label = _whole_name(self._given_label, table.columns)
            request = FitRequest(
                table,
                self.label,
                self._given_problem_type,
                self.eval_metric,
                columns or {},
                settings,
            )
            request = replace(request, journal=journal, anew=not resume)
            choose = _choice(settings, report)
            self._pipeline, self._record = fit_pipeline(request, budget, report, choose)
            self.problem_type = self._pipeline.task.problem_type.value
            self._settings = describe_settings(presets, time_limit, config)
            self._saved_as = _new_name()  # until the save, which may fail
            self.path = path
            self.save(path)
            seconds = time.monotonic() - start
            report(FitFinished(self._record.score, seconds, str(path)))
            self.interrupted = stop.signal is not None
        if self.interrupted:
            warnings.warn(_ENDED_EARLY, InterruptedFitWarning, stacklevel=2)
        return self

    def save(self, path: str | PathLike[str] | None = None, *, overwrite: bool = False) -> Path:
        """Write the predictor to a folder; `fit` has done so already at its own path.

        Parameters
        ----------
        path : path, optional
            Its own path when absent, where the predictor takes the place of what it was before.
        overwrite : bool
            Whether another predictor at ``path`` may be replaced.

        Raises
        ------
        PathError
            When ``path`` holds another predictor or other files, or cannot be written to.
        """
        state = saved_state(self.label, self._fitted(), self._fit_record(), self._settings)
        target = self.path if path is None else _folder(path)
        if target is None:
            raise InvalidOptionError("path must be given: this predictor has none of its own.")
        is_own = self.path is not None and target.resolve() == self.path.resolve()
        check_writable(target, overwrite=overwrite or is_own)
        info = {"kind": "predictor", "label": str(self.label)}
        generation = write_artifact(state, target, info=info)
        if is_own or self.path is None:
            self._saved_as = generation
        return target

    @classmethod
    def load(
        cls,
        path: str | PathLike[str],
        *,
        verbosity: int = 2,
        n_jobs: int | None = None,
        untrusted: bool = False,
    ) -> Predictor:
        """Load a saved predictor; nothing in the folder is executed.

        Parameters
        ----------
        path : path
        verbosity : int, default=2
        n_jobs : int, optional
            Cores to predict with; all by default.
        untrusted : bool, default=False
            Whether somebody else made it. It is first loaded and tried in a process of its own,
            which takes seconds: boosted trees are read by native code, which a forged file can
            crash.

        Raises
        ------
        ArtifactError
            When a file is missing, changed or added, when the format is newer than this library, or
            when the files do not hold a predictor that can be used.
        """
        path, machine = _folder(path), Machine.detect(n_jobs)
        vetted = _vetted(path, machine) if untrusted else None
        state, generation = read_save(path)
        if untrusted and generation != vetted:
            raise ArtifactError(f"{str(path)!r} was replaced while it was tried; load it again.")
        saved = load_saved(state, machine.n_cores)
        predictor = cls(saved.label, verbosity=verbosity, path=path)
        predictor._saved_as = generation
        predictor._given_problem_type = saved.pipeline.task.problem_type.value
        predictor.problem_type = predictor._given_problem_type
        predictor._pipeline, predictor._record = saved.pipeline, saved.record
        predictor._settings = saved.settings
        predictor.eval_metric = saved.record.metric
        return predictor

    def refit(self, train: TableLike) -> Predictor:
        """Return a smaller, faster predictor: each spec of the ensemble fitted once on all rows.

        The rounds and other choices are those that the folds found; nothing is held out, so there
        is no new out-of-fold score. The saved predictor stays as it is; `save` takes another path,
        or the same with ``overwrite=True``. Where the ensemble has two layers, the specs of the
        first are fitted on four folds as well: the second learns from what those predict.

        Raises
        ------
        DataError
            When such folds cannot be made: one group only, or rows without weight in one of them.
        """
        pipeline, record = self._fitted(), self._fit_record()
        table = self._with_label(self.read(train, "train"))
        n_missing = int(unlabelled_later(pipeline.codec, table[self.label]).sum())
        if n_missing:
            with make_reporter(self.verbosity, reporter=self._reporter) as report:
                report(Note(f"{n_missing} of {len(table)} rows have no label and were dropped."))
        refitted = self._copy(refit_pipeline(pipeline, table, self.label), record)
        refitted.path = None
        return refitted

    def prune(self, max_error_cost: float = 0.05) -> Predictor:
        """Return a smaller, faster predictor: without the models that are not worth their time.

        Models go one after the other, first whose loss of out-of-fold score by the time saved is
        least; the others are weighed anew. A fit also keeps the best of its quick models, though
        the ensemble does not ask them: one of these answers alone where its error is low enough and
        that is clearly quicker. With a larger ``max_error_cost`` that is often tens of times as
        quick as the ensemble.

        The saved predictor stays as it is; `save` takes another path, or the same with
        ``overwrite=True``. The preset "deploy" does this as part of a fit, where calibration and
        thresholds are chosen after that; here they stay, but for the calibration of a quick model
        that answers alone. The score of what is left is that of up to 5,000 rows; there are no
        `oof_predictions` any more.

        Parameters
        ----------
        max_error_cost : float
            By what share of itself the out-of-fold error may grow.

        Raises
        ------
        InvalidOptionError
            When ``max_error_cost`` is not a positive number, or the metric is a function of your
            own that was not saved.
        NotFittedError
            When the predictor keeps no out-of-fold predictions, such as one cloned for deployment.
        """
        from tabular_automl.deployment.pruning import pruned

        pipeline, record = self._fitted(), self._fit_record()
        self._held_out("prune")
        with make_reporter(self.verbosity, reporter=self._reporter) as report:
            return self._copy(*pruned(pipeline, record, max_error_cost, report))

    def compare(
        self, other: Predictor, data: TableLike, *, on_mismatch: OnMismatch = "raise"
    ) -> Comparison:
        """Return whether another predictor is better on labelled data, or only seems so.

        Parameters
        ----------
        other : Predictor
            Of the same label, such as one that was fitted on newer rows.
        data : DataFrame or path
            Labelled rows that neither was fitted on. They count by the column of weights, and stay
            together by that of groups, that this predictor was given, where the data has them.
        on_mismatch : {"raise", "warn", "coerce"}
            As in `predict`.

        Returns
        -------
        Comparison
            Prints as sentences; ``gain``, ``low``, ``high`` and ``verdict`` are for programs. The
            metric is this predictor's.

        Raises
        ------
        InvalidOptionError
            When the two predict different things, or one knows other classes of two.
        """
        if not isinstance(other, Predictor):
            raise InvalidOptionError(must_be("other", "a fitted Predictor", other))
        one, another = self._fitted(), other._fitted()
        check_alike(one, self.label, another, other.label)
        if not isinstance(data, (str, PathLike)):
            data = read_table(data, purpose="evaluate")  # once, as it may not come twice
        table = self._with_label(self.read(data, "evaluate"))
        table = made_to_fit(one.featurizer, table, on_mismatch)
        others_table = other._with_label(other.read(data, "evaluate"))
        others_table = made_to_fit(another.featurizer, others_table, on_mismatch)
        rows = read_labelled(one, table, self.label)
        read_labels(another, others_table[other.label])  # its error names classes it does not know
        classes = classes_of_both(one, another)
        metric = self.metric.bind(np.array(classes, dtype=object)) if classes else self.metric
        shown = [shown_in(classes, one, table, metric)]
        shown.append(shown_in(classes, another, others_table, metric))
        rows = labelled_in(classes, one, rows)
        return compare(rows, groups_of(one, table), shown, metric)

    def clone_for_deployment(
        self, path: str | PathLike[str], *, overwrite: bool = False
    ) -> Predictor:
        """Save a copy that predicts equally, without out-of-fold predictions, and return it.

        ``path`` and ``overwrite`` are those of `save`.
        """
        pipeline, record = self._fitted(), self._fit_record()
        light = replace(pipeline, stack=replace(pipeline.stack, spares=()))
        clone = self._copy(light, record.without_oof())
        clone.path = clone.save(path, overwrite=overwrite)
        return clone

    def disk_usage(self) -> pd.Series:
        """Return the saved bytes of each model, of the journal and of the rest, largest first.

        The journal holds all finished work, for a fit with ``resume=True``; `clone_for_deployment`
        leaves it out.
        """
        sizes = saved_bytes(saved_state(self.label, self._fitted(), self._fit_record()))
        if self.path is not None and (journal := self.path / JOURNAL).is_dir():
            sizes["journal"] = sum(disk_usage(journal).values())
        return pd.Series(sizes, name="n_bytes").sort_values(ascending=False)

    def __repr__(self) -> str:
        n_bags = 0 if self._pipeline is None else len(self._pipeline.stack.bags)
        return f"Predictor(label={self.label!r}, {f'{n_bags} bags' if n_bags else 'not fitted'})"

    def _copy(self, pipeline: FittedPipeline, record: FitRecord) -> Predictor:
        copy = Predictor(self.label, verbosity=self.verbosity, reporter=self._reporter)
        copy.problem_type = copy._given_problem_type = pipeline.task.problem_type.value
        copy.eval_metric = self.eval_metric
        copy._pipeline, copy._record, copy._settings = pipeline, record, self._settings
        return copy


def _choice(config: FitConfig, report: Reporter) -> Choice:
    """Return what chooses the bags that may stay: some are to go for the sake of speed."""
    from tabular_automl.deployment.pruning import keys_fast_enough

    return partial(
        keys_fast_enough,
        max_error_cost=config.max_error_cost,
        max_ms=config.max_latency_ms,
        report=report,
    )


def _folder(path: object) -> Path:
    if not isinstance(path, (str, PathLike)):
        raise InvalidOptionError(must_be("path", "the path of a folder", path))
    return path_of(path)


def _vetted(path: Path, machine: Machine) -> str:
    """Return the name of a save that a child process could load and predict with."""
    from tabular_automl.vetting import vet_artifact

    name = name_of_save(path)
    vet_artifact(path, machine.n_bytes)
    return name


def _whole_name(label: Hashable, columns: pd.Index) -> Hashable:
    """Return a label as columns of several levels have it: "y" may stand for ("y", "")."""
    given = label if isinstance(label, tuple) else (label,)
    whole = (*given, *[""] * (columns.nlevels - len(given)))
    return whole if columns.nlevels > 1 and whole in columns else label


def _new_name() -> str:
    """Return what tells a model that is not saved from all others."""
    return secrets.token_hex(8)


def _fresh_path() -> Path:
    """Return a folder name that no other fit takes, even one of the same second."""
    return Path(f"predictor-{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(3)}")

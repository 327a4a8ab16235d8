"""Predictor: the facade that users see."""

from __future__ import annotations

import time
import warnings
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pandas as pd

from tabular_automl.artifacts.journal import Journal
from tabular_automl.artifacts.paths import JOURNAL
from tabular_automl.artifacts.storage import (
    check_writable,
    disk_usage,
    read_artifact,
    write_artifact,
)
from tabular_automl.config import FitConfig, resolve_config
from tabular_automl.core.budget import Budget, Stop
from tabular_automl.core.errors import (
    InterruptedFitWarning,
    InvalidOptionError,
    LabelError,
    NotFittedError,
    must_be,
    unknown_name,
)
from tabular_automl.core.events import FitFinished, Reporter
from tabular_automl.core.interrupts import stopping_on_signals
from tabular_automl.core.parallel import Machine
from tabular_automl.data.column_names import name_key
from tabular_automl.data.reading import read_table
from tabular_automl.data.schema import Kind, Schema
from tabular_automl.data.task import ProblemType
from tabular_automl.deployment.refit import refit_pipeline
from tabular_automl.inspection.drift import (
    OnMismatch,
    ValidationReport,
    made_to_fit,
    validate_table,
)
from tabular_automl.inspection.evaluation import evaluate_predictions, read_labels
from tabular_automl.inspection.importance import permutation_importance
from tabular_automl.inspection.leaderboard import leaderboard_table, score_on_test
from tabular_automl.inspection.progress import make_reporter
from tabular_automl.metrics.base import Metric, Reads
from tabular_automl.metrics.resolve import resolve_metric
from tabular_automl.models.base import Prediction
from tabular_automl.pipeline import FitRecord, FitRequest, FittedPipeline, fit_pipeline
from tabular_automl.plan import is_finite_limit
from tabular_automl.saving import load_saved, prepare_journal, saved_as, saved_bytes, saved_state

if TYPE_CHECKING:
    from tabular_automl.deployment.compiled import CompiledPredictor

TableLike = pd.DataFrame | str | PathLike[str]
MetricLike = Any  # a name, a Metric, or a function ``(y_true, y_pred) -> float``
_ENDED_EARLY = (
    "The fit was interrupted and ended early: the predictor is saved and holds what was finished. "
    "Call fit with resume=True to continue it."
)


class Predictor:
    """Learns to predict one column of a table from the others.

    Parameters
    ----------
    label : hashable
        Name of the column to predict.
    problem_type : {"binary", "multiclass", "regression"}, optional
        Inferred from the label's values when absent.
    eval_metric : str, Metric or callable, optional
        What to optimise; roc_auc, log_loss or root_mean_squared_error by default. A function
        ``(y_true, y_pred) -> float`` is taken with greater as better.
    path : path-like, optional
        Folder for the saved predictor; a new one named by the time when absent.
    verbosity : {0, 1, 2, 3}
        0 is silent, 1 tells the result and what needs attention, 2 shows progress.
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
        self.label = label
        self.problem_type = problem_type
        self.eval_metric = eval_metric
        self._given_path = Path(path) if path is not None else None
        self.path = self._given_path
        self.verbosity = verbosity
        self.interrupted = False
        self._reporter = reporter
        self._pipeline: FittedPipeline | None = None
        self._record: FitRecord | None = None

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
            Seconds for everything, reading and saving included.
        presets : {"best", "balanced", "fast"}
        columns : mapping, optional
            Column to kind ("numeric", "category", "datetime", "text", "image", "identifier",
            "ignored") or to role ("weight", "group", "time"), where the inferred one is wrong.
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
        if time_limit is not None and not is_finite_limit(time_limit):
            raise InvalidOptionError(
                must_be("time_limit", "a positive number of seconds or None", time_limit)
            )
        stop = Stop()
        budget = Budget.start(time_limit, stop)
        settings = resolve_config(presets, config)
        path = self._given_path or (self.path if resume and self.path else _fresh_path())
        journal = Journal(path / JOURNAL)
        check_writable(path, overwrite=overwrite or (resume and not journal.is_empty))
        with (
            make_reporter(self.verbosity, reporter=self._reporter) as report,
            stopping_on_signals(stop),
            journal.locked(),
        ):
            prepare_journal(journal, report, resume=resume, overwrite=overwrite)
            table = read_table(train)
            request = FitRequest(
                table, self.label, self.problem_type, self.eval_metric, columns or {}, settings
            )
            request = replace(request, journal=journal)
            self._pipeline, self._record = fit_pipeline(request, budget, report)
            self.path = path
            self.save(path)
            seconds = time.monotonic() - start
            report(FitFinished(self._record.score, seconds, str(path)))
            self.interrupted = stop.signal is not None
        if self.interrupted:
            warnings.warn(_ENDED_EARLY, InterruptedFitWarning, stacklevel=2)
        return self

    def predict(self, data: TableLike, *, on_mismatch: OnMismatch = "raise") -> pd.Series:
        """Return the predicted labels, in the label's dtype, with the data's index.

        Parameters
        ----------
        data : DataFrame or path
            Whatever library the table is from, the result is of pandas.
        on_mismatch : {"raise", "warn", "coerce"}
            What to do where a column that training used is absent, or values can no longer be read
            as its kind: raise an error, or take them as missing, with or without a warning.

        Raises
        ------
        MissingColumnsError, DataError
            With ``on_mismatch="raise"``; names the columns, the first rows and their values.
        """
        pipeline, table = self._fitted(), read_table(data, purpose="predict")
        table = made_to_fit(pipeline.featurizer, table, on_mismatch)
        return self._labels(pipeline.predict(table), table.index)

    def predict_proba(self, data: TableLike, *, on_mismatch: OnMismatch = "raise") -> pd.DataFrame:
        """Return the probability of each class: columns are the class labels, rows the data's.

        Parameters
        ----------
        data : DataFrame or path
        on_mismatch : {"raise", "warn", "coerce"}
            As in `predict`.

        Raises
        ------
        InvalidOptionError
            When the task is a regression.
        """
        pipeline = self._fitted()
        if not pipeline.task.is_classification:
            raise InvalidOptionError(
                "predict_proba must be called on a classification, got a regression; use predict."
            )
        table = read_table(data, purpose="predict")
        table = made_to_fit(pipeline.featurizer, table, on_mismatch)
        return pd.DataFrame(
            pipeline.predict(table), index=table.index, columns=pipeline.codec.classes
        )

    def predict_file(
        self,
        source: str | PathLike[str],
        out: str | PathLike[str],
        *,
        proba: bool = False,
        keep: Sequence[Hashable] = (),
        batch_rows: int | None = None,
    ) -> int:
        """Predict a file that may be larger than memory, to another file, and count its rows.

        Rows keep their order. The output appears when it is complete; a call that was interrupted
        goes on where it was when it is made again.

        Parameters
        ----------
        source : path
            A CSV or Parquet file, or a folder of such files of one kind.
        out : path
            Ends in ``.csv``, ``.csv.gz`` or ``.parquet``; replaced when it exists.
        proba : bool
            Write the probability of each class instead of the label.
        keep : sequence of column names
            Columns of the source to copy.
        batch_rows : int, optional
            Rows in memory at a time; by default 50,000, fewer of a wide table.
        """
        from tabular_automl.deployment.streaming import StreamOptions, predict_stream

        def score(batch: pd.DataFrame) -> pd.DataFrame:
            return self.predict_proba(batch) if proba else self.predict(batch).to_frame()

        read = [c.name for c in self.schema.used if c.kind is not Kind.NUMERIC]
        made_by = f"{saved_as(self.path)} {'probabilities' if proba else 'labels'}"
        options = StreamOptions(tuple(keep), tuple(read), batch_rows, made_by)
        return predict_stream(source, out, score, options)

    def evaluate(self, data: TableLike) -> dict[str, float]:
        """Return the metric, and other usual ones of the task, on labelled data.

        Each figure is in its metric's own direction.
        """
        pipeline = self._fitted()
        table = self._with_label(read_table(data, purpose="predict"))
        return evaluate_predictions(
            pipeline, pipeline.predict(table), table[self.label], self.metric
        )

    def validate(self, data: TableLike) -> ValidationReport:
        """Return how new data departs from the training data.

        Absent and new columns, values that can no longer be read, dtypes, new categories, numbers
        out of range, rates of missing values, and the drift of each column as its population
        stability index. Differences that samples of one source show by chance are not reported.

        Parameters
        ----------
        data : DataFrame or path
            The label may be there or not.

        Returns
        -------
        ValidationReport
            Prints as sentences; ``findings``, ``columns``, ``can_predict`` and ``ok`` are for
            programs.
        """
        pipeline, table = self._fitted(), read_table(data, purpose="predict")
        return validate_table(
            pipeline.featurizer, pipeline.summary, table, expected=[name_key(self.label)]
        )

    def leaderboard(self, data: TableLike | None = None) -> pd.DataFrame:
        """Return one row for the ensemble and each model, best first, the failed and skipped last.

        Scores are greater-is-better. With labelled ``data``, models that predict get a
        ``score_test``.
        """
        pipeline, record = self._fitted(), self._fit_record()
        if data is None:
            return leaderboard_table(record)
        table = self._with_label(read_table(data, purpose="predict"))
        return leaderboard_table(
            record, score_on_test(pipeline, table, table[self.label], self.metric)
        )

    def feature_importance(
        self, data: TableLike, *, n_repeats: int = 5, time_limit: float | None = None
    ) -> pd.DataFrame:
        """Return how much the score drops when a column is shuffled, by original column.

        Parameters
        ----------
        data : DataFrame or path
            Labelled rows, best ones that were not trained on.
        n_repeats : int
            Shuffles of each column; the spread over them is shown.
        time_limit : float, optional
            Seconds; columns that there was no time for are left out.
        """
        pipeline = self._fitted()
        table = self._with_label(read_table(data, purpose="predict"))
        y = read_labels(pipeline, table[self.label])
        # Metrics of labels judge what predict returns, thresholds included.
        by_label = self.metric.reads is Reads.LABEL
        return permutation_importance(
            (lambda rows: pipeline.decide(pipeline.predict(rows)))
            if by_label
            else pipeline.predict,
            table,
            y,
            self.metric,
            columns=[column.name for column in self.schema.used],
            n_repeats=n_repeats,
            budget=Budget.start(time_limit),
        )

    def save(self, path: str | PathLike[str] | None = None, *, overwrite: bool = True) -> Path:
        """Write the predictor to a folder; `fit` has done so already at its own path."""
        state = saved_state(self.label, self._fitted(), self._fit_record())
        target = Path(path) if path is not None else self.path
        if target is None:
            raise InvalidOptionError("path must be given: this predictor has none of its own.")
        check_writable(target, overwrite=overwrite)
        write_artifact(state, target, info={"kind": "predictor", "label": str(self.label)})
        return target

    @classmethod
    def load(
        cls, path: str | PathLike[str], *, verbosity: int = 2, n_jobs: int | None = None
    ) -> Predictor:
        """Load a saved predictor; nothing in the folder is executed.

        Raises
        ------
        ArtifactError
            When a file is missing, changed or added, or the format is newer than this library.
        """
        saved = load_saved(read_artifact(path), Machine.detect(n_jobs).n_cores)
        predictor = cls(saved.label, verbosity=verbosity, path=path)
        predictor.problem_type = saved.pipeline.task.problem_type.value
        predictor._pipeline, predictor._record = saved.pipeline, saved.record
        predictor.eval_metric = saved.record.metric
        return predictor

    def refit(self, train: TableLike) -> Predictor:
        """Return a smaller, faster predictor: each spec of the ensemble fitted once on all rows.

        The rounds and other choices are those that the folds found; nothing is held out, so there
        is no new out-of-fold score. The saved predictor stays as it is until `save` is called.

        Raises
        ------
        DataError
            When the ensemble is a stack of several layers; fit with ``FitConfig(n_layers=1)``.
        """
        pipeline, record = self._fitted(), self._fit_record()
        table = read_table(train)
        refitted = self._copy(refit_pipeline(pipeline, self._with_label(table), self.label), record)
        refitted.path = None
        return refitted

    def compile(
        self, *, max_latency_ms: float | None = None, n_threads: int = 1
    ) -> CompiledPredictor:
        """Return a predictor of single rows, given as dictionaries, without pandas in its path.

        Answers equal those of `predict` and `predict_proba` within 1e-6, unless models are dropped
        for the sake of speed.

        Parameters
        ----------
        max_latency_ms : float, optional
            Drop models until the median of one row is within so many milliseconds, measured here;
            an error when none is as fast. See `latency_report` for what that costs.
        n_threads : int
            Threads that a prediction of many rows may use; one row takes one.
        """
        from tabular_automl.deployment.compiled import compile_pipeline
        from tabular_automl.deployment.pruning import prune_to

        pipeline = self._fitted()
        if max_latency_ms is not None:
            pipeline = prune_to(pipeline, self._fit_record(), max_latency_ms)
        return compile_pipeline(pipeline, n_threads)

    def latency_report(self) -> pd.DataFrame:
        """Return smaller and smaller ensembles with the time of one compiled row and the score.

        From the full ensemble on, each row leaves out the model that loses least for the time it
        saves. Scores are greater-is-better, of weights as they are, on out-of-fold predictions;
        ``on_front`` marks the rows that no other beats in both.
        """
        from tabular_automl.deployment.pruning import latency_table

        return latency_table(self._fitted(), self._fit_record())

    def clone_for_deployment(self, path: str | PathLike[str]) -> Predictor:
        """Save a copy that predicts equally, without out-of-fold predictions, and return it."""
        pipeline, record = self._fitted(), self._fit_record()
        clone = self._copy(pipeline, record.without_oof())
        clone.path = clone.save(path, overwrite=False)
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

    @property
    def schema(self) -> Schema:
        """The kind of each column, with the reason."""
        return self._fitted().featurizer.schema

    @property
    def plan(self) -> str:
        """The plan that the fit followed, as text."""
        return self._fit_record().plan

    @property
    def metric(self) -> Metric:
        """The metric that was optimised."""
        return self._fit_record().metric

    @property
    def classes(self) -> pd.Index | None:
        """The class labels in the order of the probability columns; None for a regression."""
        codec = self._fitted().codec
        return codec.classes if codec.task.is_classification else None

    def oof_predictions(self) -> pd.DataFrame | pd.Series:
        """Return the ensemble's predictions of training rows that its models had not seen.

        Indexed by the rows' positions in the training table without its unlabelled rows.
        """
        pipeline, record = self._fitted(), self._fit_record()
        if not len(record.oof):
            raise NotFittedError("Out-of-fold predictions must be there, got a predictor without.")
        index = pd.Index(record.oof_rows, name="row")
        if pipeline.task.is_classification:
            return pd.DataFrame(record.oof, index=index, columns=pipeline.codec.classes)
        return pd.Series(record.oof[:, 0], index=index, name=self.label)

    def __repr__(self) -> str:
        n_bags = 0 if self._pipeline is None else len(self._pipeline.stack.bags)
        return f"Predictor(label={self.label!r}, {f'{n_bags} bags' if n_bags else 'not fitted'})"

    def _labels(self, prediction: Prediction, index: pd.Index) -> pd.Series:
        pipeline = self._fitted()
        decided = pipeline.decide(prediction)
        if pipeline.task.is_classification:
            return pipeline.codec.labels(decided, index)
        return pipeline.codec.values(decided, index)

    def _with_label(self, table: pd.DataFrame) -> pd.DataFrame:
        if self.label not in table.columns:
            names = [str(column) for column in table.columns]
            raise LabelError(unknown_name("label column", self.label, names))
        return table

    def _fitted(self) -> FittedPipeline:
        if self._pipeline is None:
            raise NotFittedError("The predictor must be fitted first: call fit, or Predictor.load.")
        return self._pipeline

    def _fit_record(self) -> FitRecord:
        self._fitted()
        assert self._record is not None
        return self._record

    def _copy(self, pipeline: FittedPipeline, record: FitRecord) -> Predictor:
        copy = Predictor(self.label, verbosity=self.verbosity, reporter=self._reporter)
        copy.problem_type, copy.eval_metric = pipeline.task.problem_type.value, self.eval_metric
        copy._pipeline, copy._record = pipeline, record
        return copy


def _fresh_path() -> Path:
    """Return a folder name that is free, made of the time."""
    stem = f"predictor-{datetime.now():%Y%m%d-%H%M%S}"
    path, number = Path(stem), 1
    while path.exists():
        number += 1
        path = Path(f"{stem}-{number}")
    return path

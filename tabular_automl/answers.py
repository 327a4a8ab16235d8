"""What a fitted predictor answers."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from os import PathLike
from typing import TYPE_CHECKING

import pandas as pd

from tabular_automl.config import check_integer
from tabular_automl.core.budget import Budget
from tabular_automl.core.errors import (
    InvalidOptionError,
    LabelError,
    must_be,
    unknown_name,
)
from tabular_automl.data.column_names import name_key
from tabular_automl.data.reading import Purpose, TableLike, read_table
from tabular_automl.deployment.few_rows import FewRows
from tabular_automl.facts import Facts
from tabular_automl.fitted import (
    only_copied,
    read_as_text,
    text_label,
)
from tabular_automl.inspection.drift import (
    OnMismatch,
    ValidationReport,
    check_on_mismatch,
    made_to_fit,
    validate_table,
)
from tabular_automl.inspection.evaluation import evaluate_predictions, read_labelled
from tabular_automl.inspection.importance import permutation_importance
from tabular_automl.inspection.intervals import check_coverage, interval_table, set_table
from tabular_automl.inspection.leaderboard import leaderboard_table, score_on_test
from tabular_automl.metrics.base import Reads
from tabular_automl.models.base import Prediction
from tabular_automl.plan import is_finite_limit

if TYPE_CHECKING:
    from tabular_automl.deployment.compiled import CompiledPredictor
    from tabular_automl.deployment.onnx_export import ExportedModel


class Answers(Facts):
    """Predictions, scores and explanations of a fitted pipeline; `Predictor` is what users make."""

    _few_rows: FewRows

    def predict(self, data: TableLike, *, on_mismatch: OnMismatch = "raise") -> pd.Series:
        """Return the predicted labels, in the label's dtype, with the data's index.

        The first call with up to eight rows prepares the models for such calls, for a second or so.

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
        pipeline, table = self._fitted(), self.read(data, "predict")
        table = made_to_fit(pipeline.featurizer, table, on_mismatch)
        quickest = self._few_rows.form_of(pipeline, len(table))
        return self._labels(quickest.predict(table), table.index)

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
        table = self.read(data, "predict")
        table = made_to_fit(pipeline.featurizer, table, on_mismatch)
        probabilities = self._few_rows.form_of(pipeline, len(table)).predict(table)
        return pd.DataFrame(probabilities, index=table.index, columns=pipeline.codec.classes)

    def predict_interval(
        self, data: TableLike, coverage: float = 0.9, *, on_mismatch: OnMismatch = "raise"
    ) -> pd.DataFrame:
        """Return the columns "lower" and "upper", between which the label is as often as asked.

        They come from errors on training rows that the models had not seen: about right for rows
        like those, on average; not for each kind of row, nor where the data drifts. Where those
        rows are too few for the coverage, the ends are as far as a prediction may go.

        Parameters
        ----------
        data : DataFrame or path
        coverage : float
            Between 0 and 1.
        on_mismatch : {"raise", "warn", "coerce"}
            As in `predict`.

        Raises
        ------
        InvalidOptionError
            When the task is a classification.
        NotFittedError
            When the predictor keeps no out-of-fold predictions.
        """
        coverage, pipeline = check_coverage(coverage), self._fitted()
        if pipeline.task.is_classification:
            raise InvalidOptionError(
                "predict_interval must be called on a regression, got classes; use predict_set."
            )
        held_out = self._held_out("predict_interval")
        values = self.predict(data, on_mismatch=on_mismatch)
        return interval_table(pipeline, held_out, values, coverage)

    def predict_set(
        self, data: TableLike, coverage: float = 0.9, *, on_mismatch: OnMismatch = "raise"
    ) -> pd.DataFrame:
        """Return which classes are probable enough that the label is among them as often as asked.

        One column of booleans for each class, as in `predict_proba`. Sure rows have one class,
        doubtful ones several, and those that none fits the most probable one. A label that
        `predict` chose for a metric such as f1 may be absent from its row's set.

        Parameters
        ----------
        data : DataFrame or path
        coverage : float
            Between 0 and 1; see `predict_interval`.
        on_mismatch : {"raise", "warn", "coerce"}
            As in `predict`.

        Raises
        ------
        InvalidOptionError
            When the task is a regression.
        NotFittedError
            When the predictor keeps no out-of-fold predictions.
        """
        coverage, pipeline = check_coverage(coverage), self._fitted()
        if not pipeline.task.is_classification:
            raise InvalidOptionError(
                "predict_set must be called on a classification, got a regression; use "
                "predict_interval."
            )
        held_out = self._held_out("predict_set")
        probabilities = self.predict_proba(data, on_mismatch=on_mismatch)
        return set_table(pipeline, held_out, probabilities, coverage)

    def predict_file(
        self,
        source: str | PathLike[str],
        out: str | PathLike[str],
        *,
        proba: bool = False,
        keep: Sequence[Hashable] = (),
        batch_rows: int | None = None,
        on_mismatch: OnMismatch = "raise",
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
        keep : str or sequence of column names
            Columns of the source to copy, and those of the index of a Parquet file. In a CSV file,
            those that the models do not use stay as they are written, such as 00012.
        batch_rows : int, optional
            Rows in memory at a time; by default 50,000, fewer of a wide table.
        on_mismatch : {"raise", "warn", "coerce"}
            As in `predict`, batch by batch.
        """
        from tabular_automl.deployment.streaming import StreamOptions, predict_stream

        def score(batch: pd.DataFrame) -> pd.DataFrame:
            if proba:
                return self.predict_proba(batch, on_mismatch=on_mismatch)
            predicted = self.predict(batch, on_mismatch=on_mismatch)
            return (predicted.map(str) if are_mixed else predicted).to_frame()

        check_on_mismatch(on_mismatch)  # before anything is written
        pipeline = self._fitted()
        are_mixed = pipeline.codec.has_mixed_classes  # a column of a file has one type
        keep = (keep,) if isinstance(keep, str) else tuple(dict.fromkeys(keep))
        options = StreamOptions(
            keep=keep,
            as_text=(*read_as_text(pipeline.featurizer), *text_label(pipeline, self.label)),
            copied=only_copied(pipeline, self.label, keep),
            batch_rows=batch_rows,
            made_by=f"{self._saved_as} {'probabilities' if proba else 'labels'} {on_mismatch}",
        )
        return predict_stream(source, out, score, options)

    def evaluate(self, data: TableLike, *, on_mismatch: OnMismatch = "raise") -> dict[str, float]:
        """Return the metric, and other usual ones of the task, on labelled data.

        Each figure is in its metric's own direction. Where the data has the column of weights that
        the fit was given, rows count by it, as they do in the scores of the leaderboard.

        Parameters
        ----------
        data : DataFrame or path
        on_mismatch : {"raise", "warn", "coerce"}
            As in `predict`.
        """
        pipeline, table = self._fitted(), self._with_label(self.read(data, "evaluate"))
        table = made_to_fit(pipeline.featurizer, table, on_mismatch)
        rows = read_labelled(pipeline, table, self.label)
        return evaluate_predictions(pipeline, pipeline.predict(table), rows, self.metric)

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
        pipeline, table = self._fitted(), self.read(data, "predict")
        return validate_table(
            pipeline.featurizer, pipeline.summary, table, expected=[name_key(self.label)]
        )

    def leaderboard(
        self, data: TableLike | None = None, *, on_mismatch: OnMismatch = "raise"
    ) -> pd.DataFrame:
        """Return one row for the ensemble and each model, best first, the failed and skipped last.

        Scores are greater-is-better.

        Parameters
        ----------
        data : DataFrame or path, optional
            Labelled rows: models that predict get a ``score_test`` on them, weighted as in
            `evaluate`.
        on_mismatch : {"raise", "warn", "coerce"}
            As in `predict`.
        """
        pipeline, record = self._fitted(), self._fit_record()
        if data is None:
            return leaderboard_table(record)
        table = self._with_label(self.read(data, "evaluate"))
        table = made_to_fit(pipeline.featurizer, table, on_mismatch)
        rows = read_labelled(pipeline, table, self.label)
        return leaderboard_table(record, score_on_test(pipeline, rows, self.metric))

    def feature_importance(
        self,
        data: TableLike,
        *,
        n_repeats: int = 5,
        time_limit: float | None = None,
        on_mismatch: OnMismatch = "raise",
    ) -> pd.DataFrame:
        """Return how much the score drops when a column is shuffled, by original column.

        Parameters
        ----------
        data : DataFrame or path
            Labelled rows, best ones that were not trained on; weighted as in `evaluate`.
        n_repeats : int
            Shuffles of each column; the spread over them is shown.
        time_limit : float, optional
            Seconds; columns that there was no time for are left out.
        on_mismatch : {"raise", "warn", "coerce"}
            As in `predict`.
        """
        check_integer("n_repeats", n_repeats, 1)
        check_time_limit(time_limit)
        pipeline, table = self._fitted(), self._with_label(self.read(data, "evaluate"))
        table = made_to_fit(pipeline.featurizer, table, on_mismatch)
        # Metrics of labels judge what predict returns, thresholds included.
        by_label = self.metric.reads is Reads.LABEL
        return permutation_importance(
            (lambda rows: pipeline.decide(pipeline.predict(rows)))
            if by_label
            else pipeline.predict,
            read_labelled(pipeline, table, self.label),
            self.metric,
            columns=[column.name for column in self.schema.used],
            n_repeats=n_repeats,
            budget=Budget.start(time_limit),
        )

    def compile(
        self, *, max_latency_ms: float | None = None, n_threads: int = 1
    ) -> CompiledPredictor:
        """Return a predictor of single rows, given as dictionaries.

        Answers equal those of `predict` and `predict_proba` within 1e-6, unless models are dropped
        for the sake of speed. Up to 64 rows at once no pandas is in its path, except for columns of
        texts and of images, and for values of unusual types and dates of unusual forms.

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
        saves; the last rows are of quick models that were kept beside the ensemble, each alone.
        Scores are greater-is-better, of weights as they are, on out-of-fold predictions;
        ``on_front`` marks the rows that no other beats in both.
        """
        from tabular_automl.deployment.pruning import latency_table

        return latency_table(self._fitted(), self._fit_record())

    def export_onnx(
        self,
        path: str | PathLike[str],
        *,
        data: TableLike | None = None,
        without: Sequence[str] = (),
    ) -> ExportedModel:
        """Write the predictor's whole answer as an ONNX model, for runtimes without Python.

        Each used column is an input with a value for each row: float64 for numbers and for times
        in seconds since 1970 (NaN is missing), text for categories (empty is missing, ``"True"``
        and ``"False"`` for booleans).
        The output ``prediction`` holds the labels or values, ``probabilities`` those of the
        classes. Before anything is written, onnxruntime's answers are compared with the
        predictor's; ``<path>.parity.json`` tells on how many rows, and the largest difference.

        Parameters
        ----------
        path : path
            Ends in ``.onnx``; replaced when it exists.
        data : DataFrame or path, optional
            Up to 1,000 of its rows are compared; by default, rows drawn like the columns of
            training.
        without : sequence of str
            Keys of models to leave out, as `leaderboard` has them, and with them those of a second
            layer that read one; the weights of the others are scaled to sum 1.

        Raises
        ------
        ExportError
            When a column or a model cannot be converted, or answers differ by more than 1e-4 (of a
            probability, or of the label's standard deviation).
        MissingDependencyError
            When onnx or onnxruntime is not installed.
        """
        from tabular_automl.deployment.onnx_export import export_pipeline

        table = None if data is None else self.read(data, "predict")
        return export_pipeline(self._fitted(), path, table, without)

    def _labels(self, prediction: Prediction, index: pd.Index) -> pd.Series:
        pipeline = self._fitted()
        decided = pipeline.decide(prediction)
        if pipeline.task.is_classification:
            return pipeline.codec.labels(decided, index)
        return pipeline.codec.values(decided, index)

    def read(
        self, data: TableLike, purpose: Purpose = "predict", *, as_text: Sequence[Hashable] = ()
    ) -> pd.DataFrame:
        """Return a table, the columns of a file as text where those of training were text.

        Parameters
        ----------
        data : DataFrame or path
        purpose : {"train", "evaluate", "predict"}
            To predict, a table may have no rows.
        as_text : sequence of column names
            Columns of a file that stay as they are written where no model uses them, such as ids.
        """
        pipeline = self._fitted()
        if not isinstance(data, (str, PathLike)):
            return read_table(data, purpose=purpose)
        as_text = (
            *read_as_text(pipeline.featurizer, pipeline.summary),
            *text_label(pipeline, self.label),
            *only_copied(pipeline, self.label, as_text),
        )
        has_none = pipeline.task.is_classification and "None" in pipeline.codec.classes
        label = self.label if has_none else None
        return read_table(data, purpose=purpose, as_text=as_text, label=label)

    def _with_label(self, table: pd.DataFrame) -> pd.DataFrame:
        if self.label not in table.columns:
            raise LabelError(unknown_name("label column", self.label, table.columns))
        return table


def check_time_limit(value: object) -> None:
    """Raise unless ``value`` is None or a positive, finite number of seconds.

    Raises
    ------
    InvalidOptionError
    """
    if value is not None and not is_finite_limit(value):
        expected = "a positive number of seconds or None"
        raise InvalidOptionError(must_be("time_limit", expected, value))

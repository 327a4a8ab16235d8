"""What a fit leaves: the pipeline that predicts, and the record of how it came about."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tabular_automl.artifacts.state import State
from tabular_automl.data.schema import Kind
from tabular_automl.data.table import FeatureTable
from tabular_automl.data.task import TargetCodec, Task
from tabular_automl.encoders.featurizer import Featurizer
from tabular_automl.encoders.summary import TableSummary
from tabular_automl.ensemble.calibration import DecisionRule, Temperature
from tabular_automl.ensemble.held_out import HeldOut
from tabular_automl.ensemble.stack import FittedStack
from tabular_automl.ensemble.weights import blend
from tabular_automl.metrics.base import Metric
from tabular_automl.models.base import Prediction

# What pandas calls dtypes of numbers and of truth values, masked, Arrow's and sparse ones too.
_NO_TEXT = re.compile(
    r"(?:sparse\[)?(?:u?int|float|halffloat|double|bool(?:ean)?)\d*\b", re.IGNORECASE
)


@dataclass(frozen=True)
class FittedPipeline:
    """Everything that a prediction needs.

    Attributes
    ----------
    codec : TargetCodec
    featurizer : Featurizer
    stack : FittedStack
    temperature : Temperature or None
        Calibrates class probabilities.
    rule : DecisionRule or None
        Turns probabilities into a class in the metric's sense; None takes the most probable.
    summary : TableSummary or None
        What the training columns held; older artifacts have none.
    """

    codec: TargetCodec
    featurizer: Featurizer
    stack: FittedStack
    temperature: Temperature | None = None
    rule: DecisionRule | None = None
    summary: TableSummary | None = field(default=None, repr=False)

    @property
    def task(self) -> Task:
        """What is predicted."""
        return self.codec.task

    def predict(self, table: pd.DataFrame) -> Prediction:
        """Return class probabilities, or values in the user's units: (n_samples, n_outputs)."""
        return self.combine(self.predict_each(table))

    def predict_each(self, table: pd.DataFrame) -> dict[str, Prediction]:
        """Return each bag's prediction in the user's units, by key."""
        return self.predict_each_of(self.featurizer.transform(table))

    def predict_each_of(self, features: FeatureTable) -> dict[str, Prediction]:
        """Return what `predict_each` does, for rows that the featurizer has read."""
        return {key: self._decode(out) for key, out in self.stack.outputs(features).items()}

    def combine(self, predictions: Mapping[str, Prediction]) -> Prediction:
        """Return the ensemble's prediction from those of its bags."""
        weights = self.stack.weights
        mean = blend([predictions[key] for key in weights], np.array(list(weights.values())))
        return mean if self.temperature is None else self.temperature.apply(mean)

    def decide(self, prediction: Prediction) -> npt.NDArray[Any]:
        """Return class codes or values, shape (n_samples,)."""
        if not self.task.is_classification:
            return prediction[:, 0]
        return prediction.argmax(axis=1) if self.rule is None else self.rule.decide(prediction)

    def _decode(self, output: Prediction) -> Prediction:
        if self.task.is_classification:
            return output
        return self.codec.decode(output).reshape(-1, 1)

    def state(self) -> State:
        """Return the parts' states."""
        children = {
            "codec": self.codec.state(),
            "featurizer": self.featurizer.state(),
            "stack": self.stack.state(),
        }
        if self.temperature is not None:
            children["temperature"] = self.temperature.state()
        if self.rule is not None:
            children["rule"] = self.rule.state()
        if self.summary is not None:
            children["summary"] = self.summary.state()
        return State(children=children)

    @classmethod
    def from_state(cls, state: State, n_threads: int) -> FittedPipeline:
        """Build the pipeline again."""
        parts = state.children
        codec = TargetCodec.from_state(parts["codec"])
        stack = FittedStack.from_state(parts["stack"], n_threads)
        bags = (*stack.bags, *stack.spares)
        tasks = {fitted.model.setting.task for bag in bags for fitted in bag.models}
        state.require(tasks <= {codec.task}, "stack", f"predict a {codec.task}")
        return cls(
            codec=codec,
            featurizer=Featurizer.from_state(parts["featurizer"]),
            stack=stack,
            temperature=(
                Temperature.from_state(parts["temperature"]) if "temperature" in parts else None
            ),
            rule=(
                DecisionRule.from_state(parts["rule"], codec.task.n_classes)
                if "rule" in parts
                else None
            ),
            summary=TableSummary.from_state(parts["summary"]) if "summary" in parts else None,
        )


@dataclass(frozen=True)
class FitRecord:
    """What a fit showed, for the user to read back.

    Attributes
    ----------
    metric : Metric
    plan : str
        The plan as text.
    models : tuple of dict
        One row for each spec: the leaderboard.
    score : float
        The ensemble's out-of-fold score; greater is better.
    oof_rows : ndarray of int
        Positions of the validated rows among the rows that have a label.
    oof : ndarray of shape (n_validated, n_outputs)
        The ensemble's out-of-fold predictions.
    held_out : HeldOut or None
        Those of its bags, of a sample of the rows.
    """

    metric: Metric
    plan: str
    models: tuple[Mapping[str, Any], ...]
    score: float
    oof_rows: npt.NDArray[np.intp] = field(repr=False)
    oof: Prediction = field(repr=False)
    held_out: HeldOut | None = field(default=None, repr=False)

    def without_oof(self) -> FitRecord:
        """Return the record without the out-of-fold predictions, for a copy that only predicts."""
        return replace(self, oof_rows=self.oof_rows[:0], oof=self.oof[:0], held_out=None)


def text_label(pipeline: FittedPipeline, label: Hashable) -> tuple[Hashable, ...]:
    """Return the label where it stays as it is written.

    So do classes that are texts, and numbers with a decimal comma, as `read_as_text` does.
    """
    codec = pipeline.codec
    if not pipeline.task.is_classification:
        return (label,) if codec.mark != "." else ()
    return (label,) if all(isinstance(each, str) for each in codec.classes) else ()


def only_copied(
    pipeline: FittedPipeline, label: Hashable, names: Sequence[Hashable]
) -> tuple[Hashable, ...]:
    """Return those of the names that are neither of features nor the label."""
    used = {label, *(column.name for column in pipeline.featurizer.schema.used)}
    return tuple(name for name in names if name not in used)


def read_as_text(
    featurizer: Featurizer, summary: TableSummary | None = None
) -> tuple[Hashable, ...]:
    """Return the columns of a text file whose values must stay as they are written.

    Those of numbers with a decimal comma belong to them: a batch may hold only values such as
    "1.234", which would become another number. Columns that ``summary`` knows to have held no text
    in training are left out: a whole file of such values reads as it did then.
    """
    encoders = featurizer.encoders
    dtypes = {} if summary is None else {name: c.dtype for name, c in summary.columns.items()}
    return tuple(
        column.name
        for column in featurizer.schema.used
        if (column.kind is not Kind.NUMERIC or getattr(encoders[column.name], "mark", ".") != ".")
        and not _NO_TEXT.match(dtypes.get(column.name, ""))
    )

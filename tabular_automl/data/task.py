"""What is predicted: the task, and the codec between the user's labels and the models' target."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ProblemType(StrEnum):
    """The kinds of task, by the names users write."""

    BINARY = "binary"
    MULTICLASS = "multiclass"
    REGRESSION = "regression"


@dataclass(frozen=True)
class Task:
    """What is predicted, as the models see it.

    Attributes
    ----------
    problem_type : ProblemType
    n_classes : int
        Number of classes; 0 for regression.
    """

    problem_type: ProblemType
    n_classes: int = 0

    @property
    def is_classification(self) -> bool:
        """Whether the target is a class."""
        return self.problem_type is not ProblemType.REGRESSION

    @property
    def n_outputs(self) -> int:
        """Columns of a model's prediction: one probability for each class, or one value."""
        return self.n_classes if self.is_classification else 1

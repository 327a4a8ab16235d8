from __future__ import annotations

import numpy as np
import pytest

from tabular_automl.extend import ProblemType, Samples, Task
from tests.text_ext.conftest import reviews, setting, text_table
from text_ext.design import Design, Reading
from text_ext.linear import TextLinear
from text_ext.losses import LinearProblem

TASKS = [
    Task(ProblemType.BINARY, 2),
    Task(ProblemType.MULTICLASS, 3),
    Task(ProblemType.REGRESSION),
]


@pytest.mark.parametrize("loss", ["usual", "absolute_error", "quantile_0.9"])
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.problem_type.value)
def test_the_slope_is_that_of_the_loss(task: Task, loss: str) -> None:
    if task.is_classification and loss != "usual":
        loss = "log_loss"
    rng = np.random.default_rng(0)
    texts, _ = reviews(60)
    table = text_table(texts, rng.normal(size=60))
    y = rng.integers(task.n_classes, size=60) if task.is_classification else rng.normal(size=60)
    samples = Samples(table, y, rng.uniform(0.5, 1.5, size=60))
    design = Design.of(table, Reading.of(table), [(table.numeric, 2.0)], 1000)
    folds = [samples.take(np.arange(40)), samples.take(np.r_[10:60, 10:20])]
    kind = setting(task) if loss == "usual" else setting(task).__class__(task, loss)
    problem = LinearProblem(design, folds, kind, TextLinear.Params())
    position = 0.1 * rng.normal(size=problem.shape)
    losses, slope = problem.objective(position, 0.7)
    direction = rng.normal(size=problem.shape)
    ahead, _ = problem.objective(position + 1e-3 * direction, 0.7)
    behind, _ = problem.objective(position - 1e-3 * direction, 0.7)
    assert losses.shape == (2,)
    expected = (direction * slope).sum(axis=(0, 2))
    assert (ahead - behind) / 2e-3 == pytest.approx(expected, rel=2e-2, abs=0.05)

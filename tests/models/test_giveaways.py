"""What tells the label alone is named; what only helps is not."""

import numpy as np
import pytest

from tabular_automl import FitConfig, Predictor
from tabular_automl.core.budget import Budget
from tabular_automl.core.events import Note
from tabular_automl.data.table import FeatureTable, Samples
from tabular_automl.data.task import ProblemType, Task
from tabular_automl.models.giveaways import giveaways

BINARY = Task(ProblemType.BINARY, 2)
MULTICLASS = Task(ProblemType.MULTICLASS, 4)
REGRESSION = Task(ProblemType.REGRESSION)


def samples(y, numeric=None, codes=None):
    empty = np.empty((len(y), 0))
    numeric = empty if numeric is None else np.column_stack(numeric)
    codes = empty if codes is None else np.column_stack(codes)
    table = FeatureTable(
        numeric.astype(np.float32),
        codes.astype(np.int32),
        tuple(f"n{i}" for i in range(numeric.shape[1])),
        tuple(f"c{i}" for i in range(codes.shape[1])),
        (9,) * codes.shape[1],
    )
    return Samples(table, y)


@pytest.mark.parametrize("task", [BINARY, MULTICLASS], ids=lambda task: task.problem_type.value)
def test_what_tells_the_class_of_nearly_every_row_is_named(task):
    rng = np.random.default_rng(0)
    y = rng.integers(0, task.n_classes, 1_000)
    noise, helps = rng.normal(size=1_000), y + rng.normal(0.0, 0.4, 1_000)
    exact = np.array([3, 1, 0, 2])[y] + rng.uniform(0.0, 0.9, 1_000)  # in another order
    gappy = np.where(y == 1, np.nan, y + 1.0)
    codes = np.where(rng.random(1_000) < 0.001, 0, y) + 2
    found = giveaways(
        samples(y, [noise, helps, exact, gappy], [codes]), task, 0, Budget.unlimited()
    )
    assert found == ["n2", "n3", "c0"]


def test_what_has_the_order_of_the_values_is_named():
    rng = np.random.default_rng(0)
    y = rng.normal(size=500)
    numeric = [np.exp(-y), y + rng.normal(0.0, 0.05, 500), np.ones(500), np.full(500, np.nan)]
    assert giveaways(samples(y, numeric), REGRESSION, 0, Budget.unlimited()) == ["n0"]


def test_too_few_rows_tell_nothing():
    y = np.arange(60) % 2
    assert giveaways(samples(y, [y]), BINARY, 0, Budget.unlimited()) == []
    rare = (np.arange(500) < 8).astype(int)
    assert giveaways(samples(rare, [rare]), BINARY, 0, Budget.unlimited()) == []


def test_no_time_is_taken_that_is_not_there():
    y = np.arange(500) % 2
    assert giveaways(samples(y, [y]), BINARY, 0, Budget.start(0.0)) == []


def test_a_fit_says_which_column_it_is(tmp_path, binary_table):
    events = []
    table = binary_table.assign(refunded=np.where(binary_table["y"] == "yes", "no", "since May"))
    config = FitConfig(max_specs=1, n_folds=2, families=("linear",))
    Predictor("y", path=tmp_path / "p", reporter=events.append).fit(table, config=config)
    notes = [event.text for event in events if isinstance(event, Note)]
    told = [note for note in notes if "alone tells the label" in note]
    assert len(told) == 1
    assert "columns={'refunded': 'ignored'}" in told[0]

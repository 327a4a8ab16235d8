import pytest

from tabular_automl.data.task import ProblemType, Task
from tabular_automl.models.base import MODELS
from tabular_automl.models.portfolio import PORTFOLIO, Entry

TASKS = [Task(ProblemType.BINARY, 2), Task(ProblemType.MULTICLASS, 7), Task(ProblemType.REGRESSION)]


@pytest.mark.parametrize("entry", PORTFOLIO, ids=lambda entry: entry.key)
def test_every_entry_is_a_valid_spec_of_a_known_family(entry):
    spec = entry.spec()
    assert spec.family in MODELS
    assert spec.key == entry.key
    assert entry.cost > 0


def test_keys_are_unique():
    keys = [entry.key for entry in PORTFOLIO]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.problem_type.value)
@pytest.mark.parametrize("n_rows", [10, 3_000, 100_000, 50_000_000])
def test_every_table_has_several_candidates(task, n_rows):
    assert sum(entry.suits(task, n_rows) for entry in PORTFOLIO) >= 2


def test_bounds_of_rows_classes_and_tasks_are_kept():
    entry = Entry("k", "prior", min_rows=10, max_rows=20, max_classes=3, tasks=("multiclass",))
    many, few = Task(ProblemType.MULTICLASS, 4), Task(ProblemType.MULTICLASS, 3)
    assert entry.suits(few, 10)
    assert not entry.suits(few, 9)
    assert not entry.suits(few, 21)
    assert not entry.suits(many, 10)
    assert not entry.suits(Task(ProblemType.REGRESSION), 10)

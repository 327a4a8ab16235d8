import numpy as np
import pytest

from tabular_automl.data.table import FeatureTable, Samples
from tabular_automl.data.task import ProblemType, Task
from tabular_automl.models import idle_topics as module
from tabular_automl.models.idle_topics import idle_topics

REGRESSION = Task(ProblemType.REGRESSION)
BINARY = Task(ProblemType.BINARY, 2)
TASKS = [REGRESSION, BINARY, Task(ProblemType.MULTICLASS, 4)]
N_TOPICS = 12
TOPICS = {7: np.arange(2, 2 + N_TOPICS), 9: np.arange(2 + N_TOPICS, 2 + 2 * N_TOPICS)}


def samples_of(task, told_by, n_rows=400, seed=0):
    """Two features and two blocks of topics; the target follows a feature and another column."""
    rng = np.random.default_rng(seed)
    numeric = rng.normal(size=(n_rows, 2 + 2 * N_TOPICS)).astype(np.float32)
    names = tuple(f"x{i}" for i in range(numeric.shape[1]))
    table = FeatureTable(numeric, np.zeros((n_rows, 1), np.int32), names, ("k",), (3,))
    y = numeric[:, 0] + numeric[:, told_by] + 0.5 * rng.normal(size=n_rows)
    if task.is_classification:
        cuts = np.quantile(y, np.linspace(0, 1, task.n_classes + 1)[1:-1])
        return Samples(table, np.searchsorted(cuts, y).astype(np.int64))
    return Samples(table, (y - y.mean()) / y.std())


def found(samples, task, topics=TOPICS):
    return idle_topics(samples, task, topics, seed=0, n_threads=1)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.problem_type)
@pytest.mark.parametrize("seed", range(3))
def test_topics_that_the_target_follows_stay_and_noise_goes(task, seed):
    assert found(samples_of(task, told_by=5, seed=seed), task) == [9]
    assert found(samples_of(task, told_by=20, seed=seed), task) == [7]


def test_a_few_extreme_targets_do_not_decide():
    samples = samples_of(REGRESSION, told_by=5)
    samples.y[:3] = 1e6
    assert found(samples, REGRESSION) == [9]


def test_rows_without_weight_do_not_count():
    samples = samples_of(REGRESSION, told_by=5)
    other = samples_of(REGRESSION, told_by=20, seed=1)
    both = FeatureTable(
        np.vstack([samples.table.numeric, other.table.numeric]),
        np.vstack([samples.table.codes, other.table.codes]),
        samples.table.numeric_names,
        samples.table.code_names,
        samples.table.n_levels,
    )
    weight = np.repeat([2.0, 0.0], len(samples))
    weighed = Samples(both, np.concatenate([samples.y, other.y]), weight)
    assert found(weighed, REGRESSION) == [9]


def test_classes_of_one_row_are_no_obstacle():
    task = Task(ProblemType.MULTICLASS, 4)
    samples = samples_of(task, told_by=5)
    samples.y[:] = np.minimum(samples.y, 1)
    samples.y[[0, 1, 2]] = 2, 3, 3
    assert found(samples, task) == [9]


def test_folds_that_train_on_one_class_are_no_obstacle():
    samples = samples_of(BINARY, told_by=5)
    samples.y[:] = 0
    samples.y[0] = 1
    assert set(found(samples, BINARY)) <= {7, 9}


def test_all_stay_where_nothing_can_be_told(monkeypatch):
    samples = samples_of(REGRESSION, told_by=1)
    assert found(samples, REGRESSION) == [7, 9]
    assert found(samples, REGRESSION, topics={}) == []
    assert found(samples.take(np.arange(50)), REGRESSION) == []
    only_topics = Samples(
        FeatureTable(samples.table.numeric, np.empty((400, 0), np.int32), ("a",) * 26), samples.y
    )
    assert found(only_topics, REGRESSION, topics={0: np.arange(26)}) == []
    for name, most in (("ROWS", 399), ("MOST_FEATURES", 26)):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, most)
            assert found(samples, REGRESSION) == []


def test_the_number_of_threads_does_not_matter():
    samples = samples_of(BINARY, told_by=5)
    assert idle_topics(samples, BINARY, TOPICS, seed=0, n_threads=2) == found(samples, BINARY)

from functools import partial

import numpy as np
import pytest

from tabular_automl.data.folds import make_folds
from tabular_automl.data.table import FeatureTable, Samples
from tabular_automl.data.task import ProblemType, Task
from tabular_automl.models import idle_topics as module
from tabular_automl.models.idle_topics import N_FOLDS, idle_topics

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


def found(samples, task, topics=TOPICS, n_workers=1, **roles):
    folds = partial(make_folds, task, samples.y, n_folds=N_FOLDS, seed=0, **roles)
    how = {"groups": roles.get("groups"), "seed": 0, "n_workers": n_workers}
    return idle_topics(samples, task, folds, topics, **how)


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


def test_topics_that_tell_of_one_class_among_many_stay():
    task = Task(ProblemType.MULTICLASS, 10)
    samples = samples_of(task, told_by=0, n_rows=1000)
    rng = np.random.default_rng(1)
    samples.y[:] = rng.integers(0, 10, len(samples))
    own = rng.random(len(samples)) < 0.5
    samples.table.numeric[(samples.y == 3) & own, 4] += 2.0
    assert found(samples, task) == [9]


def test_missing_and_equal_topics_are_no_obstacle():
    samples = samples_of(REGRESSION, told_by=5)
    samples.table.numeric[::7, 3] = np.nan
    samples.table.numeric[:, 4] = samples.table.numeric[:, 3]
    assert found(samples, REGRESSION) == [9]


def test_what_only_the_earliest_rows_tell_is_of_no_use_later():
    samples = samples_of(REGRESSION, told_by=5, n_rows=600)
    rows = np.arange(600)
    assert found(samples, REGRESSION, time=rows) == [9]
    samples.y[300:] -= samples.table.numeric[300:, 5] / 1.5  # which the target was divided by
    assert found(samples, REGRESSION, time=rows) == [7, 9]


def test_rows_of_a_group_are_one_witness():
    samples = samples_of(REGRESSION, told_by=5, n_rows=1200)
    groups = np.arange(1200) // 6
    of_group = np.random.default_rng(3).normal(size=(200, 1 + N_TOPICS))[groups]
    samples.table.numeric[:, TOPICS[9]] = of_group[:, 1:]  # the patient's name
    samples.y[:] += of_group[:, 0]  # and how the patient is, of which the name tells nothing
    assert found(samples, REGRESSION) == []
    assert found(samples, REGRESSION, groups=groups) == [9]


def test_all_stay_where_nothing_can_be_told(monkeypatch):
    samples = samples_of(REGRESSION, told_by=1)
    assert found(samples, REGRESSION) == [7, 9]
    assert found(samples, REGRESSION, topics={}) == []
    assert found(samples.take(np.arange(50)), REGRESSION) == []
    assert found(samples_of(Task(ProblemType.MULTICLASS, 11), 1), REGRESSION) != []
    assert (
        found(samples_of(Task(ProblemType.MULTICLASS, 11), 1), Task(ProblemType.MULTICLASS, 11))
        == []
    )
    numbers = FeatureTable(samples.table.numeric, np.empty((400, 0), np.int32), ("a",) * 26)
    assert found(Samples(numbers, samples.y), REGRESSION, topics={0: np.arange(26)}) == []
    for name, most in (("_MOST_ROWS", 399), ("_MOST_CELLS", 1199)):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, most)
            assert found(samples, REGRESSION) == []
            patch.setattr(module, name, most + 1)
            assert found(samples, REGRESSION) == [7, 9]


def test_the_number_of_workers_does_not_matter():
    for task in TASKS:
        samples = samples_of(task, told_by=5)
        folds = make_folds(task, samples.y, n_folds=N_FOLDS, seed=0)
        one, two = (module._unexplained(samples, task, folds, 0, n) for n in (1, 2))
        np.testing.assert_array_equal(one, two)


def test_few_groups_are_not_asked():
    rows = np.arange(1200)
    several = [samples_of(REGRESSION, told_by=5, n_rows=1200, seed=seed) for seed in range(4)]
    for n_groups in (5, 47):
        assert found(several[0], REGRESSION, groups=rows % n_groups) == []
    # Of noise, one in some thirty looks like more.
    answers = [found(each, REGRESSION, groups=rows % 300) for each in several]
    assert answers.count([9]) >= 3

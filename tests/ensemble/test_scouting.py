import numpy as np
import pytest

from tabular_automl.core.budget import Budget
from tabular_automl.core.parallel import Machine
from tabular_automl.data.folds import Folds
from tabular_automl.ensemble.scouting import ScoutedFolds, Scouting, can_scout, look_sizes


class Request:
    """What is looked at of a request for a layer, and for a bag; it is its own judge."""

    def __init__(self, folds, n_cores=2, key="bag", rows_to_judge=0):
        self.folds, self.machine, self.key = folds, Machine(n_cores, 10**9), key
        self.judge, self.rows_to_judge = self, rows_to_judge

    def can_judge(self, rows):
        return len(rows) >= self.rows_to_judge


def folds_of(train_sizes, valid_size=2_000):
    train = tuple(np.arange(size) for size in train_sizes)
    valid = tuple(np.arange(valid_size) for _ in train_sizes)
    return Folds(train, valid, "made up")


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (Request(folds_of([9_000] * 4)), True),
        (Request(folds_of([9_000] * 2)), False),
        (Request(folds_of([9_000])), False),
        (Request(folds_of([9_000] * 4), n_cores=4), False),
        (Request(folds_of([1_000, 2_000, 3_000, 4_000])), False),
        (Request(folds_of([9_000] * 4, valid_size=200)), False),
    ],
    ids=["folds", "one wave", "holdout", "many cores", "in time order", "few rows"],
)
def test_scouts_where_it_leaves_folds_and_tells_enough(request_, expected):
    assert can_scout(request_, Budget.start(60)) is expected
    assert not can_scout(request_, Budget.unlimited())


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (Request(folds_of([9_000] * 8)), [2, 4]),
        (Request(folds_of([9_000] * 6)), [2, 4]),
        (Request(folds_of([9_000] * 8), n_cores=3), [3, 6]),
        (Request(folds_of([9_000] * 8, valid_size=700)), [4]),
        (Request(folds_of([9_000] * 8), rows_to_judge=5_000), [4]),
        (Request(folds_of([9_000] * 4), n_cores=1), [2]),
        (Request(folds_of([9_000] * 4), n_cores=4), []),
        (Request(folds_of([9_000])), []),
        (Request(folds_of([1_000, 2_000, 3_000, 4_000])), []),
    ],
    ids=[
        "waves",
        "no power",
        "cores",
        "few rows",
        "few classes",
        "one core",
        "one wave",
        "holdout",
        "in time",
    ],
)
def test_looks_double_their_waves_and_tell_enough(request_, expected):
    assert look_sizes(request_, Budget.start(60)) == expected
    assert look_sizes(request_, Budget.unlimited()) == []


class Behind:
    """A memory of an earlier fit, which knows one fold."""

    def __init__(self):
        self.told = []

    def holds(self, request):
        return False

    def recall(self, request):
        return {3: "from before"}

    def record(self, request, folds):
        self.told.append(dict(folds))


def test_kept_folds_come_back_once_beside_those_of_an_earlier_fit():
    behind = Behind()
    memory, request = ScoutedFolds(behind), Request(None)
    Scouting(memory).record(request, {0: "a", 1: "b"})
    assert behind.told == [{0: "a", 1: "b"}]
    assert memory.recall(request) == {0: "a", 1: "b", 3: "from before"}
    assert memory.recall(request) == {3: "from before"}


def test_forgotten_folds_do_not_come_back():
    memory, request = ScoutedFolds(None), Request(None)
    memory.keep(request, {0: "a"})
    memory.forget("bag")
    memory.forget("never kept")
    assert memory.recall(request) == {}
    assert not memory.holds(request)


class Popping(Behind):
    """A memory that gives a fold once only, as that of a journal does."""

    def __init__(self):
        super().__init__()
        self.known = {0: "from before"}

    def recall(self, request):
        known, self.known = self.known, {}
        return known


def test_what_an_earlier_fit_finished_stays_known_for_the_whole_bag():
    behind = Popping()
    memory, request = ScoutedFolds(behind), Request(None)
    assert Scouting(memory).recall(request) == {0: "from before"}
    assert memory.recall(request) == {0: "from before"}
    assert behind.told == []  # it is in the journal already

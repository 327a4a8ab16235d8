from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tabular_automl.artifacts.state import State
from tabular_automl.core.budget import Budget
from tabular_automl.core.errors import ArtifactError, DataError, OutOfTimeError
from tabular_automl.data.table import FeatureTable, Samples
from tabular_automl.data.task import ProblemType, Task
from tabular_automl.models import boosting
from tabular_automl.models.boosting import (
    Outputs,
    Progress,
    check_can_boost,
    quickest_threads,
    rounds_at_most,
)
from tests.clocks import FakeClock

MULTICLASS = Task(ProblemType.MULTICLASS, 4)
REGRESSION = Task(ProblemType.REGRESSION)
FIELDS = {"n_outputs": 4, "known": [0, 2], "floor": 0.01, "value": None}  # of `Outputs`


def rows(n_rows: int) -> FeatureTable:
    numeric = np.arange(n_rows, dtype=np.float32)[:, None]
    return FeatureTable(numeric, np.empty((n_rows, 0), dtype=np.int32), ("x",))


def progress(n_rounds: int = 1000, n_samples: int = 50_000, **changes: object) -> Progress:
    options = {"budget": Budget.unlimited(), "is_refit": False} | changes
    return Progress(n_rounds, 0.05, n_samples, **options)  # type: ignore[arg-type]


def run(follower: Progress, losses: list[float]) -> int:
    for loss in losses:
        if follower.stops():
            break
        follower.record(loss)
    return follower.round


def test_absent_classes_get_a_small_probability_and_rows_sum_to_one() -> None:
    samples = Samples(rows(3), np.array([0, 2, 2]))
    outputs = Outputs.of(samples, MULTICLASS)
    prediction = outputs.decode(np.array([0.25, 1.0]), 2)
    assert outputs.known == (0, 2)
    assert prediction.shape == (2, 4)
    np.testing.assert_allclose(prediction.sum(axis=1), 1.0)
    np.testing.assert_allclose(prediction[:, [1, 3]], 1 / (4 * 4))
    assert prediction[0, 0] == pytest.approx(0.75 * (1 - 2 / 16))


def test_encode_drops_rows_of_absent_classes_and_numbers_the_rest() -> None:
    outputs = Outputs.of(Samples(rows(3), np.array([0, 2, 2])), MULTICLASS)
    weight = np.array([1.0, 2.0, 3.0, 4.0])
    encoded = outputs.encode(Samples(rows(4), np.array([2, 1, 0, 3]), weight))
    assert encoded.y.tolist() == [1, 0]
    assert encoded.weight is not None
    assert encoded.weight.tolist() == [1.0, 3.0]
    assert encoded.table.numeric[:, 0].tolist() == [0.0, 2.0]


def test_no_rows_to_stop_on_remain_when_all_validation_classes_are_absent() -> None:
    outputs = Outputs.of(Samples(rows(3), np.array([0, 2, 2])), MULTICLASS)
    assert outputs.held_out(Samples(rows(2), np.array([1, 3]))) is None
    assert outputs.held_out(None) is None


def test_one_target_value_is_a_constant_prediction() -> None:
    outputs = Outputs.of(Samples(rows(3), np.full(3, 0.7)), REGRESSION)
    assert outputs.is_constant
    assert outputs.decode(np.empty(0), 2).tolist() == [[0.7], [0.7]]


def test_outputs_come_back_equal_from_their_fields() -> None:
    outputs = Outputs(4, (0, 2), 0.01)
    assert Outputs.from_state(State(meta=FIELDS), MULTICLASS) == outputs


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_outputs", 10**9),
        ("known", [2, 0]),
        ("known", [0, 4]),
        ("known", []),
        ("floor", np.nan),
        ("value", np.inf),
    ],
)
def test_outputs_that_no_fit_has_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ArtifactError, match=f"'{name}' must be"):
        Outputs.from_state(State(meta=FIELDS | {name: value}), MULTICLASS)


def test_boosting_stops_when_the_loss_no_longer_falls() -> None:
    follower = progress()
    done = run(follower, [1.0, 0.9, *[0.95] * 500])
    assert follower.best_round == 2
    assert done == 2 + 21  # the patience is 0.3 * 2 + 20 rounds


def test_patience_grows_with_the_best_round() -> None:
    losses = [*np.linspace(2.0, 1.0, 200), *[1.5] * 500]
    follower = progress()
    assert run(follower, losses) == 200 + 0.3 * 200 + 20


def test_small_tables_are_given_more_patience() -> None:
    assert run(progress(n_samples=1000), [1.0] * 500) == 101


def test_a_refit_runs_all_its_rounds() -> None:
    follower = progress(n_rounds=37, is_refit=True)
    while not follower.stops():
        follower.record(None)
    assert follower.best_round == follower.round == 37


def test_without_a_deadline_the_learning_rate_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, follower = FakeClock(monkeypatch), progress()
    for _ in range(20):
        clock.now += 100.0
        follower.record(1.0)
        assert not follower.hastens()
    assert follower.mean_learning_rate == 0.05


def test_a_close_deadline_raises_the_learning_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock(monkeypatch)
    follower = progress(budget=Budget(clock.now + 400.0))
    for _ in range(8):
        clock.now += 1.0
        follower.record(1.0 / (follower.round + 1))
    assert follower.hastens()
    assert follower.learning_rate == pytest.approx((50 - 8 * 0.05) / 392)
    assert not follower.hastens()  # the next look is after 16 rounds


@pytest.mark.parametrize(("enough", "aim"), [(20.0, 20), (80.0, 50), (None, 50)])
def test_it_is_raised_no_further_than_others_needed(
    monkeypatch: pytest.MonkeyPatch, enough: float | None, aim: float
) -> None:
    clock = FakeClock(monkeypatch)
    follower = progress(budget=Budget(clock.now + 208.0), enough=enough)
    for _ in range(8):
        clock.now += 1.0
        follower.record(1.0 / (follower.round + 1))
    assert follower.hastens()
    assert follower.learning_rate == pytest.approx((aim - 8 * 0.05) / 200)


def test_what_was_needed_is_known_once_the_loss_no_longer_falls() -> None:
    follower = progress()
    run(follower, [1.0, 0.9])
    assert follower.converged_after is None
    run(follower, [0.95] * 500)
    assert follower.converged_after == pytest.approx(2 * 0.05)


def test_a_very_close_deadline_raises_it_to_the_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock(monkeypatch)
    follower = progress(budget=Budget(clock.now + 20.0))
    for _ in range(8):
        clock.now += 1.0
        follower.record(1.0)
    assert follower.hastens()
    assert follower.learning_rate == boosting.MAX_LEARNING_RATE


def test_boosting_stops_early_enough_to_write_out_and_validate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = FakeClock(monkeypatch)
    follower, valid = progress(budget=Budget(clock.now + 400.0)), rows(4_000)

    def write() -> int:
        clock.now += 0.25 * follower.best_round
        return follower.best_round

    def predict(n_rounds: int, table: FeatureTable) -> None:
        clock.now += 0.25 * n_rounds * len(table) / len(valid)

    while not follower.stops():
        clock.now += 1.0
        follower.record(1.0 / (follower.round + 1))
        follower.rehearse(write, predict, valid)
    clock.now += 0.3 * (0.25 + 0.25) * follower.best_round  # in earnest it takes longer
    predict(write(), valid)
    assert 1390.0 <= clock.now <= 1400.0


def test_nothing_is_rehearsed_when_the_end_is_near(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, calls = FakeClock(monkeypatch), []
    follower = progress(budget=Budget(clock.now + 25.0))
    while not follower.stops():
        clock.now += 1.0
        follower.record(1.0 / (follower.round + 1))
        follower.rehearse(lambda: calls.append(follower.round), lambda *asked: None, None)
    assert follower.round >= 16
    assert calls == []


def test_nothing_is_rehearsed_without_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    follower, calls = progress(), []
    for _ in range(200):
        follower.record(1.0)
        follower.rehearse(lambda: calls.append(1), lambda *asked: None, None)
    assert calls == []


def trial_of(
    clock: FakeClock, seconds: dict[int, float]
) -> tuple[Callable[..., object], list[int]]:
    """Return what starts a trial whose rounds take so long by threads, and the rounds boosted."""
    boosted: list[int] = []

    def start(n_threads: int) -> Callable[[], None]:
        def boost() -> None:
            # The first round makes the pool of threads.
            first = n_threads not in boosted
            boosted.append(n_threads)
            clock.now += seconds[n_threads] + (0.03 if first and n_threads > 1 else 0.0)

        return boost

    return start, boosted


@pytest.mark.parametrize(
    ("together", "alone", "chosen"), [(0.04, 0.01, 1), (0.04, 0.035, 2), (0.04, 0.08, 2)]
)
def test_one_thread_is_chosen_where_its_rounds_are_clearly_quicker(
    monkeypatch: pytest.MonkeyPatch, together: float, alone: float, chosen: int
) -> None:
    clock = FakeClock(monkeypatch)
    start, boosted = trial_of(clock, {2: together, 1: alone})
    assert quickest_threads(start, 2, (5_000, 8), Budget(clock.now + 400.0)) == chosen
    assert boosted == [2] * 4 + [1] * 4


def test_a_trial_ends_with_its_first_long_round_and_with_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = FakeClock(monkeypatch)
    start, boosted = trial_of(clock, {2: 5.0, 1: 5.0})
    assert quickest_threads(start, 2, (5_000, 8), Budget(clock.now + 400.0)) == 2
    assert boosted == [2]
    start, boosted = trial_of(clock, {2: 0.05, 1: 0.01})
    quickest_threads(start, 2, (5_000, 8), Budget(clock.now + 0.1))
    assert boosted == [2, 2, 1]


@pytest.mark.parametrize(
    ("n_threads", "n_samples", "budget", "chosen"),
    [
        (1, 5_000, Budget.start(60), 1),
        (2, 5_000, Budget.unlimited(), 2),
        (2, 200_000, Budget.start(60), 2),
        (2, 1_250, Budget.start(60), 1),
        (2, 1_250, Budget.unlimited(), 1),
        (2, 1_251, Budget.unlimited(), 2),
    ],
)
def test_no_threads_are_tried_where_nothing_could_be_gained(
    n_threads: int, n_samples: int, budget: Budget, chosen: int
) -> None:
    tried: list[int] = []

    def start(n: int) -> Callable[[], None]:
        return lambda: tried.append(n)

    assert quickest_threads(start, n_threads, (n_samples, 8), budget) == chosen
    assert tried == []


def test_a_far_deadline_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock(monkeypatch)
    follower = progress(budget=Budget(clock.now + 10_000.0))
    for _ in range(8):
        clock.now += 1.0
        follower.record(1.0)
    assert not follower.hastens()


def test_one_stall_does_not_raise_the_learning_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock(monkeypatch)
    follower = progress(budget=Budget(clock.now + 2_000.0))
    for seconds in (500.0, *[1.0] * 7):
        clock.now += seconds
        follower.record(1.0)
    assert not follower.hastens()


def test_the_rate_returns_when_the_pace_picks_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock(monkeypatch)
    follower = progress(budget=Budget(clock.now + 2_000.0))
    for seconds in [20.0] * 8 + [1.0] * 8:
        clock.now += seconds
        follower.record(1.0)
        follower.hastens()
        if follower.round == 8:
            assert follower.learning_rate == boosting.MAX_LEARNING_RATE
    assert follower.learning_rate == 0.05


def test_the_rate_rises_early_where_eight_rounds_are_much_of_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = FakeClock(monkeypatch)
    follower = progress(budget=Budget(clock.now + 100.0))
    raised = []
    for _ in range(4):
        clock.now += 5.0
        follower.record(1.0)
        raised.append(follower.hastens())
    assert raised == [False, False, True, False]
    assert follower.learning_rate == boosting.MAX_LEARNING_RATE


def test_boosting_stops_when_another_round_would_be_late(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock(monkeypatch)
    follower = progress(budget=Budget(clock.now + 10.0))
    while not follower.stops():
        clock.now += 3.0
        follower.record(1.0 / (follower.round + 1))
    assert follower.round == 3


def test_a_hastened_refit_learns_as_much_as_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock(monkeypatch)
    follower = progress(n_rounds=400, budget=Budget(clock.now + 108.0), is_refit=True)
    learned = 0.0
    while not follower.stops():
        clock.now += 1.0
        learned += follower.learning_rate
        follower.record(None)
        follower.hastens()
    assert follower.round < 110
    assert learned == pytest.approx(400 * 0.05, abs=0.2)
    assert follower.best_round * follower.mean_learning_rate == pytest.approx(learned)


def test_a_budget_without_a_single_round_raises() -> None:
    with pytest.raises(OutOfTimeError, match=r"LightGBM needs time for at least one tree"):
        progress().check_learned("LightGBM")


@pytest.mark.parametrize(
    "table",
    [
        FeatureTable.empty(5),
        FeatureTable(np.ones((5, 1), np.float32), np.empty((5, 0), np.int32), ("x",)),
        FeatureTable(np.full((5, 1), np.nan, np.float32), np.empty((5, 0), np.int32), ("x",)),
        FeatureTable(np.empty((5, 0), np.float32), np.full((5, 1), 3, np.int32), (), ("c",), (4,)),
    ],
    ids=["no features", "constant", "all missing", "one level"],
)
def test_a_table_without_anything_to_split_is_refused(table: FeatureTable) -> None:
    with pytest.raises(DataError, match="at least one feature with two different values"):
        check_can_boost("LightGBM", table, Budget.unlimited())


def test_missing_beside_one_value_can_be_split() -> None:
    numeric = np.array([[1.0], [np.nan]], dtype=np.float32)
    table = FeatureTable(numeric, np.empty((2, 0), np.int32), ("x",))
    check_can_boost("LightGBM", table, Budget.unlimited())


def test_a_spent_budget_raises() -> None:
    with pytest.raises(OutOfTimeError, match="raise the time limit"):
        check_can_boost("LightGBM", rows(3), Budget.start(0.0))


def test_what_varies_only_far_down_can_be_split_on() -> None:
    numeric = np.zeros((5_000, 1), dtype=np.float32)
    numeric[-1] = 1.0
    table = FeatureTable(numeric, np.empty((5_000, 0), dtype=np.int32), ("a",))
    check_can_boost("LightGBM", table, Budget.unlimited())


def test_rounds_are_no_more_than_usual_where_validation_rows_cannot_say_stop() -> None:
    some = Samples(rows(3), np.array([0, 1, 1]))
    assert rounds_at_most(10_000, 0.05, None, None) == 10_000
    assert rounds_at_most(10_000, 0.05, some, some) == 10_000
    assert rounds_at_most(10_000, 0.05, some, None) == 1_000
    assert rounds_at_most(300, 0.05, some, None) == 300

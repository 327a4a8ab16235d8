import dataclasses
import math

import pytest

from tabular_automl.core import budget as module
from tabular_automl.core.budget import Budget, Stop


class Clock:
    """A clock that the test turns."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_time_runs_out(clock):
    budget = Budget.start(60)
    assert budget.remaining() == 60
    clock.now += 59
    assert not budget.expired()
    clock.now += 2
    assert budget.expired()
    assert budget.remaining() == 0


def test_no_time_is_expired_at_once(clock):
    assert Budget.start(0).expired()


def test_no_limit_never_ends(clock):
    for budget in (Budget.start(None), Budget.unlimited(), Budget()):
        assert not budget.limited
        assert budget.remaining() == math.inf
        assert not budget.expired()


def test_a_share_is_of_what_remains_and_follows_the_clock(clock):
    budget = Budget.start(100)
    clock.now += 60
    share = budget.share(0.5)
    assert share.remaining() == 20
    clock.now += 5
    assert share.remaining() == 15
    assert budget.remaining() == 35


def test_within_never_extends(clock):
    assert Budget.start(10).within(60).remaining() == 10
    assert Budget.start(60).within(10).remaining() == 10
    assert Budget.unlimited().within(10).remaining() == 10


def test_a_reserve_ends_earlier(clock):
    assert Budget.start(60).reserve(15).remaining() == 45
    assert Budget.start(10).reserve(15).expired()


def test_an_earlier_budget_has_all_its_ends_earlier(clock):
    budget = Budget.start(10).reserve(2)
    earlier = budget.earlier(3)
    assert earlier.deadline == budget.deadline - 3
    assert earlier.abandon_at == budget.abandon_at - 3
    assert not Budget.unlimited().earlier(3).limited


def test_parts_of_no_limit_have_none(clock):
    assert not Budget.unlimited().share(0.1).limited
    assert not Budget.unlimited().reserve(5).limited


def test_a_budget_cannot_change():
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign"):
        Budget().deadline = 0.0  # type: ignore[misc]


def test_a_stop_ends_every_budget_made_from_the_same_one():
    stop = Stop()
    budget = Budget.start(60, stop)
    parts = [budget.share(0.5), budget.within(5), budget.reserve(10), Budget.start(None, stop)]
    assert not any(part.expired() for part in parts)
    stop.signal = 2
    assert all(part.stopped and part.limited and part.expired() for part in parts)
    assert not budget.unstoppable().expired()


def test_work_may_overrun_as_long_again_and_a_second(clock):
    assert Budget.start(60).share(0.1).tolerant().remaining() == 13


def test_work_never_overruns_more_than_half_of_the_reserve(clock):
    stack = Budget.start(60).reserve(4)
    assert stack.remaining() == 56
    assert stack.tolerant().remaining() == 58
    assert stack.within(40).tolerant().remaining() == 58


def test_without_a_limit_nothing_is_too_late():
    assert math.isinf(Budget.unlimited().reserve(3).tolerant().remaining())

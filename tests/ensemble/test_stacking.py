from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest

from tabular_automl.artifacts.journal import Journal
from tabular_automl.artifacts.state import State
from tabular_automl.config import FitConfig
from tabular_automl.core.budget import Budget, Stop
from tabular_automl.core.errors import MissingDependencyError, OutOfTimeError, OverrunError
from tabular_automl.core.events import Note, SpecFinished, SpecSkipped, SpecStarted, silent
from tabular_automl.core.parallel import Machine
from tabular_automl.core.params import Params, param
from tabular_automl.data.folds import make_folds
from tabular_automl.data.table import FeatureTable, Samples
from tabular_automl.data.task import TargetCodec, infer_task
from tabular_automl.ensemble import layer, resuming
from tabular_automl.ensemble.candidates import (
    Candidate,
    PlannedSpec,
    StackRequest,
    ensemble_weights,
)
from tabular_automl.ensemble.halving import _bags_of_halving
from tabular_automl.ensemble.judge import Judge
from tabular_automl.ensemble.layer import _BEYOND, MORE_THAN_NEEDED, Layer
from tabular_automl.ensemble.refitting import _OF_A_FOLD
from tabular_automl.ensemble.resuming import FitIdentity, Workbook
from tabular_automl.ensemble.schedule import (
    _FIRST_BAG,
    _MORE_WHEN_LATE,
    _MOST_FOR_LATE,
    _MOST_OF_REST,
    Schedule,
)
from tabular_automl.ensemble.scouting import NO_WEIGHT
from tabular_automl.ensemble.stacking import fit_stack
from tabular_automl.metrics.resolve import make_metric, resolve_metric
from tabular_automl.models.base import MODELS, Model, ModelSpec, Setting
from tabular_automl.search.variants import SPACES, Between

N_ROWS = 1200
FITTED = []  # names of the families in the order in which folds were fitted


class Oracle(Model):
    """Reads the target from the first feature, blurred by ``blur``."""

    interruptible = True

    blur = 0.01

    def fit(self, train, valid, budget):
        FITTED.append(type(self).__name__)
        self.n_features = train.table.n_features
        self.seconds = budget.remaining()
        return self

    def predict(self, table):
        wobble = np.sin(1e3 * table.numeric[:, 0])
        return (table.numeric[:, 0] + self.blur * wobble).reshape(-1, 1).astype(float)

    def state(self):
        return State()

    def restore(self, state):
        pass


class Poor(Oracle):
    blur = 5.0


class PoorTogether(Poor):
    """Trains all folds in one call."""

    @classmethod
    def fit_folds(cls, params, settings, folds, budget):
        return [
            cls(params, setting).fit(*fold, budget)
            for setting, fold in zip(settings, folds, strict=True)
        ]


class Different(Oracle):
    """Worse than the oracle, and wrong elsewhere: a mix of both is better than either."""

    def predict(self, table):
        wobble = np.cos(1e3 * table.numeric[:, 0])
        return (table.numeric[:, 0] + 1.3 * self.blur * wobble).reshape(-1, 1).astype(float)


class Distant(Oracle):
    blur = 0.0114  # in the same places as the oracle: no use beside it


class Broken(Oracle):
    def fit(self, train, valid, budget):
        raise ZeroDivisionError("the cause")


class Late(Oracle):
    def fit(self, train, valid, budget):
        FITTED.append("Late")
        raise OutOfTimeError("too slow")


class NotInstalled(Oracle):
    def fit(self, train, valid, budget):
        raise MissingDependencyError("pip install it")


class Clock:
    """A clock that only `Slow` moves."""

    now = 0.0

    def monotonic(self):
        return self.now


CLOCK = Clock()


class Slow(Oracle):
    """Takes its whole share, as a booster does that is far from converged."""

    def fit(self, train, valid, budget):
        super().fit(train, valid, budget)
        CLOCK.now = max(CLOCK.now, budget.deadline)
        return self


class SlowPoor(Slow):
    blur = 1.0


class UsedUp(Different):
    """Ends early with all its rounds, and learns better with more of them."""

    @dataclass(frozen=True)
    class Params(Params):
        n_rounds: int = param(100, 1, 1_000, doc="Rounds.")

    @property
    def blur(self):
        return 1.0 / self.params.n_rounds

    def longer_params(self):
        return None if self.params.n_rounds > 100 else replace(self.params, n_rounds=300)


class UsedUpLater(UsedUp):
    """Is cut short first, and uses all its rounds up when it has more time."""

    def fit(self, train, valid, budget):
        self.hurried = FITTED.count("UsedUpLater") < 4  # the folds of the first bag
        return super().fit(train, valid, budget)

    @property
    def blur(self):
        return (2.0 if self.hurried else 1.0) / self.params.n_rounds

    def longer_params(self):
        return None if self.hurried else super().longer_params()


class SlowUsedUp(UsedUp):
    """Takes two seconds for a fold, twice as long with more rounds."""

    def fit(self, train, valid, budget):
        CLOCK.now += 2.0 if self.params.n_rounds == 100 else 4.0
        return super().fit(train, valid, budget)


class SlowUsedUpToo(SlowUsedUp):
    """As good, and wrong in other places."""

    def predict(self, table):
        wobble = np.sin(2e3 * table.numeric[:, 0])
        return (table.numeric[:, 0] + 1.3 * self.blur * wobble).reshape(-1, 1).astype(float)


class Converged(Oracle):
    """A booster whose loss stopped falling."""

    def fit(self, train, valid, budget):
        self.converged_after = 8.0
        return super().fit(train, valid, budget)


class PartlyConverged(Oracle):
    """A booster whose clock ended some of its folds."""

    def fit(self, train, valid, budget):
        self.converged_after = 8.0 if self.setting.seed else None
        return super().fit(train, valid, budget)


class SlowDifferent(Slow, Different):
    """Worth some weight beside the slow one."""


class LateAtFirst(Oracle):
    """Has too little time when it is tried first, and not when it is tried again."""

    error = OutOfTimeError

    def fit(self, train, valid, budget):
        if "LateAtFirst" not in FITTED:
            FITTED.append("LateAtFirst")
            raise self.error("too slow")
        return super().fit(train, valid, budget)


class NeedsSeconds(Oracle):
    """Does not end where a fold has less than two seconds."""

    def fit(self, train, valid, budget):
        if budget.remaining() < 2.0:
            raise OutOfTimeError("too slow")
        return super().fit(train, valid, budget)


class NeedsSecondsPoor(NeedsSeconds, Poor):
    """So far behind that it is given up."""


class NeedsSecondsDistant(NeedsSeconds, Distant):
    """Not far behind, and without weight."""


class SlowFair(Slow):
    """Better than `SlowPoor`, and wrong in the same places."""

    blur = 0.5


class SlowerFair(SlowFair):
    """Needs two and a half seconds for a fold."""

    def fit(self, train, valid, budget):
        if budget.remaining() < 2.5:
            raise OutOfTimeError("too slow")
        return super().fit(train, valid, budget)


class Tuned(Oracle):
    """As wrong as its hyperparameter says, and in other places for each value of it."""

    @dataclass(frozen=True)
    class Params(Params):
        blur: float = param(0.5, 0.0, 10.0, doc="How wrong.")

    def predict(self, table):
        x, blur = table.numeric[:, 0], self.params.blur
        return (x + blur * np.sin(1e3 * (1.0 + blur) * x)).reshape(-1, 1).astype(float)


class SlowTuned(Slow, Tuned):
    """Takes its whole share, however long."""


class Hungry(Oracle):
    @classmethod
    def estimate_bytes(cls, params, table, task):
        return 10**15


class NotSaved(Oracle):
    def state(self):
        raise ZeroDivisionError("cannot be saved")


class Stacker(Oracle):
    """Learns better from what others predict."""

    @property
    def blur(self):
        return 0.01 if self.n_features == 1 else 0.005


FAMILIES = {
    "stacker": Stacker,
    "not_saved": NotSaved, "oracle": Oracle, "poor": Poor,
    "poor_together": PoorTogether, "broken": Broken, "late": Late,
    "absent": NotInstalled,
    "different": Different, "distant": Distant, "hungry": Hungry, "slow": Slow,
    "slow_poor": SlowPoor, "used_up": UsedUp, "used_up_later": UsedUpLater,
    "slow_used_up": SlowUsedUp, "slow_used_up_too": SlowUsedUpToo, "late_at_first": LateAtFirst,
    "converged": Converged, "partly_converged": PartlyConverged, "slow_different": SlowDifferent,
    "tuned": Tuned, "slow_tuned": SlowTuned, "needs_seconds_poor": NeedsSecondsPoor,
    "needs_seconds": NeedsSeconds, "needs_seconds_distant": NeedsSecondsDistant,
    "slow_fair": SlowFair, "slower_fair": SlowerFair,
}  # fmt: skip


@pytest.fixture(autouse=True)
def registered():
    FITTED.clear()
    for name, family in FAMILIES.items():
        MODELS.register(name, family)
    yield
    for name in FAMILIES:
        MODELS.unregister(name)


@pytest.fixture
def clock(monkeypatch):
    """Let budgets and bags read `CLOCK`."""
    CLOCK.now = 0.0
    for module in ("core.budget", "ensemble.bagging"):
        monkeypatch.setattr(f"tabular_automl.{module}.time", CLOCK)


@pytest.fixture
def events():
    return []


@pytest.fixture
def run(events):
    """Return a function that fits layers of families and gives the StackFit."""

    def fit(
        *layers,
        budget=None,
        on_error="skip",
        patience=None,
        n_first=99,
        first_pass=1.0,
        refit_seconds=0.0,
        holdout_fraction=None,
        workbook=None,
        n_cores=2,
        metric="root_mean_squared_error",
        late=(),
    ):
        y = pd.Series(np.random.default_rng(0).normal(10, 3, N_ROWS))
        task, _ = infer_task(y, "regression")
        codec = TargetCodec.fit(y, task, "squared_error")
        encoded = codec.encode(y)
        table = FeatureTable(
            encoded.astype(np.float32).reshape(-1, 1), np.empty((N_ROWS, 0), np.int32), ("x",)
        )
        metric = resolve_metric(metric, task.problem_type)
        request = StackRequest(
            samples=Samples(table, encoded),
            folds=make_folds(task, encoded, n_folds=4, holdout_fraction=holdout_fraction, seed=0),
            judge=Judge(metric, codec, y.to_numpy()),
            setting=Setting(task, "squared_error"),
            machine=Machine(n_cores, 10**9),
            layers=tuple(tuple(planned(name) for name in layer) for layer in layers),
            n_first=n_first,
            first_pass=first_pass,
            refit_seconds=refit_seconds,
            patience=patience,
            on_error=on_error,
            report=events.append,
            late_layer=tuple(planned(name) for name in late),
            workbook=workbook,
        )
        return fit_stack(request, budget or Budget.unlimited())

    return fit


def _profit(y, prediction):
    return 1e3 - float(np.abs(y - prediction).mean())  # its optimum is said to be 1


PROFIT = make_metric(_profit, needs="value")


def planned(name):
    """Return a planned spec; of "a after b", a waits for b, of "a like b", b tells of a.

    "a:c" is of the family a, under the key c.
    """
    name, _, like = name.partition(" like ")
    name, _, after = name.partition(" after ")
    family, _, key = name.partition(":")
    return PlannedSpec(ModelSpec.make(family, key or family), 1.0, after or None, like or None)


@pytest.fixture
def scouting(monkeypatch):
    """Let few rows be enough to judge specs on the first folds, two of four."""
    monkeypatch.setattr("tabular_automl.ensemble.scouting._ENOUGH_ROWS", 1)


def reasons(fitted):
    return {skip.key: (skip.failed, skip.reason) for skip in fitted.skipped}


def test_scores_are_in_the_users_units_and_greater_is_better(run):
    scores = {c.bag.key: c.score for c in run(["oracle"]).candidates}
    assert -0.1 < scores["oracle"] < 0


def test_a_failing_spec_is_a_row_with_its_cause_and_the_fit_goes_on(run, events):
    fitted = run(["broken", "oracle"])
    assert reasons(fitted)["broken"] == (True, "ZeroDivisionError: the cause")
    assert [c.bag.key for c in fitted.candidates] == ["oracle"]
    assert any(isinstance(event, SpecSkipped) and event.failed for event in events)


def test_a_model_that_cannot_be_saved_is_a_failing_one(run):
    fitted = run(["not_saved", "oracle"], budget=Budget.start(60))
    assert reasons(fitted)["not_saved"] == (True, "ZeroDivisionError: cannot be saved")
    assert [c.bag.key for c in fitted.candidates][:1] == ["oracle"]


def test_on_error_raise_raises_the_cause(run):
    with pytest.raises(ZeroDivisionError, match="the cause"):
        run(["broken"], on_error="raise")


def test_a_late_spec_is_skipped_and_not_called_failed(run):
    failed, reason = reasons(run(["late", "oracle"], on_error="raise"))["late"]
    assert not failed
    assert "out of time: too slow" in reason


def test_a_missing_package_is_a_row_with_the_install_command(run):
    assert "pip install it" in reasons(run(["absent", "oracle"]))["absent"][1]


def test_a_spec_that_would_not_fit_into_memory_is_skipped_with_the_gigabytes(run):
    assert "GB of memory" in reasons(run(["hungry", "oracle"]))["hungry"][1]


def test_a_hopeless_spec_is_given_up_after_the_first_folds(run):
    fitted = run(["oracle", "poor"], budget=Budget.start(60))
    assert "on the first folds" in reasons(fitted)["poor"][1]


def test_in_trials_no_spec_is_judged_by_the_folds_that_happen_to_come_first(run):
    assert {c.bag.key for c in run(["oracle", "poor"]).candidates} == {"oracle", "poor"}


def test_a_spec_that_is_far_behind_stays_when_it_helps_the_best_one(run):
    fitted = run(["oracle", "different"])
    scores = {c.bag.key: c.score for c in fitted.candidates}
    assert scores["different"] < 1.15 * scores["oracle"]


def test_a_costly_spec_waits_for_a_cheaper_one_to_earn_weight(run):
    worth = run(["different after oracle", "oracle"])
    assert [c.bag.key for c in worth.candidates] == ["oracle", "different"]
    wasted = run(["different after distant", "oracle", "distant"])
    assert "distant, which reads the same columns" in reasons(wasted)["different"][1]


def test_a_costly_spec_is_tried_when_the_cheaper_one_gave_no_bag(run):
    fitted = run(["different after broken", "broken", "oracle"])
    assert "different" in {c.bag.key for c in fitted.candidates}


def test_the_base_rate_remains_when_nothing_else_works(run):
    fitted = run(["broken"], budget=Budget.start(0))
    assert [c.bag.key for c in fitted.candidates] == ["prior"]
    assert reasons(fitted)["broken"] == (False, "no time left")


def test_without_layers_the_base_rate_is_fitted(run):
    assert [c.bag.key for c in run().candidates] == ["prior"]


def test_a_second_layer_sees_the_first_ones_out_of_fold_outputs(run):
    fitted = run(["oracle"], ["oracle"])
    first, second = fitted.candidates
    assert second.bag.key == "oracle_l2"
    assert fitted.feeds == {2: ("oracle",)}
    assert first.bag.models[0].model.n_features == 1
    assert second.bag.models[0].model.n_features == 2


def keys(fitted):
    return [candidate.bag.key for candidate in fitted.candidates]


def test_time_that_is_left_goes_to_a_late_layer(run, events):
    options = {"budget": Budget.start(60), "refit_seconds": 10.0}
    run(["oracle"], **options)  # the first one of a process takes longer
    before = run(["oracle"], **options).refit_seconds
    fitted = run(["oracle"], late=["stacker"], **options)
    assert keys(fitted) == ["oracle", "stacker_l2"]
    assert fitted.feeds == {2: ("oracle",)}
    assert fitted.samples[2].table.n_features == 2
    assert fitted.refit_seconds > before
    assert Note("A second layer gains 50.0%.") in events


def test_a_late_layer_that_gains_too_little_is_left_out(run, events):
    fitted = run(["oracle"], late=["poor", "late"], budget=Budget.start(60))
    assert keys(fitted) == ["oracle"]
    assert fitted.feeds == {}
    assert reasons(fitted) == {
        "poor_l2": (False, "the second layer gained less than 0.3%"),
        "late_l2": (False, "out of time: too slow"),
    }
    assert Note("A second layer gains 0.0%: the ensemble has one.") in events


def test_a_late_layer_repeats_what_was_best_and_is_quick(run, monkeypatch):
    quick = ("oracle", "different", "stacker")
    monkeypatch.setattr("tabular_automl.ensemble.stacking._LATE_FAMILIES", quick)
    monkeypatch.setattr("tabular_automl.ensemble.stacking._WORTH", -1.0)
    fitted = run(["oracle", "different"], late=["stacker"], budget=Budget.start(60))
    assert keys(fitted)[2:] == ["oracle_l2", "different_l2", "stacker_l2"]


def test_without_time_there_is_no_late_layer(run, clock):
    fitted = run(["slow"], late=["stacker"], budget=Budget.start(100))
    assert keys(fitted) == ["slow"]
    assert not reasons(fitted)  # none was begun


def test_a_late_layer_has_slow_families_where_there_is_time_for_them(run, monkeypatch):
    monkeypatch.setattr("tabular_automl.ensemble.stacking._LATE_FAMILIES", ("oracle",))
    monkeypatch.setattr("tabular_automl.ensemble.stacking._WORTH", -1.0)
    for seconds, late in ((20, []), (30, ["stacker_l2"])):
        fitted = run(["oracle"], late=["oracle", "stacker"], budget=Budget.start(seconds))
        assert keys(fitted) == ["oracle", "oracle_l2", *late]


def test_variants_leave_time_for_a_late_layer(run, clock, monkeypatch):
    left = []
    monkeypatch.setattr(
        "tabular_automl.ensemble.schedule.try_variants",
        lambda layer, memory: left.append((layer.budget.remaining(), layer.refit_seconds)),
    )
    for late in ([], ["oracle"], ["slow_used_up"]):
        run(["slow_used_up"], late=late, budget=Budget.start(100), refit_seconds=10.0)
    of_none, of_unknown, of_known = left
    assert of_unknown == of_none
    assert of_known == pytest.approx((of_none[0] - _MOST_FOR_LATE * 90, of_none[1]))


def test_after_an_interrupt_there_is_no_late_layer(run, monkeypatch):
    stop = Stop()
    monkeypatch.setattr(Schedule, "_repeat_cut_short", lambda _: setattr(stop, "signal", 2))
    fitted = run(["oracle"], late=["stacker"], budget=Budget.start(60, stop))
    assert keys(fitted) == ["oracle"]
    assert not reasons(fitted)


def test_a_spec_and_its_longer_repeat_are_one_in_a_late_layer(run, monkeypatch):
    monkeypatch.setattr("tabular_automl.ensemble.stacking._LATE_FAMILIES", ("used_up",))
    monkeypatch.setattr("tabular_automl.ensemble.stacking._WORTH", -1.0)
    monkeypatch.setattr(
        "tabular_automl.ensemble.stacking._stack_inputs", lambda request, all_bags, *_: all_bags
    )
    fitted = run(["used_up"], late=["stacker"], budget=Budget.start(60))
    assert keys(fitted) == ["used_up", "used_up_long", "used_up_l2", "stacker_l2"]


def test_time_that_a_spec_leaves_flows_to_those_after_it(run):
    fitted = run(["oracle", "oracle", "oracle"], budget=Budget.start(90))
    given = [c.bag.models[-1].model.seconds for c in fitted.candidates]
    assert given[0] == pytest.approx(30, abs=2)
    assert given[2] == pytest.approx(90, abs=3)


def test_patience_ends_the_layer_when_more_models_bring_nothing(run):
    fitted = run(["oracle"] * 6, patience=2)
    assert len(fitted.candidates) == 3
    assert "no longer improved" in fitted.skipped[-1].reason


@pytest.mark.parametrize("metric", ["root_mean_squared_error", PROFIT])
def test_patience_ends_the_layer_beyond_the_optimum_too(run, metric):
    fitted = run(["oracle"] * 6, patience=2, metric=metric)
    assert len(fitted.candidates) == 3


def test_what_the_first_pass_leaves_goes_to_the_best_that_was_cut_short(run, clock):
    fitted = run(["slow_poor", "slow"], budget=Budget.start(100), first_pass=0.4)
    keys = [c.bag.key for c in fitted.candidates]
    assert keys == ["slow_poor", "slow", "slow_long"]
    _, first, repeat = fitted.candidates
    assert repeat.fit.fit_seconds > first.fit.fit_seconds


def test_what_used_its_rounds_up_is_tried_with_more_of_them(run):
    fitted = run(["used_up"], budget=Budget.start(60))
    first, repeat = fitted.candidates
    assert [first.bag.key, repeat.bag.key] == ["used_up", "used_up_long"]
    assert repeat.fit.spec.params.n_rounds == 300
    assert repeat.score > first.score


def test_what_earned_little_is_not_repeated(run, clock, monkeypatch):
    monkeypatch.setattr("tabular_automl.ensemble.schedule._LEAST_PART", 0.5)
    names = ["slow_different", "slow"]
    fitted = run(names, budget=Budget.start(100), first_pass=0.4)
    longer = [c.bag.key for c in fitted.candidates if c.bag.key.endswith("_long")]
    assert longer == ["slow_long"]


def test_what_some_folds_needed_says_nothing_while_others_went_on(run):
    fitted = run(["partly_converged", "oracle"], budget=Budget.start(60))
    assert [c.bag.models[0].model.setting.aim for c in fitted.candidates][:2] == [None, None]


def test_boosters_are_told_what_those_before_needed(run):
    fitted = run(["converged", "converged", "oracle"], budget=Budget.start(60))
    aims = [c.bag.models[0].model.setting.aim for c in fitted.candidates]
    assert aims[0] is None
    assert aims[1:3] == [pytest.approx(_BEYOND * 8.0)] * 2


def test_so_it_is_after_a_look_on_the_first_folds(run, scouting):
    fitted = run(["distant", "used_up"], budget=Budget.start(60))
    assert [c.bag.key for c in fitted.candidates] == ["distant", "used_up_long"]
    assert FITTED.count("UsedUp") == 2 + 4  # the shorter bag is not made whole


def test_without_time_for_more_rounds_the_bag_is_made_whole(run, scouting, monkeypatch):
    monkeypatch.setattr("tabular_automl.ensemble.schedule._WITH_MORE_ROUNDS", 1e9)
    fitted = run(["distant", "used_up"], budget=Budget.start(60))
    assert [c.bag.key for c in fitted.candidates] == ["distant", "used_up"]
    assert FITTED.count("UsedUp") == 4


@pytest.mark.parametrize(("seconds", "n_longer"), [(24, 0), (34, 1)])
def test_a_repeat_leaves_what_others_need_for_their_other_folds(
    run, scouting, clock, seconds, n_longer
):
    names = ["oracle", "slow_used_up", "slow_used_up_too"]
    fitted = run(names, budget=Budget.start(seconds), n_cores=1)
    keys = {c.bag.key for c in fitted.candidates}
    assert len(keys) == 3
    assert sum(key.endswith("_long") for key in keys) == n_longer


def test_a_repeat_that_used_its_rounds_up_is_tried_with_more_of_them(run):
    fitted = run(["used_up_later"], budget=Budget.start(60))
    rounds = {c.bag.key: c.fit.spec.params.n_rounds for c in fitted.candidates}
    names = [f"used_up_later{end}" for end in ("", "_long", "_long_long")]
    assert rounds == dict(zip(names, (100, 100, 300), strict=True))


def test_a_budget_in_trials_repeats_nothing(run):
    assert [c.bag.key for c in run(["used_up"]).candidates] == ["used_up"]


def test_a_repeat_leaves_the_time_that_its_longer_save_will_take(run, clock, monkeypatch):
    monkeypatch.setattr("tabular_automl.ensemble.layer.seconds_to_save", lambda bag: 4.0)
    fitted = run(["slow"], budget=Budget.start(100), n_first=1, first_pass=0.2)
    first, repeat = fitted.candidates
    assert first.fit.fit_seconds == pytest.approx(20)
    # 80 s are left but for the 3.8 s of the first one's save; 4 s of save for each 20 s of fit;
    # and one repeat takes no more than its part of that.
    assert repeat.fit.fit_seconds == pytest.approx(_MOST_OF_REST * (80 - 3.8) / 1.2, rel=0.01)


def test_what_the_first_pass_had_no_time_for_has_its_turn_later(run, clock):
    fitted = run(["slow", "oracle"], budget=Budget.start(100), first_pass=0.005)
    assert [c.bag.key for c in fitted.candidates] == ["slow", "slow_long", "oracle"]
    fitted = run(["slow", "oracle"], budget=Budget.start(0.4), first_pass=1.0)
    assert reasons(fitted) == {"oracle": (False, "no time left")}


def test_a_note_tells_of_models_that_had_no_time_for_all_rows(run, events, monkeypatch):
    run(["oracle"])
    assert not any("learned from" in getattr(event, "text", "") for event in events)
    fit = Oracle.fit

    def draw(model, train, valid, budget):
        model.n_drawn = 10
        return fit(model, train, valid, budget)

    monkeypatch.setattr(Oracle, "fit", draw)
    run(["oracle"])
    told = [event.text for event in events if "learned from" in getattr(event, "text", "")]
    n_rows = N_ROWS * 3 // 4
    assert told == [
        f"oracle learned from 10 of {n_rows:,d} rows: with more time it learns from more."
    ]


@pytest.mark.parametrize("draws", [True, False])
def test_a_family_that_draws_rows_is_tried_where_there_is_time_for_some(run, monkeypatch, draws):
    monkeypatch.setattr(Oracle, "draws_rows", draws)
    monkeypatch.setattr("tabular_automl.ensemble.layer.MANY_ROWS", 1)
    monkeypatch.setattr("tabular_automl.ensemble.layer._SECONDS_PER_CELL", 1.0)
    fitted = run(["oracle"], budget=Budget.start(50))
    assert reasons(fitted) == ({} if draws else {"oracle": (False, "no time left")})


def test_a_family_that_was_far_behind_on_a_holdout_is_not_tried_again(run):
    fitted = run(["oracle", "poor", "poor"], holdout_fraction=0.5, budget=Budget.start(60))
    assert [c.bag.key for c in fitted.candidates] == ["oracle"]
    assert "no better" in fitted.skipped[0].reason
    assert fitted.skipped[1].reason == "what was tried of the family 'poor' was far behind"
    assert not fitted.skipped[1].failed


def test_what_is_far_behind_and_quick_and_cannot_be_saved_is_a_failure(run, monkeypatch):
    fit_bag = layer.fit_bag

    def timed(request, *arguments):
        fit = fit_bag(request, *arguments)
        return replace(fit, predict_seconds=0.0 if request.key == "poor" else 1.0)

    def fail(model):
        raise RuntimeError("no way to write it")

    monkeypatch.setattr(layer, "fit_bag", timed)
    monkeypatch.setattr(Poor, "state", fail)
    fitted = run(["oracle", "poor"], holdout_fraction=0.5, budget=Budget.start(60))
    assert fitted.behind == ()
    assert reasons(fitted) == {"poor": (True, "RuntimeError: no way to write it")}


@pytest.mark.parametrize("seconds", [1e-9, 100.0])
def test_what_is_far_behind_on_a_holdout_is_kept_where_it_is_quick(run, monkeypatch, seconds):
    fit_bag = layer.fit_bag

    def timed(request, *arguments):
        fit = fit_bag(request, *arguments)
        return replace(fit, predict_seconds=seconds if request.key == "poor" else 1.0)

    monkeypatch.setattr(layer, "fit_bag", timed)
    fitted = run(["oracle", "poor"], holdout_fraction=0.5, budget=Budget.start(60))
    assert [c.bag.key for c in fitted.candidates] == ["oracle"]
    assert [c.bag.key for c in fitted.behind] == (["poor"] if seconds < 1.0 else [])
    assert all(c.score < fitted.candidates[0].score for c in fitted.behind)


def test_what_trains_its_folds_together_is_weighed_whatever_a_holdout_shows(run):
    # It may only have had too little time so far, and it was not cheaper to fit a part of it.
    specs = ["oracle", "poor_together"]
    fitted = run(specs, holdout_fraction=0.5, budget=Budget.start(60))
    assert [c.bag.key for c in fitted.candidates] == specs
    assert fitted.behind == ()


def test_it_is_tried_again_where_the_first_folds_tell(run):
    fitted = run(["oracle", "poor", "poor"], budget=Budget.start(60))
    assert ["no better" in skip.reason for skip in fitted.skipped] == [True, True]
    assert fitted.behind == ()


@pytest.mark.parametrize(("budget", "n_variants"), [(60, 1), (80, 0)])
def test_what_the_clock_cut_short_may_have_shorter_variants(
    run, clock, monkeypatch, budget, n_variants
):
    monkeypatch.setitem(SPACES, "slow", {})
    monkeypatch.setattr("tabular_automl.ensemble.schedule._LONGER", 10.0)  # no repeat
    monkeypatch.setattr(Candidate, "was_cut_short", budget == 60)
    fitted = run(["slow"], budget=Budget.start(budget), n_first=1, first_pass=0.6)
    keys = [c.bag.key for c in fitted.candidates]
    assert keys == ["slow", "slow_v1"][: 1 + n_variants]


def test_specs_beyond_the_first_have_their_turn_after_the_repeats(run, clock):
    fitted = run(["slow", "oracle"], budget=Budget.start(100), n_first=1, first_pass=0.3)
    assert [c.bag.key for c in fitted.candidates] == ["slow", "slow_long", "oracle"]


def test_every_finished_spec_is_reported_with_the_best_score_so_far(run, events):
    run(["oracle", "oracle"])
    finished = [event for event in events if isinstance(event, SpecFinished)]
    assert [event.key for event in finished] == ["oracle", "oracle"]
    assert finished[-1].best_score >= finished[0].score


def test_a_layer_without_any_bag_ends_the_stack(run):
    fitted = run(["oracle"], ["broken"], ["oracle"])
    assert [c.bag.key for c in fitted.candidates] == ["oracle"]


def test_a_family_that_cannot_be_imported_is_a_row_not_a_crash(run, monkeypatch):
    def broken_import(modules, n_rows):
        raise OSError("libgomp.so.1: cannot open shared object file")

    monkeypatch.setattr("tabular_automl.ensemble.layer.import_installed", broken_import)
    failed, reason = reasons(run(["oracle"]))["oracle"]
    assert failed
    assert "libgomp" in reason


def test_time_that_is_left_goes_to_variants_of_what_earned_weight(run, monkeypatch):
    monkeypatch.setitem(SPACES, "oracle", {})
    monkeypatch.setattr("tabular_automl.ensemble.halving._ROWS_OF_A_VARIANT", N_ROWS // 20)
    fitted = run(["oracle", "distant"], budget=Budget.start(60))
    keys = [c.bag.key for c in fitted.candidates]
    assert keys[:3] == ["oracle", "distant", "oracle_v1"]
    assert len(keys) == 2 + 12  # a variant that is the same earns nothing, twelve times in a row


def test_the_first_bag_gets_enough_time_to_be_one(run, scouting, clock):
    fitted = run(["oracle", *["slow"] * 99], budget=Budget.start(100), first_pass=0.1)
    seconds = fitted.candidates[0].bag.models[0].model.seconds
    assert seconds == pytest.approx(_FIRST_BAG * 100 / 2)  # its folds come in two waves


def test_what_had_too_little_time_is_tried_again_when_the_others_are_done(run):
    fitted = run(["oracle", "late_at_first", "distant"], budget=Budget.start(60))
    assert [c.bag.key for c in fitted.candidates] == ["oracle", "distant", "late_at_first"]
    assert "late_at_first" not in reasons(fitted)


def test_what_had_a_small_part_of_the_time_has_more_before_others_are_repeated(run, clock):
    names = ["slow", "late_at_first", *["poor"] * 8]
    fitted = run(names, budget=Budget.start(100), first_pass=0.3)
    assert keys(fitted) == ["slow", "late_at_first", "slow_long"]
    seconds = fitted.candidates[1].bag.models[0].model.seconds
    assert seconds == pytest.approx(_MORE_WHEN_LATE * 30 / 10 / 2)  # its folds come in two waves


def test_what_is_like_a_spec_that_is_late_again_waits_for_the_end(run, clock):
    names = ["slow", "late", "late_at_first like late", *["poor"] * 8]
    fitted = run(names, budget=Budget.start(100), first_pass=0.3)
    assert keys(fitted) == ["slow", "slow_long", "late_at_first"]


@pytest.mark.parametrize("family", ["needs_seconds_poor", "needs_seconds_distant"])
def test_once_one_of_a_family_is_of_no_use_the_others_wait_for_the_end(run, clock, events, family):
    names = ["slow", f"{family}:one", f"{family}:two", *["poor"] * 7]
    run(names, budget=Budget.start(100), first_pass=0.3)
    starts = [event.key for event in events if isinstance(event, SpecStarted)]
    again = [key for key in starts[3:] if key != "poor"]
    assert again == ["one", "slow_long", "two"]


def test_what_had_its_second_turn_is_weighed_with_what_was_looked_at(run, scouting, clock):
    """Beside the one bad bag that is whole by then, it would have all the weight."""
    names = ["slow_poor", "slow", "slow_different", "slower_fair"]
    fitted = run(names, budget=Budget.start(100), first_pass=0.15, n_cores=1)
    assert keys(fitted)[:3] == ["slow_poor", "slower_fair", "slow_long"]
    assert "slower_fair_long" not in keys(fitted)


def test_what_was_looked_at_is_given_up_when_a_late_one_leaves_it_no_weight(run, scouting, clock):
    names = ["slow_poor", "slow_fair", "needs_seconds"]
    fitted = run(names, budget=Budget.start(100), first_pass=0.1, n_cores=1)
    assert keys(fitted)[:2] == ["slow_poor", "needs_seconds"]
    assert reasons(fitted)["slow_fair"] == (False, NO_WEIGHT)


def test_nothing_is_weighed_on_first_folds_that_do_not_tell_enough(run, clock, monkeypatch):
    rows_of_a_fold = N_ROWS // 4

    def judged(judge, prediction, rows, score=Judge.score):
        assert len(rows) > 2 * rows_of_a_fold
        return score(judge, prediction, rows)

    monkeypatch.setattr(Judge, "score", judged)
    names = ["slow", "needs_seconds_distant", *["poor"] * 8]
    fitted = run(names, budget=Budget.start(100), first_pass=0.3)
    assert "needs_seconds_distant" in keys(fitted)


def test_what_did_not_stop_is_not_tried_again(run, monkeypatch):
    monkeypatch.setattr(LateAtFirst, "error", OverrunError)
    fitted = run(["oracle", "late_at_first"], budget=Budget.start(60))
    assert [c.bag.key for c in fitted.candidates] == ["oracle"]
    assert reasons(fitted)["late_at_first"] == (False, "out of time: too slow")


def test_what_did_not_stop_on_the_first_folds_is_not_tried_on_all(run, scouting, monkeypatch):
    monkeypatch.setattr(LateAtFirst, "error", OverrunError)
    fitted = run(["oracle", "late_at_first"], budget=Budget.start(60))
    assert [c.bag.key for c in fitted.candidates] == ["oracle"]
    assert reasons(fitted)["late_at_first"] == (False, "out of time: too slow")


def test_a_first_spec_that_did_not_stop_has_no_other_turn(run, scouting, monkeypatch):
    monkeypatch.setattr(LateAtFirst, "error", OverrunError)
    fitted = run(["late_at_first", "oracle"], budget=Budget.start(60))
    assert "late_at_first" not in {c.bag.key for c in fitted.candidates}
    assert reasons(fitted)["late_at_first"] == (False, "out of time: too slow")


def test_a_first_spec_that_came_too_late_has_another_turn(run, scouting):
    fitted = run(["late_at_first", "distant"], budget=Budget.start(60))
    keys = [c.bag.key for c in fitted.candidates]
    assert keys.count("late_at_first") == 1
    assert "late_at_first" not in reasons(fitted)


def test_repeats_go_by_what_was_seen_together_not_by_what_is_whole(run, scouting, clock):
    """A bad whole bag has all the weight as long as it is alone."""
    names = ["slow_poor", "slow"]
    fitted = run(names, budget=Budget.start(100), first_pass=0.4)
    keys = [c.bag.key for c in fitted.candidates]
    assert keys[:2] == ["slow_poor", "slow_long"]


def test_the_same_bags_are_weighed_once(run, monkeypatch):
    weighed = []

    def counted(request, candidates, budget=None, *, guard=True):
        if not guard:
            weighed.append(len(candidates))
        return ensemble_weights(request, candidates, budget, guard=guard)

    monkeypatch.setattr("tabular_automl.ensemble.layer.ensemble_weights", counted)
    monkeypatch.setitem(SPACES, "oracle", {})
    run(["oracle", "distant"], budget=Budget.start(60))
    assert len(weighed) > 2
    assert len(set(weighed)) == len(weighed)


def test_a_budget_in_trials_tries_no_variants(run, monkeypatch):
    monkeypatch.setitem(SPACES, "oracle", {})
    assert len(run(["oracle"]).candidates) == 1


def test_few_rows_allow_few_variants(run, monkeypatch):
    monkeypatch.setitem(SPACES, "oracle", {})
    monkeypatch.setattr("tabular_automl.ensemble.halving._ROWS_OF_A_VARIANT", N_ROWS // 2)
    assert len(run(["oracle"], budget=Budget.start(60)).candidates) == 3


def test_variants_end_when_more_models_bring_nothing(run, monkeypatch):
    monkeypatch.setitem(SPACES, "oracle", {})
    fitted = run(["oracle", "oracle", "oracle"], budget=Budget.start(60), patience=2)
    assert len(fitted.candidates) == 3


def test_variants_leave_the_time_that_the_save_will_take(run, monkeypatch):
    monkeypatch.setitem(SPACES, "oracle", {})
    monkeypatch.setattr("tabular_automl.ensemble.layer.seconds_to_save", lambda bag: 90.0)
    assert len(run(["oracle"], budget=Budget.start(60)).candidates) == 1
    assert len(run(["oracle"], budget=Budget.start(600)).candidates) > 1


def kept_for_refit(*bag_seconds):
    """Return what is kept for a refit of bags of four folds on two cores."""
    return MORE_THAN_NEEDED * sum(_OF_A_FOLD * seconds / 4 * 4 / 3 for seconds in bag_seconds)


def test_time_is_left_for_a_refit_and_no_more_than_it_needs(run, clock):
    budget = Budget.start(100)
    fitted = run(["slow", "slow_different"], n_first=1, refit_seconds=40.0, budget=budget)
    first, second = (candidate.fit.fit_seconds for candidate in fitted.candidates)
    assert first == 60.0  # as long as nothing is known, all is kept
    assert CLOCK.now == pytest.approx(100 - kept_for_refit(first))
    assert fitted.refit_seconds == pytest.approx(min(40.0, kept_for_refit(first, second)))


def test_without_a_refit_all_the_time_is_used(run, clock):
    assert run(["slow"], budget=Budget.start(100)).refit_seconds == 0.0
    assert CLOCK.now == 100


def test_no_time_is_kept_for_a_refit_of_nothing(run, clock):
    fitted = run(["late", "slow"], n_first=1, refit_seconds=40.0, budget=Budget.start(100))
    assert CLOCK.now == 100
    assert fitted.candidates[0].fit.fit_seconds == 100


def test_variants_change_what_a_refit_needs(run, scouting, monkeypatch):
    kept = []
    keep = Layer.keep_what_refit_needs
    monkeypatch.setattr(
        Layer,
        "keep_what_refit_needs",
        lambda layer: kept.append(keep(layer) or layer.refit_seconds),
    )
    monkeypatch.setitem(SPACES, "oracle", {})
    monkeypatch.setattr("tabular_automl.ensemble.halving._ROWS_OF_A_VARIANT", N_ROWS // 4)
    run(["oracle"], refit_seconds=10.0, budget=Budget.start(60))
    assert len(kept) > 2
    assert max(kept) < 10.0


class InTurn:
    """Values of a hyperparameter, one after the other."""

    def __init__(self, *values):
        self.values = list(values)

    def draw(self, rng):
        return self.values.pop(0)


@pytest.fixture
def vary(monkeypatch):
    """Return a function that says how blurred the variants of a family are, in turn."""

    def say(family, *blurs):
        rows = N_ROWS // len(blurs)
        monkeypatch.setitem(SPACES, family, {"blur": InTurn(*blurs)})
        monkeypatch.setattr("tabular_automl.ensemble.halving._ROWS_OF_A_VARIANT", rows)

    return say


def test_the_better_half_of_a_group_of_variants_gets_the_other_folds(run, scouting, vary):
    vary("tuned", 0.10, 0.20, 0.11, 0.22)
    fitted = run(["tuned"], budget=Budget.start(60))
    n_models = {c.bag.key: len(c.bag.models) for c in fitted.candidates}
    assert n_models == {"tuned": 4, "tuned_v1": 4, "tuned_v3": 4}
    assert reasons(fitted).keys() == {"tuned_v2", "tuned_v4"}
    assert all("first folds" in reason for _, reason in reasons(fitted).values())
    assert FITTED.count("Tuned") == 4 + 4 * 2 + 2 * 2  # no fold twice


def test_halves_are_halved_where_folds_come_in_more_waves(run, scouting, vary):
    vary("tuned", 0.10, 0.30, 0.11, 0.31, 0.12, 0.32, 0.13, 0.33)
    fitted = run(["tuned"], budget=Budget.start(60), n_cores=1)
    variants = {c.bag.key for c in fitted.candidates} - {"tuned"}
    assert len(variants) == 2
    assert variants < {"tuned_v1", "tuned_v3", "tuned_v5", "tuned_v7"}
    assert FITTED.count("Tuned") == 4 + 8 * 1 + 4 * 1 + 2 * 2


def test_groups_of_variants_end_when_they_bring_nothing(run, scouting, monkeypatch):
    monkeypatch.setitem(SPACES, "oracle", {})
    monkeypatch.setattr("tabular_automl.ensemble.halving._ROWS_OF_A_VARIANT", N_ROWS // 20)
    fitted = run(["oracle"], budget=Budget.start(60))
    assert [c.bag.key for c in fitted.candidates] == ["oracle"]
    assert len(fitted.skipped) == 12  # three groups of four
    assert FITTED.count("Oracle") == 4 + 12 * 2


def test_two_large_groups_that_bring_nothing_are_not_the_end(run, scouting, monkeypatch):
    monkeypatch.setitem(SPACES, "oracle", {})
    monkeypatch.setattr("tabular_automl.ensemble.halving._ROWS_OF_A_VARIANT", N_ROWS // 30)
    fitted = run(["oracle"], budget=Budget.start(60), n_cores=1)  # looks at one fold, and at two
    assert len(fitted.skipped) == 3 * 8


def test_on_a_holdout_variants_are_tried_one_by_one(run, scouting, monkeypatch):
    monkeypatch.setitem(SPACES, "oracle", {})
    monkeypatch.setattr("tabular_automl.ensemble.halving._ROWS_OF_A_VARIANT", N_ROWS // 20)
    fitted = run(["oracle"], budget=Budget.start(60), holdout_fraction=0.5)
    assert len(fitted.candidates) == 1 + 12


def test_looks_at_variants_leave_the_time_for_the_other_folds(
    run, clock, scouting, vary, monkeypatch
):
    monkeypatch.setattr("tabular_automl.ensemble.schedule._LONGER", 10.0)  # no repeat
    vary("slow_tuned", 0.10, 0.20, 0.11, 0.22)
    fitted = run(["slow_tuned"], budget=Budget.start(100), n_first=1, first_pass=0.2)
    seconds = {c.bag.key: c.fit.fit_seconds for c in fitted.candidates}
    assert seconds.keys() == {"slow_tuned", "slow_tuned_v1", "slow_tuned_v3"}
    # Of 80 s, four halves of a bag and then two: three bags.
    assert seconds["slow_tuned_v1"] == pytest.approx(80 / 3, rel=0.01)
    assert CLOCK.now == pytest.approx(100)


def test_a_variant_that_fails_is_one_row_and_its_group_goes_on(
    run, scouting, vary, events, monkeypatch
):
    fit = Tuned.fit

    def fails(self, train, valid, budget):
        if self.params.blur == 0.20:
            raise ZeroDivisionError("the cause")
        return fit(self, train, valid, budget)

    monkeypatch.setattr(Tuned, "fit", fails)
    vary("tuned", 0.10, 0.20, 0.11, 0.22)
    fitted = run(["tuned"], budget=Budget.start(60))
    assert {c.bag.key for c in fitted.candidates} == {"tuned", "tuned_v1", "tuned_v3"}
    assert reasons(fitted)["tuned_v2"] == (True, "ZeroDivisionError: the cause")
    told = [event.key for event in events if isinstance(event, SpecSkipped)]
    assert sorted(told) == ["tuned_v2", "tuned_v4"]


def test_an_interrupt_among_looks_keeps_the_whole_bags(run, scouting, vary, monkeypatch):
    stop, fit = Stop(), Tuned.fit

    def interrupted(self, train, valid, budget):
        fit(self, train, valid, budget)
        if len(FITTED) > 4 + 2:
            stop.signal = 2
        return self

    monkeypatch.setattr(Tuned, "fit", interrupted)
    vary("tuned", 0.10, 0.20, 0.11, 0.22)
    fitted = run(["tuned"], budget=Budget.start(60, stop))
    assert [c.bag.key for c in fitted.candidates] == ["tuned"]
    assert len(reasons(fitted)) == 4
    assert all("interrupted" in reason for _, reason in reasons(fitted).values())


def test_a_resume_fits_no_fold_of_a_variant_again(run, scouting, monkeypatch, tmp_path):
    monkeypatch.setattr(resuming, "_WRITING_SHARE", 1e9)
    monkeypatch.setattr("tabular_automl.ensemble.halving._ROWS_OF_A_VARIANT", N_ROWS // 4)
    monkeypatch.setitem(SPACES, "tuned", {"blur": Between(0.1, 0.4)})
    identity = FitIdentity.of(pd.DataFrame({"x": [1]}), FitConfig())

    def keys():
        book = Workbook.open(Journal(tmp_path / "journal"), identity, silent)
        book.begin(4, None)
        fitted = run(["tuned"], budget=Budget.start(60), workbook=book)
        return [c.bag.key for c in fitted.candidates]

    before = keys()
    assert len(before) > 1
    FITTED.clear()
    assert keys() == before
    assert FITTED == []


def test_a_bag_of_before_does_not_take_the_name_of_another(run, monkeypatch, tmp_path):
    monkeypatch.setattr(resuming, "_WRITING_SHARE", 1e9)
    monkeypatch.setattr("tabular_automl.ensemble.halving._ROWS_OF_A_VARIANT", N_ROWS)
    identity = FitIdentity.of(pd.DataFrame({"x": [1]}), FitConfig())

    def keys(blur):
        monkeypatch.setitem(SPACES, "tuned", {"blur": InTurn(blur)})
        book = Workbook.open(Journal(tmp_path / "journal"), identity, silent)
        book.begin(4, None)
        fitted = run(["tuned"], budget=Budget.start(60), workbook=book)
        book.close(60.0)
        return sorted(c.bag.key for c in fitted.candidates)

    assert keys(0.1) == keys(0.2) == ["tuned", "tuned_v1"]


@pytest.mark.parametrize(
    ("n_specs", "parts", "n_bags"),
    [(1, [], 1.0), (1, [0.5], 1.0), (4, [0.5], 3.0), (3, [0.5], 2.5), (8, [0.25, 0.5], 4.0)],
)
def test_halving_costs_less_than_a_bag_each(n_specs, parts, n_bags):
    assert _bags_of_halving(n_specs, parts) == pytest.approx(n_bags)


def test_readers_have_their_turn_as_soon_as_it_is_known_that_the_cheap_one_is_worth_it(run):
    fitted = run(["different after oracle", "oracle", "broken", "late", "hungry", "distant"])
    assert [c.bag.key for c in fitted.candidates] == ["oracle", "different", "distant"]


def test_readers_alone_are_tried(run, scouting):
    fitted = run(["different after oracle"], budget=Budget.start(60))
    assert [c.bag.key for c in fitted.candidates] == ["different"]


def test_few_specs_beside_a_reader_leave_nothing_to_look_at(run, scouting):
    fitted = run(["oracle", "different after oracle"], budget=Budget.start(60))
    assert [c.bag.key for c in fitted.candidates] == ["oracle", "different"]


def test_what_is_like_a_spec_without_weight_is_not_tried_when_time_is_short(run):
    specs = ["oracle", "distant", "different like distant"]
    fitted = run(specs, n_first=2, budget=Budget.start(60))
    assert reasons(fitted)["different"] == (False, "distant, which is like it, has no weight")
    assert not reasons(run(specs, n_first=2))
    assert "different" not in reasons(run(specs, n_first=3, budget=Budget.start(60)))


def test_first_folds_that_the_metric_cannot_judge_give_no_spec_up(run, monkeypatch):
    monkeypatch.setattr(Judge, "can_judge", lambda judge, rows: False)
    assert keys(run(["oracle", "poor"], budget=Budget.start(60))) == ["oracle", "poor"]


def test_what_is_like_a_spec_that_had_time_comes_before_one_that_had_not(run):
    names = ["oracle", "late_at_first", "different like oracle"]
    fitted = run(names, n_first=2, budget=Budget.start(60))
    assert keys(fitted) == ["oracle", "different", "late_at_first"]


def test_what_is_like_a_spec_that_had_too_little_time_waits_for_it(run):
    names = ["oracle", "late_at_first", "distant like late_at_first"]
    fitted = run(names, n_first=2, budget=Budget.start(60))
    assert keys(fitted) == ["oracle", "late_at_first"]
    assert reasons(fitted)["distant"] == (False, "late_at_first, which is like it, has no weight")
    names = ["oracle", "late", "distant like late"]
    fitted = run(names, n_first=2, budget=Budget.start(60))
    assert keys(fitted) == ["oracle"]
    reason = "late, which is like it, had too little time"
    assert reasons(fitted)["distant"] == (False, reason)


def test_what_is_like_a_spec_given_up_is_not_tried_but_like_one_that_failed_is(run):
    given_up = run(["oracle", "poor", "different like poor"], n_first=2, budget=Budget.start(60))
    assert "like it" in reasons(given_up)["different"][1]
    failed = run(["oracle", "broken", "different like broken"], n_first=2, budget=Budget.start(60))
    assert "different" in {c.bag.key for c in failed.candidates}


def test_specs_without_weight_on_the_first_folds_are_not_fitted_on_the_others(run, scouting):
    fitted = run(["oracle", "distant", "different"], budget=Budget.start(60))
    assert reasons(fitted) == {"distant": (False, "no weight in the ensemble of the first folds")}
    assert [(c.bag.key, len(c.bag.models)) for c in fitted.candidates] == [
        ("oracle", 4),
        ("different", 4),
    ]
    # No fold twice: what was seen on the first folds is part of the whole bag.
    assert [FITTED.count(name) for name in ("Oracle", "Distant", "Different")] == [4, 2, 4]


def test_a_bag_that_was_seen_on_the_first_folds_is_the_one_fitted_at_once(run, scouting):
    seen = run(["oracle", "different"], budget=Budget.start(60)).candidates[1]
    at_once = run(["oracle", "different"]).candidates[1]
    np.testing.assert_array_equal(seen.prediction, at_once.prediction)
    assert seen.score == at_once.score


def test_a_budget_in_trials_fits_every_fold_of_every_spec(run, scouting):
    fitted = run(["oracle", "distant", "different"])
    assert not fitted.skipped
    assert FITTED.count("Distant") == 4


def test_what_fails_on_the_first_folds_is_one_row(run, scouting, events):
    fitted = run(["oracle", "broken", "poor"], budget=Budget.start(60))
    assert reasons(fitted)["broken"] == (True, "ZeroDivisionError: the cause")
    assert "no better" in reasons(fitted)["poor"][1]
    assert [e.key for e in events if isinstance(e, SpecSkipped)] == ["broken", "poor"]
    assert [e.key for e in events if isinstance(e, SpecFinished)] == ["oracle"]


def test_what_had_too_little_time_on_the_first_folds_is_tried_on_all(run, scouting):
    fitted = run(["oracle", "late"], budget=Budget.start(60))
    assert FITTED.count("Oracle") == 4
    assert "too slow" in reasons(fitted)["late"][1]
    assert len(fitted.skipped) == 1


def test_what_had_too_little_time_on_the_first_folds_waits_until_the_others_are_done(run, scouting):
    fitted = run(["oracle", "late_at_first", "different"], budget=Budget.start(60))
    assert keys(fitted) == ["oracle", "different", "late_at_first"]
    assert not reasons(fitted)


def test_what_the_clock_cut_short_on_the_first_folds_is_fitted_anew_with_more_time(
    run, clock, scouting
):
    fitted = run(["distant", "slow"], budget=Budget.start(100), first_pass=0.4)
    assert [c.bag.key for c in fitted.candidates] == ["distant", "slow_long"]
    assert len(fitted.candidates[1].bag.models) == 4
    assert FITTED.count("Slow") == 2 + 4


def test_without_time_for_a_longer_fit_its_other_folds_are_as_long_as_the_first(
    run, clock, scouting, monkeypatch
):
    monkeypatch.setattr("tabular_automl.ensemble.schedule._LONGER", 10.0)
    fitted = run(["distant", "slow"], budget=Budget.start(100), first_pass=0.4)
    assert [c.bag.key for c in fitted.candidates] == ["distant", "slow"]
    assert FITTED.count("Slow") == 4


def test_a_longer_fit_that_gives_no_bag_leaves_the_folds_that_were_seen(
    run, clock, scouting, monkeypatch
):
    fit = Slow.fit

    def breaks_when_longer(self, train, valid, budget):
        if budget.remaining() > 20.0:
            raise MemoryError("too many trees")
        return fit(self, train, valid, budget)

    monkeypatch.setattr(Slow, "fit", breaks_when_longer)
    fitted = run(["distant", "slow"], budget=Budget.start(100), first_pass=0.2)
    assert [c.bag.key for c in fitted.candidates] == ["distant", "slow"]
    assert reasons(fitted) == {"slow_long": (True, "out of memory: too many trees")}


def test_a_key_of_the_users_own_that_ends_like_a_repeat_is_repeated_too(run, clock):
    MODELS.register("slow_long", Slow)
    try:
        fitted = run(["slow_long"], budget=Budget.start(100), n_first=1, first_pass=0.2)
    finally:
        MODELS.unregister("slow_long")
    assert [c.bag.key for c in fitted.candidates] == ["slow_long", "slow_long_long"]


def test_without_time_for_the_other_folds_the_row_says_so(run, clock, scouting):
    fitted = run(["distant", "slow"], budget=Budget.start(100), first_pass=1.0)
    assert reasons(fitted)["slow"] == (False, "no time left for its other folds")


@pytest.mark.parametrize("n_fitted", [2, 4], ids=["cut off after the first folds", "finished"])
def test_a_resume_fits_no_fold_again_that_was_seen(run, scouting, monkeypatch, tmp_path, n_fitted):
    monkeypatch.setattr(resuming, "_WRITING_SHARE", 1e9)
    identity = FitIdentity.of(pd.DataFrame({"x": [1]}), FitConfig())
    specs, fit = ["oracle", "distant", "different"], Different.fit

    def cut_off(self, train, valid, budget):
        if FITTED.count("Different") >= n_fitted:
            raise KeyboardInterrupt
        return fit(self, train, valid, budget)

    def opened():
        book = Workbook.open(Journal(tmp_path / "journal"), identity, silent)
        book.begin(4, None)
        return book

    monkeypatch.setattr(Different, "fit", cut_off)
    if n_fitted < 4:
        with pytest.raises(KeyboardInterrupt):
            run(specs, budget=Budget.start(60), workbook=opened())
    else:
        run(specs, budget=Budget.start(60), workbook=opened())
    monkeypatch.setattr(Different, "fit", fit)
    FITTED.clear()
    fitted = run(specs, budget=Budget.start(60), workbook=opened())
    assert [c.bag.key for c in fitted.candidates] == ["oracle", "different"]
    assert ["Different"] * (4 - n_fitted) == FITTED

"""One layer of a stack: its specs are fitted, judged, and given up where they do not help."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from tabular_automl.core.budget import Budget
from tabular_automl.core.errors import (
    AutoMLError,
    OutOfMemoryError,
    OutOfTimeError,
    OverrunError,
)
from tabular_automl.core.events import Note, SpecFinished, SpecSkipped, SpecStarted
from tabular_automl.core.imports import import_installed, seconds_to_import
from tabular_automl.core.memory import release_memory
from tabular_automl.data.table import Samples
from tabular_automl.ensemble.bagging import (
    SAVE_SECONDS,
    Bag,
    BagFit,
    FoldMemory,
    fit_bag,
    seconds_to_save,
)
from tabular_automl.ensemble.candidates import (
    Candidate,
    PlannedSpec,
    Skipped,
    StackRequest,
    ensemble_weights,
)
from tabular_automl.ensemble.fold_work import BagRequest
from tabular_automl.ensemble.refitting import (
    can_be_refitted,
    seconds_beside_refits,
    seconds_to_refit,
)
from tabular_automl.ensemble.weights import blend
from tabular_automl.models.base import MODELS, ModelSpec, Prediction
from tabular_automl.models.rows_in_time import MANY_ROWS

_BEHIND = 0.15  # an error larger than the best by this share earns weight only if it is different
_MIXES = (0.1, 0.2, 0.4)  # weights at which a spec that is far behind must help the best one
_ENOUGH_ROWS = 500  # fewer say little about a spec, and its other folds cost little
_LEAST_SECONDS = 0.3  # less than this is not worth starting a spec for
_SECONDS_PER_CELL = 2e-7  # what every family spends before it can look at the clock
_COLLECT_SECONDS = 4.0  # between collections of cycles, which take 0.1 to 0.2 s
NO_TIME = "no time left"
_MEMORY_SHARE = 0.8
_BEYOND = 1.5  # times what boosters needed before, since the next may need more
MORE_THAN_NEEDED = 1.2  # kept for a refit: what comes later may be part of it
_GAIN = 1e-3  # a smaller part of the ensemble's error is noise


class Layer:
    """What was tried of one layer, and the way to try more.

    Parameters
    ----------
    request : StackRequest
    number : int
        1 for models of the features alone, more for models of a stack.
    samples : Samples
        What the layer reads.
    budget : Budget
        For the whole layer, and what is kept for a refit.

    Attributes
    ----------
    budget : Budget
        For what is still to be fitted.
    memory : FoldMemory or None
        Finished folds are told to it, and those that it recalls are not fitted again.
    candidates : list of Candidate
    skipped : list of Skipped
    behind : dict of str to Candidate
        By key, quick ones that were skipped though they were fitted on all there is, a holdout.
    given_up : set of str
        Keys of those skipped because they are of no use.
    late : dict of str to float
        Keys of those skipped because they did not end in time, and the seconds that they had.
    overran : set of str
        Keys of those that did not stop when their time was over.
    converged_after : list of float
        The most that a model of each bag of boosters needed, see `Model.converged_after`.
    seconds_to_save : dict of str to float
        About how long a save of each bag takes.
    late_seconds : float
        Time that is kept for a late layer, beside that for a refit.
    """

    def __init__(
        self, request: StackRequest, number: int, samples: Samples, budget: Budget
    ) -> None:
        self.request = request
        self.number = number
        self.samples = samples
        self._until_refit_ends = budget
        self.budget = budget.earlier(request.refit_seconds)
        self.memory: FoldMemory | None = request.workbook
        self.candidates: list[Candidate] = []
        self.skipped: list[Skipped] = []
        self.behind: dict[str, Candidate] = {}
        self.given_up: set[str] = set()
        self.late: dict[str, float] = {}
        self.overran: set[str] = set()
        self.seconds_to_save: dict[str, float] = {}
        self.late_seconds = 0.0
        self._weights = np.empty(0)  # of the candidates that were weighed last
        self._weighed_late = False
        self._hopeless: set[str] = set()
        self.converged_after: list[float] = []
        self._collected = time.monotonic()
        self._since_gain = 0
        self._ensemble_error: float | None = None

    def weights(self) -> dict[str, float]:
        """Return the weight of each bag in the ensemble so far, by key."""
        keys = [candidate.bag.key for candidate in self.candidates]
        return dict(zip(keys, self._weigh().tolist(), strict=True))

    def _weigh(self) -> npt.NDArray[np.float64]:
        """Return the candidates' weights; the same candidates are weighed once, if in time."""
        known = len(self._weights) == len(self.candidates)  # none ever goes
        if not known or (self._weighed_late and not self.budget.expired()):
            self._weights = ensemble_weights(
                self.request, self.candidates, self.budget, guard=False
            )
            self._weighed_late = self.budget.expired()
        return self._weights

    @property
    def refit_seconds(self) -> float:
        """Time that is still kept for a refit of this layer."""
        if not self.budget.limited or self.budget.stopped:
            return 0.0
        return self._until_refit_ends.deadline - self.budget.deadline - self.late_seconds

    def keep_what_refit_needs(self) -> None:
        """Let what comes have the time that models of all rows would not need, as far as known."""
        request = self.request
        if not request.refit_seconds:
            return
        self.budget = self._until_refit_ends
        needed = sum(map(self._seconds_to_refit, self._to_refit()))
        kept = min(request.refit_seconds, MORE_THAN_NEEDED * needed)
        self.budget = self._until_refit_ends.earlier(kept + self.late_seconds)

    def time_beside_save(self) -> Budget:
        """Return what is left when the save of so many models is longer than planned."""
        saving = {
            key: self.seconds_to_save.get(key, 0.0)
            for key, weight in self.weights().items()
            if weight > 0.0
        }
        total = sum(saving.values())
        if self.request.refit_seconds:
            bags = self._to_refit()
            refits = [(self._seconds_to_refit(each), saving.pop(each.bag.key)) for each in bags]
            beside = seconds_beside_refits(refits, sum(saving.values()))
            # Were there no time for refits, all would be saved.
            total = max(beside, total - self.refit_seconds)
        return self.budget.within(self.budget.remaining() - max(0.0, total - SAVE_SECONDS))

    def _to_refit(self) -> list[Candidate]:
        """Return the bags of weight that can be refitted, in the order of the refits."""
        weight_of = self.weights()
        found = [each for each in self.candidates if weight_of[each.bag.key] > 0.0]
        found = [each for each in found if can_be_refitted(each.bag)]
        return sorted(found, key=lambda each: -weight_of[each.bag.key])

    def _seconds_to_refit(self, candidate: Candidate) -> float:
        return seconds_to_refit(candidate.fit, self.request.folds, self.request.machine)

    def key_of(self, spec: ModelSpec) -> str:
        """Return the name of the spec's bag in this layer."""
        return spec.key if self.number == 1 else f"{spec.key}_l{self.number}"

    def try_all(self, specs: Sequence[PlannedSpec], budget: Budget) -> list[PlannedSpec]:
        """Try every spec, each with the part of the budget that its cost claims.

        Returns those that the budget had no time for.
        """
        late = []
        for position, planned in enumerate(specs):
            key = self.key_of(planned.spec)
            reason = self._reason_to_skip(planned.spec, key, budget)
            if reason == NO_TIME:
                late.append(planned)
            elif reason is not None:
                self.skip(key, reason)
            else:
                part = planned.cost / sum(later.cost for later in specs[position:])
                self.try_spec(planned.spec, key, budget, part)
        return late

    def try_spec(self, spec: ModelSpec, key: str, budget: Budget, part: float = 1.0) -> None:
        """Fit one spec in a part of the budget; a failure becomes a visible row."""
        self._report_start(key)
        self._forget_late(key)
        given = budget.share(part).remaining()
        try:
            self._prepare(spec, key)
            fit, hopeless = self._fit(spec, key, budget.share(part))
            self.behind.pop(key, None)
            if hopeless is not None:
                self._keep_if_quick(fit)
                raise hopeless
            candidate = self._judged(fit)
            # What cannot be saved is of no use.
            self.seconds_to_save[key] = seconds_to_save(candidate.bag)
        except _HopelessError as verdict:
            self._hopeless.add(spec.family)
            self.give_up(key, str(verdict))
        except OutOfTimeError as error:
            self.skip(key, f"out of time: {error}")
            self.late[key] = given
            if isinstance(error, OverrunError):
                self.overran.add(key)
        except OutOfMemoryError as error:
            self.skip(key, f"out of memory: {error}")
        except Exception as error:  # the one place where a model's failure is caught
            if self.request.on_error == "raise":
                raise
            self.skip(key, _cause(error), failed=True)
        else:
            self._keep(candidate)
        self._release()

    def _release(self) -> None:
        """Give back what the last spec needed, so that the next one does not come on top of it."""
        collect = time.monotonic() - self._collected > _COLLECT_SECONDS
        release_memory(collect=collect)
        if collect:
            self._collected = time.monotonic()

    def _prepare(self, spec: ModelSpec, key: str) -> None:
        """Import what the family needs before its clock starts, and refuse what would not fit."""
        family = MODELS.get(spec.family)
        import_installed(family.modules, len(self.samples))
        if self._is_finished(spec, key):
            return
        n_bytes = family.estimate_bytes(spec.params, self.samples.table, self.request.setting.task)
        n_free = self._free_for_a_fold()
        if n_bytes > _MEMORY_SHARE * n_free:
            release_memory(collect=True)
            n_free = self._free_for_a_fold()
        if n_bytes > _MEMORY_SHARE * n_free:
            raise OutOfMemoryError(
                f"a fold would need {n_bytes / 1e9:.1f} GB of memory, it has {n_free / 1e9:.1f}"
            )

    def _free_for_a_fold(self) -> int:
        return self.request.machine.by_now().bytes_each(len(self.request.folds))

    def _fit(
        self, spec: ModelSpec, key: str, budget: Budget
    ) -> tuple[BagFit, _HopelessError | None]:
        """Return the bag, and why it is of no use where that was seen once all was fitted.

        So it is on a holdout, whose only fold is the first: the model is there, and may be quick.
        """
        verdict: _HopelessError | None = None

        def check(output: Prediction, rows: npt.NDArray[np.intp]) -> None:
            nonlocal verdict
            try:
                self._check_first_folds(output, rows)
            except _HopelessError as error:
                if len(self.request.folds) > 1:
                    raise
                verdict = error

        fit = fit_bag(
            self.bag_request(spec, key),
            budget,
            self.request.machine,
            # In trials, what is tried must not depend on how many folds are fitted at a time.
            check if self.budget.limited else None,
            self.memory,
        )
        return fit, verdict

    def bag_request(self, spec: ModelSpec, key: str) -> BagRequest:
        """Return what the layer asks `fit_bag` for."""
        setting, folds = self.request.setting, self.request.folds
        if self.converged_after:
            setting = replace(setting, aim=_BEYOND * max(self.converged_after))
        return BagRequest(spec, key, self.number, setting, self.samples, folds)

    def _judged(self, fit: BagFit) -> Candidate:
        judge, rows = self.request.judge, self.request.folds.validated
        prediction = judge.decode(fit.oof)
        return Candidate(fit, prediction, judge.score(prediction, rows))

    def _keep(self, candidate: Candidate) -> None:
        self.candidates.append(candidate)
        self._note_what_was_needed(candidate.bag)
        self._watch_gain()
        self._tell_of_draw(candidate)
        best = max(c.score for c in self.candidates)
        key, seconds = candidate.bag.key, candidate.fit.fit_seconds
        self.request.report(SpecFinished(key, self.number, candidate.score, best, seconds))

    def _keep_if_quick(self, fit: BagFit) -> None:
        """Keep what is of no use to the ensemble where it is quicker than all that is.

        Others would take memory, such as forests.
        """
        if all(fit.predict_seconds < each.fit.predict_seconds for each in self.candidates):
            seconds_to_save(fit.bag)  # what cannot be saved fails here, and not in the end
            self.behind[fit.bag.key] = self._judged(fit)

    def _note_what_was_needed(self, bag: Bag) -> None:
        found = [fitted.model.converged_after for fitted in bag.models]
        known = [learned for learned in found if learned is not None]
        if any(fitted.model.n_drawn is not None for fitted in bag.models):
            known = []  # what few rows needed says little of all
        if len(known) == len(found):  # what some needed says little while others went on
            self.converged_after.append(max(known))

    def _tell_of_draw(self, candidate: Candidate) -> None:
        """Tell where a model had time for some of its training rows only."""
        drawn = [fitted.model.n_drawn for fitted in candidate.bag.models]
        known = [n_rows for n_rows in drawn if n_rows is not None]
        if known:
            n_rows = max(map(len, self.request.folds.train))
            told = f"{candidate.bag.key} learned from {min(known):,d} of {n_rows:,d} rows"
            self.request.report(Note(f"{told}: with more time it learns from more."))

    def _watch_gain(self) -> None:
        """Count specs in a row that did not improve the ensemble; only without a user's limit."""
        if self.request.patience is None:
            return
        blended = blend([c.prediction for c in self.candidates], self._weigh())
        error = self.request.judge.error(blended, self.request.folds.validated)
        before = self._ensemble_error
        gained = before is None or error < before - _GAIN * abs(before)
        self._since_gain = 0 if gained else self._since_gain + 1
        self._ensemble_error = error if before is None else min(error, before)

    def _reason_to_skip(self, spec: ModelSpec, key: str, budget: Budget) -> str | None:
        """Return why not to try a spec at all, if there is a cause."""
        table = self.samples.table
        if self._is_finished(spec, key):
            return None
        if budget.stopped:
            return "interrupted"
        if self._is_hopeless(spec.family):
            return f"what was tried of the family {spec.family!r} was far behind"
        family = MODELS.get(spec.family)
        n_rows = min(len(table), MANY_ROWS) if family.draws_rows else len(table)
        needed = _LEAST_SECONDS + _SECONDS_PER_CELL * n_rows * table.n_features
        if budget.remaining() < needed + seconds_to_import(family.modules):
            return NO_TIME
        return "more models no longer improved the ensemble" if self.no_longer_pays() else None

    def _is_finished(self, spec: ModelSpec, key: str) -> bool:
        """Return whether an earlier fit has left every fold of a spec."""
        return self.memory is not None and self.memory.holds(self.bag_request(spec, key))

    def _is_hopeless(self, family: str) -> bool:
        """Return whether to try no more of a family: it was far behind, and trying costs it all.

        Only on a holdout under a deadline: with several folds, the first ones tell.
        """
        if len(self.request.folds) > 1 or not self.budget.limited:
            return False
        has_bag = any(candidate.bag.models[0].family == family for candidate in self.candidates)
        return family in self._hopeless and not has_bag

    def no_longer_pays(self) -> bool:
        """Return whether so many specs in a row brought nothing that more would not either."""
        return self.request.patience is not None and self._since_gain >= self.request.patience

    def _check_first_folds(self, output: Prediction, rows: npt.NDArray[np.intp]) -> None:
        """Give a spec up whose first folds are far behind the best bag's, and do not help it."""
        judge = self.request.judge
        if not self.candidates or len(rows) < _ENOUGH_ROWS or not judge.can_judge(rows):
            return
        best = max(self.candidates, key=lambda candidate: candidate.score)
        theirs = best.prediction[np.searchsorted(self.request.folds.validated, rows)]
        ours = judge.decode(output)

        def error(weight: float) -> float:
            return judge.error(blend([theirs, ours], np.array([1.0 - weight, weight])), rows)

        before, alone = error(0.0), error(1.0)
        bearable = before + _BEHIND * abs(before)  # a figure of the user's own may be below 0
        if before and alone > bearable and all(error(mix) >= before for mix in _MIXES):
            raise _HopelessError(
                f"error {alone:.4g} on the first folds, {best.bag.key} has {before:.4g}, "
                "and a mix of both is no better"
            )

    def give_up(self, key: str, reason: str) -> None:
        """Note that a spec is of no use."""
        self.given_up.add(key)
        self.skip(key, reason)

    def skip(self, key: str, reason: str, *, failed: bool = False) -> None:
        """Note that a spec gives no bag."""
        self._forget_late(key)
        self.skipped.append(Skipped(key, self.number, reason, failed))
        self.request.report(SpecSkipped(key, self.number, reason, failed))

    def _forget_late(self, key: str) -> None:
        """Let go what was noted of a spec that did not end in time and is now tried again."""
        if key in self.late:
            del self.late[key]
            self.overran.discard(key)
            self.skipped = [skip for skip in self.skipped if skip.key != key]

    def _report_start(self, key: str) -> None:
        position = len(self.candidates) + len(self.skipped) + 1
        n_specs = max(position, len(self.request.layers[self.number - 1]))
        left = self.budget.remaining()
        self.request.report(SpecStarted(key, self.number, position, n_specs, left))


class _HopelessError(AutoMLError):
    """A spec's first folds are so far behind that the rest would be wasted."""


def _cause(error: Exception) -> str:
    kind = "out of memory" if isinstance(error, MemoryError) else type(error).__name__
    return f"{kind}: {error}" if str(error) else kind

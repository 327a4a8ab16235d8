"""The loop over one layer's specs: what is tried, for how long, and what is given up."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tabular_automl.core.budget import Budget
from tabular_automl.core.errors import AutoMLError, OutOfMemoryError, OutOfTimeError
from tabular_automl.core.events import Reporter, SpecFinished, SpecSkipped, SpecStarted
from tabular_automl.core.imports import import_installed
from tabular_automl.core.parallel import Machine, release_memory
from tabular_automl.data.folds import Folds
from tabular_automl.data.table import Samples
from tabular_automl.ensemble.bagging import Bag, BagFit, BagRequest, fit_bag, seconds_to_save
from tabular_automl.ensemble.judge import Judge
from tabular_automl.ensemble.resuming import Workbook
from tabular_automl.ensemble.weights import blend, select_weights
from tabular_automl.models.base import MODELS, ModelSpec, Prediction, Setting
from tabular_automl.search.variants import SPACES, draw_variant

_FAR_BEHIND = 1.15  # an error so many times the best one's earns weight only by being different
_MIXES = (0.1, 0.2, 0.4)  # weights at which a spec that is far behind must help the best one
_ENOUGH_ROWS = 500  # fewer say little about a spec, and its other folds cost little
_MUCH_WEIGHT = 0.25  # of a cheap reader of texts, from which a costly one is worth its time
_CUT_SHORT = 0.75  # a fit that took more of its share would have gone on
_LONGER = 1.4  # a repeat needs so many times the seconds of the first try to differ
_MOST_OF_REST = 0.6  # for one repeat: other models are worth more than the last bit of one
_MOST_VARIANTS = 30
_ROWS_OF_A_VARIANT = 250  # fewer make the luckiest of many variants win, and all rows wait for it
_IDLE_VARIANTS = 6  # without weight, in a row, before no more are tried
_VARIANT_SHARE = 1.5  # of the seconds that the family took before
_SHORT_VARIANT = 0.5  # of them are enough where the clock had the last word anyway
_LEAST_SECONDS = 0.3  # less than this is not worth starting a spec for
_SECONDS_PER_CELL = 2e-7  # what every family spends before it can look at the clock
_SAVE_SECONDS = 0.2  # that the plan's reserve has for the models
_RELEASE_SECONDS = 4.0  # between releases of memory, which take a tenth of a second or two
_NO_TIME = "no time left"
_MEMORY_SHARE = 0.8
_GAIN = 1e-3  # a smaller part of the ensemble's error is noise


@dataclass(frozen=True)
class PlannedSpec:
    """A spec with its cost next to the others of its layer.

    Attributes
    ----------
    spec : ModelSpec
    cost : float
    after : str or None
        Key of a cheaper spec that reads the same columns: this one waits until the first pass has
        shown that the other is worth much to the ensemble.
    """

    spec: ModelSpec
    cost: float
    after: str | None = None


@dataclass(frozen=True)
class Skipped:
    """A spec that gave no bag, with the cause."""

    key: str
    layer: int
    reason: str
    failed: bool = False


@dataclass(frozen=True)
class Candidate:
    """A finished bag, judged.

    Attributes
    ----------
    fit : BagFit
    prediction : ndarray of shape (n_validated, n_outputs)
        Out-of-fold predictions in the user's units.
    score : float
        Their score; greater is better.
    """

    fit: BagFit
    prediction: Prediction = field(repr=False)
    score: float

    @property
    def bag(self) -> Bag:
        """The bag itself."""
        return self.fit.bag


@dataclass(frozen=True)
class StackRequest:
    """What `fit_stack` works on; the same for every layer.

    Attributes
    ----------
    samples : Samples
    folds : Folds
    judge : Judge
    setting : Setting
    machine : Machine
    layers : tuple of tuple of PlannedSpec
    n_first : int
        Specs of a layer that have their turn first.
    first_pass : float
        Part of the layer's time for them; what is left goes to repeats of those that their share
        cut short, and then to the other specs.
    patience : int or None
        Give up after so many specs in a row that did not improve the ensemble.
    on_error : str
        "skip" or "raise".
    report : Reporter
    workbook : Workbook or None
        Finished folds are told to it, and those that it recalls are not fitted again.
    """

    samples: Samples
    folds: Folds
    judge: Judge
    setting: Setting
    machine: Machine
    layers: tuple[tuple[PlannedSpec, ...], ...]
    n_first: int
    first_pass: float
    patience: int | None
    on_error: str
    report: Reporter
    workbook: Workbook | None = None


def ensemble_weights(
    request: StackRequest,
    candidates: Sequence[Candidate],
    budget: Budget | None = None,
    *,
    guard: bool = True,
) -> npt.NDArray[np.float64]:
    """Return the weights of the best ensemble of the candidates, shape (n_candidates,).

    ``guard=False`` is quicker and trusts the rows more: good enough to watch progress by.
    """
    judge, rows = request.judge, request.folds.validated
    return select_weights(
        [candidate.prediction for candidate in candidates],
        judge.y[rows],
        judge.metric,
        weight=None if judge.weight is None else judge.weight[rows],
        budget=budget or Budget.unlimited(),
        guard=guard,
    )


class Layer:
    """The loop over one layer's specs."""

    def __init__(
        self,
        request: StackRequest,
        number: int,
        samples: Samples,
        budget: Budget,
    ) -> None:
        self.request = request
        self.number = number
        self.samples = samples
        self.budget = budget
        self.patience = request.patience
        self.candidates: list[Candidate] = []
        self.skipped: list[Skipped] = []
        self._hopeless: set[str] = set()
        self._cut_short: dict[str, tuple[ModelSpec, float]] = {}
        self._saving: dict[str, float] = {}
        self._released = time.monotonic()
        self._since_gain = 0
        self._ensemble_error: float | None = None

    def run(self, specs: Sequence[PlannedSpec]) -> None:
        """Try the first specs, give the best of them more time, then try the others."""
        waiting = [planned for planned in specs if planned.after is not None]
        others = [planned for planned in specs if planned.after is None]
        n_first = self.request.n_first
        late = self._pass_over(others[:n_first], self.budget.share(self.request.first_pass))
        late += self._pass_over([each for each in waiting if self._is_wanted(each)], self.budget)
        self._repeat_cut_short()
        for planned in self._pass_over([*late, *others[n_first:]], self.budget):
            self._skip(self._key_of(planned.spec), _NO_TIME, failed=False)
        self._repeat_cut_short()
        self._try_variants()
        self._take_unclaimed()

    def _pass_over(self, specs: Sequence[PlannedSpec], budget: Budget) -> list[PlannedSpec]:
        """Try every spec, each with the part of the budget that its cost claims.

        Returns those that the budget had no time for.
        """
        late = []
        for position, planned in enumerate(specs):
            key = self._key_of(planned.spec)
            reason = self._reason_to_skip(planned.spec, key, budget)
            if reason == _NO_TIME:
                late.append(planned)
                continue
            if reason is not None:
                self._skip(key, reason, failed=False)
                continue
            part = planned.cost / sum(later.cost for later in specs[position:])
            self._report_start(key)
            self._try(planned.spec, key, budget, part)
        return late

    def _is_wanted(self, planned: PlannedSpec) -> bool:
        """Return whether the spec that this one waits for has earned weight, or gave no bag."""
        if planned.after not in {candidate.bag.key for candidate in self.candidates}:
            return True
        weight = self._weights()[planned.after]
        if weight < _MUCH_WEIGHT:
            reason = f"{planned.after}, which reads the same columns, has weight {weight:.2f} only"
            self._skip(planned.spec.key, reason, failed=False)
        return weight >= _MUCH_WEIGHT

    def _weights(self) -> dict[str, float]:
        """Return the weight of each bag in the ensemble so far, by key."""
        if not self.candidates:
            return {}
        weights = ensemble_weights(self.request, self.candidates, self.budget, guard=False)
        keys = [candidate.bag.key for candidate in self.candidates]
        return dict(zip(keys, weights.tolist(), strict=True))

    def _time_beside_save(self) -> Budget:
        """Return what is left when the save of so many models is longer than planned."""
        weight_of = self._weights()
        seconds = sum(self._saving.get(key, 0.0) for key in weight_of if weight_of[key] > 0)
        return self.budget.within(self.budget.remaining() - max(0.0, seconds - _SAVE_SECONDS))

    def _key_of(self, spec: ModelSpec) -> str:
        return spec.key if self.number == 1 else f"{spec.key}_l{self.number}"

    def _repeat_cut_short(self) -> None:
        while (repeat := self._worth_repeating()) is not None:
            spec, key, budget = repeat
            self._report_start(key)
            self._try(spec, key, budget, 1.0)

    def _try_variants(self) -> None:
        """Spend the time that is left on variants of what earned weight, until none earns any.

        Few rows allow few variants: the best of many is the luckiest there.
        """
        if not self.budget.limited:
            return  # a budget in trials says itself what to try
        rng = np.random.default_rng(self.request.setting.seed)
        idle = 0
        for number in range(1, 1 + min(_MOST_VARIANTS, len(self.samples) // _ROWS_OF_A_VARIANT)):
            choice = self._family_to_vary(rng)
            if choice is None or idle >= _IDLE_VARIANTS or self._no_longer_pays():
                return
            family, seconds = choice
            spec = draw_variant(family, f"{family}_v{number}", rng)
            key = self._key_of(spec)
            self._report_start(key)
            self._try(spec, key, self._time_beside_save().within(_VARIANT_SHARE * seconds), 1.0)
            idle = 0 if self._weights().get(key, 0.0) > 0.0 else idle + 1

    def _family_to_vary(self, rng: np.random.Generator) -> tuple[str, float] | None:
        """Return a family, the likelier the more weight it has, and the seconds it needs.

        None when no family that has weight would end in time.
        """
        weight_of = self._weights()
        weights: dict[str, float] = {}
        seconds: dict[str, float] = {}
        least: dict[str, float] = {}
        for candidate in self.candidates:
            family = candidate.bag.models[0].family
            if family in SPACES and candidate.bag.layer == self.number:
                weights[family] = weights.get(family, 0.0) + weight_of[candidate.bag.key]
                seconds[family] = max(seconds.get(family, 0.0), candidate.fit.fit_seconds)
                if _was_cut_short(candidate.fit):
                    least[family] = _SHORT_VARIANT
        left = self._time_beside_save().remaining()
        likely = {
            f: w for f, w in weights.items() if w > 0 and least.get(f, 1.1) * seconds[f] < left
        }
        if not likely:
            return None
        names = list(likely)
        shares = np.array([likely[name] for name in names])
        chosen = names[int(rng.choice(len(names), p=shares / shares.sum()))]
        return chosen, seconds[chosen]

    def _take_unclaimed(self) -> None:
        """Take the bags of an earlier fit that this one did not come to: they cost nothing."""
        book = self.request.workbook
        for spec in book.unclaimed(self._bag_request) if book is not None else ():
            self._report_start(spec.key)
            self._try(spec, spec.key, self.budget, 1.0)

    def _worth_repeating(self) -> tuple[ModelSpec, str, Budget] | None:
        """Return a spec that its share of the time cut short, with a longer one, if any earned it.

        The longer share goes by the weight in the ensemble so far; a spec is repeated once.
        """
        if not self._cut_short or not self.candidates:
            return None
        weight_of = self._weights()
        ranked = sorted(self._cut_short, key=lambda key: -weight_of[key])
        total = sum(weight_of[key] for key in ranked)
        budget = self._time_beside_save()
        for key in ranked:
            spec, seconds = self._cut_short.pop(key)
            # Its save grows with it.
            left = budget.remaining() / (1.0 + self._saving.get(key, 0.0) / seconds)
            least = _LONGER * seconds
            if weight_of[key] > 0 and least <= left:
                share = max(least, left * min(_MOST_OF_REST, weight_of[key] / total))
                return spec, f"{key}_long", budget.within(share)
        return None

    def _try(self, spec: ModelSpec, key: str, budget: Budget, part: float) -> None:
        """Fit one spec in a part of the budget; a failure becomes a visible row."""
        try:
            self._prepare(spec)
            share = budget.share(part)
            fit = self._fit(spec, key, share)
            candidate = self._judged(fit)
        except _HopelessError as verdict:
            self._hopeless.add(spec.family)
            self._skip(key, str(verdict), failed=False)
        except OutOfTimeError as error:
            self._skip(key, f"out of time: {error}", failed=False)
        except OutOfMemoryError as error:
            self._skip(key, f"out of memory: {error}", failed=False)
        except Exception as error:  # the one place where a model's failure is caught
            if self.request.on_error == "raise":
                raise
            self._skip(key, _cause(error), failed=True)
        else:
            self._keep(candidate)
            if _was_cut_short(fit) and not key.endswith("_long"):
                self._cut_short[key] = spec, fit.fit_seconds
        if time.monotonic() - self._released > _RELEASE_SECONDS:
            release_memory()
            self._released = time.monotonic()

    def _prepare(self, spec: ModelSpec) -> None:
        """Import what the family needs before its clock starts, and refuse what would not fit."""
        family = MODELS.get(spec.family)
        import_installed(family.modules)
        n_bytes = family.estimate_bytes(spec.params, self.samples.table, self.request.setting.task)
        machine = self.request.machine
        n_at_once = machine.split(len(self.request.folds))[0]
        if n_at_once * n_bytes > _MEMORY_SHARE * machine.n_bytes:
            raise OutOfMemoryError(f"would need {n_at_once * n_bytes / 1e9:.1f} GB of memory")

    def _fit(self, spec: ModelSpec, key: str, budget: Budget) -> BagFit:
        return fit_bag(
            self._bag_request(spec, key),
            budget,
            self.request.machine,
            self._check_first_folds,
            self.request.workbook,
        )

    def _bag_request(self, spec: ModelSpec, key: str) -> BagRequest:
        setting, folds = self.request.setting, self.request.folds
        return BagRequest(spec, key, self.number, setting, self.samples, folds)

    def _judged(self, fit: BagFit) -> Candidate:
        judge, rows = self.request.judge, self.request.folds.validated
        prediction = judge.decode(fit.oof)
        return Candidate(fit, prediction, judge.score(prediction, rows))

    def _keep(self, candidate: Candidate) -> None:
        self.candidates.append(candidate)
        if self.budget.limited:
            self._saving[candidate.bag.key] = seconds_to_save(candidate.bag)
        self._watch_gain()
        best = max(c.score for c in self.candidates)
        key, seconds = candidate.bag.key, candidate.fit.fit_seconds
        self.request.report(SpecFinished(key, self.number, candidate.score, best, seconds))

    def _watch_gain(self) -> None:
        """Count specs in a row that did not improve the ensemble; only without a user's limit."""
        if self.patience is None:
            return
        weights = ensemble_weights(self.request, self.candidates, self.budget, guard=False)
        blended = blend([c.prediction for c in self.candidates], weights)
        judge, rows = self.request.judge, self.request.folds.validated
        error, before = judge.metric.error(judge.y[rows], blended), self._ensemble_error
        gained = before is None or error < before * (1.0 - _GAIN)
        self._since_gain = 0 if gained else self._since_gain + 1
        self._ensemble_error = error if before is None else min(error, before)

    def _reason_to_skip(self, spec: ModelSpec, key: str, budget: Budget) -> str | None:
        table, book = self.samples.table, self.request.workbook
        if book is not None and book.holds(self._bag_request(spec, key)):
            return None
        if budget.stopped:
            return "interrupted"
        if self._is_hopeless(spec.family):
            return f"what was tried of the family {spec.family!r} was far behind"
        if budget.remaining() < _LEAST_SECONDS + _SECONDS_PER_CELL * len(table) * table.n_features:
            return _NO_TIME
        return "more models no longer improved the ensemble" if self._no_longer_pays() else None

    def _is_hopeless(self, family: str) -> bool:
        """Return whether to try no more of a family: it was far behind, and trying costs it all.

        Only on a holdout under a deadline: with several folds, the first ones tell.
        """
        if len(self.request.folds) > 1 or not self.budget.limited:
            return False
        has_bag = any(candidate.bag.models[0].family == family for candidate in self.candidates)
        return family in self._hopeless and not has_bag

    def _no_longer_pays(self) -> bool:
        return self.patience is not None and self._since_gain >= self.patience

    def _check_first_folds(self, output: Prediction, rows: npt.NDArray[np.intp]) -> None:
        """Give a spec up whose first folds are far behind the best bag's, and do not help it."""
        if not self.candidates or len(rows) < _ENOUGH_ROWS:
            return
        judge = self.request.judge
        best = max(self.candidates, key=lambda candidate: candidate.score)
        theirs = best.prediction[np.searchsorted(self.request.folds.validated, rows)]
        ours = judge.decode(output)

        def error(weight: float) -> float:
            mix = blend([theirs, ours], np.array([1.0 - weight, weight]))
            return judge.metric.error(judge.y[rows], mix)

        before, alone = error(0.0), error(1.0)
        if alone > _FAR_BEHIND * before > 0 and all(error(mix) >= before for mix in _MIXES):
            raise _HopelessError(
                f"error {alone:.4g} on the first folds, {best.bag.key} has {before:.4g}, "
                "and a mix of both is no better"
            )

    def _skip(self, key: str, reason: str, *, failed: bool) -> None:
        self.skipped.append(Skipped(key, self.number, reason, failed))
        self.request.report(SpecSkipped(key, self.number, reason, failed))

    def _report_start(self, key: str) -> None:
        position = len(self.candidates) + len(self.skipped) + 1
        n_specs = max(position, len(self.request.layers[self.number - 1]))
        left = self.budget.remaining()
        self.request.report(SpecStarted(key, self.number, position, n_specs, left))


class _HopelessError(AutoMLError):
    """A spec's first folds are so far behind that the rest would be wasted."""


def _was_cut_short(fit: BagFit) -> bool:
    return fit.fit_seconds > _CUT_SHORT * fit.given_seconds


def _cause(error: Exception) -> str:
    kind = "out of memory" if isinstance(error, MemoryError) else type(error).__name__
    return f"{kind}: {error}" if str(error) else kind

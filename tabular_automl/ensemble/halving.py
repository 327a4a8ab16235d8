"""Variants of what earned weight, halved on more and more folds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tabular_automl.ensemble.candidates import PlannedSpec
from tabular_automl.ensemble.layer import NO_TIME, Layer
from tabular_automl.ensemble.scouting import (
    NO_WEIGHT,
    ScoutedFolds,
    look_sizes,
    n_scouted,
    note_skipped,
    scout_layer,
)
from tabular_automl.models.base import ModelSpec
from tabular_automl.search.variants import SPACES, draw_variant

_MOST_VARIANTS = 30
_ROWS_OF_A_VARIANT = 250  # fewer make the luckiest of many variants win, and all rows wait for it
_IDLE_VARIANTS, _IDLE_GROUPS = 12, 3  # without weight, in a row, before no more are tried
_SURVIVORS = 2  # of a group, after the last look
_VARIANT_SHARE = 1.5  # of the seconds that the family took before
_LEAST_SHARE = 0.3  # seconds: a family that took a moment may take two
_SHORT_VARIANT = 0.5  # of them are enough where the clock had the last word anyway
_LESS_WEIGHT = "less weight in the ensemble of the first folds than the better half of its group"


def try_variants(layer: Layer, memory: ScoutedFolds) -> None:
    """Spend the time that is left on variants of what earned weight, until none earns any.

    Where some folds tell enough they come in groups, by successive halving [1]_; elsewhere one by
    one. Few rows allow few variants: the best of many is the luckiest there. A budget in trials
    says itself what to try, and has no variants.

    Parameters
    ----------
    layer : Layer
    memory : ScoutedFolds
        The layer's.

    References
    ----------
    .. [1] K. Jamieson, A. Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter
       Optimization", AISTATS 2016.
    """
    if layer.budget.limited:
        _Variants(layer, memory).run()


class _Variants:
    """Groups of variants of one layer, and the folds on which they are looked at."""

    def __init__(self, layer: Layer, memory: ScoutedFolds) -> None:
        self.layer = layer
        self._memory = memory
        self.looks = look_sizes(layer.request, layer.budget)
        self.n_most = min(_MOST_VARIANTS, len(layer.samples) // _ROWS_OF_A_VARIANT)
        n_folds = len(layer.request.folds)
        n_first = n_scouted(layer.request.folds, layer.request.machine)
        n_waves = math.ceil(n_folds / n_first)
        # Of a bag's seconds: a wave that is not full takes as long as the others.
        self.parts = [look / (n_first * n_waves) for look in self.looks]
        self._whole: set[str] = set()  # keys of a group whose bags an earlier fit has finished

    def run(self) -> None:
        """Try groups of variants until one cannot end in time, or several brought nothing."""
        layer = self.layer
        n_drawn = 0
        idle: list[int] = []  # sizes of the groups since one earned weight
        while n_drawn < self.n_most and not self._is_idle(idle) and not layer.no_longer_pays():
            group = self._draw_group(n_drawn)
            if not group:
                return
            n_drawn += len(group)
            self._try_group(group)
            layer.keep_what_refit_needs()
            weights = layer.weights()
            earned = any(weights.get(layer.key_of(each.spec), 0.0) > 0.0 for each in group)
            idle = [] if earned else [*idle, len(group)]

    def _is_idle(self, sizes: Sequence[int]) -> bool:
        """Return whether groups of these sizes, all without weight, are enough."""
        return sum(sizes) >= _IDLE_VARIANTS and len(sizes) >= _IDLE_GROUPS

    def _draw_group(self, n_drawn: int) -> list[PlannedSpec]:
        """Return the next variants, no more than there is time to look at and to halve.

        What each costs are the seconds that all its folds may take. The seed, its number and how
        long the family's best bag had to learn say what a variant is: a resume that comes to the
        same bags finds it in the journal.
        """
        seed, parts = self.layer.request.setting.seed, self.parts
        size = min(_SURVIVORS * 2 ** len(parts) if parts else 1, self.n_most - n_drawn)
        part_each = _bags_of_halving(size, parts) / size
        left, total = self.layer.time_beside_save().remaining(), 0.0
        best = self._best_of_families()
        drawn: list[tuple[ModelSpec, float]] = []
        for number in range(n_drawn + 1, n_drawn + 1 + size):
            rng = np.random.default_rng([seed, number])
            choice = self._family_to_vary(rng, left - part_each * total)
            if choice is None:
                break
            family, seconds = choice
            variant = draw_variant(family, f"{family}_v{number}", rng, best[family])
            drawn.append((variant, seconds))
            total += seconds
        # What always takes its whole share must leave the others, and the other folds, theirs.
        work = _bags_of_halving(len(drawn), parts) * total
        pace = min(_VARIANT_SHARE, left * len(drawn) / max(1e-9, work))
        return [PlannedSpec(spec, pace * seconds) for spec, seconds in drawn]

    def _try_group(self, group: Sequence[PlannedSpec]) -> None:
        """Fit variants on more and more folds, each time the better half of those before."""
        layer, before = self.layer, 0.0
        specs = {layer.key_of(planned.spec): planned.spec for planned in group}
        self._whole = {
            key for key, spec in specs.items() if self._memory.holds(layer.bag_request(spec, key))
        }
        for look, part in zip(self.looks, self.parts, strict=True):
            scout = scout_layer(layer, self._memory, look)
            for planned in group:
                self._try_variant(scout, planned, part - before)
            group, before = self._better_half(scout, group), part
        for planned in group:
            self._try_variant(layer, planned, 1.0 - before)

    def _try_variant(self, layer: Layer, planned: PlannedSpec, part: float) -> None:
        """Fit a part of a variant's folds, in that part of the seconds that all may take."""
        key = layer.key_of(planned.spec)
        if self.layer.budget.expired() and key not in self._whole:
            self._memory.forget(key)
            layer.skip(key, "interrupted" if self.layer.budget.stopped else NO_TIME)
            return
        share = max(_LEAST_SHARE, part * planned.cost)
        layer.try_spec(planned.spec, key, self.layer.time_beside_save().within(share))

    def _better_half(self, scout: Layer, group: Sequence[PlannedSpec]) -> list[PlannedSpec]:
        """Return those of a group that add most to the ensemble of the rows seen, half at most.

        Of those that add as much, the one of less error goes first. The others get no more folds;
        whole bags of an earlier fit cost nothing and stay.
        """
        note_skipped(self.layer, self._memory, scout)
        weights = scout.weights()
        scores = {candidate.bag.key: candidate.score for candidate in scout.candidates}
        scout.candidates.clear()  # the models of those that go need not wait for the others'
        by_key = {scout.key_of(planned.spec): planned for planned in group}
        seen = [key for key in by_key if key in weights]
        seen.sort(key=lambda key: (weights[key], scores[key]), reverse=True)
        better = {key for key in seen[: (len(group) + 1) // 2] if weights[key] > 0.0}
        kept = [key for key in seen if key in better | self._whole]
        for key in seen:
            if key not in kept:
                self._memory.forget(key)
                reason = _LESS_WEIGHT if weights[key] > 0.0 else NO_WEIGHT
                self.layer.give_up(key, "interrupted" if self.layer.budget.stopped else reason)
        return [by_key[key] for key in kept]

    def _best_of_families(self) -> dict[str, ModelSpec]:
        """Return the weightiest spec of each family."""
        weight_of = self.layer.weights()
        rising = sorted(self.layer.candidates, key=lambda each: weight_of[each.bag.key])
        return {candidate.fit.spec.family: candidate.fit.spec for candidate in rising}

    def _family_to_vary(self, rng: np.random.Generator, left: float) -> tuple[str, float] | None:
        """Return a family, the likelier the more weight it has, and the seconds it needs.

        None when no family that has weight would end in the ``left`` seconds.
        """
        weight_of = self.layer.weights()
        weights: dict[str, float] = {}
        seconds: dict[str, float] = {}
        least: dict[str, float] = {}
        for candidate in self.layer.candidates:
            family, weight = candidate.fit.spec.family, weight_of[candidate.bag.key]
            if family in SPACES and weight > 0:
                weights[family] = weights.get(family, 0.0) + weight
                seconds[family] = max(seconds.get(family, 0.0), candidate.fit.fit_seconds)
                if candidate.was_cut_short:
                    least[family] = _SHORT_VARIANT
        likely = {f: w for f, w in weights.items() if least.get(f, 1.1) * seconds[f] < left}
        if not likely:
            return None
        names = list(likely)
        shares = np.array([likely[name] for name in names])
        chosen = names[int(rng.choice(len(names), p=shares / shares.sum()))]
        return chosen, seconds[chosen]


def _bags_of_halving(n_specs: int, parts: Sequence[float]) -> float:
    """Return how many bags' work it is to halve specs after each part of the folds."""
    n_bags, before = 0.0, 0.0
    for part in (*parts, 1.0):
        n_bags += n_specs * (part - before)
        n_specs, before = (n_specs + 1) // 2, part
    return n_bags

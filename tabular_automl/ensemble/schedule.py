"""The order in which a layer spends its time: what is tried first, what again, what then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tabular_automl.core.budget import Budget
from tabular_automl.ensemble.candidates import Candidate, PlannedSpec, ensemble_weights
from tabular_automl.ensemble.halving import try_variants
from tabular_automl.ensemble.layer import NO_TIME, Layer
from tabular_automl.ensemble.scouting import (
    NO_WEIGHT,
    ScoutedFolds,
    Scouting,
    can_scout,
    n_scouted,
    note_skipped,
    scout_layer,
)

_BEFORE_READERS = 3  # specs that show what a cheap reader of texts is worth beside them
_MUCH_WEIGHT = 0.25  # of a cheap reader of texts, from which a costly one is worth its time
_MOST_FOR_READERS = 0.75  # of the time, for the costly ones: the others are to have a turn
_FIRST_BAG = 0.05  # of the time, at least: what is returned if nothing else ends
_LONGER = 1.4  # a repeat needs so many times the seconds of the first try to differ
_LEAST_PART = 0.1  # of the weight of all that wait, for a repeat
_WITH_MORE_ROUNDS = 2.0  # times them, if it is to have more rounds than it used up
_MOST_OF_REST = 0.6  # for one repeat: other models are worth more than the last bit of one
_MORE_WHEN_LATE = 2.5  # times the seconds of the first try, for what did not end in them
_MOST_WHEN_LATE = 0.4  # of the time that is left
_LATE_WORK = 2.0  # times what its specs took: there are as many more, and refits of them
_MOST_FOR_LATE = 0.08  # of the time
_LONG = "_long"  # at the end of a repeat's key


class Schedule:
    """Decides what a layer tries, step by step, each with the time that the ones before left.

    Parameters
    ----------
    layer : Layer
    """

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self._seconds = layer.budget.remaining()
        self._memory = layer.memory = ScoutedFolds(layer.memory)
        self._scouts: dict[str, Candidate] = {}
        self._n_looked = 0  # folds on which specs were looked at
        self._scouted_weights: dict[str, float] = {}
        self._scouts_saving: dict[str, float] = {}
        self._seen: set[str] = set()
        self._repeats: set[str] = set()

    def run(self, specs: Sequence[PlannedSpec]) -> None:
        """Try the first specs, give the best of them more time, then try the others."""
        readers = [planned for planned in specs if planned.after is not None]
        others = [planned for planned in specs if planned.after is None]
        n_first = self.layer.request.n_first
        late = self._try_first(others[:n_first], readers)
        self._try_again_soon([planned for planned in others[:n_first] if planned not in late])
        self._repeat_cut_short()
        self.layer.keep_what_refit_needs()
        again = [planned for planned in self._too_late(others[:n_first]) if planned not in late]
        if self.layer.candidates:  # what did not stop has no other turn
            late = [each for each in late if self.layer.key_of(each.spec) not in self.layer.overran]
        else:
            late, again = [*late, *again], []
        self._try_rest([*late, *others[n_first:]], again)
        self._repeat_cut_short()
        self.layer.late_seconds = self._seconds_for_late_layer()
        self.layer.keep_what_refit_needs()
        try_variants(self.layer, self._memory)
        self.layer.late_seconds = 0.0
        self.layer.keep_what_refit_needs()

    @property
    def budget(self) -> Budget:
        """What the layer has now."""
        return self.layer.budget

    def _seconds_for_late_layer(self) -> float:
        """Return the time that variants leave to one layer more, by what its families took here."""
        taken: dict[str, float] = {}
        for candidate in self.layer.candidates:
            family, seconds = candidate.fit.spec.family, candidate.fit.fit_seconds
            taken[family] = min(taken.get(family, seconds), seconds)
        families = {planned.spec.family for planned in self.layer.request.late_layer}
        needed = sum(taken.get(family, 0.0) for family in families)
        return min(_LATE_WORK * needed, _MOST_FOR_LATE * self._seconds)

    def _too_late(self, specs: Sequence[PlannedSpec]) -> list[PlannedSpec]:
        """Return those that had too little time, and may now have more.

        What did not stop when it was asked to would not the next time either: it is no more than
        what is tried where nothing else was finished.
        """
        layer = self.layer
        if not self.budget.limited:
            return []
        keys = layer.late.keys() - layer.overran if layer.candidates else layer.late.keys()
        return [planned for planned in specs if layer.key_of(planned.spec) in keys]

    def _try_again_soon(self, specs: Sequence[PlannedSpec]) -> None:
        """Give what had too little time a longer try, before what is known already has one.

        Where it takes a moderate part of the time only: what did not end may be the best. Once one
        of a family turned out to be of no use, the others of it wait for the end.
        """
        if not self.layer.candidates:
            return
        useless: set[str] = set()  # families
        for planned in self._too_late(specs):
            key = self.layer.key_of(planned.spec)
            seconds = _MORE_WHEN_LATE * self.layer.late[key]
            moderate = seconds < _MOST_WHEN_LATE * self.budget.remaining()
            waits = planned.like in self.layer.late or planned.spec.family in useless
            if not moderate or waits:
                continue
            self.layer.try_spec(planned.spec, key, self.budget.within(seconds))
            ended = any(each.bag.key == key for each in self.layer.candidates)
            if key in self.layer.given_up or (ended and self._weigh_anew()[key] == 0.0):
                useless.add(planned.spec.family)

    def _weigh_anew(self) -> Mapping[str, float]:
        """Weigh whole bags with those that were looked at, all on the first folds.

        Of the whole bags alone, which are few at first, one has much weight however bad it is. What
        was looked at and has none any more gets no more folds. Where nothing was looked at, the
        whole bags are weighed.
        """
        if not self._n_looked:
            return self.layer.weights()
        scout = scout_layer(self.layer, self._memory, self._n_looked)
        known = [*scout.candidates, *self._scouts.values()]
        weights = ensemble_weights(scout.request, known, self.budget, prune=False)
        keys = [candidate.bag.key for candidate in known]
        self._scouted_weights |= dict(zip(keys, weights.tolist(), strict=True))
        for key in [key for key in self._scouts if self._scouted_weights[key] == 0.0]:
            del self._scouts[key]
            self._give_up_scout(key)
        return self._scouted_weights

    def _try_rest(self, specs: Sequence[PlannedSpec], again: Sequence[PlannedSpec]) -> None:
        """Try what the first pass left, then once more what it was too short for.

        Those that are like others come after the others.
        """
        late = self.layer.try_all([each for each in specs if each.like is None], self.budget)
        alike = [each for each in specs if each.like is not None]
        waiting = [each for each in alike if each.like in self.layer.late]
        late += self._try_promising([each for each in alike if each not in waiting])
        self.layer.try_all(again, self.budget)
        for planned in (*late, *self._try_promising(waiting)):
            self.layer.skip(self.layer.key_of(planned.spec), NO_TIME)

    def _try_promising(self, alike: Sequence[PlannedSpec]) -> list[PlannedSpec]:
        """Try those that are like a spec of weight; return those that there was no time for."""
        return self.layer.try_all([each for each in alike if self._is_promising(each)], self.budget)

    def _try_first(
        self, specs: Sequence[PlannedSpec], readers: Sequence[PlannedSpec]
    ) -> list[PlannedSpec]:
        """Try the first specs in their part of the time; return those it was too short for.

        Costly readers of raw columns come in between, once it is known what the cheap ones are
        worth.
        """
        part = self.layer.request.first_pass
        if not readers:
            return self._scout(specs, part)
        before, then = specs[:_BEFORE_READERS], specs[_BEFORE_READERS:]
        late = self.layer.try_all(before, self._share(part, before, specs))
        wanted = [planned for planned in readers if self._is_wanted(planned)]
        late += self.layer.try_all(wanted, self.budget.share(_MOST_FOR_READERS))
        return late + self._scout(then, part)

    def _scout(self, specs: Sequence[PlannedSpec], part: float) -> list[PlannedSpec]:
        """Try specs on the first folds, and on the others those that earn weight there.

        Where that is not possible they are tried on all folds at once. What the clock cut short
        waits for its repeat, and what it left nothing of for the end: all folds at once would have
        less time each than the first ones had.
        """
        layer = self.layer
        if not can_scout(layer.request, self.budget):
            return layer.try_all(specs, self.budget.share(part))
        # One whole bag first: from then on there is something to return.
        first = self._finished(specs) or ([] if layer.candidates else list(specs[:1]))
        late = self._try_before_others(first, part, specs)
        # Kept: the workers of a cluster, and with them the first folds, may become fewer.
        self._n_looked = n_scouted(layer.request.folds, layer.request.machine)
        scout = scout_layer(layer, self._memory, self._n_looked)
        n_known = len(scout.candidates)
        share = len(scout.request.folds) / len(layer.request.folds)
        others = [planned for planned in specs if planned not in first]
        late += scout.try_all(others, self.budget.share(part * share))
        note_skipped(layer, self._memory, scout)
        # All folds take as many times as long.
        layer.late |= {key: seconds / share for key, seconds in scout.late.items()}
        layer.overran |= scout.overran
        layer.given_up |= scout.given_up
        self._scouts_saving = scout.seconds_to_save
        self._choose(scout, n_known)
        return late

    def _try_before_others(
        self, first: Sequence[PlannedSpec], part: float, specs: Sequence[PlannedSpec]
    ) -> list[PlannedSpec]:
        """Try specs in their share of the time, or a little more; return those that need another.

        What they finish stays known until they are whole.
        """
        layer = self.layer
        share = max(_FIRST_BAG, part * _cost(first) / _cost(specs)) if first else 0.0
        layer.memory = Scouting(self._memory)
        late = layer.try_all(first, self.budget.share(share))
        layer.memory = self._memory
        late += [planned for planned in first if layer.key_of(planned.spec) in layer.late]
        for planned in first:
            if planned not in late:
                self._memory.forget(layer.key_of(planned.spec))
        return late

    def _finished(self, specs: Sequence[PlannedSpec]) -> list[PlannedSpec]:
        """Return the specs whose whole bag an earlier, interrupted fit has finished."""
        layer = self.layer
        return [
            planned
            for planned in specs
            if self._memory.holds(layer.bag_request(planned.spec, layer.key_of(planned.spec)))
        ]

    def _share(
        self, part: float, some: Sequence[PlannedSpec], specs: Sequence[PlannedSpec]
    ) -> Budget:
        """Return what some of the specs cost, of the part of the time that all of them have."""
        return self.budget.share(part * _cost(some) / _cost(specs) if some else 0.0)

    def _choose(self, scout: Layer, n_known: int) -> None:
        """Complete the bags that earned weight on the first folds and had time enough there."""
        if not scout.candidates:
            return
        weights = ensemble_weights(scout.request, scout.candidates, self.budget, prune=False)
        found = list(zip(scout.candidates, weights.tolist(), strict=True))
        scout.candidates.clear()
        self._scouted_weights = {each.bag.key: weight for each, weight in found}
        for candidate, weight in found[n_known:]:
            key = candidate.bag.key
            if weight > 0.0:
                self._scouts[key] = candidate
            else:
                self._give_up_scout(key)
        for key in sorted(self._scouts, key=lambda key: -self._scouted_weights[key]):
            if not _may_gain_by_time(self._scouts[key]):
                self._complete(self._scouts[key])

    def _give_up_scout(self, key: str) -> None:
        """Let a bag go that has no weight on the first folds."""
        self._memory.forget(key)
        self.layer.give_up(key, "interrupted" if self.budget.stopped else NO_WEIGHT)

    def _complete(self, scouted: Candidate) -> None:
        """Fit the other folds of a bag, about as long as the first ones, if there is time."""
        key = scouted.bag.key
        self._seen.add(key)
        self._scouts.pop(key, None)
        seconds = self._seconds_of_whole(scouted) - scouted.fit.fit_seconds
        budget = self.layer.time_beside_save()
        if seconds < budget.remaining():
            self.layer.try_spec(scouted.fit.spec, key, budget.within(_LONGER * seconds))
        else:
            self._memory.forget(key)
            stopped = self.budget.stopped
            self.layer.skip(key, "interrupted" if stopped else "no time left for its other folds")

    def _seconds_of_whole(self, candidate: Candidate) -> float:
        """Return how long all folds take, when some took what the candidate's did."""
        n_folds = len(self.layer.request.folds)
        return candidate.fit.fit_seconds * n_folds / len(candidate.bag.models)

    def _is_wanted(self, reader: PlannedSpec) -> bool:
        """Return whether the spec that this one waits for has earned weight, or gave no bag."""
        weights = self.layer.weights()
        if reader.after not in weights:
            return True
        weight = weights[reader.after]
        if weight < _MUCH_WEIGHT:
            reason = f"{reader.after}, which reads the same columns, has weight {weight:.2f} only"
            self.layer.skip(reader.spec.key, reason)
        return weight >= _MUCH_WEIGHT

    def _is_promising(self, planned: PlannedSpec) -> bool:
        """Return whether what this one is like has earned weight, or failed by an error."""
        like, key = planned.like, self.layer.key_of(planned.spec)
        if like is None or not self.budget.limited:
            return True
        if like in self.layer.late:
            self.layer.skip(key, f"{like}, which is like it, had too little time")
            return False
        weights = self.layer.weights()
        earned = any(weights.get(each, 0.0) > 0.0 for each in (like, *_repeats_of(like)))
        if earned or not (like in weights or like in self.layer.given_up):
            return True
        self.layer.skip(key, f"{like}, which is like it, has no weight")
        return False

    def _repeat_cut_short(self) -> None:
        """Give what ended too early a longer try, the best first."""
        while (found := self._most_weighty()) is not None:
            candidate, part = found
            key, fit = candidate.bag.key, candidate.fit
            self._seen.add(key)
            self._repeats.add(key + _LONG)
            seconds = self._seconds_of_whole(candidate)
            budget = self.layer.time_beside_save()
            # Its save grows with it.
            growth = self._saving(key) / max(1e-9, fit.fit_seconds)
            # What others that earned weight wait for stays theirs.
            free = budget.remaining() - self._seconds_of_waiting(but=key)
            left, longer = free / (1.0 + growth), candidate.longer_spec()
            least = seconds * (_LONGER if longer is None else _WITH_MORE_ROUNDS)
            if part >= _LEAST_PART and least <= left:
                share = max(least, left * min(_MOST_OF_REST, part))
                self.layer.try_spec(longer or fit.spec, key + _LONG, budget.within(share))
            if key not in self._scouts:
                continue
            if any(each.bag.key == key + _LONG for each in self.layer.candidates):
                self._memory.forget(self._scouts.pop(key).bag.key)
            else:
                self._complete(candidate)

    def _seconds_of_waiting(self, *, but: str) -> float:
        """Return how long the other folds of all bags take that were only looked at, but for one.

        Those that the clock cut short are left out: a longer repeat is what they wait for.
        """
        return sum(
            self._seconds_of_whole(scouted) - scouted.fit.fit_seconds
            for key, scouted in self._scouts.items()
            if key != but and not scouted.was_cut_short
        )

    def _saving(self, key: str) -> float:
        """Return the seconds that a save takes of what was fitted under the key."""
        return self.layer.seconds_to_save.get(key, self._scouts_saving.get(key, 0.0))

    def _most_weighty(self) -> tuple[Candidate, float] | None:
        """Return the weightiest bag that ended too early, and its part of the weight of all such.

        The share of its time cut it short, or it used its rounds up. Each is returned once, repeats
        of others only where they used up their rounds. None without a deadline: a budget in trials
        says itself what to try.
        """
        if not self.budget.limited:
            return None
        known = {**self._scouts, **{each.bag.key: each for each in self.layer.candidates}}
        waiting = {
            key: candidate
            for key, candidate in known.items()
            if key not in self._seen
            and _may_gain_by_time(candidate)
            and not (key in self._repeats and candidate.longer_spec() is None)
        }
        if not waiting:
            return None
        # Those seen together are compared as they were then: of the whole bags alone, which are few
        # at first, the best has most of the weight however bad it is.
        weight_of = {**self.layer.weights(), **self._scouted_weights}
        key = max(waiting, key=lambda key: weight_of[key])
        total = sum(weight_of[key] for key in waiting)
        return waiting[key], weight_of[key] / total if total > 0 else 0.0


def _may_gain_by_time(candidate: Candidate) -> bool:
    """Return whether a bag was cut short, or used its rounds up."""
    return candidate.was_cut_short or candidate.longer_spec() is not None


def _repeats_of(key: str) -> tuple[str, str]:
    """Return the keys of a bag's repeat, and of the repeat of that with more rounds."""
    return key + _LONG, key + 2 * _LONG


def _cost(specs: Sequence[PlannedSpec]) -> float:
    """Return what specs cost together."""
    return sum(planned.cost for planned in specs)

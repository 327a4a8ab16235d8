"""Smaller ensembles: what each model of an ensemble costs in time, and is worth in score.

A quick model that was kept beside the ensemble may take the place of all of them.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from tabular_automl.config import check_error_cost, check_milliseconds
from tabular_automl.core.budget import Budget
from tabular_automl.core.errors import InvalidOptionError
from tabular_automl.core.events import Note, Reporter
from tabular_automl.core.quantiles import quantile_of, weighted_quantile
from tabular_automl.core.registry import PLUG_IN_ERRORS
from tabular_automl.data.table import FeatureTable
from tabular_automl.deployment.compiled import CompiledPredictor, fast_pipeline, probe_rows
from tabular_automl.deployment.row_reader import example_row
from tabular_automl.deployment.spare_answers import answered_by, quickest_answer
from tabular_automl.ensemble.bagging import Bag
from tabular_automl.ensemble.held_out import HeldOut
from tabular_automl.ensemble.stack import FittedStack
from tabular_automl.ensemble.weights import select_weights
from tabular_automl.fitted import FitRecord, FittedPipeline
from tabular_automl.metrics.base import Metric, OnLabels, Reads
from tabular_automl.models.base import Prediction

_N_CALLS = 41  # at most, and ...
_CALL_SECONDS = 0.1  # ... no more once they took so long
_N_ROWS = 16
_NEGLIGIBLE = 1e-3  # of the error: bags worth no more than that often take most of the time
_ENOUGH_TO_TELL = 1_000  # rows
_SHARE_TO_JOIN = 0.75  # of the time: what is left is for timing
_LEAST_COST = 1e-3  # so that what costs nothing is not divided by


Asked = TypeVar("Asked")


@dataclass(frozen=True)
class Step:
    """One ensemble on the way from all bags to a single one, or a spare.

    Attributes
    ----------
    pipeline : FittedPipeline
        With fast bags.
    dropped : str
        Key of the bag that the one before still had; empty for the first and for spares.
    milliseconds : float
        Median wall time of one row.
    score : float
        Out-of-fold, greater is better; NaN when the record holds no predictions of single bags.
    spare : str
        Key of the quick model that answers alone, which is no part of the whole; mostly empty.
    """

    pipeline: FittedPipeline
    dropped: str
    milliseconds: float
    score: float
    spare: str = ""


def latency_table(pipeline: FittedPipeline, record: FitRecord) -> pd.DataFrame:
    """Return the steps as a table; see `Predictor.latency_report`."""
    steps = prune(pipeline, record)
    table = pd.DataFrame(
        {
            "n_models": [len(step.pipeline.stack.bags) for step in steps],
            "dropped": [step.dropped for step in steps],
            "spare": [step.spare for step in steps],
            "milliseconds": [step.milliseconds for step in steps],
            "score": [step.score for step in steps],
        }
    )
    table["on_front"] = [_on_front(step, steps) for step in steps]
    return table


def prune_to(pipeline: FittedPipeline, record: FitRecord, max_ms: float) -> FittedPipeline:
    """Return the largest ensemble that answers one row within ``max_ms`` ms, or a better spare.

    Raises
    ------
    InvalidOptionError
        When none is as fast as that.
    """
    check_milliseconds("max_latency_ms", max_ms)
    steps = prune(pipeline, record)
    step = _best_within(steps, max_ms)
    if step is not None:
        stack = pipeline.stack.weighed(step.pipeline.stack.weights)
        return replace(pipeline, stack=stack, temperature=step.pipeline.temperature)
    fastest = min(steps, key=lambda step: step.milliseconds)
    raise InvalidOptionError(
        f"max_latency_ms must be at least {fastest.milliseconds:.2g}, what the fastest ensemble "
        f"({', '.join(fastest.pipeline.stack.weights)}) takes here, got {max_ms:g}."
    )


def keys_fast_enough(
    pipeline: FittedPipeline,
    record: FitRecord,
    budget: Budget,
    *,
    max_error_cost: float | None,
    max_ms: float | None,
    report: Reporter,
) -> tuple[str, ...]:
    """Return the bags that may stay: those worth their time, and of these, those of a fast row.

    Parameters
    ----------
    pipeline : FittedPipeline
        With bags as fast as those that will answer.
    record : FitRecord
    budget : Budget
    max_error_cost : float or None
        As `keep_worthy` takes it. None: a thousandth under a deadline, where there are rows enough
        to tell; in trials what stays must not depend on the clock. 0: nothing goes.
    max_ms : float or None
        As `keys_within` takes it.
    report : Reporter
    """
    held_out = record.held_out
    can_tell = held_out is not None and len(held_out.y) >= _ENOUGH_TO_TELL
    if max_error_cost is None and budget.limited and can_tell:
        max_error_cost = _NEGLIGIBLE
    if max_error_cost:
        pipeline = keep_worthy(pipeline, record, budget, max_error_cost, report)
    if max_ms is None:
        return tuple(pipeline.stack.weights)
    return keys_within(pipeline, record, budget, max_ms=max_ms, report=report)


def keep_worthy(
    pipeline: FittedPipeline,
    record: FitRecord,
    budget: Budget,
    max_error_cost: float,
    report: Reporter,
) -> FittedPipeline:
    """Return the pipeline without bags that are not worth their time; the report tells of them.

    Bag after bag goes, as in `prune`, as long as the score allows it; then the quickest spare of
    which that is true takes the place of all that stay, if it is clearly quicker. What each takes
    is known from its predictions out of fold: a model that could hang or crash is not asked again.

    Parameters
    ----------
    pipeline : FittedPipeline
    record : FitRecord
    budget : Budget
    max_error_cost : float
        Share of the out-of-fold error by which it may grow; where the ensemble gains less over the
        base rate than its error is, the share of that gain.
    report : Reporter
    """
    if record.held_out is None or budget.expired():
        return pipeline
    score, start = _scorer(record.held_out, record.metric), time.monotonic()
    whole = score(pipeline)
    seconds = time.monotonic() - start  # a metric of the user's own may be slow
    if not math.isfinite(whole):
        return pipeline
    gain = whole - _score_of_base_rate(record.held_out, record.metric)
    least = whole - max_error_cost * max(0.0, min(gain, record.metric.error_of(whole)))
    current, cost = pipeline, _cost_out_of_fold(pipeline, record)
    while budget.remaining() > seconds * len(current.stack.weights):
        key = _least_worth(current, score, cost, least)
        if key is None:
            break
        current = without_bag(current, key)
    if budget.remaining() > seconds * len(pipeline.stack.spares):
        current = quickest_answer(current, record.held_out, score, cost, least)
    if current is not pipeline:
        told = [_figure(each, record.metric) for each in (score(current), whole)]
        report(Note(_about_dropped(pipeline, current, cost, told)))
    return current


def pruned(
    pipeline: FittedPipeline, record: FitRecord, max_error_cost: float, report: Reporter
) -> tuple[FittedPipeline, FitRecord]:
    """Return the pipeline without bags that are not worth their time, and a record of what is left.

    That has the score of the rows for which predictions of single bags were kept, and of these no
    more than what is needed.

    Raises
    ------
    InvalidOptionError
        When ``max_error_cost`` is not a positive number, or the metric's function was not saved.
    """
    check_error_cost(max_error_cost)
    held_out = record.held_out
    if held_out is None:
        return pipeline, record
    whole = pipeline.combine(held_out.predictions)
    told = pipeline.decide(whole) if record.metric.reads is Reads.LABEL else whole
    try:
        record.metric.score(held_out.y, told, held_out.weight)
    except InvalidOptionError:  # a function that was not saved
        raise
    except PLUG_IN_ERRORS:
        if not isinstance(record.metric.function, OnLabels):
            raise
    kept = keep_worthy(pipeline, record, Budget.unlimited(), max_error_cost, report)
    if kept is pipeline:
        report(Note("No model was dropped."))
        return pipeline, record
    kept = _weighed_anew(kept, held_out, record.metric)
    weights, said = kept.stack.weights, held_out.predictions
    needed = {*weights, *(bag.key for bag in kept.stack.spares)}
    left = replace(
        record.without_oof(),
        score=_scorer(held_out, record.metric)(kept),
        models=tuple({**row, "weight": weights.get(row["model"], 0.0)} for row in record.models),
        held_out=replace(held_out, predictions={key: said[key] for key in needed}),
    )
    return kept, left


def _cost_of_all(pipeline: FittedPipeline, cost: Mapping[str, float]) -> float:
    return sum(cost[bag.key] for bag in pipeline.stack.bags)


def _weighed_anew(pipeline: FittedPipeline, held_out: HeldOut, metric: Metric) -> FittedPipeline:
    """Return the pipeline with the best weights of its bags, unless they are no better."""
    keys = list(pipeline.stack.weights)
    found = select_weights(
        [held_out.predictions[key] for key in keys], held_out.y, metric, held_out.weight
    )
    weights = {key: weight for key, weight in zip(keys, found.tolist(), strict=True) if weight}
    score = _scorer(held_out, metric)
    other = replace(pipeline, stack=pipeline.stack.weighed(weights))
    return other if score(other) > score(pipeline) else pipeline


def _about_dropped(
    before: FittedPipeline, after: FittedPipeline, cost: Mapping[str, float], told: Sequence[str]
) -> str:
    """Return what is left of an ensemble, in a sentence; ``told`` are its figures now and then."""
    slow, quick = (_cost_of_all(each, cost) for each in (before, after))
    times = f"{slow / max(_LEAST_COST, quick):.1f} times as fast, with {told[0]} out of fold"
    first, n_before = after.stack.bags[0].key, len(before.stack.bags)
    if first in {bag.key for bag in before.stack.spares}:
        return f"{first} answers for {n_before} models: {times} instead of {told[1]}."
    return (
        f"Of {n_before} models {len(after.stack.bags)} stay: they predict {times} instead of "
        f"{told[1]}, before the weights are chosen anew."
    )


def _figure(score: float, metric: Metric) -> str:
    return f"{metric.name} {score if metric.greater_is_better else -score:.4g}"


def _cost_out_of_fold(pipeline: FittedPipeline, record: FitRecord) -> dict[str, float]:
    """Return the milliseconds of each bag, all its models, for the rows validated in the fit."""
    seconds = {r["model"]: r["predict_seconds"] for r in record.models if r["status"] == "ok"}
    bags = (*pipeline.stack.bags, *pipeline.stack.spares)
    return {bag.key: 1e3 * seconds[bag.key] * len(bag.models) for bag in bags}


def _score_of_base_rate(held_out: HeldOut, metric: Metric) -> float:
    """Return the score of one prediction for all rows; minus infinity where it has none."""
    if isinstance(metric.function, OnLabels):  # one of the user's own may be slow, too
        return -math.inf
    y, weight = held_out.y, held_out.weight
    n_rows, n_outputs = next(iter(held_out.predictions.values())).shape
    quantile = quantile_of(metric.loss)
    if n_outputs == 1 and quantile is not None:
        answer = np.array([weighted_quantile(y, weight, quantile)])
    else:
        targets = y[:, None] if n_outputs == 1 else np.eye(n_outputs)[y]
        answer = np.average(targets, axis=0, weights=weight)
    try:
        return metric.score(y, np.tile(answer, (n_rows, 1)), weight)
    except PLUG_IN_ERRORS:  # one of a plug-in may not be made for that, and no fit is to end by it
        return -math.inf


def keys_within(
    pipeline: FittedPipeline,
    record: FitRecord,
    budget: Budget,
    *,
    max_ms: float,
    report: Reporter,
) -> tuple[str, ...]:
    """Return the bags of the largest ensemble that is as fast as wanted, or of the fastest.

    That none is, or that the budget ended before one was found, is reported.
    """
    steps = prune(pipeline, record, budget)
    fastest = min(steps, key=lambda step: step.milliseconds)
    chosen = _best_within(steps, max_ms) or fastest
    if chosen.milliseconds > max_ms:
        report(
            Note(
                f"No ensemble was found that answers one row within {max_ms:g} ms here; "
                f"the one chosen takes {chosen.milliseconds:.2g} ms."
            )
        )
    return tuple(chosen.pipeline.stack.weights)


def prune(pipeline: FittedPipeline, record: FitRecord, budget: Budget | None = None) -> list[Step]:
    """Return ensembles from all bags down to a single one, and spares, as far as the budget goes.

    At each step the bag goes whose loss of score by millisecond saved is least; where the record
    has no predictions of single bags, the one with the least weight by millisecond. Bags that there
    is no time to join count with what they take as they are. Spares follow, each alone, the best
    first.
    """
    seconds = math.inf if budget is None else _SHARE_TO_JOIN * budget.remaining()
    current = fast_pipeline(pipeline, most_seconds=seconds)
    rows = _rows_that_differ(current)
    cost = _cost_of_bags(current, rows)
    score = _scorer(record.held_out, record.metric)
    steps = [Step(current, "", _measured(current, rows), score(current))]
    while budget is None or not budget.expired():
        key = _least_worth(current, score, cost)
        if key is None:
            break
        current = without_bag(current, key)
        steps.append(Step(current, key, _measured(current, rows), score(current)))
    for spare in pipeline.stack.spares:
        if record.held_out is None or (budget is not None and budget.expired()):
            break
        seconds = math.inf if budget is None else _SHARE_TO_JOIN * budget.remaining()
        alone = fast_pipeline(answered_by(spare, pipeline, record.held_out), most_seconds=seconds)
        steps.append(Step(alone, "", _measured(alone, rows), score(alone), spare.key))
    return steps


def _best_within(steps: Sequence[Step], max_ms: float) -> Step | None:
    """Return the largest ensemble that is fast enough, or a spare that is so and scores more."""
    quick = [step for step in steps if step.milliseconds <= max_ms]
    if not quick:
        return None
    # An unknown score is below none: then it is the ensemble.
    return max((quick[0], *(step for step in quick if step.spare)), key=lambda step: step.score)


def _least_worth(
    current: FittedPipeline,
    score: Callable[[FittedPipeline], float],
    cost: Mapping[str, float],
    least: float = -math.inf,
) -> str | None:
    """Return the bag whose loss of score by time saved is least, if some may go.

    Where there is a ``least`` score, it must be known that the others reach it, and the bag must
    not be needed by another that stays.
    """
    if len(current.stack.weights) == 1:
        return None
    choices = {key: without_bag(current, key) for key in current.stack.weights}
    scores, before = {key: score(choices[key]) for key in choices}, score(current)
    allowed = [
        key
        for key in choices
        if least == -math.inf or (scores[key] >= least and _gone(current, choices[key]))
    ]
    return min(
        allowed,
        key=lambda key: _price(current, choices[key], key, before - scores[key], cost),
        default=None,
    )


def _price(
    before: FittedPipeline,
    after: FittedPipeline,
    key: str,
    loss: float,
    cost: Mapping[str, float],
) -> tuple[float, float]:
    """Return what is lost for the time saved, and that time, the most first.

    A gain of score comes first of all.
    """
    saved = max(_LEAST_COST, sum(cost[each] for each in _gone(before, after)))
    if math.isnan(loss):
        loss = before.stack.weights[key]
    return (loss / saved if loss > 0 else loss * saved), -saved


def _gone(before: FittedPipeline, after: FittedPipeline) -> set[str]:
    """Return the bags that are no longer asked."""
    return {bag.key for bag in before.stack.bags} - {bag.key for bag in after.stack.bags}


def _scorer(held_out: HeldOut | None, metric: Metric) -> Callable[[FittedPipeline], float]:
    """Return what scores an ensemble on out-of-fold predictions of its bags."""

    def score(pipeline: FittedPipeline) -> float:
        if held_out is None:
            return math.nan
        prediction = pipeline.combine(held_out.predictions)
        told = pipeline.decide(prediction) if metric.reads is Reads.LABEL else prediction
        try:
            return metric.score(held_out.y, told, held_out.weight)
        except InvalidOptionError:  # a function of the user's own, which is not saved
            return math.nan
        except PLUG_IN_ERRORS:
            if not isinstance(metric.function, OnLabels):
                raise
            return math.nan  # a function that cannot judge such rows

    return score


def without_bag(pipeline: FittedPipeline, key: str) -> FittedPipeline:
    """Return the pipeline without one of its weighted bags, the other weights summing to 1."""
    kept = {other: weight for other, weight in pipeline.stack.weights.items() if other != key}
    total = sum(kept.values())
    weights = {other: weight / total for other, weight in kept.items()}
    return replace(pipeline, stack=pipeline.stack.weighed(weights))


def _cost_of_bags(pipeline: FittedPipeline, rows: Callable[[], FeatureTable]) -> dict[str, float]:
    """Return the milliseconds of each bag for one row."""
    asked = [rows() for _ in range(_N_ROWS)]
    outputs = [pipeline.stack.outputs(features) for features in asked]
    return {bag.key: _cost_of(bag, pipeline.stack, asked, outputs) for bag in pipeline.stack.bags}


def _cost_of(
    bag: Bag,
    stack: FittedStack,
    asked: Sequence[FeatureTable],
    outputs: Sequence[dict[str, Prediction]],
) -> float:
    numbers = itertools.cycle(range(len(asked)))

    def inputs() -> FeatureTable:
        number = next(numbers)
        fresh = _copy_of(asked[number])
        if bag.layer == 1:
            return fresh
        return stack.inputs_of(bag.layer, fresh, outputs[number])

    return _median_ms(bag.predict, inputs)


def _measured(pipeline: FittedPipeline, rows: Callable[[], FeatureTable]) -> float:
    """Return the milliseconds of one compiled row, its reading included."""
    compiled, row = CompiledPredictor(pipeline), example_row(pipeline.featurizer)
    reading = _median_ms(compiled.read, lambda: row)
    return reading + _median_ms(compiled.answer, rows)


def _rows_that_differ(pipeline: FittedPipeline) -> Callable[[], FeatureTable]:
    """Return what gives the features of another row each time, its texts and images aside.

    One row again and again would find all that it needs in the processor's cache, and one table
    what models have derived of it.
    """
    usual = CompiledPredictor(pipeline).read(example_row(pipeline.featurizer))
    first = [bag for bag in pipeline.stack.bags if bag.layer == 1]
    drawn = probe_rows(pipeline, first)
    numbers = itertools.cycle(range(len(drawn)))
    return lambda: _copy_of(drawn.take([next(numbers)]), usual.raw)


def _copy_of(table: FeatureTable, raw: Mapping[str, Any] | None = None) -> FeatureTable:
    """Return the same features, of which nothing has been derived yet."""
    names = table.numeric_names, table.code_names, table.n_levels
    raw = table.raw if raw is None else raw
    return FeatureTable(table.numeric, table.codes, *names, raw, table.raw_kinds)


def _median_ms(call: Callable[[Asked], object], asked: Callable[[], Asked]) -> float:
    """Return the median time of a call, what it is asked with being made before."""
    call(asked())  # the first one is slower
    seconds: list[float] = []
    while len(seconds) < _N_CALLS and sum(seconds) < _CALL_SECONDS:
        given = asked()
        start = time.perf_counter()
        call(given)
        seconds.append(time.perf_counter() - start)
    return 1e3 * float(np.median(seconds))


def _on_front(step: Step, steps: list[Step]) -> bool:
    """Return whether no other step is at least as fast and as good, and better in one of them."""
    return not any(
        other.milliseconds <= step.milliseconds
        and other.score >= step.score
        and (other.milliseconds < step.milliseconds or other.score > step.score)
        for other in steps
    )

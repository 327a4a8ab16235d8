"""Pipelines in which one quick model answers that was kept beside the ensemble."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from tabular_automl.ensemble.bagging import Bag
from tabular_automl.ensemble.calibration import Temperature
from tabular_automl.ensemble.held_out import HeldOut
from tabular_automl.fitted import FittedPipeline

_CLEARLY = 0.5  # of the time: what a spare must take at most, as times are measured once


def answered_by(spare: Bag, pipeline: FittedPipeline, held_out: HeldOut) -> FittedPipeline:
    """Return the pipeline with a spare in place of all bags, calibrated anew if they were."""
    stack, temperature = pipeline.stack.weighed({spare.key: 1.0}), pipeline.temperature
    if temperature is not None:
        said = held_out.predictions[spare.key]
        temperature = Temperature.fit(said, held_out.y, held_out.weight)
    return replace(pipeline, stack=stack, temperature=temperature)


def quickest_answer(
    pipeline: FittedPipeline,
    held_out: HeldOut,
    score: Callable[[FittedPipeline], float],
    cost: Mapping[str, float],
    least: float,
) -> FittedPipeline:
    """Return the pipeline of the quickest spare that reaches a score, if it is clearly quicker.

    Parameters
    ----------
    pipeline : FittedPipeline
        Returned as it is where there is no such spare.
    held_out : HeldOut
    score : callable
        Scores a pipeline out of fold, greater is better.
    cost : mapping of str to float
        What each bag and spare takes to answer, by key.
    least : float
        Score that must be reached.
    """
    most = _CLEARLY * sum(cost[bag.key] for bag in pipeline.stack.bags)
    quick = [spare for spare in pipeline.stack.spares if cost[spare.key] <= most]
    for spare in sorted(quick, key=lambda bag: cost[bag.key]):
        alone = answered_by(spare, pipeline, held_out)
        if score(alone) >= least:
            return alone
    return pipeline

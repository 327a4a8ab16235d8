"""The straight line from a table to a fitted pipeline."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from tabular_automl.config import FitConfig
from tabular_automl.core.budget import Budget
from tabular_automl.core.clusters import connected
from tabular_automl.core.events import EnsembleFinished, FitStarted, Note, Reporter, silent
from tabular_automl.core.parallel import Machine
from tabular_automl.data.column_names import name_to_json
from tabular_automl.data.folds import Folds, check_weights, group_codes
from tabular_automl.data.schema import Kind, Schema
from tabular_automl.data.table import FeatureTable, Samples
from tabular_automl.encoders.base import ENCODERS
from tabular_automl.encoders.featurizer import Featurizer
from tabular_automl.encoders.inference import infer_schema
from tabular_automl.encoders.summary import summarize
from tabular_automl.ensemble.bagging import seconds_to_save
from tabular_automl.ensemble.calibration import DecisionRule, Temperature
from tabular_automl.ensemble.candidates import StackRequest, ensemble_weights
from tabular_automl.ensemble.held_out import HeldOut
from tabular_automl.ensemble.judge import Judge
from tabular_automl.ensemble.refitting import (
    RefitRequest,
    as_refitted,
    can_be_refitted,
    lightened,
    of_one_fold,
    refit_in_time,
    seconds_to_refit,
)
from tabular_automl.ensemble.resuming import FitIdentity, Workbook
from tabular_automl.ensemble.spares import find_spares
from tabular_automl.ensemble.stack import FittedStack
from tabular_automl.ensemble.stacking import StackFit, fit_stack
from tabular_automl.ensemble.weights import blend
from tabular_automl.fitted import FitRecord, FittedPipeline
from tabular_automl.intake import FitRequest, Roles, Target, read_target
from tabular_automl.learned_features import learned_features
from tabular_automl.learned_rows import LearnedRows
from tabular_automl.metrics.base import Reads
from tabular_automl.models.base import Prediction, Setting
from tabular_automl.models.pairs import of_several_values
from tabular_automl.plan import FitPlan, plan_fit
from tabular_automl.shape import Shape
from tabular_automl.spec_choice import kinds_read, least_seconds

_LOSS_OF_MODELS = {"squared_log_error": "squared_error"}  # the codec has taken the logarithm
_ENSEMBLE_SHARE = 0.5  # of the reserve; the rest is for the save
_SAVE_SHARE = 0.3  # of it, kept from what chooses among the ensemble's bags
_SECOND_SHARE = 0.1  # of it, to weigh anew those that stay
_SHARE_TO_WEIGH = 0.6  # of the time to choose an ensemble, where a decision rule comes after it
_SECONDS_ONCE_STOPPED = 5.0  # what schedulers leave between two signals is some times as long
_JOURNAL_SHARE = 0.2  # of the reserve, at most, to write the last folds


Choice = Callable[[FittedPipeline, FitRecord, Budget], Collection[str]]


def fit_pipeline(
    request: FitRequest, budget: Budget, report: Reporter, choose: Choice | None = None
) -> tuple[FittedPipeline, FitRecord]:
    """Go from a table to a fitted pipeline, step by step.

    Parameters
    ----------
    request : FitRequest
    budget : Budget
        For everything, the caller's save included.
    report : Reporter
    choose : callable, optional
        Given the ensemble, its record and the time there is, returns the keys of the bags that may
        stay; these are weighed anew.

    Raises
    ------
    LabelError, DataError, InvalidOptionError
        Before any long work, when the table or the settings cannot be used.
    ResumeError
        When the journal is one of another table or other settings.
    """
    with connected(request.config.cluster) as cluster:
        machine = Machine.detect(request.config.n_jobs, cluster)
        return _fit_pipeline(request, machine, budget, report, choose)


def _fit_pipeline(
    request: FitRequest, machine: Machine, budget: Budget, report: Reporter, choose: Choice | None
) -> tuple[FittedPipeline, FitRecord]:
    target = read_target(request, report)
    workbook = Workbook.open(request.journal, _identity(request, target), report, anew=request.anew)
    config = replace(request.config, **workbook.folds)
    schema = infer_schema(target.features, request.columns)
    make_featurizer = partial(Featurizer, schema, _kinds_read(schema, request.config))
    learned = LearnedRows.all_of(target, schema)  # its errors come before the long work
    learned = learned.in_time(make_featurizer, request.config, config, machine, budget)
    featurizer = make_featurizer()
    samples = learned_features(learned, featurizer, workbook, config, machine, budget, report)
    # Of all rows: of rare classes more may have been drawn.
    summary = summarize(target.features, featurizer)
    learned = learned.without_features()
    target, roles, table = learned.target, learned.roles, samples.table
    limit = budget.remaining() if budget.limited else None
    shape = _shape(table, learned, config, machine)
    plan = plan_fit(config, target.codec.task, shape, machine, limit)
    plan = plan if learned.note is None else replace(plan, notes=(learned.note, *plan.notes))
    budget = budget if plan.time_limit is None else budget.within(plan.time_limit)
    stack_request = _stack_request(target, samples, roles, plan, machine, config, report)
    _report_plan(plan, target, stack_request.folds, report)
    workbook.begin(plan.n_folds, plan.holdout_fraction, featurizer.without_topics, len(table))
    budget.heed_stop()
    try:
        stack_fit = fit_stack(
            replace(stack_request, workbook=workbook), budget.reserve(plan.reserve)
        )
    finally:  # an interrupt as well: the next fit continues from what was finished
        in_time = plan.time_limit is not None and not budget.stopped
        workbook.close(_JOURNAL_SHARE * plan.reserve if in_time else math.inf)
    if budget.stopped:
        report(Note("Interrupted: the ensemble of what is finished is chosen and saved."))
    before_refit = budget.earlier(stack_fit.refit_seconds).unstoppable()
    seconds = max(_SECONDS_ONCE_STOPPED, _ENSEMBLE_SHARE * plan.reserve)
    once_stopped = budget.unstoppable().within(seconds)
    time_left = partial(_time_to_choose, before_refit, budget, once_stopped, plan.reserve)
    assemble = partial(_assemble, stack_request, stack_fit, plan, featurizer, config)
    pipeline, record = _as_chosen(assemble, choose, time_left, refit=plan.refit)
    report(EnsembleFinished(record.score, tuple(pipeline.stack.weights.items())))
    if plan.refit:
        refit_budget = budget.reserve(plan.reserve * _SAVE_SHARE)
        stack = _refitted(pipeline.stack, stack_fit, stack_request, refit_budget)
        pipeline = replace(pipeline, stack=stack)
        if config.max_latency_ms is not None:
            _report_slower(stack, report)
    if learned.drawn is not None:
        record = replace(record, oof_rows=learned.drawn[record.oof_rows])
    return replace(pipeline, summary=summary), record


def _shape(table: FeatureTable, rows: LearnedRows, config: FitConfig, machine: Machine) -> Shape:
    """Return what the plan looks at."""
    roles, task, y = rows.roles, rows.target.codec.task, rows.target.encoded
    groups = None if roles.group is None else group_codes(roles.group, len(table))
    return Shape(
        n_samples=len(table),
        n_features=table.n_features,
        in_time_order=roles.time is not None,
        given=rows.given,
        raw_kinds=frozenset(table.raw_kinds.values()),
        least_seconds=least_seconds(config, table, task, machine),
        n_numbers=len(of_several_values(table)),
        n_groups=None if groups is None else len(np.unique(groups)),
        n_rarest=int(np.bincount(y, minlength=2).min()) if task.n_classes == 2 else None,
    )


def _time_to_choose(
    before_refit: Budget, budget: Budget, once_stopped: Budget, reserve: float, kept: float
) -> Budget:
    """Return the time up to a kept part of the reserve, or half of the reserve from now.

    However late the layers ended: an ensemble is worth more than a refit, whose time it takes then.
    Who interrupts a fit waits no longer than ``once_stopped``, whatever is left of the limit.
    """
    if budget.stopped:
        return once_stopped
    budget = budget.unstoppable()
    planned = before_refit.earlier(kept * reserve)
    least = budget.earlier(_SAVE_SHARE * reserve).within(_ENSEMBLE_SHARE * reserve)
    return max(planned, least, key=lambda each: each.deadline)


def _as_chosen(
    assemble: Callable[..., tuple[FittedPipeline, FitRecord]],
    choose: Choice | None,
    time_left: Callable[[float], Budget],
    *,
    refit: bool,
) -> tuple[FittedPipeline, FitRecord]:
    """Assemble the ensemble, and once more where ``choose`` lets only some of its bags stay."""
    pipeline, record = assemble(time_left(1.0 - _ENSEMBLE_SHARE))
    if choose is None:
        return pipeline, record
    stack = pipeline.stack
    if refit:
        stack = replace(stack, bags=as_refitted(stack.bags), spares=as_refitted(stack.spares))
    stand_in = replace(pipeline, stack=stack)
    allowed = frozenset(choose(stand_in, record, time_left(_SAVE_SHARE + _SECOND_SHARE)))
    if allowed != pipeline.stack.weights.keys():
        return assemble(time_left(_SAVE_SHARE), allowed=allowed)
    return pipeline, record


def _kinds_read(schema: Schema, config: FitConfig) -> frozenset[Kind]:
    """Return the kinds of columns that a model of this fit may read untouched."""
    kept = (c.kind for c in schema.used if ENCODERS.get(str(c.encoder)).keeps_raw)
    return kinds_read(config, frozenset(kept))


def _identity(request: FitRequest, target: Target) -> FitIdentity:
    """Return what tells this fit from one that it must not continue."""
    return FitIdentity.of(
        request.table,
        request.config,
        label=name_to_json(request.label),
        problem_type=target.codec.task.problem_type.value,
        eval_metric=target.metric.name,
        columns=[[repr(name), str(kind)] for name, kind in request.columns.items()],
    )


def _make_folds(target: Target, plan: FitPlan, roles: Roles, seed: int) -> Folds:
    n_folds, fraction = plan.n_folds, plan.holdout_fraction
    folds = roles.split(
        target.codec.task,
        target.encoded,
        n_folds=n_folds,
        holdout_fraction=fraction,
        seed=seed,
    )
    check_weights(folds, roles.weight)
    return folds


def _stack_request(
    target: Target,
    samples: Samples,
    roles: Roles,
    plan: FitPlan,
    machine: Machine,
    config: FitConfig,
    report: Reporter,
) -> StackRequest:
    """Put together what the layers work on."""
    loss = _LOSS_OF_MODELS.get(target.metric.loss, target.metric.loss)
    return StackRequest(
        samples=samples,
        folds=_make_folds(target, plan, roles, config.seed),
        judge=Judge(target.metric, target.codec, target.in_user_units, roles.weight),
        setting=Setting(target.codec.task, loss, config.seed, machine.n_cores),
        machine=machine,
        # Without features there is nothing to learn but the base rate.
        layers=plan.layers if samples.table.n_features or samples.table.raw_kinds else (),
        n_first=plan.n_first,
        first_pass=plan.first_pass,
        refit_seconds=plan.refit_seconds,
        patience=plan.patience,
        on_error=config.on_error,
        report=report,
        late_layer=plan.late_layer,
    )


def _report_plan(plan: FitPlan, target: Target, folds: Folds, report: Reporter) -> None:
    task = target.codec.task
    summary = (
        f"{task.problem_type.value} ({target.reason}), metric {target.metric.name}\n"
        f"{plan.describe()}\n  folds: {folds.reason}"
    )
    n_specs, metric = sum(len(layer) for layer in plan.layers), target.metric
    start = FitStarted(
        summary, n_specs, metric.name, plan.time_limit, greater_is_better=metric.greater_is_better
    )
    report(start)


def _assemble(
    request: StackRequest,
    stack_fit: StackFit,
    plan: FitPlan,
    featurizer: Featurizer,
    config: FitConfig,
    budget: Budget,
    allowed: Collection[str] | None = None,
) -> tuple[FittedPipeline, FitRecord]:
    """Weigh the bags, or the allowed ones, calibrate, and keep what predicts."""
    judge, rows = request.judge, request.folds.validated
    candidates = (*stack_fit.candidates, *stack_fit.behind)
    if allowed is None:
        allowed = {candidate.bag.key for candidate in stack_fit.candidates}
    may_stay = [i for i, c in enumerate(candidates) if c.bag.key in allowed]
    weights = np.zeros(len(candidates))
    # A decision rule is worth more than the last weights.
    share = budget.share(_SHARE_TO_WEIGH) if judge.metric.reads is Reads.LABEL else budget
    weights[may_stay] = ensemble_weights(request, [candidates[i] for i in may_stay], share)
    oof = blend([candidate.prediction for candidate in candidates], weights)
    temperature, rule, calibrated = _calibrate(judge, oof, rows, config, budget)
    by_key = {c.bag.key: float(w) for c, w in zip(candidates, weights, strict=True)}
    stack = FittedStack.of_needed([c.bag for c in candidates], stack_fit.feeds, by_key)
    spares = find_spares(candidates, stack, refit=plan.refit)
    pipeline = FittedPipeline(
        codec=judge.codec,
        featurizer=featurizer,
        stack=replace(stack, spares=spares),
        temperature=temperature,
        rule=rule,
    )
    score = _final_score(judge, pipeline, calibrated, rows)
    record = FitRecord(
        metric=judge.metric,
        plan=plan.describe(),
        models=_model_rows(stack_fit, plan, by_key),
        score=score,
        oof_rows=rows,
        oof=calibrated,
        held_out=HeldOut.sample(
            judge, candidates, {*stack.weights, *(bag.key for bag in spares)}, rows
        ),
    )
    return pipeline, record


def _refitted(
    stack: FittedStack, stack_fit: StackFit, request: StackRequest, budget: Budget
) -> FittedStack:
    """Return the stack with one model of all rows for each bag, the heaviest bags first.

    Spares have what time is left; where there is none, one fold's model is kept of them. All are
    fitted here, whether or not a cluster fitted the folds.
    """
    n_bags = sum(map(can_be_refitted, stack.bags))
    if n_bags and not budget.stopped:
        request.report(Note(f"Fitting {n_bags} of the ensemble's models once more, on all rows."))
    importance = stack.importance()
    by_importance = sorted(importance, key=lambda key: -importance[key])
    refit = RefitRequest(
        samples=stack_fit.samples,
        order=by_importance,
        needed={
            each.bag.key: seconds_to_refit(each.fit, request.folds, request.machine)
            for each in (*stack_fit.candidates, *stack_fit.behind)
        },
        n_bytes=Machine.detect().n_bytes,
        on_error=request.on_error,
        report=request.report,
    )
    bags = refit_in_time(stack.bags, refit, budget)
    bags = lightened(bags, importance, request.folds, request.report)
    if budget.limited:  # the fold models that stay are to be saved in time
        saving = sum(seconds_to_save(bag) for bag in bags if len(bag.models) > 1)
        budget = budget.within(budget.remaining() - saving)
    keys = [bag.key for bag in stack.spares]
    of_spares = replace(refit, order=keys, on_error="skip", report=silent)
    spares = refit_in_time(stack.spares, of_spares, budget)
    spares = tuple(of_one_fold(bag, request.folds) for bag in spares)
    return replace(stack, bags=bags, spares=spares)


def _report_slower(stack: FittedStack, report: Reporter) -> None:
    """Tell where bags kept models that were not part of what `max_latency_ms` was measured on."""
    if any(len(bag.models) > 1 and can_be_refitted(bag) for bag in stack.bags):
        note = "With the fold models that stay, a row may take longer than was measured for "
        report(Note(f"{note}max_latency_ms."))


def _calibrate(
    judge: Judge, oof: Prediction, rows: npt.NDArray[np.intp], config: FitConfig, budget: Budget
) -> tuple[Temperature | None, DecisionRule | None, Prediction]:
    """Return temperature and decision rule for a classification, and the calibrated predictions."""
    if not judge.codec.task.is_classification:
        return None, None, oof
    y, weight = judge.y[rows], None if judge.weight is None else judge.weight[rows]
    temperature = Temperature.fit(oof, y, weight) if config.calibrate else None
    if temperature is not None:
        oof = temperature.apply(oof)
    if judge.metric.reads is not Reads.LABEL:
        return temperature, None, oof
    return temperature, DecisionRule.fit(oof, y, judge.metric, weight, budget), oof


def _final_score(
    judge: Judge, pipeline: FittedPipeline, oof: Prediction, rows: npt.NDArray[np.intp]
) -> float:
    if judge.metric.reads is Reads.LABEL:
        return judge.score(pipeline.decide(oof), rows)
    return judge.score(oof, rows)


def _model_rows(
    stack_fit: StackFit, plan: FitPlan, weights: Mapping[str, float]
) -> tuple[Mapping[str, Any], ...]:
    """Return one row for each spec: those that ran, then those skipped, failed or left out."""
    behind = {candidate.bag.key for candidate in stack_fit.behind}
    why_behind = {skip.key: skip.reason for skip in stack_fit.skipped if skip.key in behind}
    ran = [
        {
            "model": candidate.bag.key,
            "layer": candidate.bag.layer,
            "score": candidate.score,
            "weight": weights[candidate.bag.key],
            "fit_seconds": candidate.fit.fit_seconds,
            "predict_seconds": candidate.fit.predict_seconds,
            "status": "ok",
            "reason": why_behind.get(candidate.bag.key, ""),
        }
        for candidate in (*stack_fit.candidates, *stack_fit.behind)
    ]
    missed = [
        (skip.key, skip.layer, "failed" if skip.failed else "skipped", skip.reason)
        for skip in stack_fit.skipped
    ] + [(key, 1, "left out", reason) for key, reason in plan.left_out]
    nothing = {"score": None, "weight": 0.0, "fit_seconds": None, "predict_seconds": None}
    known = {row["model"] for row in ran}  # bags of an earlier fit among them
    rows = {
        key: {"model": key, "layer": layer, **nothing, "status": status, "reason": reason}
        for key, layer, status, reason in reversed(missed)  # what failed over what replaced it
        if key not in known
    }
    return (*ran, *reversed(rows.values()))

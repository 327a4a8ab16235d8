"""A fitted predictor as one state, and back."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tabular_automl.artifacts.journal import Journal
from tabular_automl.artifacts.state import State
from tabular_automl.core.errors import ArtifactError, AutoMLError, InvalidOptionError, PathError
from tabular_automl.core.events import Note, Reporter
from tabular_automl.data.column_names import name_from_json, name_to_json
from tabular_automl.data.task import TargetCodec
from tabular_automl.ensemble.held_out import HeldOut, narrowed
from tabular_automl.fitted import FitRecord, FittedPipeline
from tabular_automl.metrics.base import Metric, Reads
from tabular_automl.metrics.resolve import UserFunction, metric_named, resolve_metric

_OF_MADE_UP_STATES = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)


@dataclass(frozen=True)
class Saved:
    """What an artifact holds.

    Attributes
    ----------
    label : hashable
    pipeline : FittedPipeline
    record : FitRecord
    settings : mapping of str to object
        What the fit was asked; older artifacts have none.
    """

    label: Hashable
    pipeline: FittedPipeline
    record: FitRecord
    settings: Mapping[str, Any] = field(default_factory=dict)


def check_journal(journal: Journal, report: Reporter, *, resume: bool, overwrite: bool) -> None:
    """Raise when a fit may not begin with a journal as it is.

    Nothing is removed: that is for the fit to do, once the table is seen to be usable.

    Raises
    ------
    PathError
        When work of an unfinished fit would be lost that nobody allowed to be overwritten.
    """
    if resume:
        if journal.is_empty:
            report(Note("Nothing to continue here: the fit starts from the beginning."))
    elif not (journal.is_empty or overwrite):
        raise PathError(
            f"{str(journal.path.parent)!r} holds an unfinished fit; continue it with resume=True "
            "(on the command line: --resume), start again with overwrite=True (--overwrite), or "
            "choose another path."
        )


def saved_state(
    label: Hashable,
    pipeline: FittedPipeline,
    record: FitRecord,
    settings: Mapping[str, Any] | None = None,
) -> State:
    """Return everything that a saved predictor holds."""
    metric = record.metric
    meta = {
        "label": name_to_json(label),
        "metric": {
            "name": metric.name,
            "greater_is_better": metric.greater_is_better,
            "optimum": metric.optimum,
            "reads": metric.reads.value,
            "loss": metric.loss,
            "registered": _is_registered(metric),
        },
        "plan": record.plan,
        "models": [dict(row) for row in record.models],
        "score": record.score,
        "settings": dict(settings or {}),
    }
    arrays: dict[str, npt.NDArray[Any]] = {
        "oof_rows": record.oof_rows.astype(np.int64),
        "oof": narrowed(record.oof),
    }
    children = {"pipeline": pipeline.state(), "record": State(arrays=arrays)}
    if record.held_out is not None:
        children["held_out"] = record.held_out.state()
    return State(meta=meta, children=children)


def load_saved(state: State, n_threads: int) -> Saved:
    """Build a saved predictor again.

    Raises
    ------
    ArtifactError
        When the state is none that `saved_state` returned: somebody made it, sums and all.
    """
    try:
        return _built_again(state, n_threads)
    except AutoMLError:
        raise  # such as a plug-in that is not installed: it says itself what to do
    except _OF_MADE_UP_STATES as error:
        raise ArtifactError(
            "The artifact must hold a predictor that this library saved, but its files, whole as "
            f"they are, could not be put together ({type(error).__name__}: {error}). Save it "
            "again; if somebody else made it, do not use it."
        ) from error


def _built_again(state: State, n_threads: int) -> Saved:
    meta, recorded = state.meta, state.children["record"]
    settings = meta.get("settings", {})
    state.require(isinstance(settings, dict), "settings", "be a mapping")
    pipeline = FittedPipeline.from_state(state.children["pipeline"], n_threads)
    held_out = state.children.get("held_out")
    said = [] if held_out is None else held_out.meta["keys"]
    timed = {row["model"] for row in meta["models"] if row["status"] == "ok"}
    spares = {spare.key for spare in pipeline.stack.spares}
    state.require(spares <= timed & set(said), "spares", "have predictions out of fold, and times")
    rows = recorded.array("oof_rows", np.intp, (None,), least=0)
    record = FitRecord(
        metric=_load_metric(meta["metric"], pipeline.codec),
        plan=meta["plan"],
        models=tuple(meta["models"]),
        score=float(meta["score"]),
        oof_rows=rows,
        oof=recorded.array("oof", np.float64, (len(rows), pipeline.task.n_outputs), finite=False),
        held_out=HeldOut.from_state(held_out) if held_out is not None else None,
    )
    return Saved(name_from_json(meta["label"]), pipeline, record, settings)


def saved_bytes(state: State) -> dict[str, int]:
    """Return the saved bytes of each bag and spare, by key, and of the rest."""
    stack = state.children["pipeline"].children["stack"]
    sizes = {
        described["key"]: stack.children[f"bag{position}"].n_bytes
        for position, described in enumerate(stack.meta["bags"])
    }
    for position, key in enumerate(stack.meta["spares"]):
        sizes[f"{key} (spare)"] = stack.children[f"spare{position}"].n_bytes
    return {**sizes, "everything else": state.n_bytes - sum(sizes.values())}


def _load_metric(described: dict[str, Any], codec: TargetCodec) -> Metric:
    """Return the metric by its name; a user's own function is not saved, and says so when asked."""
    name = described["name"]
    found = metric_named(name)
    if found is not None and (described["registered"] or _is_of_user(found)):
        return resolve_metric(found, codec.task.problem_type).bind(codec.classes.to_numpy())
    return Metric(
        name=name,
        function=_Unsaved(name),
        greater_is_better=bool(described["greater_is_better"]),
        optimum=float(described["optimum"]),
        reads=Reads(described["reads"]),
        problem_types=(codec.task.problem_type,),
        loss=described["loss"],
    )


def _is_registered(metric: Metric) -> bool:
    """Return whether the registry holds this very metric under its name."""
    found = metric_named(metric.name)
    if found is None or _own(found) is _own(metric):
        return found is not None
    return not _is_of_user(metric) and found == metric  # a copy of one of ours


def _is_of_user(metric: Metric) -> bool:
    return isinstance(metric.function, UserFunction)


def _own(metric: Metric) -> object:
    """Return the function itself, whatever labels it is bound to."""
    function = metric.function
    return function.function if isinstance(function, UserFunction) else function


@dataclass(frozen=True)
class _Unsaved:
    """Stands for a metric function that lives in the user's program, not in the artifact."""

    name: str

    def __call__(self, *arguments: object) -> float:
        raise InvalidOptionError(
            f"The metric {self.name!r} is a function of your own, which is not saved; register it "
            "with tabular_automl.extend.register_metric before loading."
        )

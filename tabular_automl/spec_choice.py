"""Which specs a fit tries, and why not the others."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from tabular_automl.config import FitConfig
from tabular_automl.core.errors import InvalidOptionError, must_be, unknown_name
from tabular_automl.core.imports import is_installed
from tabular_automl.core.parallel import Machine
from tabular_automl.data.schema import Kind
from tabular_automl.data.table import FeatureTable
from tabular_automl.data.task import Task
from tabular_automl.ensemble.candidates import PlannedSpec
from tabular_automl.models.base import MODELS
from tabular_automl.models.portfolio import PORTFOLIO, Entry
from tabular_automl.models.quick_boosting import MOST_FEATURES
from tabular_automl.shape import MOST_FOLDS, Shape

_READER_SHARE = 0.4  # of the time: a reader of texts or images that needs more at least is left out
_LATE_SPECS = ("extra_trees", "lightgbm", "catboost", "neural")
_ENSEMBLE = "ensemble"  # on the leaderboard
_MADE_UP = re.compile(r"(?P<of>.+)_(long|v\d+|l[2-9])")  # of a repeat, a variant, a later layer


def first_layer(
    config: FitConfig, task: Task, shape: Shape, limit: float | None, n_folds: int
) -> tuple[tuple[PlannedSpec, ...], tuple[tuple[str, str], ...]]:
    """Return the specs to try and those left out with the reason."""
    check_names(config)
    planned, left_out = _sorted_out(config, task, shape, limit, n_folds)
    left_out += _not_tried(config, shape)
    if config.max_specs is not None:
        left_out += [(p.spec.key, "beyond max_specs") for p in planned[config.max_specs :]]
        planned = planned[: config.max_specs]
    if not planned:
        why = "".join(f"; {key}: {reason}" for key, reason in left_out)
        raise InvalidOptionError(
            "families and exclude must leave at least one model to fit, got "
            f"families={config.families!r}, exclude={config.exclude!r}{why}."
        )
    return tuple(planned), tuple(left_out)


def stack_layer(first: Sequence[PlannedSpec]) -> tuple[PlannedSpec, ...]:
    """Return the specs of a later layer: the first of each quick family of the layer before."""
    chosen: dict[str, PlannedSpec] = {}
    for planned in first:
        if planned.spec.family in ("lightgbm", "catboost", "linear", "neural"):
            chosen.setdefault(planned.spec.family, planned)
    return tuple(chosen.values()) or tuple(first[:1])


def late_layer(first: Sequence[PlannedSpec]) -> tuple[PlannedSpec, ...]:
    """Return those of the first layer's specs that learn from its outputs what no others do."""
    return tuple(planned for planned in first if planned.spec.key in _LATE_SPECS)


def kinds_read(config: FitConfig, kinds: frozenset[Kind]) -> frozenset[Kind]:
    """Return those of the kinds that a family which the settings allow reads untouched."""
    if not kinds:
        return kinds
    readers = _readers(Shape(0, 0, raw_kinds=kinds))
    names = {entry.family for entry in readers if _is_wanted(entry, config)}
    families = [MODELS.get(name) for name in names | {spec.family for spec in config.specs}]
    usable = [family for family in families if all(map(is_installed, family.modules))]
    return kinds & frozenset(kind for family in usable for kind in family.reads)


def least_seconds(
    config: FitConfig, table: FeatureTable, task: Task, machine: Machine
) -> dict[str, float]:
    """Return what each family that may read the table's untouched columns needs, by name."""
    readers = _readers(Shape(0, 0, raw_kinds=frozenset(table.raw_kinds.values())))
    names = [entry.family for entry in readers if _is_wanted(entry, config)]
    n_cores = machine.fold_cores(MOST_FOLDS)
    return {name: MODELS.get(name).least_seconds(table, task, n_cores) for name in names}


def check_names(config: FitConfig) -> None:
    """Raise where the settings name families or specs that do not exist; needs no table.

    Raises
    ------
    InvalidOptionError
    """
    keys = {entry.key for entry in PORTFOLIO} | {spec.key for spec in config.specs}
    for name in (*(config.families or ()), *config.exclude):
        if name not in MODELS and name not in keys:
            raise InvalidOptionError(unknown_name("model family", name, MODELS.names()))
    own = [spec.key for spec in config.specs]
    if len(set(own)) < len(own):
        raise InvalidOptionError(must_be("specs", "of different keys", own))
    for key in own:
        if key == _ENSEMBLE or _is_made_up(key, keys):
            raise InvalidOptionError(
                f"specs: the key {key!r} is what a fit may call a model of its own; choose another."
            )


def _sorted_out(
    config: FitConfig, task: Task, shape: Shape, limit: float | None, n_folds: int
) -> tuple[list[PlannedSpec], list[tuple[str, str]]]:
    """Return the user's own specs and the wanted ones that suit the table, and the others."""
    planned = [PlannedSpec(spec, 1.0) for spec in config.specs]
    reasons: dict[str, str] = {}
    unsuited: dict[str, Entry] = {}  # the first of each family
    for entry in (*_readers(shape), *PORTFOLIO):
        if not _is_wanted(entry, config):
            continue
        reason = _reason_against(entry, config, shape)
        reason = reason or _too_long(entry, config, shape, limit, n_folds)
        if reason is None and not entry.suits(task, shape.n_samples):
            reason = "not worth its time on a table of this size and task"
            unsuited.setdefault(entry.family, entry)
        if reason is None:
            planned.append(PlannedSpec(entry.spec(), entry.cost, entry.after, entry.like))
        else:
            reasons[entry.key] = reason
    if not planned and config.families is not None:  # whoever names a family wants it all the same
        for entry in unsuited.values():
            planned.append(PlannedSpec(entry.spec(), entry.cost))
            del reasons[entry.key]
    return planned, list(reasons.items())


def _not_tried(config: FitConfig, shape: Shape) -> list[tuple[str, str]]:
    """Return those of the families asked for of which no model would be tried, with the reason."""
    entries = (*_readers(shape), *PORTFOLIO)
    tried = {name for entry in entries for name in (entry.key, entry.family)}
    tried |= {spec.family for spec in config.specs}
    found = []
    for name in config.families or ():
        if name not in tried:
            reads = sorted(MODELS.get(name).reads)
            lacking = f"the table has no column of kind {' or '.join(reads)}"
            found.append(
                (name, lacking if reads else "tried only where FitConfig(specs=...) has it")
            )
    return found


def _readers(shape: Shape) -> list[Entry]:
    """Return an entry for each family that reads a kind the table has, the cheap ones first.

    Costly ones wait for the cheapest of the same kind.
    """
    if not shape.raw_kinds:
        return []
    families = MODELS.available()
    entries: dict[frozenset[Kind], list[Entry]] = {}
    for name, family in sorted(families.items(), key=lambda item: item[1].cost):
        if family.reads & shape.raw_kinds:
            same = entries.setdefault(family.reads, [])
            after = same[0].key if same else None
            same.append(Entry(name, name, cost=family.cost, after=after))
    return [entry for same in entries.values() for entry in same]


def _reason_against(entry: Entry, config: FitConfig, shape: Shape) -> str | None:
    """Return why a wanted entry is not tried; None when it is."""
    if entry.key in {spec.key for spec in config.specs}:
        return "replaced by a spec of yours with the same key"
    if entry.params.get("n_pairs"):
        if shape.n_numbers < 2:
            return "there are no two columns of numbers to make features of"
        if shape.n_features > MOST_FEATURES:
            return f"features of two others are made of up to {MOST_FEATURES} columns"
    absent = [m for m in MODELS.get(entry.family).modules if not is_installed(m)]
    if absent:
        return f"the package {absent[0]!r} is not installed: pip install 'tabular-automl[all]'"
    return None


def _too_long(
    entry: Entry, config: FitConfig, shape: Shape, limit: float | None, n_folds: int
) -> str | None:
    """Return why there is no time for an entry; None where there is, or where it was asked for."""
    seconds = n_folds * shape.least_seconds.get(entry.family, 0.0)
    if not seconds or not {entry.family, entry.key}.isdisjoint(config.families or ()):
        return None
    if limit is None:
        return f"takes {seconds:.0f} s or more: a budget in trials has it where families names it"
    share = _READER_SHARE * limit
    if seconds <= share:
        return None
    return f"would take about {seconds:.0f} s at least, and there are {share:.0f} s for it"


def _is_wanted(entry: Entry, config: FitConfig) -> bool:
    if entry.key in config.exclude or entry.family in config.exclude:
        return False
    return config.families is None or not {entry.family, entry.key}.isdisjoint(config.families)


def _is_made_up(key: str, keys: Collection[str]) -> bool:
    """Return whether a fit might name a repeat, a variant or a model of a later layer so."""
    while (match := _MADE_UP.fullmatch(key)) is not None:
        key = match["of"]
        if key in keys or key in MODELS:
            return True
    return False

"""The features of the rows that are learned from, and what is told of them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from tabular_automl.config import FitConfig
from tabular_automl.core.budget import Budget
from tabular_automl.core.events import Note, Reporter
from tabular_automl.core.parallel import Machine
from tabular_automl.data.folds import group_codes
from tabular_automl.data.table import Samples
from tabular_automl.data.task import Task
from tabular_automl.encoders.featurizer import Featurizer
from tabular_automl.ensemble.resuming import Workbook
from tabular_automl.intake import Roles
from tabular_automl.learned_rows import LearnedRows
from tabular_automl.models.giveaways import giveaways
from tabular_automl.models.idle_topics import N_FOLDS, idle_topics

_SHARE_FOR_TOPICS = 0.25  # of the time, to find the topics of all training rows' texts
_SHARE_FOR_GIVEAWAYS = 0.02  # of the time, for a note


def learned_features(
    rows: LearnedRows,
    featurizer: Featurizer,
    workbook: Workbook,
    config: FitConfig,
    machine: Machine,
    budget: Budget,
    report: Reporter,
) -> Samples:
    """Fit the featurizer, return the rows' features with their target, and tell about them.

    Parameters
    ----------
    rows : LearnedRows
    featurizer : Featurizer
        Not fitted yet; afterwards, without the topics that tell nothing new.
    workbook : Workbook
        Knows what an interrupted fit, which this one continues, had no time for.
    config : FitConfig
    machine : Machine
    budget : Budget
        For the whole fit.
    report : Reporter

    Returns
    -------
    Samples
        The rows' features with their target.
    """
    target, task, again = rows.target, rows.target.codec.task, workbook.without_topics
    share = budget.share(_SHARE_FOR_TOPICS)
    table = featurizer.fit_transform(target.features, share, again)
    _tell_of_missing_topics(featurizer, report, again=again is not None)
    samples = Samples(table, target.encoded, rows.roles.weight)
    samples = _without_idle_topics(samples, featurizer, task, rows.roles, config, machine, report)
    share = budget.share(_SHARE_FOR_GIVEAWAYS)
    _warn_of_giveaways(samples, featurizer, task, config.seed, share, report)
    if not (samples.table.n_features or samples.table.raw_kinds):
        report(Note("No column holds usable features: every prediction is the base rate."))
    return samples


def _without_idle_topics(
    samples: Samples,
    featurizer: Featurizer,
    task: Task,
    roles: Roles,
    config: FitConfig,
    machine: Machine,
    report: Reporter,
) -> Samples:
    """Return the samples without the topics of texts that tell nothing new; nor are they made."""
    parts = featurizer.parts
    topics = {i: part.topics_at for i, part in enumerate(parts) if len(part.topics_at)}
    if not topics:
        return samples
    idle = idle_topics(
        samples,
        task,
        partial(roles.split, task, samples.y, n_folds=N_FOLDS, seed=config.seed),
        topics,
        groups=None if roles.group is None else group_codes(roles.group, len(samples)),
        seed=config.seed,
        n_workers=machine.n_cores,
    )
    if not idle:
        return samples
    columns = [parts[i].name for i in idle]
    told = ", ".join(map(repr, columns))
    report(
        Note(f"Topics of {told} are left out: they tell no more of the label than chance would.")
    )
    kept = featurizer.forget_topics(set(columns))
    return replace(samples, table=samples.table.of_numeric(kept))


def _tell_of_missing_topics(featurizer: Featurizer, report: Reporter, *, again: bool) -> None:
    """Tell of columns whose texts there was no time to find topics in."""
    if not featurizer.without_topics:
        return
    told = ", ".join(map(repr, featurizer.without_topics))
    reason = (
        "as they were in the fit that is continued; start again with overwrite=True (--overwrite) "
        "to have them."
        if again
        else "there is no time to find them in so many texts; allow more, or fit on fewer rows."
    )
    report(Note(f"Topics of {told} are left out: {reason}"))


def _warn_of_giveaways(
    samples: Samples,
    featurizer: Featurizer,
    task: Task,
    seed: int,
    budget: Budget,
    report: Reporter,
) -> None:
    """Tell of columns that may be known only afterwards, as the label is."""
    names = samples.table.numeric_names
    of_two = names[len(names) - len(featurizer.pairs) :]  # days between dates are no one's alone
    found = [each for each in giveaways(samples, task, seed, budget) if each not in of_two]
    for column in dict.fromkeys(featurizer.sources[name] for name in found):
        report(
            Note(
                f"The column {column!r} alone tells the label of nearly every row. If it is not "
                f"known yet when you predict, leave it out: columns={{{column!r}: 'ignored'}} "
                f"(on the command line: --column {column}=ignored)."
            )
        )

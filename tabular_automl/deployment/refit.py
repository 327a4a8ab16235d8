"""Each spec of an ensemble fitted once on all rows, with the choices that the folds made."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pandas as pd

from tabular_automl.core.budget import Budget
from tabular_automl.core.registry import PLUG_IN_ERRORS
from tabular_automl.data.folds import Folds, check_weights, make_folds
from tabular_automl.data.schema import Kind
from tabular_automl.data.table import Samples
from tabular_automl.encoders.summary import summarize
from tabular_automl.ensemble.bagging import Bag
from tabular_automl.ensemble.refitting import refit_bag
from tabular_automl.ensemble.stack import extend_table
from tabular_automl.fitted import FittedPipeline
from tabular_automl.intake import read_roles, unlabelled_later
from tabular_automl.models.base import Prediction

_FOLDS = 4  # for what a later layer reads


def refit_pipeline(
    pipeline: FittedPipeline, table: pd.DataFrame, label: Hashable
) -> FittedPipeline:
    """Return the pipeline with each bag replaced by one model of all rows.

    Later layers learn from predictions of rows that the earlier ones did not see: bags that are
    read are fitted on folds as well.

    Raises
    ------
    DataError
        When there are two layers, and the rows are of one group, or those of a fold weigh nothing.
    """
    labelled = table.loc[~unlabelled_later(pipeline.codec, table[label])]
    features = pipeline.featurizer.transform(labelled)
    schema = pipeline.featurizer.schema
    needed = (Kind.WEIGHT, Kind.GROUP) if pipeline.stack.feeds else (Kind.WEIGHT,)
    roles = read_roles(schema, labelled, needed)
    together = roles.group
    for column in schema.of_kind(Kind.FOLD):  # new rows may have none, or one alone
        if column.name in labelled and labelled[column.name].nunique() > 1:
            together = labelled[column.name]
    samples = Samples(features, pipeline.codec.encode(labelled[label]), roles.weight)
    task, stack = pipeline.task, pipeline.stack
    by_key, learned = {bag.key: bag for bag in stack.bags}, {1: samples}
    for layer, keys in sorted(stack.feeds.items()):
        folds = make_folds(task, samples.y, n_folds=_FOLDS, groups=together)
        check_weights(folds, roles.weight)
        fed = [by_key[key] for key in keys]
        oofs = [_out_of_fold(bag, learned[bag.layer], folds) for bag in fed]
        learned[layer] = replace(samples, table=extend_table(features, fed, oofs))
    bags = tuple(refit_bag(bag, learned[bag.layer], Budget.unlimited()) for bag in stack.bags)
    spares = _refitted_spares(stack.spares, samples)
    summary = summarize(labelled, pipeline.featurizer)
    codec = pipeline.codec.covering(labelled[label])  # prices may have risen since
    stack = replace(stack, bags=bags, spares=spares)
    return replace(pipeline, codec=codec, stack=stack, summary=summary)


def _refitted_spares(spares: Sequence[Bag], samples: Samples) -> tuple[Bag, ...]:
    """Return those spares that can be fitted: what answers nothing is not to end a refit."""
    found = []
    for bag in spares:
        with suppress(PLUG_IN_ERRORS):
            found.append(refit_bag(bag, samples, Budget.unlimited()))
    return tuple(found)


def _out_of_fold(bag: Bag, samples: Samples, folds: Folds) -> Prediction:
    """Return what models of the bag's choices predict of rows that they did not see."""
    found = np.empty((len(samples), bag.models[0].model.setting.task.n_outputs))
    for train, valid in zip(folds.train, folds.valid, strict=True):
        fitted = refit_bag(bag, samples.take(train), Budget.unlimited())
        found[valid] = fitted.predict(samples.take(valid).table)
    return found

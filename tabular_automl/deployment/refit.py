"""Each spec of an ensemble fitted once on all rows, with the choices that the folds made."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from tabular_automl.core.budget import Budget
from tabular_automl.core.errors import DataError
from tabular_automl.core.params import Params
from tabular_automl.data.table import Samples
from tabular_automl.encoders.summary import summarize
from tabular_automl.ensemble.bagging import Bag
from tabular_automl.intake import read_roles
from tabular_automl.models.base import MODELS, FittedSpec
from tabular_automl.pipeline import FittedPipeline


def refit_pipeline(
    pipeline: FittedPipeline, table: pd.DataFrame, label: Hashable
) -> FittedPipeline:
    """Return the pipeline with each bag replaced by one model of all rows.

    Raises
    ------
    DataError
        When the ensemble is a stack of several layers: later layers learn from predictions of rows
        that the earlier ones did not see, which a refit on all rows cannot give.
    """
    if pipeline.stack.feeds:
        raise DataError("refit must be called on an ensemble of one layer, got a stack of several.")
    labelled = table.loc[table[label].notna().to_numpy()]
    features = pipeline.featurizer.transform(labelled)
    weight = read_roles(pipeline.featurizer.schema, labelled).weight
    samples = Samples(features, pipeline.codec.encode(labelled[label]), weight)
    bags = tuple(_refit_bag(bag, samples) for bag in pipeline.stack.bags)
    summary = summarize(labelled, pipeline.featurizer)
    return replace(pipeline, stack=replace(pipeline.stack, bags=bags), summary=summary)


def _refit_bag(bag: Bag, samples: Samples) -> Bag:
    first = bag.models[0]
    params = common_params([fitted.model.fitted_params() for fitted in bag.models])
    model = MODELS.get(first.family)(params, first.model.setting)
    model.take_over(first.model)
    model.fit(samples, None, Budget.unlimited())
    return replace(bag, models=(FittedSpec(first.family, model),))


def common_params(chosen: Sequence[Params]) -> Params:
    """Return one set of params for what the folds chose: medians of numbers, else the first's."""
    values: dict[str, Any] = chosen[0].to_dict()
    for name, first in values.items():
        found = [getattr(params, name) for params in chosen]
        if isinstance(first, bool) or not all(isinstance(value, (int, float)) for value in found):
            continue
        middle = float(np.median(found))
        values[name] = round(middle) if isinstance(first, int) else middle
    return type(chosen[0]).from_dict(values)

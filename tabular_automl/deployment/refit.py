"""Each spec of an ensemble fitted once on all rows, with the choices that the folds made."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

import pandas as pd

from tabular_automl.core.budget import Budget
from tabular_automl.core.errors import DataError
from tabular_automl.data.table import Samples
from tabular_automl.encoders.summary import summarize
from tabular_automl.ensemble.refitting import refit_bag
from tabular_automl.intake import read_roles
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
    bags = tuple(refit_bag(bag, samples, Budget.unlimited()) for bag in pipeline.stack.bags)
    summary = summarize(labelled, pipeline.featurizer)
    return replace(pipeline, stack=replace(pipeline.stack, bags=bags), summary=summary)

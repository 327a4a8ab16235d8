"""What a fitted predictor tells of itself."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from tabular_automl.core.errors import InvalidOptionError, NotFittedError, unknown_name
from tabular_automl.data.schema import Schema
from tabular_automl.ensemble.held_out import HeldOut
from tabular_automl.fitted import FitRecord, FittedPipeline
from tabular_automl.metrics.base import Metric


class Facts:
    """What a fit found and was asked, of the predictor that holds it.

    Attributes
    ----------
    label : hashable
        Name of the column to predict.
    path : Path or None
        Where the predictor is saved.
    """

    label: Hashable
    path: Path | None
    _pipeline: FittedPipeline | None
    _record: FitRecord | None
    _settings: Mapping[str, Any]
    _saved_as: str  # tells the model in memory from all others, whatever lies at the path by now

    @property
    def schema(self) -> Schema:
        """The kind of each column, with the reason."""
        return self._fitted().featurizer.schema

    @property
    def plan(self) -> str:
        """The plan that the fit followed, as text."""
        return self._fit_record().plan

    @property
    def settings(self) -> dict[str, Any]:
        """What `fit` was asked: ``presets``, ``time_limit``, ``seed`` and ``config``.

        Under ``config`` are the other fields of `FitConfig` that were changed from their defaults.
        Empty for a predictor that was saved before settings were kept.
        """
        self._fitted()
        return copy.deepcopy(dict(self._settings))

    @property
    def metric(self) -> Metric:
        """The metric that was optimised."""
        return self._fit_record().metric

    @property
    def classes(self) -> pd.Index | None:
        """The class labels in the order of the probability columns; None for a regression."""
        codec = self._fitted().codec
        return codec.classes if codec.task.is_classification else None

    def model_params(self, key: str) -> dict[str, Any]:
        """Return the hyperparameters of a model of the ensemble, by its key in the leaderboard.

        None stands for what a model chooses from its data. Models without weight are not kept, nor
        are their hyperparameters.

        Raises
        ------
        InvalidOptionError
            When the ensemble has no such model.
        """
        bags = {bag.key: bag for bag in self._fitted().stack.bags}
        if key not in bags:
            raise InvalidOptionError(unknown_name("model of the ensemble", key, bags))
        params: dict[str, Any] = bags[key].models[0].model.params.to_dict()
        return params

    def oof_predictions(self) -> pd.DataFrame | pd.Series:
        """Return the ensemble's predictions of training rows that its models had not seen.

        Indexed by the rows' positions in the training table without its unlabelled rows. Where only
        some rows were learned from, they may hold more of rare classes (`FitConfig.max_rows`).
        """
        pipeline, record = self._fitted(), self._fit_record()
        if not len(record.oof):
            raise NotFittedError(
                "Out-of-fold predictions must be there, got a predictor without, such as one of "
                "clone_for_deployment; ask the predictor that was fitted."
            )
        index = pd.Index(record.oof_rows, name="row")
        if pipeline.task.is_classification:
            return pd.DataFrame(record.oof, index=index, columns=pipeline.codec.classes)
        return pd.Series(record.oof[:, 0], index=index, name=self.label)

    def _held_out(self, asked: str) -> HeldOut:
        held_out = None if self._record is None else self._record.held_out
        if held_out is None:
            raise NotFittedError(
                f"{asked} needs a predictor that keeps out-of-fold predictions: one that was "
                "cloned for deployment has none (ask the one that it was cloned from)."
            )
        return held_out

    def _fitted(self) -> FittedPipeline:
        if self._pipeline is None:
            raise NotFittedError("The predictor must be fitted first: call fit, or Predictor.load.")
        return self._pipeline

    def _fit_record(self) -> FitRecord:
        self._fitted()
        assert self._record is not None
        return self._record

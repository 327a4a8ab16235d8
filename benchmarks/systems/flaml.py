"""FLAML's search over boosters, forests and linear models."""

from __future__ import annotations

import flaml
import pandas as pd
from flaml import AutoML

from benchmarks.errors import Predictions
from benchmarks.systems.base import Baseline

_METRICS = {"root_mean_squared_error": "rmse"}  # the others have the same names there


class FLAML(Baseline):
    """`AutoML` with a time limit, all else as it comes."""

    version = f"flaml {flaml.__version__}"

    def fit(self, train: pd.DataFrame) -> None:
        """Search and fit within the limit."""
        data = self.job.data
        self.model = AutoML(
            task="classification" if data.is_classification else "regression",
            metric=_METRICS.get(data.eval_metric, data.eval_metric),
            time_budget=self.job.time_limit,
            n_jobs=self.job.n_threads,
            seed=self.job.seed,
            verbose=0,
        )
        self.model.fit(dataframe=train, label=data.label)

    def predict(self, frame: pd.DataFrame) -> Predictions:
        """Return probabilities or numbers."""
        if not self.job.data.is_classification:
            return self.model.predict(frame)
        values = self.model.predict_proba(frame)
        return pd.DataFrame(values, columns=self.model.classes_, index=frame.index)

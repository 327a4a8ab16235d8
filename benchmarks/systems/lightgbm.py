"""LightGBM as a practitioner sets it by hand: early stopping on a holdout, then all rows."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
import pandas as pd

from benchmarks.datasets import held_out_rows
from benchmarks.errors import Predictions
from benchmarks.systems.base import Baseline
from benchmarks.systems.cleaning import Cleaner

_MAX_ROUNDS = 2000
_PATIENCE = 100
_SETTINGS = {
    "learning_rate": 0.05,
    "num_leaves": 31,
    "min_data_in_leaf": 20,
    "feature_fraction": 0.8,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "verbosity": -1,
}


class LightGBM(Baseline):
    """One booster; rounds chosen on a fifth of the rows, then trained again on all of them."""

    version = f"lightgbm {lightgbm.__version__}"

    def fit(self, train: pd.DataFrame) -> None:
        """Choose the number of rounds, then train on all rows."""
        label = self.job.data.label
        self.cleaner = Cleaner().fit(train.drop(columns=label))
        features = self.cleaner.transform(train)
        y, self.classes = train[label].to_numpy(), None
        if self.job.data.is_classification:
            codes, classes = pd.factorize(train[label], sort=True)
            y, self.classes = codes, list(classes)
        held_out = np.zeros(len(y), dtype=bool)
        held_out[held_out_rows(len(y), None if self.classes is None else y, self.job.seed)] = True
        rounds = self._best_rounds(features, y, held_out)
        self.booster = lightgbm.train(
            self._params(), lightgbm.Dataset(features, y), num_boost_round=rounds
        )

    def predict(self, frame: pd.DataFrame) -> Predictions:
        """Return probabilities or numbers."""
        values = np.asarray(self.booster.predict(self.cleaner.transform(frame)))
        if self.classes is None:
            return values
        if values.ndim == 1:
            values = np.column_stack([1 - values, values])
        return pd.DataFrame(values, columns=self.classes, index=frame.index)

    def _best_rounds(self, features: pd.DataFrame, y: Any, held_out: Any) -> int:
        kept = lightgbm.Dataset(features[~held_out], y[~held_out])
        booster = lightgbm.train(
            self._params(),
            kept,
            num_boost_round=_MAX_ROUNDS,
            valid_sets=[kept.create_valid(features[held_out], y[held_out])],
            callbacks=[lightgbm.early_stopping(_PATIENCE, verbose=False)],
        )
        return max(1, booster.best_iteration)

    def _params(self) -> dict[str, Any]:
        objective = {"binary": "binary", "multiclass": "multiclass"}.get(
            self.job.data.problem_type, "regression"
        )
        params = {**_SETTINGS, "objective": objective, "seed": self.job.seed}
        if objective == "multiclass":
            params["num_class"] = len(self.classes or [])
        return {**params, "num_threads": self.job.n_threads}

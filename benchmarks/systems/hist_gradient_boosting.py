"""scikit-learn's HistGradientBoosting as it comes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import sklearn
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from benchmarks.errors import Predictions
from benchmarks.systems.base import Baseline
from benchmarks.systems.cleaning import Cleaner

_MAX_CATEGORIES = 250  # it refuses a column with more than its 255 bins


class HistGradientBoosting(Baseline):
    """Library defaults, category columns by their dtype."""

    version = f"scikit-learn {sklearn.__version__}"

    def fit(self, train: pd.DataFrame) -> None:
        """Fit on all rows; the library holds rows out itself from 10,000 rows on."""
        label = self.job.data.label
        self.cleaner = Cleaner(_MAX_CATEGORIES).fit(train.drop(columns=label))
        settings: dict[str, Any] = {
            "categorical_features": "from_dtype",
            "random_state": self.job.seed,
        }
        features = self.cleaner.transform(train)
        with threadpool_limits(self.job.n_threads):
            if self.job.data.is_classification:
                codes, classes = pd.factorize(train[label], sort=True)
                self.classes: list[Any] | None = list(classes)
                self.model = HistGradientBoostingClassifier(**settings).fit(features, codes)
            else:
                self.classes = None
                self.model = HistGradientBoostingRegressor(**settings).fit(
                    features, train[label].to_numpy(float)
                )

    def predict(self, frame: pd.DataFrame) -> Predictions:
        """Return probabilities or numbers."""
        features = self.cleaner.transform(frame)
        if self.classes is None:
            return np.asarray(self.model.predict(features))
        values = self.model.predict_proba(features)
        return pd.DataFrame(values, columns=self.classes, index=frame.index)

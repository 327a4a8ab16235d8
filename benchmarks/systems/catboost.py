"""CatBoost as it comes: library defaults, category columns named."""

from __future__ import annotations

from typing import Any

import catboost
import numpy as np
import pandas as pd

from benchmarks.errors import Predictions
from benchmarks.systems.base import Baseline
from benchmarks.systems.cleaning import Cleaner


class CatBoost(Baseline):
    """1000 iterations at the library's own learning rate."""

    version = f"catboost {catboost.__version__}"

    def fit(self, train: pd.DataFrame) -> None:
        """Fit on all rows."""
        label = self.job.data.label
        self.cleaner = Cleaner().fit(train.drop(columns=label))
        settings: dict[str, Any] = {
            "thread_count": self.job.n_threads,
            "random_seed": self.job.seed,
            "verbose": 0,
            "allow_writing_files": False,
            "cat_features": self.cleaner.category_names,
        }
        if self.job.data.is_classification:
            codes, classes = pd.factorize(train[label], sort=True)
            self.classes: list[Any] | None = list(classes)
            self.model = catboost.CatBoostClassifier(**settings).fit(self._features(train), codes)
        else:
            self.classes = None
            self.model = catboost.CatBoostRegressor(**settings).fit(
                self._features(train), train[label].to_numpy(float)
            )

    def predict(self, frame: pd.DataFrame) -> Predictions:
        """Return probabilities or numbers."""
        features = self._features(frame)
        if self.classes is None:
            return np.asarray(self.model.predict(features))
        values = self.model.predict_proba(features)
        return pd.DataFrame(values, columns=self.classes, index=frame.index)

    def _features(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return cleaned columns, categories as text: CatBoost takes no missing category."""
        features = self.cleaner.transform(frame)
        for name in self.cleaner.category_names:
            features[name] = features[name].astype(object).fillna("missing")
        return features

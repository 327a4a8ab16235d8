"""AutoGluon's tabular predictor with one of its presets."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Self

import autogluon.tabular
import pandas as pd
from autogluon.tabular import TabularPredictor

from benchmarks.errors import Predictions, error_of_score, quantile_in
from benchmarks.job import Job
from benchmarks.systems.base import System


class AutoGluon(System):
    """`TabularPredictor` with a time limit and the cores it may use; it saves as part of fit."""

    preset: ClassVar[str]
    version = f"autogluon.tabular {autogluon.tabular.__version__}"

    def fit(self, train: pd.DataFrame) -> None:
        """Fit with the preset; all else as it comes."""
        data = self.job.data
        quantile = quantile_in(data.eval_metric)
        self.predictor = TabularPredictor(
            label=data.label,
            problem_type=data.problem_type if quantile is None else "quantile",
            eval_metric=data.eval_metric if quantile is None else "pinball_loss",
            quantile_levels=None if quantile is None else [quantile],
            path=str(self.job.model_folder),
            verbosity=0,
        )
        self.predictor.fit(
            train,
            time_limit=self.job.time_limit,
            presets=self.preset,
            num_cpus=self.job.n_threads,
            num_gpus=0,
        )

    def own_error(self) -> float:
        """Return the validation error of the model that predicts."""
        scores = self.predictor.leaderboard(silent=True).set_index("model")["score_val"]
        best = float(scores[self.predictor.model_best])
        return error_of_score(self.job.data.eval_metric, best)

    def save(self, folder: Path) -> None:
        """Nothing is left to do: fit has saved."""

    @classmethod
    def load(cls, folder: Path, job: Job) -> Self:
        """Load the predictor and hold its models in memory, as its documentation advises."""
        system = cls(job)
        system.predictor = TabularPredictor.load(str(folder), verbosity=0)
        system.predictor.persist()
        return system

    def predict(self, frame: pd.DataFrame) -> Predictions:
        """Return probabilities or numbers."""
        if self.job.data.is_classification:
            return self.predictor.predict_proba(frame)
        return self.predictor.predict(frame).to_numpy(float).ravel()  # of quantiles a column each


class MediumQuality(AutoGluon):
    """One holdout, its default models."""

    preset = "medium_quality"


class BestQuality(AutoGluon):
    """Bagging and stacking with the portfolio of its latest release."""

    preset = "best_quality"


class BestQualityV150(AutoGluon):
    """Bagging and stacking with the portfolio of release 1.5."""

    preset = "best_quality_v150"

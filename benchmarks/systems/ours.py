"""The library of this repository, through its public interface."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import pandas as pd

import tabular_automl
from benchmarks.errors import Predictions, error_of_score
from benchmarks.job import Job
from benchmarks.systems.base import System
from tabular_automl import Predictor


class Ours(System):
    """`Predictor` with a time limit; it saves as part of fit."""

    version = f"tabular-automl {tabular_automl.__version__}"

    def fit(self, train: pd.DataFrame) -> None:
        """Fit within the limit, the save included."""
        data = self.job.data
        self.predictor = Predictor(
            label=data.label,
            problem_type=data.problem_type,
            eval_metric=data.eval_metric,
            path=self.job.model_folder,
            verbosity=0,
        )
        self.predictor.fit(train, time_limit=self.job.time_limit, presets=self.job.preset or "best")

    def own_error(self) -> float:
        """Return the ensemble's error out of fold."""
        scores = self.predictor.leaderboard().set_index("model")["score"]
        return error_of_score(self.job.data.eval_metric, float(scores["ensemble"]))

    def save(self, folder: Path) -> None:
        """Nothing is left to do: fit has saved."""

    @classmethod
    def load(cls, folder: Path, job: Job) -> Self:
        """Load the saved predictor."""
        system = cls(job)
        system.predictor = Predictor.load(folder)
        return system

    def predict(self, frame: pd.DataFrame) -> Predictions:
        """Return probabilities or numbers."""
        if self.job.data.is_classification:
            return self.predictor.predict_proba(frame)
        return self.predictor.predict(frame).to_numpy(float)

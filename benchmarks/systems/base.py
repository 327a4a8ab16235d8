"""The interface that every compared system is put behind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Self

import joblib
import pandas as pd

from benchmarks.errors import Predictions
from benchmarks.job import Job


class System(ABC):
    """One system on one job.

    A class's module may import what it needs at the top: it is only loaded in a worker, and the
    time of that import is recorded.
    """

    def __init__(self, job: Job) -> None:
        self.job = job

    @property
    @abstractmethod
    def version(self) -> str:
        """Name and version of what runs."""

    @abstractmethod
    def fit(self, train: pd.DataFrame) -> None:
        """Learn from the training part; the wall time of this call is recorded."""

    def own_error(self) -> float | None:
        """Return what the fitted system expects its error to be; None where it does not say."""
        return None

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Save into ``folder``; nothing to do where fit has saved already."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path, job: Job) -> Self:
        """Return the saved system, in another process; the time of this call is recorded."""

    @abstractmethod
    def predict(self, frame: pd.DataFrame) -> Predictions:
        """Return probabilities with the class labels as columns, or numbers of (n_samples,)."""


class Baseline(System):
    """A single model without a format of its own: saved with joblib, read back by us alone."""

    def save(self, folder: Path) -> None:
        """Save the whole object."""
        folder.mkdir(parents=True, exist_ok=True)
        joblib.dump(self, folder / "model.joblib")

    @classmethod
    def load(cls, folder: Path, job: Job) -> Self:
        """Load the whole object."""
        loaded = joblib.load(folder / "model.joblib")
        if not isinstance(loaded, cls):
            raise TypeError(f"{folder} must hold a {cls.__name__}, got {type(loaded).__name__}.")
        return loaded

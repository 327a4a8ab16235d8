"""What a worker process is told, as json on its command line."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from benchmarks.datasets import DataSet


@dataclass(frozen=True)
class Job:
    """One system on one split of one data set.

    Attributes
    ----------
    stage : {"fit", "serve"}
        Fit and save, or load and predict; each in a fresh process.
    target : str
        The system's class, as ``"module:Class"``.
    time_limit : float or None
        Seconds, for systems that take a limit.
    folder, result : str
        Where the fitted system is saved, and where the worker writes its figures as json.
    """

    stage: str
    target: str
    data_folder: str
    data: DataSet
    seed: int
    time_limit: float | None
    preset: str | None
    n_threads: int
    folder: str
    result: str

    def to_json(self) -> str:
        """Return the job as json text."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Job:
        """Read what `to_json` wrote."""
        values = json.loads(text)
        return cls(**{**values, "data": DataSet(**values["data"])})

    @property
    def model_folder(self) -> Path:
        """Return the folder of the fitted system as a path."""
        return Path(self.folder)

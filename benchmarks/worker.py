"""One stage of one job in a process of its own: ``python -m benchmarks.worker JOB``."""

from __future__ import annotations

import importlib
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.job import Job

if TYPE_CHECKING:
    import pandas as pd

    from benchmarks.systems.base import System

N_SINGLE_ROWS = 50
N_WARM_UPS = 3


def main() -> None:
    """Run the stage and write its figures; an error ends the process with its traceback."""
    job = Job.from_json(sys.argv[1])
    keep_to_cores(job.n_threads)
    started = time.perf_counter()
    module, _, attribute = job.target.partition(":")
    system_type = getattr(importlib.import_module(module), attribute)
    figures: dict[str, Any] = {"import_seconds": time.perf_counter() - started}
    stage = {"fit": fit_stage, "serve": serve_stage}[job.stage]
    Path(job.result).write_text(json.dumps(figures | stage(job, system_type)))


def keep_to_cores(n_threads: int) -> None:
    """Hold the process, and what it starts, to so many of its cores."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:n_threads])


def fit_stage(job: Job, system_type: type[System]) -> dict[str, Any]:
    """Fit and save."""
    train, test = _read(job)
    system = system_type(job)
    started = time.perf_counter()
    system.fit(train)
    fitted = time.perf_counter()
    system.save(job.model_folder)
    return {
        "version": system.version,
        "n_train": len(train),
        "n_test": len(test),
        "fit_seconds": fitted - started,
        "save_seconds": time.perf_counter() - fitted,
        "own_error": system.own_error(),
    }


def serve_stage(job: Job, system_type: type[System]) -> dict[str, Any]:
    """Load, predict the test part, and predict single rows."""
    from benchmarks.errors import accuracy_of, error_of

    test = _read(job)[1]
    y, features = test[job.data.label], test.drop(columns=job.data.label)
    started = time.perf_counter()
    system = system_type.load(job.model_folder, job)
    load_seconds = time.perf_counter() - started
    predictions, first = _timed(system, features)
    _, second = _timed(system, features)
    return {
        "error": error_of(job.data.eval_metric, y, predictions),
        "accuracy": accuracy_of(y, predictions) if job.data.is_classification else None,
        "load_seconds": load_seconds,
        "first_predict_seconds": first,
        "rows_per_second": len(test) / min(first, second),
        "single_row_ms": _single_row_ms(system, features),
    }


def _read(job: Job) -> tuple[pd.DataFrame, pd.DataFrame]:
    from benchmarks.datasets import read_split  # pandas counts as part of a system's import

    return read_split(Path(job.data_folder), job.data, job.seed)


def _timed(system: System, features: pd.DataFrame) -> tuple[Any, float]:
    started = time.perf_counter()
    predictions = system.predict(features)
    return predictions, time.perf_counter() - started


def _single_row_ms(system: System, features: pd.DataFrame) -> float:
    """Return the median milliseconds of predicting a frame of one row."""
    rows = [features.iloc[[i % len(features)]] for i in range(N_WARM_UPS + N_SINGLE_ROWS)]
    seconds = [_timed(system, row)[1] for row in rows]
    return 1000 * statistics.median(seconds[N_WARM_UPS:])


if __name__ == "__main__":
    main()

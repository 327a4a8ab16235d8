"""Seconds of fits that have one network to train: ``python -m benchmarks.networks``.

On made-up rows, without a time limit. To compare with another commit, run both
in turn.
"""

from __future__ import annotations

import argparse
import tempfile
import time

import numpy as np
import pandas as pd

from benchmarks.made import LABEL, made_rows
from tabular_automl import FitConfig, Predictor

METRICS = {"binary": "log_loss", "regression": "root_mean_squared_error"}


def rows_of(problem_type: str, n_rows: int, seed: int) -> pd.DataFrame:
    """Return rows with a label of the problem type."""
    rows = made_rows(n_rows, seed)
    if problem_type == "regression":
        noise = np.random.default_rng(seed).normal(size=n_rows)
        numbers = [rows[f"number_{i}"] for i in range(5)]
        rows[LABEL] = numbers[0] + np.sin(2 * numbers[1]) + numbers[2] * numbers[3] + 0.3 * noise
    return rows


def seconds_to_fit(problem_type: str, n_rows: int, seed: int) -> tuple[float, float]:
    """Return how long a fit took, and the error that it expects."""
    train = rows_of(problem_type, n_rows, seed)
    config = FitConfig(families=("neural",), max_specs=1, holdout_fraction=0.2, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        predictor = Predictor(
            label=LABEL,
            problem_type=problem_type,
            eval_metric=METRICS[problem_type],
            path=f"{folder}/predictor",
            verbosity=0,
        )
        start = time.monotonic()
        predictor.fit(train, config=config)
        seconds = time.monotonic() - start
        return seconds, -float(predictor.leaderboard()["score"].iloc[0])


def main() -> None:
    """Print seconds and error for each problem type and seed, the import of torch left out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    seconds_to_fit("binary", 200, 0)
    for problem_type in METRICS:
        for seed in range(args.seeds):
            seconds, error = seconds_to_fit(problem_type, args.rows, seed)
            print(f"{problem_type}, seed {seed}: {seconds:.1f} s, error {error:.4f}", flush=True)


if __name__ == "__main__":
    main()

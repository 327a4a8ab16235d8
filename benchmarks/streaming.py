"""A file larger than memory is predicted: ``python -m benchmarks.streaming``.

A predictor is fitted on made-up rows; a fresh process loads it and predicts a Parquet file of many
more. Rows per second, and the most memory above that of the loaded predictor, go to a dated file.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import zip_longest
from pathlib import Path
from typing import Any

import psutil

from benchmarks.made import LABEL, add_place_options, made_rows, write_made
from benchmarks.memory import PeakMemory
from benchmarks.run import write_row
from benchmarks.worker import keep_to_cores

ROOT = Path(__file__).resolve().parents[1]
FIELDS = (
    *("rows", "train_rows", "preset", "time_limit", "seconds", "rows_per_second", "loaded_mb"),
    *("peak_mb", "above_loaded_mb", "rows_in_order", "n_threads", "version", "finished"),
)


def main(arguments: list[str] | None = None) -> None:
    """Make the file, fit, and have another process predict."""
    options = parse(arguments)
    if options.predict:
        print(json.dumps(predict(Path(options.predict), options.threads)))
        return
    with tempfile.TemporaryDirectory(prefix="streaming-", dir=options.folder) as name:
        folder = Path(name)
        version = fit(folder, options)
        write_made(folder / "rows.parquet", options.rows, seed=1)
        command = [sys.executable, "-m", "benchmarks.streaming", "--predict", name]
        command += ["--threads", str(options.threads)]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        row = json.loads(done.stdout.strip().splitlines()[-1])
        row["rows_in_order"] = is_in_order(folder)
    row |= {"rows": options.rows, "train_rows": options.train_rows, "preset": options.preset}
    row |= {"time_limit": options.time_limit, "n_threads": options.threads, "version": version}
    row["rows_per_second"] = options.rows / row["seconds"]
    write_row(options.out, FIELDS, row | {"finished": time.strftime("%Y-%m-%dT%H:%M:%S")})
    print(f"{row['rows_per_second']:,.0f} rows/s, {row['above_loaded_mb']:.0f} MB above loaded")


def fit(folder: Path, options: argparse.Namespace) -> str:
    """Fit and save a predictor; return the library's version."""
    from tabular_automl import Predictor, __version__

    keep_to_cores(options.threads)
    predictor = Predictor(LABEL, path=folder / "model", verbosity=0)
    rows = made_rows(options.train_rows, seed=0)
    predictor.fit(rows, time_limit=options.time_limit, presets=options.preset)
    return __version__


def predict(folder: Path, n_threads: int) -> dict[str, Any]:
    """Load the predictor, predict the file, and return seconds and memory."""
    from tabular_automl import Predictor

    keep_to_cores(n_threads)
    predictor = Predictor.load(folder / "model", verbosity=0)
    few = made_rows(100, seed=2).drop(columns=LABEL)
    predictor.predict(few)  # models are read when they are first asked
    loaded = psutil.Process().memory_info().rss / 1e6
    memory = PeakMemory(os.getpid())
    started = time.perf_counter()
    source, out = folder / "rows.parquet", folder / "out.parquet"
    predictor.predict_file(source, out, proba=True, keep=["number_0"])
    seconds = time.perf_counter() - started
    peak = memory.stop()
    return {
        "seconds": seconds,
        "loaded_mb": loaded,
        "peak_mb": peak,
        "above_loaded_mb": peak - loaded,
    }


def is_in_order(folder: Path) -> bool:
    """Return whether the kept column of the output is that of the source, row by row."""
    import pyarrow.parquet as pq

    source = pq.ParquetFile(folder / "rows.parquet").iter_batches(100_000, columns=["number_0"])
    out = pq.ParquetFile(folder / "out.parquet").iter_batches(100_000, columns=["number_0"])
    return all(a == b for a, b in zip_longest(source, out))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streaming", description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000_000, help="rows to predict")
    parser.add_argument("--train-rows", type=int, default=50_000, help="rows to fit on")
    parser.add_argument("--time-limit", type=float, default=60.0, help="seconds of the fit")
    parser.add_argument("--preset", default="fast", help="of the fit")
    add_place_options(parser, "streaming")
    parser.add_argument("--predict", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()

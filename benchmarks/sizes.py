"""Time and memory over the number of rows: ``python -m benchmarks.sizes``.

Made-up tables of 30 columns, written to Parquet files, are fitted from the file, each in a process
of its own whose memory is watched; 100,000 other rows tell the error. A finished row is written at
once to a dated file.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.errors import error_of
from benchmarks.made import LABEL, add_place_options, made_rows, write_made
from benchmarks.memory import PeakMemory
from benchmarks.run import write_row
from benchmarks.worker import keep_to_cores

ROOT = Path(__file__).resolve().parents[1]
ROWS = (10_000, 100_000, 1_000_000, 5_000_000, 10_000_000)
FIELDS = (
    *("rows", "time_limit", "fit_seconds", "wall_over_limit", "peak_mb", "error", "n_models"),
    *("failure", "n_threads", "version", "finished"),
)
_TEST_ROWS = 100_000


def main(arguments: list[str] | None = None) -> None:
    """Fit each size, or do one fit."""
    options = parse(arguments)
    if options.fit:
        print(json.dumps(fit(Path(options.fit), options)))
        return
    for n_rows in (int(rows) for rows in options.rows.split(",")):
        row = run_one(n_rows, options)
        write_row(options.out, FIELDS, row)
        told = row["failure"] or f"{row['fit_seconds']:.1f} s, error {row['error']:.5f}"
        print(f"{n_rows:>12,d} rows: {told}, peak {row['peak_mb']:,.0f} MB", flush=True)


def run_one(n_rows: int, options: argparse.Namespace) -> dict[str, Any]:
    """Write the file, fit it in another process, and return the row of results."""
    row: dict[str, Any] = {"rows": n_rows, "time_limit": options.time_limit, "failure": ""}
    with tempfile.TemporaryDirectory(prefix="sizes-", dir=options.folder) as folder:
        write_made(Path(folder) / "rows.parquet", n_rows, seed=1)
        command = [sys.executable, "-m", "benchmarks.sizes", "--fit", folder]
        command += ["--threads", str(options.threads), "--time-limit", str(options.time_limit)]
        said, log = Path(folder) / "said", Path(folder) / "log"
        with open(said, "w") as out, open(log, "w") as err:
            process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=err)
            memory = PeakMemory(process.pid)
            process.wait()
            row["peak_mb"] = memory.stop()
        if process.returncode:
            last = (log.read_text().strip().splitlines() or ["no message"])[-1]
            row["failure"] = f"ended with {process.returncode}: {last[:300]}"
        else:
            row |= json.loads(said.read_text())
            row["wall_over_limit"] = row["fit_seconds"] / options.time_limit
    return row | {
        "n_threads": options.threads,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S"),
    }


def fit(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Fit the file, reading included, and return seconds and the error on other rows."""
    from tabular_automl import Predictor, __version__

    keep_to_cores(options.threads)
    predictor = Predictor(LABEL, path=folder / "model", verbosity=0)
    started = time.perf_counter()
    predictor.fit(folder / "rows.parquet", time_limit=options.time_limit)
    seconds = time.perf_counter() - started
    test = made_rows(_TEST_ROWS, seed=0)
    probabilities = predictor.predict_proba(test.drop(columns=LABEL))
    return {
        "fit_seconds": seconds,
        "error": error_of("roc_auc", test[LABEL], probabilities),
        "n_models": int((predictor.leaderboard()["weight"] > 0).sum()),
        "version": __version__,
    }


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    rows = ",".join(map(str, ROWS))
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sizes", description=__doc__)
    parser.add_argument("--rows", default=rows, help="numbers of rows, comma-separated")
    parser.add_argument("--time-limit", type=float, default=300.0, help="seconds of each fit")
    add_place_options(parser, "sizes")
    parser.add_argument("--fit", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()

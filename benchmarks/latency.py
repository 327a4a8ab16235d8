"""How soon single rows are answered: ``python -m benchmarks.latency FOLDER``.

Each set is fitted in one process and measured in another. One process asks for one row at a
time: through `predict` with a frame, through the compiled predictor with a dictionary, and through
one pruned to a limit; the same of the predictor refitted to one model for each spec. With
``--peer``, another library is fitted on the same rows for the same time, and asked through its own
`predict`, its models held in memory. A finished row is written at once to a dated file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.datasets import DataSet, read_index, read_split
from benchmarks.errors import error_of
from benchmarks.run import Options, interpreters_of, write_row
from benchmarks.run import run_one as run_peer
from benchmarks.worker import keep_to_cores

ROOT = Path(__file__).resolve().parents[1]
SETS = ("adult", "titanic", "california_housing", "house_prices", "letter")
FIELDS = (
    *("set", "time_limit", "n_models", "predict_ms", "compiled_ms", "compiled_ms_90", "pruned_ms"),
    *("n_pruned", "pruned_error_cost", "largest_difference", "import_seconds", "load_seconds"),
    *("first_predict_seconds", "compile_seconds", "slow_paths", "rows_per_second"),
    *("refit_seconds", "refit_rows_per_second", "refit_compiled_ms", "refit_error_cost"),
    *("refit_pruned_ms", "refit_n_pruned", "refit_pruned_error_cost", "n_threads", "failure"),
    *("version", "python", "finished", "peer", "peer_ms", "peer_load_seconds", "peer_failure"),
)
N_ROWS = 200
N_WARM_UPS = 5


@dataclass(frozen=True)
class Task:
    """One stage of one set, for a process of its own.

    Attributes
    ----------
    stage : {"fit", "measure"}
    folder : str
        Of the data sets.
    data : dict
        The fields of the `DataSet`.
    model : str
        Folder of the predictor.
    time_limit : float
        Seconds of the fit.
    max_latency_ms : float
        For the pruned predictor.
    n_threads : int
    """

    stage: str
    folder: str
    data: dict[str, Any]
    model: str
    time_limit: float
    max_latency_ms: float
    n_threads: int


def main(arguments: list[str] | None = None) -> None:
    """Fit and measure each set, or do one stage of it."""
    options = parse(arguments)
    if options.task:
        task = Task(**json.loads(options.task))
        keep_to_cores(task.n_threads)
        print(json.dumps({"fit": fit, "measure": measure}[task.stage](task)))
        return
    known = {data.name: data for data in read_index(options.folder)}
    for name in options.sets.split(","):
        if name not in known:
            raise SystemExit(f"No data set {name!r} in {options.folder}; known: {', '.join(known)}")
        row = run_one(known[name], options)
        if options.peer:
            row |= peer_figures(known[name], options)
        write_row(options.out, FIELDS, row)
        told = (
            row.get("failure") or f"{row['predict_ms']:.3g} ms, {row['compiled_ms']:.3g} compiled"
        )
        print(f"{name:20s} {told}", flush=True)


def run_one(data: DataSet, options: argparse.Namespace) -> dict[str, Any]:
    """Fit in one process, measure in another, and return the row of results."""
    row: dict[str, Any] = {"set": data.name, "time_limit": options.time_limit}
    row |= {"n_threads": options.threads, "python": platform.python_version(), "failure": ""}
    with tempfile.TemporaryDirectory(prefix="latency-") as folder:
        for stage in ("fit", "measure"):
            task = Task(
                stage=stage,
                folder=str(options.folder.resolve()),
                data=asdict(data),
                model=f"{folder}/model",
                time_limit=options.time_limit,
                max_latency_ms=options.max_latency_ms,
                n_threads=options.threads,
            )
            command = [
                sys.executable,
                "-m",
                "benchmarks.latency",
                "--task",
                json.dumps(asdict(task)),
            ]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            if done.returncode:
                last = (done.stderr.strip().splitlines() or ["no message"])[-1]
                row["failure"] = f"{stage}: {last[:300]}"
                break
            row |= json.loads(done.stdout.strip().splitlines()[-1])
    return row | {"finished": time.strftime("%Y-%m-%dT%H:%M:%S")}


def peer_figures(data: DataSet, options: argparse.Namespace) -> dict[str, Any]:
    """Fit the other library, and return how soon it answers a row."""
    asked = Options(
        folder=options.folder.resolve(),
        systems=[options.peer],
        pythons=interpreters_of([options.peer], options.time_limit),
        time_limit=options.time_limit,
        preset=None,
        seeds=[0],
        sets=[data.name],
        out=options.out,
        n_threads=options.threads,
        kill_after=3600.0,
    )
    figures = run_peer(data, 0, options.peer, asked)
    return {
        "peer": f"{options.peer} ({figures.get('version', 'unknown version')})",
        "peer_ms": figures.get("single_row_ms"),
        "peer_load_seconds": figures.get("load_seconds"),
        "peer_failure": figures["failure"],
    }


def fit(task: Task) -> dict[str, Any]:
    """Fit and save a predictor of the preset "best"."""
    from tabular_automl import Predictor, __version__

    data = DataSet(**task.data)
    train, _ = read_split(Path(task.folder), data, seed=0)
    Predictor(
        data.label,
        problem_type=data.problem_type,
        eval_metric=data.eval_metric,
        path=task.model,
        verbosity=0,
    ).fit(train, time_limit=task.time_limit)
    return {"version": __version__}


def measure(task: Task) -> dict[str, Any]:
    """Load, compile and prune, and time single rows of the test part."""
    data = DataSet(**task.data)
    train, test = read_split(Path(task.folder), data, seed=0)
    features = test.drop(columns=data.label)
    started = time.perf_counter()
    from tabular_automl import Predictor

    imported = time.perf_counter()
    predictor = Predictor.load(task.model, verbosity=0)
    loaded = time.perf_counter()
    predictor.predict(features.head(1))
    first = time.perf_counter()
    compiled = predictor.compile()
    compile_seconds = time.perf_counter() - first
    frames = [features.iloc[[i % len(features)]] for i in range(N_ROWS)]
    rows = [frame.to_dict("records")[0] for frame in frames]
    fast = milliseconds(compiled.predict_one, rows)
    return {
        "n_models": len(compiled.models),
        "predict_ms": statistics.median(milliseconds(predictor.predict, frames)),
        "compiled_ms": statistics.median(fast),
        "compiled_ms_90": statistics.quantiles(fast, n=10)[-1],
        "largest_difference": largest_difference(predictor, compiled, frames, rows),
        "import_seconds": imported - started,
        "load_seconds": loaded - imported,
        "first_predict_seconds": first - loaded,
        "compile_seconds": compile_seconds,
        "slow_paths": "; ".join(f"{key}: {why}" for key, why in compiled.slow_paths.items()),
        "rows_per_second": rows_per_second(predictor, features),
        **pruned_figures(predictor, compiled, test, rows, task),
        **refitted_figures(predictor, compiled, (train, test), rows, task),
    }


def rows_per_second(predictor: Any, features: Any) -> float:
    """Return how many rows `predict` answers in a second, the better of three calls."""
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        predictor.predict(features)
        seconds.append(time.perf_counter() - started)
    return len(features) / min(seconds)


def refitted_figures(
    predictor: Any, compiled: Any, parts: tuple[Any, Any], rows: list[dict[Any, Any]], task: Task
) -> dict[str, Any]:
    """Return the figures of one model of all rows for each spec, errors next to the bags'."""
    from tabular_automl.extend import AutoMLError

    train, test = parts
    data = DataSet(**task.data)
    started = time.perf_counter()
    try:
        refitted = predictor.refit(train)
    except AutoMLError:  # a stack of several layers
        return {}
    seconds = time.perf_counter() - started
    fast = refitted.compile()
    pruned = pruned_figures(refitted, compiled, test, rows, task)
    return {
        "refit_seconds": seconds,
        "refit_rows_per_second": rows_per_second(refitted, test.drop(columns=data.label)),
        "refit_compiled_ms": statistics.median(milliseconds(fast.predict_one, rows)),
        "refit_error_cost": error_cost(fast, compiled, test, data),
        **{f"refit_{name}": value for name, value in pruned.items()},
    }


def pruned_figures(
    predictor: Any, compiled: Any, test: Any, rows: list[dict[Any, Any]], task: Task
) -> dict[str, Any]:
    """Return the time of the pruned predictor, and the share by which its error is larger."""
    from tabular_automl.extend import AutoMLError

    data = DataSet(**task.data)
    try:
        pruned = predictor.compile(max_latency_ms=task.max_latency_ms)
    except AutoMLError:  # nothing is as fast as that
        return {}
    return {
        "pruned_ms": statistics.median(milliseconds(pruned.predict_one, rows)),
        "n_pruned": len(pruned.models),
        "pruned_error_cost": error_cost(pruned, compiled, test, data),
    }


def error_cost(changed: Any, compiled: Any, test: Any, data: DataSet) -> float:
    """Return the share by which the changed predictor's error on the test part is larger."""
    columns = {name: test[name].to_list() for name in test.columns if name != data.label}
    before, after = (
        error_of(data.eval_metric, test[data.label], predictions_of(each, columns))
        for each in (compiled, changed)
    )
    return after / before - 1.0 if before else 0.0


def predictions_of(compiled: Any, columns: dict[Any, Any]) -> Any:
    """Return what `error_of` takes: probabilities with the labels as columns, or numbers."""
    import pandas as pd

    if compiled.classes is None:
        return compiled.predict_many(columns)
    return pd.DataFrame(compiled.predict_proba_many(columns), columns=compiled.classes)


def largest_difference(
    predictor: Any, compiled: Any, frames: Iterable[Any], rows: Iterable[dict[Any, Any]]
) -> float:
    """Return the largest difference of a prediction from `predict`'s, relative above 1."""
    largest = 0.0
    for frame, row in zip(frames, rows, strict=True):
        if compiled.classes is None:
            pairs = [(compiled.predict_one(row), float(predictor.predict(frame).iloc[0]))]
        else:
            expected = predictor.predict_proba(frame).iloc[0].tolist()
            pairs = list(zip(compiled.predict_proba_one(row).values(), expected, strict=True))
        largest = max(largest, *(abs(a - b) / max(1.0, abs(b)) for a, b in pairs))
    return largest


def milliseconds(call: Callable[[Any], object], rows: list[Any]) -> list[float]:
    """Return the wall time of each call, the first few rows asked once before."""
    for row in rows[:N_WARM_UPS]:
        call(row)
    times = []
    for row in rows:
        started = time.perf_counter()
        call(row)
        times.append(1000 * (time.perf_counter() - started))
    return times


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    results = f"benchmarks/results/{time.strftime('%Y-%m-%d')}-latency.csv"
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latency", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="folder with an index.csv")
    parser.add_argument("--sets", default=",".join(SETS), help="data sets, comma-separated")
    parser.add_argument("--time-limit", type=float, default=60.0, help="seconds of each fit")
    parser.add_argument("--max-latency-ms", type=float, default=1.0, help="of the pruned predictor")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), help="cores")
    parser.add_argument("--out", type=Path, default=Path(results), help=f"(default: {results})")
    parser.add_argument("--peer", default="", help="a system of benchmarks.run to measure beside")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    values = parser.parse_args(arguments)
    if values.folder is None and not values.task:
        parser.error("name the folder of the data sets")
    if values.peer:
        try:
            interpreters_of([values.peer], values.time_limit)
        except ValueError as error:
            parser.error(str(error))
    return values


if __name__ == "__main__":
    main()

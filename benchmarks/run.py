"""Run systems on a folder of data sets: ``python -m benchmarks.run FOLDER --out results.csv``.

Every fit and every load is a process of its own. A finished row is written at once; rows that are
there already are skipped, so a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.datasets import DataSet, read_index
from benchmarks.errors import quantile_in
from benchmarks.job import Job
from benchmarks.memory import PeakMemory
from benchmarks.systems import BASELINES, SYSTEMS

ROOT = Path(__file__).resolve().parents[1]
FIELDS = (
    *("set", "system", "time_limit", "preset", "seed", "metric", "error", "failure"),
    *("fit_seconds", "wall_over_limit", "save_seconds", "peak_mb", "serve_peak_mb"),
    *("import_seconds", "load_seconds", "first_predict_seconds", "rows_per_second"),
    *("single_row_ms", "disk_mb", "n_train", "n_test", "n_threads", "version", "finished"),
    "own_error",
)
SMALL_ROWS = 2_000
_LEARN_QUANTILES = ("ours", "autogluon")
_Key = tuple[str, str, str, str, str]


@dataclass(frozen=True)
class Options:
    """What the command line asks for."""

    folder: Path
    systems: list[str]
    pythons: dict[str, str]
    time_limit: float | None
    preset: str | None
    seeds: list[int]
    sets: list[str]
    out: Path
    n_threads: int
    kill_after: float
    small_seeds: list[int] = field(default_factory=list)
    keep: Path | None = None
    metric: str = ""

    def seeds_of(self, data: DataSet) -> list[int]:
        """Return the seeds to split a set with: more of a small one, whose test part is noisy."""
        is_small = data.n_rows is not None and data.n_rows < SMALL_ROWS
        return self.small_seeds if is_small and self.small_seeds else self.seeds


@dataclass(frozen=True)
class Outcome:
    """How a worker process ended."""

    figures: dict[str, Any]
    peak_mb: float
    failure: str


def main(arguments: list[str] | None = None) -> None:
    """Run what is missing in the results file."""
    options = parse(arguments)
    check_metrics(options)
    done = finished_keys(options.out)
    for data, seed, name in planned(options):
        if key_of(data.name, name, options, seed) in done:
            continue
        row = run_one(data, seed, name, options)
        append_row(options.out, row)
        told = row["failure"] or f"error {row['error']:.6g} in {row['fit_seconds']:.1f} s"
        print(f"{data.name:20s} {name:24s} seed {seed}: {told}", flush=True)


def planned(options: Options) -> Iterator[tuple[DataSet, int, str]]:
    """Yield each data set, seed and system, one data set after the other."""
    known = read_index(options.folder)
    if options.metric:
        numbers = [data for data in known if not data.is_classification]
        known = [dataclasses.replace(data, eval_metric=options.metric) for data in numbers]
    names = [data.name for data in known]
    for name in options.sets:
        if name not in names:
            raise SystemExit(f"No data set {name!r} in {options.folder}; known: {', '.join(names)}")
    for data in known:
        if not options.sets or data.name in options.sets:
            seeds = options.seeds_of(data)
            yield from ((data, seed, name) for seed in seeds for name in options.systems)


def run_one(data: DataSet, seed: int, name: str, options: Options) -> dict[str, Any]:
    """Fit in one process, serve in another, and return the row of results."""
    limit = options.time_limit if SYSTEMS[name].timed else None
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        job = Job(
            stage="fit",
            target=SYSTEMS[name].target,
            data_folder=str(options.folder),
            data=data,
            seed=seed,
            time_limit=limit,
            preset=options.preset,
            n_threads=options.n_threads,
            folder=f"{folder}/model",
            result=f"{folder}/result.json",
        )
        python = options.pythons[name]
        fit = run_stage(job, python, options.kill_after)
        serve = Outcome({}, 0.0, "")
        if not fit.failure:
            serve = run_stage(dataclasses.replace(job, stage="serve"), python, options.kill_after)
        disk = sum(f.stat().st_size for f in job.model_folder.rglob("*") if f.is_file()) / 1e6
        if options.keep is not None and not fit.failure:
            kept = kept_folder(options.keep, data.name, seed, name)
            shutil.rmtree(kept, ignore_errors=True)  # of a run that was stopped
            shutil.copytree(job.model_folder, kept)
    row: dict[str, Any] = dict(zip(FIELDS, key_of(data.name, name, options, seed), strict=False))
    row |= serve.figures | fit.figures  # the import time is that of the fit
    row |= {"metric": data.eval_metric, "failure": fit.failure or serve.failure}
    row |= {"peak_mb": fit.peak_mb, "serve_peak_mb": serve.peak_mb, "disk_mb": disk}
    if limit and "fit_seconds" in row:
        row["wall_over_limit"] = row["fit_seconds"] / limit
    return row | {"n_threads": options.n_threads, "finished": time.strftime("%Y-%m-%dT%H:%M:%S")}


def kept_folder(keep: Path, data: str, seed: int, system: str) -> Path:
    """Return where ``--keep`` puts what a system saved."""
    return keep / f"{data}-{seed}-{system}"


def run_stage(job: Job, python: str, kill_after: float) -> Outcome:
    """Run one stage in a fresh process and watch its memory."""
    result = Path(job.result)
    result.unlink(missing_ok=True)
    command = [python, "-m", "benchmarks.worker", job.to_json()]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=log,
            stderr=log,
            start_new_session=True,  # so that its children can be ended with it
        )
        memory = PeakMemory(process.pid)
        try:
            process.wait(kill_after)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
            return Outcome({}, memory.stop(), f"killed after {kill_after:g} s in {job.stage}")
        peak = memory.stop()
        log.seek(0)
        lines = [line for line in log.read().splitlines() if line.strip()]
    if process.returncode != 0 or not result.exists():
        said = lines[-1].strip()[:300] if lines else "no message"
        return Outcome({}, peak, f"{job.stage} ended with {process.returncode}: {said}")
    return Outcome(json.loads(result.read_text()), peak, "")


def interpreters_of(systems: Sequence[str], time_limit: float | None) -> dict[str, str]:
    """Return the interpreter of each system: of its own environment, or the one that runs this.

    Raises
    ------
    ValueError
        When there is no such system, or one has no environment, or needs a limit.
    """
    pythons = {}
    for name in systems:
        if name not in SYSTEMS:
            raise ValueError(f"unknown system {name!r}; known: {', '.join(SYSTEMS)}")
        environment = SYSTEMS[name].environment
        pythons[name] = (
            str(ROOT / environment / "bin" / "python") if environment else sys.executable
        )
        if environment and time_limit is None:
            raise ValueError(f"{name} needs a --time-limit")
        if not Path(pythons[name]).exists():
            raise ValueError(f"{name} has no environment at {pythons[name]}; make it: make peers")
    return pythons


def key_of(data: str, system: str, options: Options, seed: int) -> _Key:
    """Return what makes a row unique; limit and preset are empty for systems that take none."""
    if not SYSTEMS[system].timed:
        return data, system, "", "", str(seed)
    limit = "" if options.time_limit is None else f"{options.time_limit:g}"
    preset = options.preset or "" if system == "ours" else ""
    return data, system, limit, preset, str(seed)


def finished_keys(path: Path) -> set[_Key]:
    """Return the keys of the rows that a results file has."""
    if not path.exists():
        return set()
    with open(path, newline="") as file:
        return {
            (row["set"], row["system"], row["time_limit"], row["preset"], row["seed"])
            for row in csv.DictReader(file)
        }


def check_metrics(options: Options) -> None:
    """Refuse a results file that has figures of another metric for a set that is to be run."""
    if not options.out.exists():
        return
    wanted = {data.name: data.eval_metric for data, *_ in planned(options)}
    with open(options.out, newline="") as file:
        found = {row["set"]: row["metric"] for row in csv.DictReader(file)}
    for name, metric in wanted.items():
        if found.get(name, metric) != metric:
            raise SystemExit(
                f"{options.out} must hold {metric} of {name}, got {found[name]}; name another file"
            )


def append_row(path: Path, row: dict[str, Any]) -> None:
    """Add a row at the end of the results file, rounded to what is worth reading."""
    write_row(path, FIELDS, row)


def write_row(path: Path, fields: Sequence[str], row: dict[str, Any]) -> None:
    """Add a row with the given columns at the end of a file.

    Raises
    ------
    ValueError
        When the file has other columns, as one of an older version has.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    if not new:
        with open(path, newline="") as file:
            found = next(csv.reader(file), [])
        if found != list(fields):
            raise ValueError(f"{path} must have the columns {', '.join(fields)}; name another file")
    with open(path, "a", newline="") as file:
        writer = csv.DictWriter(file, fields, extrasaction="ignore", lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow({k: f"{v:.7g}" if isinstance(v, float) else v for k, v in row.items()})


def parse(arguments: list[str] | None) -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder with an index.csv")
    by_default = ",".join(("ours", *BASELINES))
    parser.add_argument("--systems", default=by_default, help="names, comma-separated")
    parser.add_argument("--time-limit", type=float, help="seconds, for systems that take a limit")
    parser.add_argument("--preset", help="preset of ours")
    parser.add_argument("--seeds", default="0", help="seeds of the splits, comma-separated")
    parser.add_argument(
        "--small-seeds",
        default="",
        help=f"seeds for sets of fewer than {SMALL_ROWS} rows, where the index tells their number",
    )
    parser.add_argument("--sets", default="", help="data sets, comma-separated; all by default")
    parser.add_argument(
        "--metric", default="", help="pinball_0.9, or of another quantile: the regression sets only"
    )
    parser.add_argument("--out", type=Path, required=True, help="results file, added to")
    parser.add_argument("--keep", type=Path, help="folder for what the systems save")
    parser.add_argument("--threads", type=int, default=2, help="cores for each system")
    parser.add_argument("--kill-after", type=float, default=3600, help="seconds for one stage")
    parser.add_argument(
        "--python",
        action="append",
        default=[],
        metavar="SYSTEM=PATH",
        help="interpreter of a system, in place of that of `make peers`; may be repeated",
    )
    values = parser.parse_args(arguments)
    systems = [name for name in values.systems.split(",") if name]
    overrides = dict(pair.split("=", 1) for pair in values.python)
    try:
        own = [name for name in systems if name not in overrides]
        pythons = interpreters_of(own, values.time_limit) | overrides
    except ValueError as error:
        parser.error(str(error))
    if values.metric and quantile_in(values.metric) is None:
        parser.error(f"--metric must be pinball_0.9 or of another quantile, got {values.metric}")
    means = [name for name in systems if not name.startswith(_LEARN_QUANTILES)]
    if values.metric and means:
        parser.error(f"{means[0]} learns no quantiles; those that do: --systems ours,autogluon_...")
    return Options(
        folder=values.folder.resolve(),
        systems=systems,
        pythons=pythons,
        time_limit=values.time_limit,
        preset=values.preset,
        seeds=[int(seed) for seed in values.seeds.split(",")],
        sets=[name for name in values.sets.split(",") if name],
        out=values.out,
        n_threads=values.threads,
        kill_after=values.kill_after,
        small_seeds=[int(seed) for seed in values.small_seeds.split(",") if seed],
        keep=values.keep,
        metric=values.metric,
    )


if __name__ == "__main__":
    main()

"""What pruning gains in rows a second, and costs: ``python -m benchmarks.pruning FOLDER KEPT``.

KEPT is what ``python -m benchmarks.run FOLDER --systems ours --keep KEPT`` left. Each predictor is
pruned (`Predictor.prune`) at one cost after the other, and predicts the test part of its set, in
turn with the others. ``--beside RESULTS.csv --peer SYSTEM``, where run wrote figures of this and
of another library, tells how many times as many rows a second the fastest of them answers that is
as accurate as the peer is: the factor by which it is faster than the whole predictor, from here, on
top of that between the whole one and the peer, from there.
"""

from __future__ import annotations

import argparse
import csv
import math
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.datasets import DataSet, read_index, read_split
from benchmarks.errors import error_of
from benchmarks.run import kept_folder, write_row
from benchmarks.worker import keep_to_cores

FIELDS = ("set", "seed", "max_error_cost", "n_models", "error", "rows_per_second", "n_test")
COSTS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_N_ROUNDS = 3


def main(arguments: Sequence[str] | None = None) -> None:
    """Prune each predictor that was kept, and write a row for each cost."""
    options = parse(arguments)
    keep_to_cores(options.threads)
    ours = read_figures(options.beside, "ours") if options.beside else {}
    peers = read_figures(options.beside, options.peer) if options.beside else {}
    factors: dict[str, list[float]] = {}
    for data, seed, model in kept_predictors(options):
        rows = figures(model, options.folder, data, seed, options.costs)
        for row in rows:
            write_row(options.out, FIELDS, row)
        print(f"{data.name} {seed}: {told(rows)}", flush=True)
        key = data.name, seed
        if key in ours and key in peers:
            factor = at_same_accuracy(rows, ours[key][1], *peers[key])
            factors.setdefault(data.name, []).append(factor)
    if factors:
        print(summary(factors, options.peer))


def kept_predictors(options: argparse.Namespace) -> Iterator[tuple[DataSet, int, Path]]:
    """Yield each predictor that was kept, with its set and its seed."""
    for data in read_index(options.folder):
        for seed in range(options.most_seeds):
            model = kept_folder(options.kept, data.name, seed, "ours")
            if model.is_dir():
                yield data, seed, model


def summary(factors: Mapping[str, Sequence[float]], peer: str) -> str:
    """Return by what factor predictors are faster than a peer that is as accurate, set by set."""
    medians = {name: statistics.median(found) for name, found in factors.items()}
    lines = [f"{name}: {factor:.2g} times the rows of {peer}" for name, factor in medians.items()]
    n_enough = sum(factor >= 3 for factor in medians.values())
    middle = statistics.median(medians.values())
    n_none = sum(factor == 0.0 for factor in medians.values())
    told = f"{len(medians)} sets: median {middle:.2g}, 3 or more on {n_enough}"
    return "\n".join([*lines, f"{told}; on {n_none} none is as accurate"])


def read_figures(path: Path, system: str) -> dict[tuple[str, int], tuple[float, float]]:
    """Return error and rows a second of a system, by set and seed, where it did not fail."""
    with path.open(newline="") as file:
        return {
            (row["set"], int(row["seed"])): (float(row["error"]), float(row["rows_per_second"]))
            for row in csv.DictReader(file)
            if row["system"] == system and not row["failure"]
        }


def at_same_accuracy(
    rows: Sequence[dict[str, Any]], own_speed: float, error: float, peers_speed: float
) -> float:
    """Return by what factor the fastest row that is as accurate is faster; 0 without one.

    As accurate is what has an error on the test part that is lower, or higher by a thousandth at
    most: what a user could reach who knew that.

    Parameters
    ----------
    rows : sequence of dict
        The first is of the whole predictor.
    own_speed : float
        Of the whole predictor, measured as the peer was.
    error, peers_speed : float
    """
    fine = [row["rows_per_second"] for row in rows if row["error"] <= 1.001 * error]
    return max(fine, default=0.0) / rows[0]["rows_per_second"] * own_speed / peers_speed


def figures(
    model: Path, folder: Path, data: DataSet, seed: int, costs: Sequence[float]
) -> list[dict[str, Any]]:
    """Return a row for the predictor as it is, at a cost of 0, and one for each cost."""
    from tabular_automl import Predictor

    test = read_split(folder, data, seed)[1]
    features = test.drop(columns=data.label)
    whole = Predictor.load(model, verbosity=0)
    predictors = {cost: whole.prune(cost) if cost else whole for cost in (0.0, *costs)}
    answers: dict[float, Any] = {}
    seconds = dict.fromkeys(predictors, math.inf)
    for _ in range(_N_ROUNDS):  # in turn: what comes first finds nothing warmed up
        for cost, predictor in predictors.items():
            ask = predictor.predict_proba if data.is_classification else predictor.predict
            started = time.perf_counter()
            answers[cost] = ask(features)
            seconds[cost] = min(seconds[cost], time.perf_counter() - started)
    found = []
    for cost, predictor in predictors.items():
        said = answers[cost] if data.is_classification else answers[cost].to_numpy(float)
        found.append(
            {
                "set": data.name,
                "seed": seed,
                "max_error_cost": cost,
                "n_models": int((predictor.leaderboard()["weight"] > 0).sum()),
                "error": error_of(data.eval_metric, test[data.label], said),
                "rows_per_second": len(test) / seconds[cost],
                "n_test": len(test),
            }
        )
    return found


def told(rows: Sequence[dict[str, Any]]) -> str:
    """Return how many times as fast each smaller predictor is, and the change of its error."""
    whole = rows[0]
    return ", ".join(
        f"{row['max_error_cost']:g}: x{row['rows_per_second'] / whole['rows_per_second']:.1f} "
        f"{row['error'] / whole['error'] - 1:+.1%}"
        for row in rows[1:]
    )


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    results = f"benchmarks/results/{time.strftime('%Y-%m-%d')}-pruning.csv"
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pruning", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder with an index.csv")
    parser.add_argument("kept", type=Path, help="folder of fitted predictors")
    parser.add_argument("--costs", type=_costs, default=COSTS, help="shares, comma-separated")
    parser.add_argument("--most-seeds", type=int, default=10, help="look for seeds below this")
    parser.add_argument("--beside", type=Path, help="results of benchmarks.run")
    parser.add_argument("--peer", default="autogluon_best_v150", help="a system in these")
    parser.add_argument("--threads", type=int, default=2, help="cores")
    parser.add_argument("--out", type=Path, default=Path(results), help=f"(default: {results})")
    return parser.parse_args(arguments)


def _costs(text: str) -> tuple[float, ...]:
    return tuple(float(cost) for cost in text.split(","))


if __name__ == "__main__":
    main()

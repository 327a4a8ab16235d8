"""Draw error over the time of a fit: ``python -m benchmarks.curve RESULTS.csv --out PICTURE.png``.

One panel for each data set, one line for each system, a point for each time limit, at the seconds
that its fit took. Where there are several seeds, points are means.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from benchmarks.table import read_results

_ERRORS = {
    "roc_auc": "1 - AUC",
    "log_loss": "log loss",
    "root_mean_squared_error": "root mean squared error",
}


def main(arguments: list[str] | None = None) -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.curve", description=__doc__)
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True, help="the picture: .png, .svg or .pdf")
    parser.add_argument("--sets", default="", help="comma-separated; all by default")
    parser.add_argument("--systems", default="", help="comma-separated; all by default")
    values = parser.parse_args(arguments)
    results = read_results(values.results)
    for column, wanted in (("set", values.sets), ("system", values.systems)):
        if wanted:
            results = results[results[column].isin(wanted.split(","))]
    points = curve_points(results)
    if points.empty:
        parser.error("no system with a time limit is left in the results")
    draw(points, values.out)


def curve_points(results: pd.DataFrame) -> pd.DataFrame:
    """Return set, system, metric, limit, mean seconds and mean error, in the limits' order.

    A limit at which a seed failed is left out.
    """
    timed = results[results["time_limit"] != ""]
    preset = timed["preset"].where(timed["preset"] == "", ":" + timed["preset"])
    timed = timed.assign(system=timed["system"] + preset)
    timed = timed.assign(limit=timed["time_limit"].astype(float), failed=timed["failure"] != "")
    groups = timed.groupby(["set", "system", "metric", "limit"], sort=False)
    points = groups.agg(
        seconds=("fit_seconds", "mean"), error=("error", "mean"), failed=("failed", "any")
    )
    points = points[~points["failed"]].drop(columns="failed").reset_index()
    return points.sort_values("limit", kind="stable")


def draw(points: pd.DataFrame, path: Path) -> None:
    """Draw a panel for each set and write the picture."""
    from matplotlib.figure import Figure

    sets = points["set"].drop_duplicates().tolist()
    figure = Figure(figsize=(1 + 4.5 * len(sets), 4), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(sets), squeeze=False)[0], sets, strict=True):
        of_set = points[points["set"] == name]
        for system, line in of_set.groupby("system", sort=False):
            axes.plot(line["seconds"], line["error"], marker="o", label=str(system))
        axes.set_xscale("log")
        ticks = sorted(of_set["limit"].unique())
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        metric = of_set["metric"].iloc[0]
        axes.set(title=name, xlabel="seconds of fit", ylabel=_ERRORS.get(metric, metric))
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()

"""Print results as markdown: ``python -m benchmarks.table RESULTS.csv [--system ours@60s]``."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

N_DRAWS = 10_000
COSTS = {
    "fit s": ("fit_seconds", "{:.1f}"),
    "wall/limit": ("wall_over_limit", "{:.2f}"),
    "peak MB": ("peak_mb", "{:.0f}"),
    "load s": ("load_seconds", "{:.2f}"),
    "rows/s": ("rows_per_second", "{:.0f}"),
    "row ms": ("single_row_ms", "{:.1f}"),
    "disk MB": ("disk_mb", "{:.1f}"),
}


def main(arguments: list[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.table", description=__doc__)
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--system", help="whom to compare with the best of the others")
    values = parser.parse_args(arguments)
    results = read_results(values.results)
    columns = list(dict.fromkeys(results["column"]))
    system = values.system or next((c for c in columns if c.startswith("ours")), columns[0])
    if system not in columns:
        parser.error(f"no system {system!r} in the results; there are {', '.join(columns)}")
    print(report(results, system))


def read_results(paths: list[Path]) -> pd.DataFrame:
    """Return the rows of all files with a ``column`` that tells systems and limits apart.

    Where a run was repeated, its last row counts.
    """
    text = {"time_limit": str, "preset": str, "failure": str}
    parts = [pd.read_csv(path, dtype=text, keep_default_na=True) for path in paths]
    results = pd.concat(parts, ignore_index=True)
    results[list(text)] = results[list(text)].fillna("")
    limit = results["time_limit"].where(results["time_limit"] == "", "@" + results["time_limit"])
    preset = results["preset"].where(results["preset"] == "", ":" + results["preset"])
    seconds = np.where(results["time_limit"] == "", "", "s")
    results["column"] = results["system"] + preset + limit + seconds
    return results.drop_duplicates(["set", "column", "seed"], keep="last")


def report(results: pd.DataFrame, system: str) -> str:
    """Return all tables for ``system`` against the others."""
    errors = error_table(results)
    parts = [
        "### Errors (smaller is better)",
        errors_markdown(results, errors, system),
        f"### In all, {len(errors)} sets",
        summary_markdown(results, errors),
    ]
    if len(errors.columns) > 1:
        parts.append(versus_text(errors, system))
    if "own_error" in results:
        parts.append(optimism_text(results, system))
    parts += [f"### What {system} costs", costs_markdown(results, system)]
    return "\n\n".join(parts)


def error_table(results: pd.DataFrame) -> pd.DataFrame:
    """Return mean errors over seeds, sets as rows and systems as columns; NaN for a failure.

    A set on which one of the seeds failed counts as failed: a mean of the others would flatter.
    """
    error = results["error"].where(results["failure"] == "")
    grouped = results.assign(error=error).groupby(["set", "column"], sort=False)["error"]
    table = grouped.agg(lambda values: values.mean(skipna=False)).unstack()
    return table.loc[results["set"].unique(), results["column"].unique()]


def shortfall(errors: pd.DataFrame) -> pd.DataFrame:
    """Return which share of its error a system would save by being the best: 0 to 1."""
    best = errors.min(axis=1)
    return (1 - (1 / errors).mul(best, axis=0)).where(errors > 0, errors)


def gains(errors: pd.DataFrame, system: str) -> pd.Series:
    """Return by how much ``system`` beats the best of the others on each set, from -1 to 1.

    The difference of the two errors by the larger of them; -1 where ``system`` failed.
    """
    others = errors.drop(columns=system).min(axis=1)
    ours = errors[system]
    larger = pd.concat([ours, others], axis=1).max(axis=1)
    gain = ((others - ours) / larger.where(larger > 0)).where(larger != 0, 0.0)
    return gain.mask(ours.isna(), -1.0).mask(others.isna() & ours.notna(), 1.0)


def bootstrap_interval(values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % interval of the mean over sets drawn with replacement (Efron 1979)."""
    rng = np.random.default_rng(seed)
    means = rng.choice(values, size=(N_DRAWS, len(values))).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def errors_markdown(results: pd.DataFrame, errors: pd.DataFrame, system: str) -> str:
    """Return one line per set, the best error in bold."""
    metric = results.groupby("set")["metric"].first().to_dict()
    gain = gains(errors, system) if len(errors.columns) > 1 else None
    rows = []
    for name, line in zip(errors.index, errors.to_numpy(), strict=True):
        cells = [
            "failed" if np.isnan(e) else f"**{e:.5g}**" if e == np.nanmin(line) else f"{e:.5g}"
            for e in line
        ]
        rows.append(
            [str(name), metric[name], *cells, "" if gain is None else f"{gain.loc[name]:+.1%}"]
        )
    return markdown(["set", "metric", *errors.columns, f"{system} vs best other"], rows)


def summary_markdown(results: pd.DataFrame, errors: pd.DataFrame) -> str:
    """Return one line per system."""
    ranks = errors.rank(axis=1, na_option="bottom").mean()
    short = shortfall(errors).mean()
    firsts = errors.eq(errors.min(axis=1), axis=0).sum()
    costs = results.groupby("column")[["fit_seconds", "peak_mb", "single_row_ms"]].agg(
        {"fit_seconds": "mean", "peak_mb": "max", "single_row_ms": "median"}
    )
    rows = [
        [
            column,
            str(firsts[column]),
            f"{ranks[column]:.2f}",
            f"{short[column]:.1%}",
            str(int(errors[column].isna().sum())),
            f"{costs['fit_seconds'].loc[column]:.1f}",
            f"{costs['peak_mb'].loc[column]:.0f}",
            f"{costs['single_row_ms'].loc[column]:.1f}",
        ]
        for column in errors.columns
    ]
    heads = ["system", "best on", "mean rank", "error above best", "failed"]
    return markdown([*heads, "mean fit s", "max peak MB", "median row ms"], rows)


def versus_text(errors: pd.DataFrame, system: str) -> str:
    """Return a sentence on ``system`` against the best of the others."""
    gain = gains(errors, system)
    low, high = bootstrap_interval(gain.to_numpy())
    return (
        f"{system} beats the best of the others on {int((gain > 0).sum())} of {len(gain)} sets "
        f"(ties {int((gain == 0).sum())}); mean gain {gain.mean():+.1%}, "
        f"95 % interval over sets {low:+.1%} to {high:+.1%}."
    )


def optimism_text(results: pd.DataFrame, system: str) -> str:
    """Return a sentence on the error that ``system`` expected and the one it had."""
    chosen = results[results["column"] == system]
    told = chosen[chosen["own_error"] > 0]
    if told.empty:
        return f"{system} did not say what error it expected."
    above = (told["error"] / told["own_error"] - 1.0).groupby(told["set"]).mean()
    low, high = bootstrap_interval(above.to_numpy())
    return (
        f"On test rows the error of {system} was {above.mean():+.1%} off what it expected, on "
        f"average over {len(above)} sets (95 % interval {low:+.1%} to {high:+.1%}; median "
        f"{above.median():+.1%})."
    )


def costs_markdown(results: pd.DataFrame, system: str) -> str:
    """Return time, memory and size of one system, one line per set; the worst over seeds."""
    chosen = results[results["column"] == system]
    worst = chosen.groupby("set", sort=False)[[source for source, _ in COSTS.values()]].max()
    worst["rows_per_second"] = chosen.groupby("set", sort=False)["rows_per_second"].min()
    rows = [
        [str(name), *("" if pd.isna(v) else f.format(v) for v, (_, f) in _cells(line))]
        for name, line in worst.iterrows()
    ]
    return markdown(["set", *COSTS], rows)


def _cells(line: pd.Series) -> list[tuple[float, tuple[str, str]]]:
    return [(float(line[source]), (source, form)) for source, form in COSTS.values()]


def markdown(heads: list[str], rows: list[list[str]]) -> str:
    """Return a markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()

"""Tables of any number of rows, made in chunks: 30 columns of numbers, categories and dates."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

LABEL = "y"
N_NUMBERS, N_CATEGORIES, N_DATES = 20, 8, 2
CHUNK_ROWS = 250_000
_FIRST_DAY = np.datetime64("2020-01-01", "s")
_SECONDS = 5 * 365 * 86_400


def made_rows(n_rows: int, seed: int) -> pd.DataFrame:
    """Return rows with a label of two classes that depends on half of the columns.

    Parameters
    ----------
    n_rows : int
    seed : int
        Of the values; what the label depends on is the same for all.
    """
    rng = np.random.default_rng(seed)
    numbers = rng.normal(size=(n_rows, N_NUMBERS)).astype(np.float32)
    sizes = [2 ** (i + 1) for i in range(N_CATEGORIES)]  # 2 to 256 levels
    levels = [rng.integers(0, size, n_rows) for size in sizes]
    seconds = rng.integers(0, _SECONDS, (n_rows, N_DATES))
    waves = np.sin(2 * numbers[:, 1]) + numbers[:, 2] * (numbers[:, 3] > 0)
    effects = np.random.default_rng(0)  # the same for each seed
    by_level = sum(
        effects.normal(size=size)[level] for size, level in zip(sizes, levels, strict=True)
    )
    yearly = np.cos(seconds[:, 0] * (2 * np.pi / (365 * 86_400)))
    odds = numbers[:, 0] + waves + 0.4 * by_level + yearly + numbers[:, 4] * numbers[:, 5]
    numbers[rng.random(n_rows) < 0.05, 6] = np.nan
    columns: dict[str, object] = {f"number_{i}": numbers[:, i] for i in range(N_NUMBERS)}
    for i, (size, level) in enumerate(zip(sizes, levels, strict=True)):
        names = pd.Index([f"level_{j}" for j in range(size)])
        columns[f"category_{i}"] = pd.Categorical.from_codes(level, names)
    columns |= {f"date_{i}": _FIRST_DAY + seconds[:, i] for i in range(N_DATES)}
    drawn = rng.random(n_rows) < 1.0 / (1.0 + np.exp(-odds))
    columns[LABEL] = np.where(drawn, "yes", "no")
    return pd.DataFrame(columns)


def write_made(path: Path, n_rows: int, seed: int) -> None:
    """Write so many rows to a Parquet file, a chunk in memory at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer = None
    for chunk in _chunks(n_rows, seed):
        rows = pa.Table.from_pandas(chunk, preserve_index=False)
        writer = writer or pq.ParquetWriter(path, rows.schema)
        writer.write_table(rows)
    if writer is not None:
        writer.close()


def add_place_options(parser: argparse.ArgumentParser, name: str) -> None:
    """Add where such tables are written to, where the results go, and the cores to use."""
    results = f"benchmarks/results/{time.strftime('%Y-%m-%d')}-{name}.csv"
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), help="cores")
    parser.add_argument("--folder", help="where there is room for the tables")
    parser.add_argument("--out", type=Path, default=Path(results), help=f"(default: {results})")


def _chunks(n_rows: int, seed: int) -> Iterator[pd.DataFrame]:
    for number, first in enumerate(range(0, n_rows, CHUNK_ROWS)):
        yield made_rows(min(CHUNK_ROWS, n_rows - first), seed + 1 + number)

"""The folder of data sets, and one split of each that all systems share."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

TEST_SHARE = 0.2


@dataclass(frozen=True)
class DataSet:
    """One line of a folder's ``index.csv``; ``n_rows`` where it tells."""

    name: str
    file: str
    label: str
    problem_type: str
    eval_metric: str
    n_rows: int | None = None

    @property
    def is_classification(self) -> bool:
        """Whether the label is a class."""
        return self.problem_type != "regression"


def read_index(folder: Path) -> list[DataSet]:
    """Return the data sets that ``folder/index.csv`` lists, in its order."""
    with open(folder / "index.csv", newline="") as file:
        return [
            DataSet(
                name=row.get("name") or row["file"].partition(".")[0],
                file=row["file"],
                label=row["label"],
                problem_type=row["problem_type"],
                eval_metric=row["eval_metric"],
                n_rows=int(row["rows"]) if row.get("rows") else None,
            )
            for row in csv.DictReader(file)
        ]


def read_split(folder: Path, data: DataSet, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the training and the test part; rows without a label are left out of both."""
    path = folder / data.file
    frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    frame = frame[frame[data.label].notna()].reset_index(drop=True)
    codes = pd.factorize(frame[data.label])[0] if data.is_classification else None
    test = held_out_rows(len(frame), codes, seed)
    chosen = np.zeros(len(frame), dtype=bool)
    chosen[test] = True
    return frame[~chosen].reset_index(drop=True), frame[chosen].reset_index(drop=True)


def held_out_rows(
    n_rows: int, codes: npt.NDArray[np.integer] | None, seed: int
) -> npt.NDArray[np.int64]:
    """Return the sorted rows of the test part.

    With ``codes``, each class gives its share, and a class of one row stays in the training part.
    Made with numpy alone, so that systems in environments of their own get the same rows.
    """
    rng = np.random.default_rng(seed)
    if codes is None:
        return np.sort(rng.permutation(n_rows)[: round(TEST_SHARE * n_rows)])
    parts = []
    for code in np.unique(codes):
        rows = rng.permutation(np.flatnonzero(codes == code))
        n_test = min(len(rows) - 1, max(1, round(TEST_SHARE * len(rows))))
        parts.append(rows[:n_test])
    return np.sort(np.concatenate(parts))

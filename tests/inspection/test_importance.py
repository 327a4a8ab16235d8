from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from tabular_automl.core.budget import Budget
from tabular_automl.data.task import ProblemType
from tabular_automl.inspection import importance as importance_module
from tabular_automl.inspection.evaluation import LabelledRows
from tabular_automl.inspection.importance import permutation_importance
from tabular_automl.metrics.base import Metric, Reads

MSE = Metric(
    name="mse",
    function=lambda y, p, w: float(np.average((y - p) ** 2, weights=w)),
    greater_is_better=False,
    optimum=0.0,
    reads=Reads.VALUE,
    problem_types=(ProblemType.REGRESSION,),
    loss="squared_error",
)


def table_of(n_rows: int = 300, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "noise": rng.normal(size=n_rows),
            "strong": rng.normal(size=n_rows),
            "weak": rng.normal(size=n_rows),
            "word": rng.choice(["a", "b"], n_rows),
        }
    )


def predict(table: pd.DataFrame) -> np.ndarray:
    value = 3.0 * table["strong"] + table["weak"] + 0.5 * (table["word"] == "a")
    return value.to_numpy()[:, None]


def labelled(table: pd.DataFrame, weight: np.ndarray | None = None) -> LabelledRows:
    return LabelledRows(table, predict(table)[:, 0], weight)


def importance(**options: object) -> pd.DataFrame:
    table = table_of()
    options = {"columns": list(table), **options}
    return permutation_importance(predict, labelled(table), MSE, **options)


def test_columns_are_ranked_by_what_they_carry() -> None:
    result = importance()
    assert list(result.index) == ["strong", "weak", "word", "noise"]
    assert list(result.columns) == ["importance", "stddev", "n"]
    assert result["n"].tolist() == [5] * 4


def test_importance_is_the_drop_of_the_score() -> None:
    # shuffling x in y = b x costs an expected squared error of 2 b^2 var(x)
    result = importance(n_repeats=40)
    table = table_of()
    assert result.loc["strong", "importance"] == pytest.approx(
        2 * 9 * table["strong"].var(), rel=0.05
    )
    assert result.loc["weak", "importance"] == pytest.approx(2 * table["weak"].var(), rel=0.05)
    assert result.loc["noise", "importance"] == 0.0


def test_rows_count_by_their_weight_and_not_at_all_without_any() -> None:
    table = table_of()
    weight = np.where(np.arange(300) < 100, 1.5, 0.0)
    options = {"columns": list(table), "n_repeats": 2}
    weighted = permutation_importance(predict, labelled(table, weight), MSE, **options)
    few = permutation_importance(predict, labelled(table.head(100)), MSE, **options)
    pd.testing.assert_frame_equal(weighted, few)
    heavy = np.where(table["word"] == "a", 100.0, 1.0)
    uneven = permutation_importance(predict, labelled(table, heavy), MSE, **options)
    even = permutation_importance(predict, labelled(table), MSE, **options)
    assert uneven.loc["word", "importance"] != even.loc["word", "importance"]


def test_spread_is_the_deviation_over_shuffles_and_needs_two() -> None:
    assert importance().loc["strong", "stddev"] > 0.0
    assert np.isnan(importance(n_repeats=1).loc["strong", "stddev"])


def test_the_result_is_the_same_at_each_call() -> None:
    pd.testing.assert_frame_equal(importance(), importance())


def test_the_callers_table_stays_as_it_was() -> None:
    table = table_of()
    before = table.copy(deep=True)
    permutation_importance(predict, labelled(table), MSE, columns=list(table))
    pd.testing.assert_frame_equal(table, before)


def test_only_the_asked_columns_are_shuffled_with_one_prediction_each() -> None:
    sizes: list[int] = []

    def counting(table: pd.DataFrame) -> np.ndarray:
        sizes.append(len(table))
        return predict(table)

    table = table_of()
    result = permutation_importance(counting, labelled(table), MSE, columns=["weak"], n_repeats=4)
    assert list(result.index) == ["weak"]
    assert sizes == [300, 1200]


def test_rows_are_drawn_with_every_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importance_module, "_N_ROWS", 400)
    y = np.zeros(5_000, dtype=np.int64)
    y[:3] = 1
    seen: list[np.ndarray] = []

    def error_rate(y: np.ndarray, p: np.ndarray, w: np.ndarray | None) -> float:
        seen.append(y)
        return 0.0

    metric = Metric(
        "errors", error_rate, False, 0.0, Reads.LABEL, (ProblemType.BINARY,), "log_loss"
    )
    table = pd.DataFrame({"x": np.arange(5_000.0)})
    rows = LabelledRows(table, y)
    permutation_importance(lambda t: np.zeros((len(t), 2)), rows, metric, columns=["x"])
    assert all(len(drawn) in (400, 402) and drawn.sum() == 2 for drawn in seen)


@dataclass(frozen=True)
class Spent(Budget):
    """A budget that is spent after a number of asks."""

    asks: tuple[list[int], int] = ([], 0)

    def remaining(self) -> float:
        self.asks[0].append(1)
        return 1e9 if len(self.asks[0]) <= self.asks[1] else 0.0


def test_columns_that_there_is_no_time_for_are_left_out() -> None:
    result = importance(budget=Spent(deadline=1.0, asks=([], 3)))
    assert set(result.index) == {"noise", "strong"}


def test_no_time_at_all_gives_an_empty_table() -> None:
    result = importance(budget=Budget.start(0.0))
    assert result.empty
    assert list(result.columns) == ["importance", "stddev", "n"]


def test_little_time_means_fewer_shuffles_and_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(np.arange(0.0, 1000.0, 1.0))
    monkeypatch.setattr("tabular_automl.inspection.importance.time.monotonic", lambda: next(clock))

    class Left(Budget):
        def remaining(self) -> float:
            return 9.0  # seconds, for 4 columns of 1 second each: 2 shuffles

    assert importance(budget=Left())["n"].tolist() == [2] * 4


def test_column_names_of_any_kind_work() -> None:
    table = pd.DataFrame({0: [1.0, 2.0, 3.0], ("a", 1): [3.0, 1.0, 2.0]})
    y = table[0].to_numpy()
    result = permutation_importance(
        lambda t: t[0].to_numpy()[:, None], LabelledRows(table, y), MSE, columns=list(table)
    )
    assert result.index.tolist() == [0, ("a", 1)]

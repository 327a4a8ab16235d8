"""How an exported model is compared, and on which rows."""

import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tabular_automl.core.errors import ExportError, MissingDependencyError
from tabular_automl.data.schema import Kind
from tabular_automl.deployment.onnx_parity import (
    MAX_ROWS,
    TOLERANCE,
    Answer,
    _drawn_column,
    compare,
    drawn_rows,
    run_model,
)
from tabular_automl.encoders.summary import ColumnSummary

LABELS = np.array(["no", "yes"])


def answer(*second):
    numbers = np.column_stack([1 - np.array(second), second])
    return Answer(numbers, LABELS[numbers.argmax(axis=1)])


def test_the_largest_difference_and_the_other_labels_are_told(plain_pipelines):
    pipeline = plain_pipelines("binary")
    largest, n_other = compare(pipeline, answer(0.2, 0.50001), answer(0.20002, 0.49999))
    assert largest == pytest.approx(2e-5)
    assert n_other == 1


@pytest.mark.parametrize("wrong", [0.3, np.nan])
def test_a_difference_beyond_the_tolerance_is_refused_with_its_row(wrong, plain_pipelines):
    with pytest.raises(ExportError, match=r"must answer within 0\.0001 .* row 1"):
        compare(plain_pipelines("binary"), answer(0.2, 0.4), answer(0.2, wrong))


def test_values_count_in_standard_deviations_of_the_label(plain_pipelines):
    pipeline = plain_pipelines("regression")
    scale = pipeline.codec.scale
    expected, value = np.array([[5000.0]]), np.array([5000.0])
    near = expected + 0.5 * TOLERANCE * scale
    largest, _ = compare(pipeline, Answer(expected, value), Answer(near, near[:, 0]))
    assert largest == pytest.approx(0.5 * TOLERANCE, rel=1e-3)
    far = expected + 2 * TOLERANCE * scale
    with pytest.raises(ExportError, match="must answer within"):
        compare(pipeline, Answer(expected, value), Answer(far, far[:, 0]))


def test_drawn_rows_are_like_those_of_training(plain_pipelines):
    pipeline = plain_pipelines("regression")
    rows = drawn_rows(pipeline, ["size", "rooms", "city", "garden", "sold"])
    summary = pipeline.summary.columns
    assert len(rows) == MAX_ROWS
    assert rows["size"].min() >= summary["size"].low
    assert rows["size"].max() <= summary["size"].high
    assert {"Bern", "Genf", "Basel"} < set(rows["city"].dropna())
    assert rows["size"].isna().any()
    assert set(np.unique(rows["rooms"].dropna())) > {1.0, 2.0, 3.0, 4.0, 5.0}
    assert rows["sold"].min() >= pd.Timestamp("2021-03-01")
    assert rows["district"].isna().all()
    assert np.isfinite(pipeline.predict(rows)).all()


def test_a_predictor_that_remembers_no_columns_asks_for_data(plain_pipelines):
    pipeline = replace(plain_pipelines("binary"), summary=None)
    with pytest.raises(ExportError, match="pass data="):
        drawn_rows(pipeline, ["size"])


def test_without_onnxruntime_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match=r"tabular-automl\[onnx\]"):
        run_model(b"", {}, {"prediction": "prediction"})


def test_a_day_far_away_is_drawn():
    far = pd.Timestamp("9999-12-31").as_unit("s")
    summary = ColumnSummary("datetime64[s]", 100, 5, edges=(0.0,), low=-1e9, high=far.timestamp())
    days = _drawn_column(summary, Kind.DATETIME, np.random.default_rng(0))
    assert days.dtype == "datetime64[s]"
    assert days[~np.isnat(days)].max() == far.to_numpy()
    assert np.isnat(days).any()

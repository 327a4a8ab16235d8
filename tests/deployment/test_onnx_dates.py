"""The calendar in a graph equals that of the encoder, on every kind of day."""

import numpy as np
import pandas as pd
import pytest

from tabular_automl.deployment.onnx_dates import Calendar
from tabular_automl.deployment.onnx_graph import Graph
from tabular_automl.encoders.datetime import DAY, DatetimeEncoder, _calendar
from tests.deployment.onnx_runs import run

DAYS = np.arange(np.datetime64("1595-01-01"), np.datetime64("2405-01-01")).astype(np.int64)
PARTS = ("year", "month", "day", "weekday", "dayofyear", "monthend", "hour", "minute", "second")


def part_of(name, seconds):
    graph = Graph()
    value = Calendar(graph, graph.input("seconds", np.float64)).parts()[name]
    return run(graph, value, {"seconds": seconds}, shape=["n_rows"])


@pytest.mark.parametrize("name", PARTS)
def test_every_day_of_eight_centuries_has_the_same_parts(name):
    seconds = DAYS * DAY + np.random.default_rng(0).integers(0, 86_400, len(DAYS))
    np.testing.assert_array_equal(part_of(name, seconds), _calendar(seconds)[name])


@pytest.mark.parametrize("name", ["hour", "minute", "second"])
def test_times_of_day_with_fractions_have_the_same_parts(name):
    seconds = np.array([0.0, 0.999999, 59.9999999, 60.0, 3599.5, 86_399.999999, -0.25])
    np.testing.assert_array_equal(part_of(name, seconds), _calendar(seconds)[name])


def test_missing_times_are_missing_in_every_part():
    seconds = np.array([np.nan, 0.0])
    for name in PARTS:
        assert np.isnan(part_of(name, seconds)).tolist() == [True, False]
    assert part_of("missing", seconds).tolist() == [1.0, 0.0]


def test_every_feature_of_the_encoder_is_a_part():
    days = pd.Series(pd.date_range("2019-01-01", periods=500, freq="31h17min19s"), name="day")
    days[::9] = None
    encoder = DatetimeEncoder().fit(days)
    graph = Graph()
    parts = Calendar(graph, graph.input("seconds", np.float64)).parts()
    assert set(encoder.own_features) == {"elapsed", *parts}

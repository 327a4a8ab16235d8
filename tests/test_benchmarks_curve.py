"""The picture of errors over time: its points, and that it is drawn."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from benchmarks import curve
from benchmarks.table import read_results

ROWS = [
    ("abalone", "ours", "60", 0, 2.0, "", 50.0),
    ("abalone", "ours", "60", 1, 2.2, "", 54.0),
    ("abalone", "ours", "15", 0, 2.5, "", 14.0),
    ("abalone", "peer", "60", 0, 2.3, "", 70.0),
    ("abalone", "peer", "15", 0, None, "out of memory", None),
    ("abalone", "catboost", "", 0, 2.4, "", 3.0),
]
COLUMNS = ["set", "system", "time_limit", "seed", "error", "failure", "fit_seconds"]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    table = pd.DataFrame(ROWS, columns=COLUMNS)
    path = tmp_path / "results.csv"
    table.assign(metric="root_mean_squared_error", preset="").to_csv(path, index=False)
    return path


def test_points_are_means_over_seeds_in_the_order_of_the_limits(results: Path) -> None:
    points = curve.curve_points(read_results([results]))
    ours = points[points["system"] == "ours"]
    assert ours["limit"].tolist() == [15, 60]
    assert ours["seconds"].tolist() == [14, 52]
    assert ours["error"].tolist() == pytest.approx([2.5, 2.1])
    assert points[points["system"] == "peer"]["limit"].tolist() == [60]  # the other fit failed
    assert "catboost" not in set(points["system"])  # it has no limit


def test_the_picture_is_drawn(results: Path, tmp_path: Path) -> None:
    out = tmp_path / "curve.png"
    curve.main([str(results), "--out", str(out), "--systems", "ours,peer"])
    assert out.read_bytes().startswith(b"\x89PNG")


def test_nothing_to_draw_is_said(results: Path, tmp_path: Path, capsys) -> None:
    with pytest.raises(SystemExit):
        curve.main([str(results), "--out", str(tmp_path / "x.png"), "--systems", "catboost"])
    assert "no system with a time limit" in capsys.readouterr().err

"""validate: what departs is found and named, what is only chance is not."""

import dataclasses
from functools import partial

import numpy as np
import pandas as pd
import pytest

from tabular_automl import FitConfig, Predictor
from tabular_automl.artifacts.contract import through_files
from tabular_automl.core.errors import (
    DataError,
    InvalidOptionError,
    MismatchWarning,
    MissingColumnsError,
)
from tabular_automl.fitted import FittedPipeline
from tabular_automl.inspection.drift import chance_stability, population_stability
from tests.conftest import make_table

LINEAR = FitConfig(families=("linear",), max_specs=1, n_folds=2, n_layers=1, on_error="raise")


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    path = tmp_path_factory.mktemp("drift") / "p"
    return Predictor("y", path=path, verbosity=0).fit(make_table("binary", 400), config=LINEAR)


@pytest.fixture
def new_rows():
    table = make_table("binary", n_rows=200, seed=5)
    return table.set_index(pd.Index([f"id{number}" for number in range(200)]))


def found(report):
    return {(finding.column, finding.problem): finding for finding in report.findings}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n_rows", [1, 15, 400])
def test_rows_of_the_same_source_are_as_in_training(predictor, seed, n_rows):
    report = predictor.validate(make_table("binary", n_rows, seed=100 + seed))
    assert report.ok, str(report)
    assert report.can_predict


def test_the_training_rows_have_no_finding_at_all(predictor):
    report = predictor.validate(make_table("binary", 400))
    assert report.findings == ()
    assert str(report) == "400 rows, all as in training."
    assert (report.columns["psi"] < 1e-9).all()
    assert list(report.columns.index) == ["size", "rooms", "city", "sold", "garden"]


def test_infinities_of_training_are_not_out_of_range(tmp_path):
    table = make_table("binary", 120)
    table.loc[[3, 50], "size"] = [np.inf, -np.inf]
    fitted = Predictor("y", path=tmp_path / "p", verbosity=0).fit(table, config=LINEAR)
    assert fitted.validate(table).findings == ()
    assert Predictor.load(tmp_path / "p", verbosity=0).validate(table).findings == ()


def test_no_rows_are_nothing_to_object_to(predictor):
    assert predictor.validate(make_table("binary", 40).iloc[:0]).ok


def test_absent_and_new_columns_are_told(predictor, new_rows):
    report = predictor.validate(new_rows.drop(columns=["city", "y"]).assign(extra=1))
    assert not report.can_predict
    problems = found(report)
    assert problems["city", "missing column"].severity == "error"
    assert problems["extra", "new column"].severity == "note"
    assert ("y", "new column") not in problems
    assert ("constant", "new column") not in problems
    assert report.findings[0].column == "city"


def test_unreadable_values_are_told_with_rows(predictor, new_rows):
    broken = new_rows.astype({"size": object})
    broken.loc[["id3", "id9"], "size"] = ["huge", "tiny"]
    report = predictor.validate(broken)
    text = found(report)["size", "unreadable values"].text
    assert "in 2 rows" in text
    assert "'huge' in row 'id3', 'tiny' in row 'id9'" in text
    assert "dtype 'object', 'float64' in training" in found(report)["size", "dtype"].text
    assert not report.can_predict


def test_new_categories_are_told_with_rows(predictor, new_rows):
    new_rows.loc[new_rows.index[:20], "city"] = "Atlantis"
    report = predictor.validate(new_rows)
    finding = found(report)["city", "new categories"]
    assert finding.severity == "warning"
    assert "'Atlantis', in 20 rows" in finding.text
    assert "row 'id0'" in finding.text
    assert report.can_predict
    assert not report.ok


def test_numbers_and_dates_out_of_range_are_told_with_rows_and_range(predictor, new_rows):
    new_rows.loc["id1", "size"] = 1e6
    new_rows.loc[new_rows.index[:9], "sold"] = pd.Timestamp("2031-05-05")
    problems = found(predictor.validate(new_rows))
    size, sold = problems["size", "out of range"], problems["sold", "out of range"]
    assert size.severity == sold.severity == "warning"
    assert "in 1 row, such as '1000000.0' in row 'id1'" in size.text
    assert "to 2022-0" in sold.text
    assert "2031-05-05" in sold.text


def test_texts_of_other_lengths_are_told_in_characters(tmp_path):
    words = np.random.default_rng(0).integers(10**9, 10**10, (120, 3))
    texts = [" ".join(map(str, row)) for row in words]  # of 32 characters
    table = pd.DataFrame({"note": texts, "y": range(120)})
    fitted = Predictor("y", path=tmp_path / "p", verbosity=0).fit(
        table, columns={"note": "text"}, config=LINEAR
    )
    text = found(fitted.validate(table.assign(note="short")))["note", "out of range"].text
    assert (
        "Column 'note' has texts of lengths outside the training range of 32 to 32 characters in "
        "120 rows, such as 'short'"
    ) in text


def test_the_range_has_all_digits_of_its_numbers(tmp_path):
    table = pd.DataFrame({"x": 123_456_789 + np.arange(60), "y": range(60)})
    fitted = Predictor("y", path=tmp_path / "p", verbosity=0).fit(
        table, columns={"x": "numeric"}, config=LINEAR
    )
    text = found(fitted.validate(table.assign(x=0)))["x", "out of range"].text
    assert "is outside the training range of 123456789 to 123456848 in" in text


def test_more_missing_values_are_told_with_both_rates(predictor, new_rows):
    new_rows.loc[new_rows.index[:120], "size"] = np.nan
    new_rows.loc["id5", "rooms"] = np.nan
    problems = found(predictor.validate(new_rows))
    size = problems["size", "missing values"]
    assert size.severity == "warning"
    assert "% in training" in size.text
    rooms = problems["rooms", "missing values"]
    assert rooms.severity == "note"
    assert "row 'id5'" in rooms.text


@pytest.mark.parametrize("column", ["size", "city", "rooms", "garden", "sold"])
def test_drift_of_columns_of_every_kind_is_told(predictor, new_rows, column):
    drifted = {
        "size": new_rows["size"] * 0.5 + 90,
        "city": np.where(np.arange(200) % 10 == 0, "Bern", "Basel"),
        "rooms": np.where(np.arange(200) % 10 == 0, 1, 5),
        "garden": np.arange(200) % 10 > 0,
        "sold": pd.Timestamp("2022-01-01") + pd.to_timedelta(np.arange(200), "D"),
    }
    report = predictor.validate(new_rows.assign(**{column: drifted[column]}))
    assert found(report)[column, "drift"].severity == "warning"
    assert {finding.column for finding in report.findings if finding.problem == "drift"} == {column}
    assert report.columns["psi"].idxmax() == column


def test_other_spellings_are_no_new_categories(tmp_path):
    table = pd.DataFrame({"a": ["1", "2", "3"] * 20, "b": [True, False] * 30, "y": range(60)})
    predictor = Predictor("y", path=tmp_path / "p", verbosity=0).fit(
        table, columns={"a": "category"}, config=LINEAR
    )
    other = table.assign(a=[1.0, 2.0, 3.0] * 20, b=["true", "false"] * 30)
    problems = found(predictor.validate(other))
    assert {problem for _, problem in problems} == {"dtype"}


def test_the_summary_survives_a_save(predictor, new_rows):
    loaded = Predictor.load(predictor.path, verbosity=0)
    drifted = new_rows.assign(size=new_rows["size"] + 500, city="Ur")
    assert loaded.validate(drifted).findings == predictor.validate(drifted).findings


def test_an_artifact_without_a_summary_still_tells_of_columns(predictor, new_rows):
    older = dataclasses.replace(predictor._fitted(), summary=None)
    again = FittedPipeline.from_state(through_files(older.state()), 1)
    loaded = Predictor.load(predictor.path, verbosity=0)
    loaded._pipeline = again
    report = loaded.validate(new_rows.drop(columns="city").assign(size="huge"))
    assert {problem for _, problem in found(report)} == {"missing column", "unreadable values"}
    assert report.columns["psi"].isna().all()


def test_findings_come_as_a_table_and_as_sentences(predictor, new_rows):
    report = predictor.validate(new_rows.drop(columns="city").assign(size=1e9))
    table = report.to_frame()
    assert list(table.columns) == ["column", "problem", "severity", "text"]
    assert len(table) == len(report.findings) > 1
    assert all(text in str(report) for text in table["text"])


def test_a_psi_of_known_histograms():
    before, after = np.array([500, 500]), np.array([900, 100])
    expected = (0.9 - 0.5) * np.log(0.9 / 0.5) + (0.1 - 0.5) * np.log(0.1 / 0.5)
    assert population_stability(before, after) == pytest.approx(expected, abs=0.01)
    assert population_stability(before, before) == 0.0


def test_chance_exceeds_its_bound_as_often_as_said():
    rng = np.random.default_rng(0)
    shares = [0.4, 0.3, 0.2, 0.1]
    draws = [(rng.multinomial(400, shares), rng.multinomial(60, shares)) for _ in range(2000)]
    beyond = np.mean([population_stability(a, b) > chance_stability(a, b, 0.05) for a, b in draws])
    assert 0.03 < beyond < 0.07


def test_a_policy_decides_about_unreadable_and_absent(predictor, new_rows):
    broken = new_rows.drop(columns="city").astype({"size": object})
    broken.loc["id3", "size"] = "huge"
    before = broken.copy(deep=True)
    with pytest.raises(MissingColumnsError, match="'city'"):
        predictor.predict(broken)
    with pytest.raises(DataError, match=r"'size'.*'huge' in row 'id3'"):
        predictor.predict_proba(broken.assign(city="Bern"))
    missing = new_rows.assign(city=None)
    missing.loc["id3", "size"] = np.nan
    expected = predictor.predict_proba(missing)
    coerced = predictor.predict_proba(broken, on_mismatch="coerce")
    pd.testing.assert_frame_equal(coerced, expected)
    with pytest.warns(MismatchWarning, match=r"'city'.* absent.*'huge' in row 'id3'"):
        warned = predictor.predict(broken, on_mismatch="warn")
    pd.testing.assert_series_equal(warned, predictor.predict(missing))
    pd.testing.assert_frame_equal(broken, before)


def test_a_policy_decides_about_scores_as_well(predictor, new_rows):
    broken = new_rows.drop(columns="city").astype({"size": object})
    broken.loc["id3", "size"] = "huge"
    missing = new_rows.assign(city=None)
    missing.loc["id3", "size"] = np.nan
    compare = partial(predictor.compare, predictor)
    for method in (
        predictor.evaluate,
        predictor.leaderboard,
        predictor.feature_importance,
        compare,
    ):
        with pytest.raises(MissingColumnsError, match="'city'"):
            method(broken)
        with pytest.warns(MismatchWarning, match="'huge' in row 'id3'") as told:
            method(broken, on_mismatch="warn")
        assert told[0].filename == __file__
    assert predictor.evaluate(broken, on_mismatch="coerce") == predictor.evaluate(missing)
    board = predictor.leaderboard(broken, on_mismatch="coerce")
    pd.testing.assert_frame_equal(board, predictor.leaderboard(missing))
    importance = predictor.feature_importance(broken, n_repeats=1, on_mismatch="coerce")
    expected = predictor.feature_importance(missing, n_repeats=1)
    pd.testing.assert_frame_equal(importance, expected)


@pytest.mark.filterwarnings("error")
def test_nothing_is_warned_of_where_nothing_departs(predictor, new_rows):
    expected = predictor.predict(new_rows)
    for policy in ("warn", "coerce"):
        pd.testing.assert_series_equal(predictor.predict(new_rows, on_mismatch=policy), expected)


def test_an_unknown_policy_is_refused(predictor, new_rows):
    with pytest.raises(InvalidOptionError, match="'raise', 'warn' or 'coerce', got 'ignore'"):
        predictor.predict(new_rows, on_mismatch="ignore")

"""Rows that are drawn stand for all rows of the table."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabular_automl.data.drawing import Draw, draw_rows
from tabular_automl.data.task import ProblemType, Task

REGRESSION = Task(ProblemType.REGRESSION)


def classes(*counts):
    """The task, and an encoded target with so many rows of each class, in no order."""
    y = np.repeat(np.arange(len(counts)), counts)
    problem = ProblemType.BINARY if len(counts) == 2 else ProblemType.MULTICLASS
    return Task(problem, len(counts)), np.random.default_rng(0).permutation(y)


@given(counts=st.lists(st.integers(1, 400), min_size=2, max_size=6), data=st.data())
def test_so_many_rows_are_drawn_once_each_and_stand_for_the_classes_as_they_are(counts, data):
    task, y = classes(*counts)
    n_wanted = data.draw(st.integers(min(len(y) - 1, 2 * len(counts)), len(y) - 1))
    draw = draw_rows(task, y, n_wanted)
    assert len(draw.rows) == n_wanted
    assert (np.diff(draw.rows) > 0).all()
    found = np.bincount(y[draw.rows], draw.weight, minlength=len(counts))
    assert found == pytest.approx(np.array(counts) * n_wanted / len(y), abs=1.0)
    if n_wanted >= 2 * len(counts):
        assert set(y[draw.rows]) == set(y)


def test_the_seed_alone_decides_on_the_rows():
    task, y = classes(500, 500)
    first, again, other = (draw_rows(task, y, 100, seed=seed).rows for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_where_no_class_is_small_all_rows_count_alike():
    assert draw_rows(*classes(600, 400), 500).weight is None
    assert draw_rows(REGRESSION, np.random.default_rng(0).normal(size=300), 100).weight is None


def test_a_rare_class_is_drawn_whole_as_long_as_it_is_no_more_than_its_part():
    task, y = classes(10_000, 50)
    draw = draw_rows(task, y, 1_000)
    assert np.bincount(y[draw.rows]).tolist() == [950, 50]
    assert draw.weight.mean() == pytest.approx(1.0)
    assert len(np.unique(draw.weight)) == 2
    assert np.bincount(y[draw_rows(task, y, 80).rows]).tolist() == [60, 20]


def test_rows_that_are_kept_are_drawn_each_for_itself():
    task, y = classes(10_000, 50)
    kept = np.arange(200)
    draw = draw_rows(task, y, 1_000, kept=kept)
    assert len(draw.rows) == 1_000
    assert draw.rows[:200].tolist() == kept.tolist()
    assert len(np.unique(draw.weight[:200])) == 1


@pytest.mark.parametrize("drawn", [None, np.array([0.5, 1.5])])
def test_drawn_rows_have_the_users_weights_as_well(drawn):
    draw = Draw(np.array([0, 2]), drawn)
    assert draw.weigh(None) is drawn
    weights = draw.weigh(np.array([3.0, 9.0, 1.0]))
    expected = np.array([3.0, 1.0]) * (1.0 if drawn is None else drawn)
    assert weights == pytest.approx(expected / expected.mean())


def test_a_class_among_the_kept_rows_alone_counts_for_itself():
    task = Task(ProblemType.MULTICLASS, 3)
    y = np.where(np.arange(10_000) < 9_970, 0, 1)
    y[:5] = 2
    draw = draw_rows(task, y, 1_000, kept=np.arange(5))
    assert np.bincount(y[draw.rows]).tolist() == [965, 30, 5]
    assert np.isfinite(draw.weight).all()


def test_rows_are_drawn_evenly_for_who_heeds_no_weights():
    task, y = classes(10_000, 500)
    draw = draw_rows(task, y, 2_000, evenly=True)
    assert draw.weight is None
    assert y[draw.rows].mean() == pytest.approx(500 / 10_500, abs=0.02)

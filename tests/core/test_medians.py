import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabular_automl.core.medians import medians_of_groups, weighted_median

ROWS = st.lists(
    st.tuples(st.integers(0, 4), st.floats(-1e3, 1e3), st.integers(0, 3)), min_size=1, max_size=40
)


@given(ROWS)
def test_a_weight_counts_as_so_many_equal_rows(rows):
    groups, values, weight = (np.array(column) for column in zip(*rows, strict=True))
    if not weight.any():
        return
    found, medians = medians_of_groups(values.astype(float), groups, 0.1 * weight)
    repeated, of_repeated = np.repeat(values, weight), np.repeat(groups, weight)
    assert found.tolist() == np.unique(of_repeated).tolist()
    expected = [np.median(repeated[of_repeated == group]) for group in found]
    np.testing.assert_allclose(medians, expected)


def test_without_weights_it_is_the_median():
    values = np.array([5.0, 1.0, 2.0, 9.0])
    assert weighted_median(values, None) == weighted_median(values, np.ones(4)) == 3.5
    assert medians_of_groups(values, np.array([1, 0, 1, 0]), None)[1].tolist() == [5.0, 3.5]


def test_the_heavier_half_decides():
    assert weighted_median(np.array([0.0, 1.0]), np.array([0.4, 0.6])) == 1.0
    assert weighted_median(np.array([0.0, 1.0]), np.array([0.6, 0.4])) == pytest.approx(0.0)

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tabular_automl.core.quantiles import (
    kind_of_loss,
    losses_of,
    quantile_of,
    quantiles_of_groups,
    weighted_quantile,
)
from tabular_automl.metrics.regression import pinball

ROWS = st.lists(
    st.tuples(st.integers(0, 4), st.floats(-1e3, 1e3), st.integers(0, 3)), min_size=1, max_size=40
)


@given(ROWS, st.sampled_from([0.05, 0.25, 0.5, 0.9]))
def test_a_weight_counts_as_so_many_equal_rows(rows, quantile):
    groups, values, weight = (np.array(column) for column in zip(*rows, strict=True))
    if not weight.any():
        return
    found, quantiles = quantiles_of_groups(values.astype(float), groups, 0.1 * weight, quantile)
    repeated, of_repeated = np.repeat(values, weight), np.repeat(groups, weight)
    assert found.tolist() == np.unique(of_repeated).tolist()
    expected = [
        np.quantile(repeated[of_repeated == group], quantile, method="averaged_inverted_cdf")
        for group in found
    ]
    np.testing.assert_allclose(quantiles, expected, atol=1e-9)


def test_without_weights_it_is_the_median():
    values = np.array([5.0, 1.0, 2.0, 9.0])
    assert weighted_quantile(values, None) == weighted_quantile(values, np.ones(4)) == 3.5
    assert quantiles_of_groups(values, np.array([1, 0, 1, 0]), None)[1].tolist() == [5.0, 3.5]


def test_the_heavier_half_decides():
    assert weighted_quantile(np.array([0.0, 1.0]), np.array([0.4, 0.6])) == 1.0
    assert weighted_quantile(np.array([0.0, 1.0]), np.array([0.6, 0.4])) == pytest.approx(0.0)


def test_a_loss_tells_its_quantile():
    losses = ("squared_error", "absolute_error", "quantile_0.9", "quantile_.05")
    assert [quantile_of(loss) for loss in losses] == [None, 0.5, 0.9, 0.05]
    assert [kind_of_loss(loss) for loss in losses] == [*losses[:2], "quantile", "quantile"]


@pytest.mark.parametrize(
    "loss", ["quantile", "quantile_", "quantile_0.0", "quantile_1.5", "quantile_0." + "9" * 30]
)
def test_what_is_no_quantile_is_none(loss):
    assert quantile_of(loss) is None


@pytest.mark.parametrize("as_array", [np.array, torch.tensor])
def test_a_quantile_costs_twice_its_pinball_loss(as_array):
    error = np.array([-2.0, 0.0, 3.0])
    assert losses_of(as_array(error), "squared_error").tolist() == [4.0, 0.0, 9.0]
    assert losses_of(as_array(error), "absolute_error").tolist() == [2.0, 0.0, 3.0]
    one_by_one = [2 * pinball(0.9).raw(np.zeros(1), error[[row]]) for row in range(3)]
    assert losses_of(as_array(error), "quantile_0.9").tolist() == pytest.approx(one_by_one)

"""Scores become probabilities."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tabular_automl.core.links import sigmoid, softmax

SCORES = hnp.arrays(
    np.float64, hnp.array_shapes(min_dims=1, max_dims=3), elements=st.floats(-1e4, 1e4)
)


@given(SCORES)
def test_softmax_sums_to_one_and_keeps_the_order(scores):
    shares = softmax(scores)
    np.testing.assert_allclose(shares.sum(axis=-1), 1.0)
    by_score = np.take_along_axis(shares, scores.argsort(axis=-1), axis=-1)
    assert (np.diff(by_score, axis=-1) >= 0).all()


@given(SCORES)
def test_softmax_of_a_score_and_zero_is_its_sigmoid(scores):
    pairs = np.stack([np.zeros_like(scores), scores], axis=-1)
    np.testing.assert_allclose(softmax(pairs)[..., 1], sigmoid(scores), atol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_precision_and_the_argument_are_kept(dtype):
    scores = np.array([[1.0, 2.0]], dtype=dtype)
    before = scores.copy()
    assert softmax(scores).dtype == sigmoid(scores).dtype == dtype
    np.testing.assert_array_equal(scores, before)


def test_a_score_beyond_every_exponential_gives_the_limit():
    np.testing.assert_array_equal(sigmoid(np.array([-1e5, 1e5])), [0.0, 1.0])

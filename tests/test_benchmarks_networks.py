from __future__ import annotations

import pytest

from benchmarks.networks import METRICS, seconds_to_fit


@pytest.mark.parametrize("problem_type", METRICS)
def test_a_network_alone_is_timed(problem_type):
    seconds, error = seconds_to_fit(problem_type, 200, seed=0)
    assert seconds > 0.0
    assert 0.0 < error < 10.0

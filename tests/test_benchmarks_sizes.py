"""A size is fitted from its file in a process of its own, and told as it was."""

import pandas as pd
import pytest

from benchmarks import sizes


@pytest.mark.slow
def test_a_size_is_fitted_and_one_that_fails_says_why(tmp_path):
    out, folder = tmp_path / "sizes.csv", ["--folder", str(tmp_path), "--threads", "1"]
    sizes.main(["--rows", "400", "--time-limit", "3", "--out", str(out), *folder])
    sizes.main(["--rows", "400", "--time-limit", "-1", "--out", str(out), *folder])
    fitted, failed = (row for _, row in pd.read_csv(out).iterrows())
    assert 0 < fitted["error"] < 1
    assert fitted["n_models"] >= 1
    assert fitted["peak_mb"] > 50
    assert "time_limit must be a positive" in failed["failure"]
    assert pd.isna(failed["error"])

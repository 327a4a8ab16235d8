from __future__ import annotations

import numpy as np
import pytest

from text_ext import tuning_time
from text_ext.tuning_time import has_gpu, seconds_of_model, tokens_of_row


def test_time_grows_with_rows_and_tokens_and_is_shared_by_cores() -> None:
    one = seconds_of_model(10_000, 25.0, 1, on_gpu=False)
    assert seconds_of_model(20_000, 25.0, 1, on_gpu=False) == pytest.approx(2 * one)
    assert seconds_of_model(10_000, 50.0, 1, on_gpu=False) == pytest.approx(2 * one)
    assert seconds_of_model(10_000, 25.0, 4, on_gpu=False) == pytest.approx(one / 4)
    assert seconds_of_model(10_000, 25.0, 64, on_gpu=False) == pytest.approx(one / 16)
    assert seconds_of_model(10_000, 25.0, 1, on_gpu=True) < one / 50


def test_few_rows_are_seen_more_often() -> None:
    few, fewer = (seconds_of_model(n, 25.0, 1, on_gpu=False) for n in (500, 50))
    assert few == fewer > 0


def test_tokens_are_guessed_from_some_rows() -> None:
    texts = {
        "title": np.array(["nine char"] * 1000, dtype=object),
        "review": np.array(["x" * 9000, None] * 500, dtype=object),
    }
    assert tokens_of_row(texts, 128) == pytest.approx(4 + 128 / 2, rel=0.05)
    assert tokens_of_row({}, 128) == 0.0


def test_torch_is_not_loaded_where_there_is_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_library(name: str) -> None:
        raise OSError(name)

    def never() -> None:
        raise AssertionError

    monkeypatch.setattr(tuning_time.ctypes, "CDLL", no_library)
    monkeypatch.setattr(tuning_time, "choose_device", never)
    assert not has_gpu()


def test_two_cores_have_no_time_in_two_minutes_and_a_gpu_has() -> None:
    """The plan grants a family 0.4 of the limit, and 8 folds to a table of 9,613 short texts."""
    sentences = (9_613, 25.0, 2)
    granted = 0.4 * 120.0 / 8
    assert seconds_of_model(*sentences, on_gpu=False) > granted
    assert seconds_of_model(*sentences, on_gpu=True) < granted
    assert seconds_of_model(300, 25.0, 2, on_gpu=False) > granted
    assert seconds_of_model(*sentences, on_gpu=False) < 0.4 * 3 * 3_600.0 / 8

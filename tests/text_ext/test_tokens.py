from __future__ import annotations

import numpy as np

from text_ext.tokens import Tokens, in_batches, reading_length, row_lengths

TOKENS = Tokens.of([[1, 5, 6, 7, 2], [], [1, 8, 2]], blank=0)


def test_texts_are_filled_up_to_the_longest() -> None:
    ids, present = TOKENS.padded(np.array([2, 1, 0]), max_tokens=10)
    assert ids.tolist() == [[1, 8, 2, 0, 0], [0] * 5, [1, 5, 6, 7, 2]]
    assert present.sum(axis=1).tolist() == [3, 0, 5]


def test_a_cut_text_keeps_its_mark_of_the_end() -> None:
    ids, present = TOKENS.padded(np.array([0, 2]), max_tokens=4)
    assert ids.tolist() == [[1, 5, 6, 2], [1, 8, 2, 0]]
    assert present.sum(axis=1).tolist() == [4, 3]


def test_some_texts_share_the_tokens_of_all() -> None:
    part = TOKENS.take(np.array([2, 0]))
    assert part.flat is TOKENS.flat
    assert part.padded(np.array([0]), 9)[0].tolist() == [[1, 8, 2]]


def test_no_text_has_no_tokens() -> None:
    ids, present = TOKENS.padded(np.array([1]), max_tokens=4)
    assert ids.shape == present.shape == (1, 0)


def test_lengths_of_all_columns_count() -> None:
    assert row_lengths((TOKENS, TOKENS), 3, max_tokens=4).tolist() == [8, 0, 6]
    assert row_lengths((), 2, max_tokens=4).tolist() == [0, 0]


def test_batches_hold_each_row_once_and_texts_of_a_length() -> None:
    lengths = np.random.default_rng(0).integers(1, 100, 1000)
    rng = np.random.default_rng(1)
    first, second = ([*in_batches(lengths, 32, rng)] for _ in range(2))
    for batches in (first, second, [*in_batches(lengths, 32)]):
        assert np.sort(np.concatenate(batches)).tolist() == list(range(1000))
        assert np.mean([np.ptp(lengths[batch]) for batch in batches]) < 30
    assert not np.array_equal(first[0], second[0])


def test_few_texts_are_longer_than_what_is_read() -> None:
    tokens = Tokens.of([[1] * 10] * 98 + [[1] * 500] * 2, blank=0)
    assert reading_length((tokens,), max_tokens=128) == 16
    assert reading_length((Tokens.of([[1] * 500] * 9, 0),), max_tokens=128) == 128
    assert reading_length((Tokens.of([[], []], 0),), max_tokens=128) == 128

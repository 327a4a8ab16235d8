from __future__ import annotations

import numpy as np
import pytest

from text_ext.grams import (
    LONG_SIZES,
    N_BUCKETS,
    N_WORD_BUCKETS,
    SHORT_SIZES,
    UNSPACED_SIZES,
    choose_sizes,
    count_grams,
    weigh_grams,
)


def test_words_and_pairs_are_counted_whatever_the_case_and_the_blanks() -> None:
    counts = count_grams(["Good  good dress", " good GOOD\tdress "], ())
    assert (counts[0] != counts[1]).nnz == 0
    assert sorted(counts[0].data.tolist()) == [1.0, 1.0, 1.0, 2.0]  # two words, two pairs


def test_runs_of_characters_are_those_that_slicing_gives() -> None:
    text = "abcabd"
    counts = count_grams([text], (2, 3))
    framed = f" {text} "
    runs = [framed[i : i + size] for size in (2, 3) for i in range(len(framed) - size + 1)]
    chars = counts[0, N_WORD_BUCKETS:]
    assert chars.sum() == len(runs)
    assert chars.nnz == len(set(runs))


def test_a_text_counts_alike_alone_and_among_others() -> None:
    texts = [f"text number {i} is " + "long " * (i % 7) for i in range(3000)] + ["", "ß é 中文 🙂"]
    together = count_grams(texts, (1, 2, 3, 4, 5))
    assert together.shape == (len(texts), N_BUCKETS)
    for row in (0, 1500, 2999, 3000, 3001):
        assert (together[row] != count_grams([texts[row]], (1, 2, 3, 4, 5))).nnz == 0


def test_runs_do_not_cross_from_text_to_text() -> None:
    assert (count_grams(["ab", "cd"], (5,)).sum(axis=1) == 1).all()  # the word alone


def test_lone_surrogates_and_no_texts_are_read() -> None:
    assert count_grams(["broken \ud83d emoji"], (1, 2)).nnz > 0
    assert count_grams([], (1, 2)).shape == (0, N_BUCKETS)


def test_weights_of_words_and_of_characters_have_length_one() -> None:
    weights = weigh_grams(["some words and some more", ""], (2, 3))
    for block in (weights[0, :N_WORD_BUCKETS], weights[0, N_WORD_BUCKETS:]):
        assert block.multiply(block).sum() == pytest.approx(1.0, rel=1e-5)
    assert weights[1, N_WORD_BUCKETS:].nnz <= 2  # the blanks around nothing


@pytest.mark.parametrize(
    ("texts", "sizes"),
    [
        (["short and sweet"] * 5, SHORT_SIZES),
        (["a long text of many words " * 20] * 5, LONG_SIZES),
        (["这件衣服质量很好我非常喜欢它的颜色和款式推荐购买"] * 5, UNSPACED_SIZES),
        (["", ""], SHORT_SIZES),
    ],
)
def test_which_runs_are_counted_follows_from_the_texts(
    texts: list[str], sizes: tuple[int, ...]
) -> None:
    assert choose_sizes(texts) == sizes


def test_different_words_seldom_share_a_bucket() -> None:
    words = [f"word{i}" for i in range(5000)]
    buckets = {int(count_grams([word], ()).indices[0]) for word in words}
    assert len(buckets) > 0.97 * len(words)
    assert np.ptp(list(buckets)) > 0.9 * N_WORD_BUCKETS

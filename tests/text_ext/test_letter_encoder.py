from __future__ import annotations

import tracemalloc
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from tabular_automl.core.contract import Check
from tabular_automl.encoders.contract import Specimen, iter_checks
from text_ext import encoder as letters
from text_ext.encoder import LetterEncoder

PRAISE = ["很好", "喜欢", "推荐", "满意", "质量不错"]
BLAME = ["太差", "退货", "失望", "不推荐", "坏了"]
REST = ["这个", "东西", "我们", "昨天", "收到", "包装", "颜色", "价格"]


def reviews(n_rows: int = 120) -> tuple[pd.Series, np.ndarray]:
    rng = np.random.default_rng(0)
    is_praise = rng.random(n_rows) < 0.5
    texts = [
        "".join(rng.permutation([*rng.choice(REST, 4), *rng.choice(PRAISE if p else BLAME, 2)]))
        for p in is_praise
    ]
    return pd.Series(texts, name="评论"), is_praise


@pytest.mark.parametrize("check", iter_checks(), ids=str)
def test_the_encoder_keeps_the_contract(check: Check[Specimen]) -> None:
    column, _ = reviews()
    check(Specimen(LetterEncoder, column))


def test_directions_carry_what_the_text_says() -> None:
    from sklearn.linear_model import LogisticRegression

    column, is_praise = reviews()
    encoder = LetterEncoder().fit(column.iloc[:80])
    features = encoder.transform(column).numeric
    model = LogisticRegression(C=100.0).fit(features[:80], is_praise[:80])
    assert model.score(features[80:], is_praise[80:]) > 0.85


@pytest.mark.parametrize(
    "texts",
    [
        [f"plain words with spaces number {i}" for i in range(40)],
        [f"SKU-{i:05d}-XY" for i in range(40)],
        ["北京", "上海"] * 20,  # categories
        [f"中{i}" for i in range(40)],  # short names
    ],
)
def test_other_columns_are_left_to_other_encoders(texts: list[str]) -> None:
    assert LetterEncoder.claims(pd.Series(texts)) is None


def test_texts_without_spaces_are_claimed() -> None:
    column, _ = reviews()
    assert LetterEncoder.claims(column) == "text in a script without spaces between words"
    thai = pd.Series([f"สินค้าดีมากแนะนำเลยครั้งที่{i}" for i in range(40)])
    assert LetterEncoder.claims(thai) is not None


@pytest.mark.parametrize("size", [1, 7, 100])
def test_texts_are_read_in_blocks_to_the_same_last_bit(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    column, _ = reviews()
    column = pd.concat([column, pd.Series(["", None, "好", "很好", "不好"], name="评论")])
    encoder = LetterEncoder().fit(column)
    whole = encoder.transform(column).numeric
    n_texts: list[int] = []

    def counted(texts: Sequence[str]) -> csr_matrix:
        n_texts.append(len(texts))
        return count(texts)

    count = letters._count
    monkeypatch.setattr(letters, "_count", counted)
    monkeypatch.setattr(letters, "_BLOCK", size)
    np.testing.assert_array_equal(encoder.transform(column).numeric, whole)
    assert max(n_texts) == size


def test_a_text_takes_little_memory_while_it_is_read() -> None:
    letters_of = np.array([chr(0x4E00 + i) for i in range(2000)])
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(letters_of, 1000)) for _ in range(100)]
    idf = np.ones(letters.N_BUCKETS, dtype=np.float32)
    tracemalloc.start()
    letters._weigh(letters._count(texts), idf)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50_000 * len(texts)


def test_missing_and_empty_texts_lie_at_the_origin() -> None:
    column, _ = reviews()
    features = LetterEncoder().fit(column).transform(pd.Series([None, "", "很好"], name="评论"))
    assert not features.numeric[:2].any()
    assert features.numeric[2].any()

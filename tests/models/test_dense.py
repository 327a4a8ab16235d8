import dataclasses
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tabular_automl.core.errors import ArtifactError, NotFittedError
from tabular_automl.data.table import FeatureTable, Samples
from tabular_automl.data.task import ProblemType, Task
from tabular_automl.models.dense import DenseEncoder, one_blas_thread

BINARY = Task(ProblemType.BINARY, 2)
REGRESSION = Task(ProblemType.REGRESSION)


def samples(numeric=None, codes=None, n_levels=(), y=None):
    n_rows = len(numeric if numeric is not None else codes)
    numeric = np.empty((n_rows, 0)) if numeric is None else np.asarray(numeric)
    codes = np.empty((n_rows, 0)) if codes is None else np.asarray(codes)
    table = FeatureTable(
        numeric.astype(np.float32),
        codes.astype(np.int32),
        tuple(f"n{i}" for i in range(numeric.shape[1])),
        tuple(f"c{i}" for i in range(codes.shape[1])),
        tuple(n_levels),
    )
    return Samples(table, np.zeros(n_rows) if y is None else np.asarray(y))


def mixed(n_rows=300, seed=0):
    rng = np.random.default_rng(seed)
    numeric = np.column_stack([rng.normal(50, 9, n_rows), rng.lognormal(0, 2, n_rows)])
    numeric[rng.random(numeric.shape) < 0.1] = np.nan
    codes = np.column_stack([rng.integers(0, 6, n_rows), rng.integers(0, 90, n_rows)])
    return samples(numeric, codes, (6, 90), rng.integers(0, 2, n_rows))


def test_numbers_are_centred_on_the_median_and_squashed():
    train = samples(np.array([[0.0], [1.0], [2.0], [3.0], [1e30]]))
    matrix = DenseEncoder().fit(train, REGRESSION, 0).transform(train.table)
    assert matrix[2, 0] == 0.0
    assert matrix[3, 0] == pytest.approx(0.5 / np.sqrt(1 + (0.5 / 3) ** 2))
    assert 2.9 < matrix[4, 0] < 3.01
    assert matrix.dtype == np.float32


def test_numbers_are_standardised_without_clip():
    train = samples(np.random.default_rng(0).normal(7, 3, (500, 2)))
    matrix = DenseEncoder(clip=False).fit(train, REGRESSION, 0).transform(train.table)
    assert matrix.mean(axis=0) == pytest.approx([0, 0], abs=1e-5)
    assert matrix.std(axis=0) == pytest.approx([1, 1], abs=1e-5)


def test_topics_of_a_text_vary_together_as_much_as_one_number():
    rng = np.random.default_rng(0)
    numeric = (rng.normal(0, (5, 3, 4, 2, 0), (500, 5))).astype(np.float32)
    names = ("age", "text:topic0", "text:topic1", "other text:topic0", "text:topic2")
    table = FeatureTable(numeric, np.empty((500, 0), np.int32), names)
    train = Samples(table, np.zeros(500))
    encoder = DenseEncoder(clip=False, topics_as_one=True).fit(train, REGRESSION, 0)
    spread = encoder.transform(table).std(axis=0)
    assert spread == pytest.approx([1, 0.6, 0.8, 1, 0], abs=0.05)
    alone = DenseEncoder(clip=False).fit(train, REGRESSION, 0).transform(table)
    assert alone.std(axis=0) == pytest.approx([1, 1, 1, 1, 0], abs=1e-4)


def test_topics_are_joined_by_quartiles_where_numbers_are_squashed():
    numeric = np.random.default_rng(0).normal(0, (3, 4), (500, 2)).astype(np.float32)
    table = FeatureTable(numeric, np.empty((500, 0), np.int32), ("x:topic0", "x:topic1"))
    encoder = DenseEncoder(topics_as_one=True).fit(Samples(table, np.zeros(500)), REGRESSION, 0)
    low, high = np.quantile(numeric, [0.25, 0.75], axis=0)
    assert encoder.scale == pytest.approx([1 / np.hypot(*(high - low))] * 2, rel=1e-3)


def test_words_of_texts_are_flags_and_no_bag_of_words():
    numeric = (np.random.default_rng(0).random((300, 60)) < 0.1).astype(np.float32)
    codes = np.empty((300, 0), np.int32)
    for names, n_counts in (("n{}", 60), ("text:'w{}'", 0)):
        table = FeatureTable(numeric, codes, tuple(names.format(i) for i in range(60)))
        encoder = DenseEncoder().fit(Samples(table, np.zeros(300)), REGRESSION, 0)
        assert len(encoder.count_column) == n_counts


def test_missing_numbers_and_constant_columns_become_zero():
    train = samples(np.array([[1.0, 5.0, np.nan], [3.0, 5.0, np.nan], [np.nan, 5.0, np.nan]]))
    for clip in (True, False):
        matrix = DenseEncoder(clip=clip, n_knots=4).fit_transform(train, REGRESSION, 0)
        assert matrix[2, 0] == 0.0
        assert not matrix[:, 1:3].any()


def test_two_levels_fill_one_column_and_an_unseen_level_is_zero():
    train = samples(codes=[[2], [3], [3]], n_levels=(5,))
    encoder = DenseEncoder().fit(train, REGRESSION, 0)
    table = samples(codes=[[2], [3], [4], [0]], n_levels=(5,)).table
    assert encoder.transform(table).ravel().tolist() == [-1, 1, 0, 0]


def test_each_seen_level_gets_a_column_up_to_the_limit():
    train = samples(codes=[[0], [2], [3], [3]], n_levels=(5,))
    encoder = DenseEncoder(one_hot_max_levels=3).fit(train, REGRESSION, 0)
    assert encoder.width == 3
    assert encoder.transform(train.table).sum(axis=1).tolist() == [1, 1, 1, 1]
    top = DenseEncoder(one_hot_max_levels=2, target_encode=False).fit(train, REGRESSION, 0)
    assert top.transform(train.table).tolist() == [[1, 0], [0, 0], [0, 1], [0, 1]]


def test_a_constant_category_takes_no_column():
    assert DenseEncoder().fit(samples(codes=[[2], [2]], n_levels=(3,)), REGRESSION, 0).width == 0


def test_many_levels_become_their_target_average():
    y = np.repeat([-1.0, 1.0], 200)
    codes = np.concatenate([np.arange(200) % 20 + 2, np.arange(200) % 20 + 22])[:, None]
    train = samples(codes=codes, n_levels=(42,), y=y)
    matrix = DenseEncoder().fit(train, REGRESSION, 0).transform(train.table)
    assert matrix.shape == (400, 1)
    assert matrix[:200].max() < 0 < matrix[200:].min()
    assert matrix.std() == pytest.approx(1, abs=1e-4)


def test_target_averages_of_training_rows_do_not_hold_their_own_target():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 2000)
    train = samples(codes=rng.integers(2, 1002, (2000, 1)), n_levels=(1002,), y=y)
    encoder = DenseEncoder()
    held_out = encoder.fit_transform(train, BINARY, 0)[:, 0]
    seen = encoder.transform(train.table)[:, 0]
    assert np.corrcoef(seen, y)[0, 1] > 0.5
    assert abs(np.corrcoef(held_out, y)[0, 1]) < 0.1


def test_fit_transform_equals_transform_apart_from_target_averages():
    train = mixed()
    encoder = DenseEncoder(one_hot_max_levels=100)
    assert np.array_equal(encoder.fit_transform(train, BINARY, 0), encoder.transform(train.table))


def test_pieces_rise_from_below_to_above():
    train = samples(np.linspace(0, 8, 81)[:, None])
    encoder = DenseEncoder(n_knots=4).fit(train, REGRESSION, 0)
    table = samples(np.array([[-9.0], [3.0], [99.0], [np.nan]])).table
    pieces = encoder.transform(table)[:, 1:]
    assert pieces[0].tolist() == [-0.5] * 4
    assert pieces[1] == pytest.approx([0.5, 0.0, -0.5, -0.5])
    assert pieces[2].tolist() == [0.5] * 4
    assert pieces[3].tolist() == [0.0] * 4


def test_word_counts_are_scaled_to_one_length_by_row():
    counts = np.random.default_rng(0).poisson(0.05, (200, 60)).astype(float)
    counts[0] = 0
    matrix = DenseEncoder().fit(samples(counts), REGRESSION, 0).transform(samples(counts).table)
    length = np.linalg.norm(matrix, axis=1)
    assert length[counts.sum(axis=1) > 0] == pytest.approx(10, rel=1e-4)
    assert length[0] == 0.0


def test_rows_are_encoded_one_by_one_as_in_a_batch():
    train = mixed()
    encoder = DenseEncoder(n_knots=5).fit(train, BINARY, 0)
    whole = encoder.transform(train.table)
    for row in range(5):
        assert np.array_equal(encoder.transform(train.table.take([row])), whole[[row]])
    assert encoder.transform(train.table.take([])).shape == (0, encoder.width)


def test_a_restored_encoder_gives_the_same_matrix():
    train = mixed()
    encoder = DenseEncoder(n_knots=5).fit(train, BINARY, 0)
    again = DenseEncoder()
    again.restore(encoder.state())
    assert np.array_equal(again.transform(train.table), encoder.transform(train.table))


def test_weights_of_two_equal_two_rows():
    once = mixed(400)
    heavy = np.arange(400) % 2
    twice = once.take(np.concatenate([np.arange(400), np.flatnonzero(heavy)]))
    weighted = Samples(once.table, once.y, 1.0 + heavy)
    columns = []
    for train in (weighted, twice):
        encoder = DenseEncoder(one_hot_max_levels=5).fit(train, BINARY, 0)
        columns.append(encoder.transform(once.table)[:, -1])
    assert np.corrcoef(*columns)[0, 1] == pytest.approx(1, abs=1e-6)


def test_a_shortened_table_is_refused():
    state = DenseEncoder().fit(mixed(), BINARY, 0).state()
    arrays = dict(state.arrays) | {"tables": state.arrays["tables"][:-1]}
    with pytest.raises(ArtifactError, match="'tables' must be float32 of shape"):
        DenseEncoder().restore(dataclasses.replace(state, arrays=arrays))


def test_transform_before_fit_is_refused():
    with pytest.raises(NotFittedError, match="call fit first"):
        DenseEncoder().transform(mixed().table)


def blas_threads():
    from threadpoolctl import threadpool_info

    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


def test_the_thread_limit_is_lifted_by_the_last_one_out():
    before = blas_threads()
    with one_blas_thread():
        with one_blas_thread():
            pass
        assert set(blas_threads()) == {1}
    assert blas_threads() == before


def test_every_thread_may_limit_matrix_products_in_turn():
    def limited():
        with one_blas_thread():
            return set(blas_threads())

    def limited_by_others():
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1, user_api="blas"):
            return set(blas_threads())

    before = blas_threads()
    assert limited() == {1}
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(limited_by_others).result() == {1}
        assert pool.submit(limited).result() == {1}
    assert blas_threads() == before

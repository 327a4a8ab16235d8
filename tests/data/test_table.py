import copy
import gc
import pickle
import threading
import weakref

import numpy as np
import pytest

from tabular_automl.data.table import FeatureTable, Samples


@pytest.fixture
def table() -> FeatureTable:
    return FeatureTable(
        numeric=np.arange(10, dtype=np.float32).reshape(5, 2),
        codes=np.array([[0], [1], [2], [3], [2]], dtype=np.int32),
        numeric_names=("a", "b"),
        code_names=("c",),
        n_levels=(4,),
        raw={"text": np.array(list("vwxyz"))},
    )


def test_a_table_knows_its_size_and_names(table):
    assert len(table) == 5
    assert table.names == ("a", "b", "c")
    assert table.n_features == 3
    assert table.n_bytes == 5 * 3 * 4
    assert repr(table) == "FeatureTable(n_samples=5, n_numeric=2, n_categorical=1)"


def test_a_whole_table_is_its_own_root(table):
    assert table.root is table
    assert table.rows is None


def test_take_cuts_all_blocks_in_the_given_order(table):
    view = table.take([4, 0, 4])
    assert len(view) == 3
    np.testing.assert_array_equal(view.numeric, [[8, 9], [0, 1], [8, 9]])
    np.testing.assert_array_equal(view.codes, [[2], [0], [2]])
    assert view.raw["text"].tolist() == ["z", "v", "z"]
    assert (view.names, view.n_levels) == (table.names, table.n_levels)


def test_a_view_of_a_view_points_into_the_root(table):
    view = table.take([4, 3, 1]).take([2, 0])
    assert view.root is table
    np.testing.assert_array_equal(view.rows, [1, 4])
    np.testing.assert_array_equal(view.numeric, table.numeric[[1, 4]])


def test_taking_no_rows_keeps_the_features(table):
    view = table.take([])
    assert view.numeric.shape == (0, 2)
    assert view.codes.shape == (0, 1)
    assert view.matrix().shape == (0, 3)


def test_views_do_not_share_memory_that_could_change_the_root(table):
    table.take([0]).numeric[0, 0] = 99
    assert table.numeric[0, 0] == 0


def test_blocks_are_cut_once(table):
    view = table.take([1, 2])
    assert view.numeric is view.numeric
    assert view.matrix() is view.matrix()


def test_matrix_is_both_blocks_side_by_side(table):
    matrix = table.matrix()
    assert matrix.dtype == np.float32
    assert matrix.flags.c_contiguous
    np.testing.assert_array_equal(matrix, np.hstack([table.numeric, table.codes]))
    np.testing.assert_array_equal(table.take([3, 1]).matrix(), matrix[[3, 1]])


def test_matrix_of_numbers_only_is_the_numeric_block():
    numeric = np.ones((3, 2), dtype=np.float32)
    table = FeatureTable(numeric, np.empty((3, 0), dtype=np.int32), ("a", "b"))
    np.testing.assert_array_equal(table.matrix(), numeric)


def test_derived_values_are_built_once_for_all_threads(table):
    calls = []
    barrier = threading.Barrier(4)

    def build(view: FeatureTable) -> int:
        calls.append(view)
        return len(view)

    def ask() -> None:
        barrier.wait(timeout=10)
        assert table.derived(("family", 255), build) == 5

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert calls == [table]


def test_a_build_that_takes_long_holds_up_no_other_value(table):
    began, released = threading.Event(), threading.Event()

    def late(view: FeatureTable) -> str:
        began.set()
        assert released.wait(timeout=10)
        return "late"

    thread = threading.Thread(target=table.derived, args=("slow", late))
    thread.start()
    assert began.wait(timeout=10)
    quick: list[int] = []
    other = threading.Thread(target=lambda: quick.append(table.derived("quick", len)))
    other.start()
    other.join(timeout=5)
    assert quick == [5]
    released.set()
    thread.join(timeout=10)
    assert table.derived("slow", lambda view: "again") == "late"


def test_derived_values_of_different_keys_and_views_are_apart(table):
    assert table.derived("n", len) == 5
    assert table.take([0]).derived("n", len) == 1
    assert table.derived("m", lambda view: view.n_features) == 3


def test_a_build_may_ask_for_other_derived_values(table):
    assert table.derived("shape", lambda view: view.matrix().shape) == (5, 3)


@pytest.mark.parametrize("through", [copy.deepcopy, lambda view: pickle.loads(pickle.dumps(view))])
def test_copies_travel_without_derived_values(table, through):
    view = table.take([2, 0])
    view.derived("lock", lambda _: threading.Lock())  # which could be neither copied nor pickled
    other = through(view)
    np.testing.assert_array_equal(other.matrix(), view.matrix())
    assert other.root is not table
    np.testing.assert_array_equal(other.root.numeric, table.numeric)
    assert other.derived("lock", lambda _: "built anew") == "built anew"


def test_with_numeric_appends_features_to_a_whole_new_table(table):
    wider = table.take([0, 1]).with_numeric(np.array([[0.5], [0.25]]), ("new",))
    assert wider.rows is None
    assert wider.names == ("a", "b", "new", "c")
    assert wider.numeric.dtype == np.float32
    np.testing.assert_array_equal(wider.numeric[:, 2], [0.5, 0.25])
    np.testing.assert_array_equal(wider.codes, table.codes[:2])
    assert table.n_features == 3


def test_concatenate_puts_features_side_by_side(table):
    other = FeatureTable(
        np.empty((5, 0), dtype=np.float32),
        np.ones((5, 1), dtype=np.int32),
        code_names=("d",),
        n_levels=(7,),
        raw={"image": np.arange(5)},
    )
    joined = FeatureTable.concatenate([table, other], 5)
    assert joined.names == ("a", "b", "c", "d")
    assert joined.n_levels == (4, 7)
    assert set(joined.raw) == {"text", "image"}
    np.testing.assert_array_equal(joined.codes, np.hstack([table.codes, other.codes]))


def test_concatenating_nothing_gives_a_table_without_features():
    table = FeatureTable.concatenate([], 4)
    assert len(table) == 4
    assert table.n_features == 0
    assert table.matrix().shape == (4, 0)


@pytest.mark.parametrize("weight", [None, np.array([0.5, 1.5, 1, 1, 1])])
def test_samples_are_taken_together(table, weight):
    samples = Samples(table, np.arange(5), weight).take([3, 0])
    assert len(samples) == 2
    assert samples.y.tolist() == [3, 0]
    np.testing.assert_array_equal(samples.table.numeric, table.numeric[[3, 0]])
    if weight is None:
        assert samples.weight is None
    else:
        assert samples.weight.tolist() == [1.0, 0.5]


def test_a_table_and_what_is_derived_of_it_are_freed_at_once():
    """A table that holds itself would wait for the garbage collector, with all its arrays."""
    table = FeatureTable(np.zeros((3, 1), np.float32), np.zeros((3, 0), np.int32), ("a",))
    view = table.take([0, 2])
    view.matrix()
    told = [weakref.ref(table), weakref.ref(view)]
    gc.disable()
    try:
        del table
        assert view.root.matrix().shape == (3, 1)
        del view
        assert [each() for each in told] == [None, None]
    finally:
        gc.enable()


def test_a_few_rows_make_their_own_matrix_and_many_take_it_from_the_whole_table(table):
    expected = np.hstack([table.numeric, table.codes])
    np.testing.assert_array_equal(table.take([3]).matrix(), expected[[3]])
    assert not table.has_matrix
    np.testing.assert_array_equal(table.take([3, 0]).matrix(), expected[[3, 0]])
    assert table.has_matrix
    np.testing.assert_array_equal(table.take([2]).matrix(), expected[[2]])


def test_rows_that_are_cut_out_are_a_table_of_their_own(table):
    whole = table.take([4, 1]).cut_out()
    assert whole.root is whole
    np.testing.assert_array_equal(whole.matrix(), table.matrix()[[4, 1]])
    assert whole.raw["text"].tolist() == ["z", "w"]
    assert (whole.names, whole.n_levels) == (table.names, table.n_levels)

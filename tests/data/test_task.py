import datetime
import json

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabular_automl.artifacts.state import State
from tabular_automl.core.errors import InvalidOptionError, LabelError
from tabular_automl.data.task import ProblemType, TargetCodec, Task, infer_task

REGRESSION = Task(ProblemType.REGRESSION)


def classes_codec(y: pd.Series) -> TargetCodec:
    return TargetCodec.fit(y, infer_task(y, "multiclass")[0], "log_loss")


def saved_and_loaded(codec: TargetCodec) -> TargetCodec:
    state = codec.state()
    assert not state.arrays
    assert not state.blobs
    return TargetCodec.from_state(State(meta=json.loads(json.dumps(state.meta))))


def binomial(n_samples: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(0).binomial(40, 0.3, n_samples)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([True, False, True], "binary"),
        (["a", "b", "c"], "multiclass"),
        (["no", "yes"] * 5, "binary"),
        (pd.Categorical([1, 2, 3]), "multiclass"),
        (pd.Categorical([0.5, 1.5]), "binary"),
        ([0, 1, 1, 0], "binary"),
        ([0.0, 1.0, 1.0], "binary"),  # whole numbers as floats: their column had missing ones
        ([-5, 1000], "binary"),
        (list(range(3)) * 10, "multiclass"),
        ([3.0, 4.0, 5.0] * 4, "multiclass"),
        (list(range(10)) * 2, "regression"),  # hardly repeated
        (list(range(15)) * 20, "multiclass"),
        (list(range(15)) * 5, "regression"),
        (list(range(15)) * 20 + [15], "regression"),  # a thin tail: a count
        (list(range(100)) * 10, "multiclass"),  # codes without gaps, all alike
        (list(range(1, 101)) * 10, "multiclass"),
        (list(range(2, 102)) * 10, "regression"),
        (list(range(100)) * 5, "regression"),
        (binomial(5000), "regression"),
        (list(range(50)), "regression"),
        ([0.5, 1.5, 2.5] * 10, "regression"),
        ([0.25, 0.75] * 10, "regression"),
        ([1.0, 2.0, np.float32(3.5)], "regression"),
        (["1", "2", "3"] * 10, "multiclass"),
        (["0.5", "1.5"] * 10, "binary"),
        ([str(number / 7) for number in range(50)], "regression"),
        ([f"{number},000" for number in range(1, 40)], "regression"),
        ([f"id{number}" for number in range(600)] * 2, "multiclass"),
        (pd.array([1, 2, 3] * 5, dtype="Int64"), "multiclass"),
        (pd.array([0.1, 0.2, 0.3], dtype="Float64"), "regression"),
        (pd.array([0.1, 0.2, 0.3], dtype=pd.ArrowDtype(pa.float64())), "regression"),
        (np.array([1, 2.5, 4], dtype=object), "regression"),
        (np.array([True, False], dtype=object), "binary"),
        (np.array([1, "a", 2.5], dtype=object), "multiclass"),
        ([2**63, 2**63 + 1] * 3, "binary"),
    ],
)
def test_the_problem_type_follows_from_the_labels(values, expected):
    task, reason = infer_task(pd.Series(values))
    assert task.problem_type == expected
    assert reason


def test_the_number_of_classes_counts_those_that_occur():
    y = pd.Series(pd.Categorical(["a", "b", "a"], categories=["c", "b", "a"]))
    assert infer_task(y)[0] == Task(ProblemType.BINARY, 2)
    assert infer_task(pd.Series(list("abc")))[0].n_outputs == 3
    assert infer_task(pd.Series([0.5, 1.2]))[0].n_outputs == 1


def test_the_user_has_the_last_word():
    y = pd.Series([1, 2, 3] * 10)
    assert infer_task(y, "regression") == (REGRESSION, "as asked")
    assert infer_task(y * 1.5, "multiclass")[0] == Task(ProblemType.MULTICLASS, 3)
    assert infer_task(y > 1, "multiclass")[0] == Task(ProblemType.BINARY, 2)
    assert infer_task(y.astype(str), "regression")[0] == REGRESSION


@pytest.mark.parametrize(
    ("values", "asked", "match"),
    [
        (np.array([], dtype=object), None, "'y' must hold values, got no labelled row"),
        (["a", "a"], None, "at least 2 different values, got only 'a'"),
        ([2.5, 2.5], "regression", "at least 2 different values, got only 2.5"),
        ([1, 2, 3], "binary", r"exactly 2 classes .* got 3 \(1, 2, 3\)"),
        (list("abcdefg"), "binary", "got 7 .*'e' and 2 more"),
        (["1", "two", "3"], "regression", "must hold numbers .* got 'two' in row 1"),
        ([0.5, np.inf, 1.5], None, "finite numbers, got inf in row 1"),
        ([0.5, -np.inf, 1.5], "regression", "finite numbers, got -inf in row 1"),
        (pd.to_datetime(["2020-01-01", "2020-01-02"]), None, "got dtype 'datetime64"),
        (pd.to_timedelta([1, 2]), "regression", "got dtype 'timedelta64"),
        (pd.period_range("2020", periods=2, freq="Y"), None, "got dtype 'period"),
        ([[1], [2]], None, r"got values such as \[1\]"),
    ],
)
def test_labels_that_do_not_fit_the_task_are_refused(values, asked, match):
    with pytest.raises(LabelError, match=match):
        infer_task(pd.Series(values, name="y"), asked)


def test_unknown_problem_types_get_the_nearest_name():
    with pytest.raises(InvalidOptionError, match=r"'regresion'\. Did you mean 'regression'"):
        infer_task(pd.Series([1, 2]), "regresion")


LABELS = {
    "int64": pd.Series([5, 2**62 + 1, 2**62, 5]),
    "int8": pd.Series([2, -1, 2, 1], dtype="int8"),
    "uint64": pd.Series([2**64 - 1, 0, 2**64 - 2], dtype="uint64"),
    "bool": pd.Series([True, False, True]),
    "float64": pd.Series([0.1, 1.5, 0.1, 3]),
    "float32": pd.Series([0.1, 1.5, 0.1], dtype="float32"),
    "float16": pd.Series([0.1, 1.5, 0.1], dtype="float16"),
    "str": pd.Series(["b", "a", "ä", "b"], dtype="str"),
    "object": pd.Series(["b", "a", "b"], dtype=object),
    "mixed": pd.Series([2, "a", 1, "b"], dtype=object),
    "string": pd.Series(["b", "a"], dtype="string"),
    "string_python": pd.Series(["b", "a"], dtype=pd.StringDtype("python")),
    "Int64": pd.Series([2**62 + 1, 2**62, 1], dtype="Int64"),
    "boolean": pd.Series([True, False], dtype="boolean"),
    "category": pd.Series(pd.Categorical(["b", "a", "b"], ["c", "b", "a"], ordered=True)),
    "int_category": pd.Series(pd.Categorical([3, 1, 3], [3, 2, 1])),
    "arrow_int": pd.Series([3, 1], dtype=pd.ArrowDtype(pa.int32())),
    "arrow_string": pd.Series(["b", "a"], dtype=pd.ArrowDtype(pa.string())),
    "arrow_bool": pd.Series([True, False], dtype=pd.ArrowDtype(pa.bool_())),
}


@pytest.mark.parametrize("y", LABELS.values(), ids=LABELS)
def test_classes_come_back_in_their_own_dtype_also_after_saving(y):
    y = y.rename("label").set_axis(np.arange(len(y)) + 10)
    codec = classes_codec(y)
    codes = codec.encode(y)
    assert codes.dtype == np.int64
    assert sorted(set(codes)) == list(range(codec.task.n_classes))
    for one in (codec, saved_and_loaded(codec)):
        np.testing.assert_array_equal(one.encode(y), codes)
        pd.testing.assert_series_equal(one.labels(codes, y.index), y)
        empty = one.labels(codes[:0], y.index[:0])
        pd.testing.assert_series_equal(empty, y.iloc[:0])
        pd.testing.assert_index_equal(one.classes, codec.classes)


WRAPPED = {
    "sparse": (pd.Series([0, 1, 0], dtype="Sparse[int64]"), "int64"),
    "decimal": (pd.Series([1.5, 2.5, 1.5]).astype(pd.ArrowDtype(pa.decimal128(10, 2))), "float64"),
    "dictionary": (
        pd.Series(["b", "a", "b"]).astype(pd.ArrowDtype(pa.dictionary(pa.int32(), pa.string()))),
        pd.ArrowDtype(pa.string()),
    ),
}


@pytest.mark.parametrize(("y", "plain"), WRAPPED.values(), ids=WRAPPED)
def test_classes_of_a_dtype_that_wraps_another_come_back_in_that_one(y, plain):
    y = y.rename("label")
    codec = classes_codec(y)
    for one in (codec, saved_and_loaded(codec)):
        codes = one.encode(y)
        pd.testing.assert_series_equal(one.labels(codes), y.astype(plain))


@pytest.mark.parametrize("name", ["sparse", "decimal"])
def test_numbers_of_a_dtype_that_wraps_another_are_saved(name):
    y = WRAPPED[name][0].rename("label")
    codec = TargetCodec.fit(y, Task(ProblemType.REGRESSION), "squared_error")
    np.testing.assert_array_equal(saved_and_loaded(codec).encode(y), codec.encode(y))


def test_classes_are_sorted_and_categories_keep_their_order():
    assert list(classes_codec(pd.Series(["yes", "no"])).classes) == ["no", "yes"]
    assert list(classes_codec(pd.Series([True, False])).classes) == [False, True]
    assert list(classes_codec(LABELS["category"]).classes) == ["b", "a"]
    assert list(classes_codec(LABELS["mixed"]).classes) == [1, 2, "a", "b"]


def test_labels_of_equal_value_match_across_dtypes():
    codec = classes_codec(pd.Series([0, 1, 0]))
    for y in (pd.Series([1.0, 0.0]), pd.Series([True, False]), pd.Series([1, 0], dtype="Int8")):
        assert codec.encode(y).tolist() == [1, 0]
    codec = classes_codec(LABELS["category"])
    assert codec.encode(pd.Series(["a", "b"])).tolist() == [1, 0]
    assert codec.encode(pd.Series(["a", "b"], dtype="category")).tolist() == [1, 0]


def test_no_labels_are_encoded_to_none():
    assert classes_codec(pd.Series(["a", "b"])).encode(pd.Series([], dtype=object)).shape == (0,)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        (["a", "z", "y"], r"\('a', 'b'\), got 'z', 'y', first in row 1"),
        (["a", None], "no missing values here, got 1, the first in row 1"),
        ([1.0, np.inf], "got 1.0, inf, first in row 0"),
    ],
)
def test_labels_that_were_not_in_training_are_named(values, match):
    codec = classes_codec(pd.Series(["a", "b"], name="y"))
    with pytest.raises(LabelError, match=match):
        codec.encode(pd.Series(values, name="y"))


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ([1.0, 2.0, np.inf], "finite numbers, got inf"),
        ([datetime.date(2020, 1, 1), datetime.date(2020, 1, 2)], "of type date; convert"),
        ([(1, 2), (3, 4)], "of type tuple; convert"),
        (pd.cut([1, 2, 3], 2), "of type Interval; convert"),
        ([b"a", b"b"], "of type bytes; convert"),
    ],
)
def test_classes_that_cannot_be_saved_are_refused_at_once(values, match):
    with pytest.raises(LabelError, match=match):
        classes_codec(pd.Series(values))


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "squared_log_error"])
@pytest.mark.parametrize("dtype", ["int64", "float64", "float32", "Int64", "object"])
def test_regression_labels_are_standardised_and_undone(loss, dtype):
    y = pd.Series([0, 3, 10, 1000], dtype=dtype, name="price", index=list("abcd"))
    codec = TargetCodec.fit(y, REGRESSION, loss)
    encoded = codec.encode(y)
    assert encoded.dtype == np.float64
    np.testing.assert_allclose([encoded.mean(), encoded.std()], [0, 1], atol=1e-12)
    np.testing.assert_array_equal(saved_and_loaded(codec).encode(y), encoded)
    decoded = saved_and_loaded(codec).decode(encoded[:, None])
    np.testing.assert_allclose(decoded, [0, 3, 10, 1000], rtol=1e-12, atol=1e-12)
    values = codec.values(decoded, y.index)
    assert values.dtype == ("float32" if dtype == "float32" else "float64")
    assert values.name == "price"
    assert list(values.index) == list("abcd")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-1e300, 1e300), min_size=2, max_size=30),
    st.lists(st.floats(-1e6, 1e6), max_size=10),
)
def test_any_range_survives_and_predictions_stay_near_it(values, predicted):
    y = pd.Series(values)
    codec = TargetCodec.fit(y, REGRESSION, "squared_error")
    encoded = codec.encode(y)
    assert np.isfinite(encoded).all()
    size = float(y.abs().max())
    np.testing.assert_allclose(codec.decode(encoded), y, rtol=1e-9, atol=1e-9 * size)
    decoded = codec.decode(np.array(predicted, dtype=np.float64))
    margin = 0.051 * y.max() - 0.051 * y.min()
    assert ((decoded >= y.min() - margin) & (decoded <= y.max() + margin)).all()


def test_predictions_are_clipped_beside_the_range_and_do_not_cross_zero():
    far = np.array([[-1e9], [1e9], [np.inf]])
    y = pd.Series([0.0, 50.0, 100.0])
    np.testing.assert_allclose(TargetCodec.fit(y, REGRESSION, "").decode(far), [0, 105, 105])
    np.testing.assert_allclose(TargetCodec.fit(-y, REGRESSION, "").decode(far), [-105, 0, 0])
    codec = TargetCodec.fit(y - 50, REGRESSION, "")
    np.testing.assert_allclose(codec.decode(far), [-55, 55, 55])
    codec = TargetCodec.fit(y, REGRESSION, "squared_log_error")
    np.testing.assert_allclose(codec.decode(far), [0, *[101**1.05 - 1] * 2])


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ([1.0, np.nan], "no missing values here, got 1, the first in row 1"),
        ([1.0, np.inf], "finite numbers, got inf in row 1"),
        ([1.0, -1.0], "above -1 .* got -1.0 in row 1; choose another eval_metric"),
        (["1", "x"], "got 'x' in row 1"),
    ],
)
def test_regression_labels_of_an_evaluation_are_checked(values, match):
    codec = TargetCodec.fit(pd.Series([1.0, 2.0]), REGRESSION, "squared_log_error")
    with pytest.raises(LabelError, match=match):
        codec.encode(pd.Series(values))

"""Classification metrics against scikit-learn."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from tabular_automl.metrics.base import METRICS
from tabular_automl.metrics.classification import _binary_auc

AVERAGES = ("macro", "micro", "weighted")


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """scikit-learn warns where a figure is undefined; the value it then gives is what matters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _codes(function: Callable[..., float], **options: Any) -> Callable[..., float]:
    def call(y: Any, probability: Any, weight: Any) -> float:
        return function(y, probability.argmax(axis=1), sample_weight=weight, **options)

    return call


def _kappa(y: Any, probability: Any, weight: Any, **options: Any) -> float:
    labels = list(range(probability.shape[1]))
    codes = probability.argmax(axis=1)
    return reference.cohen_kappa_score(y, codes, labels=labels, sample_weight=weight, **options)


def _all_labels(function: Callable[..., float]) -> Callable[..., float]:
    def call(y: Any, probability: Any, weight: Any) -> float:
        labels = list(range(probability.shape[1]))
        return function(y, probability, labels=labels, sample_weight=weight)

    return call


LABEL_REFERENCES: dict[str, Callable[..., float]] = {
    "accuracy": _codes(reference.accuracy_score),
    "balanced_accuracy": _codes(reference.balanced_accuracy_score),
    "mcc": _codes(reference.matthews_corrcoef),
    "cohen_kappa": _kappa,
    "quadratic_kappa": lambda y, p, w: _kappa(y, p, w, weights="quadratic"),
    "log_loss": _all_labels(reference.log_loss),
    "brier_score": _all_labels(reference.brier_score_loss),
    **{f"f1_{a}": _codes(reference.f1_score, average=a) for a in AVERAGES},
    **{f"precision_{a}": _codes(reference.precision_score, average=a) for a in AVERAGES},
    **{f"recall_{a}": _codes(reference.recall_score, average=a) for a in AVERAGES},
}
BINARY_REFERENCES: dict[str, Callable[..., float]] = {
    "f1": _codes(reference.f1_score),
    "precision": _codes(reference.precision_score),
    "recall": _codes(reference.recall_score),
    "roc_auc": lambda y, p, w: reference.roc_auc_score(y, p[:, 1], sample_weight=w),
    "roc_auc_ovr": lambda y, p, w: reference.roc_auc_score(y, p[:, 1], sample_weight=w),
    "roc_auc_ovo": lambda y, p, w: reference.roc_auc_score(y, p[:, 1], sample_weight=w),
    "average_precision": lambda y, p, w: reference.average_precision_score(
        y, p[:, 1], sample_weight=w
    ),
}


def _ovr(average: str) -> Callable[..., float]:
    return lambda y, p, w: reference.roc_auc_score(
        y, p, multi_class="ovr", average=average, sample_weight=w
    )


def _ovo(average: str) -> Callable[..., float]:
    return lambda y, p, w: reference.roc_auc_score(y, p, multi_class="ovo", average=average)


MULTICLASS_REFERENCES: dict[str, Callable[..., float]] = {
    "roc_auc": _ovr("macro"),
    "roc_auc_ovr": _ovr("macro"),
    "roc_auc_ovr_weighted": _ovr("weighted"),
    "roc_auc_ovo": _ovo("macro"),
    "roc_auc_ovo_weighted": _ovo("weighted"),
    "average_precision": lambda y, p, w: reference.average_precision_score(y, p, sample_weight=w),
}


def _sample(
    seed: int, n_samples: int, n_classes: int, *, weighted: bool, ties: bool
) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, n_classes, n_samples)
    probability = rng.dirichlet(np.ones(n_classes), n_samples)
    if ties:
        probability = np.round(probability * 4) + 0.5
        probability /= probability.sum(axis=1, keepdims=True)
    weight = rng.choice([0.0, 0.5, 1.0, 3.0], n_samples) if weighted else None
    return y, probability, weight


def _same(name: str, expected: Callable[..., float], sample: tuple[Any, Any, Any]) -> None:
    y, probability, weight = sample
    assert METRICS.get(name).raw(y, probability, weight) == pytest.approx(
        expected(y, probability, weight), abs=1e-9
    )


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_classes", [2, 3, 7])
@pytest.mark.parametrize("name", LABEL_REFERENCES)
def test_figures_of_any_classes_equal_scikit_learn(
    name: str, n_classes: int, weighted: bool, ties: bool
) -> None:
    sample = _sample(n_classes, 200, n_classes, weighted=weighted, ties=ties)
    _same(name, LABEL_REFERENCES[name], sample)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", BINARY_REFERENCES)
def test_binary_figures_equal_scikit_learn(name: str, weighted: bool, ties: bool) -> None:
    _same(name, BINARY_REFERENCES[name], _sample(5, 300, 2, weighted=weighted, ties=ties))


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", MULTICLASS_REFERENCES)
def test_multiclass_figures_equal_scikit_learn(name: str, weighted: bool, ties: bool) -> None:
    weighted = weighted and "ovo" not in name  # scikit-learn has no weighted pairs
    _same(name, MULTICLASS_REFERENCES[name], _sample(6, 300, 4, weighted=weighted, ties=ties))


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 3)), min_size=1),
    weighted=st.booleans(),
)
def test_auc_is_the_share_of_ordered_pairs(
    rows: list[tuple[bool, int, int]], weighted: bool
) -> None:
    positive, rank, weight = (np.array(column) for column in zip(*rows, strict=True))
    w = weight.astype(float) if weighted else np.ones(len(rows))
    pairs = np.outer(w * positive, w * ~positive)
    order = (rank[:, None] > rank) + 0.5 * (rank[:, None] == rank)
    expected = (pairs * order).sum() / pairs.sum() if pairs.sum() else 0.5

    found = _binary_auc(positive, rank.astype(float), w if weighted else None)

    assert found == pytest.approx(expected, abs=1e-9)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), n_samples=st.integers(1, 12), n_classes=st.integers(2, 5))
def test_small_samples_with_absent_classes_equal_scikit_learn(
    seed: int, n_samples: int, n_classes: int
) -> None:
    sample = _sample(seed, n_samples, n_classes, weighted=False, ties=True)
    for name, expected in LABEL_REFERENCES.items():
        if "kappa" not in name:  # undefined for a single class; see below
            _same(name, expected, sample)


@pytest.mark.parametrize("name", [n for n in METRICS if METRICS.get(n).loss == "log_loss"])
@pytest.mark.parametrize("code", [0, 1])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_one_class_and_a_constant_prediction_give_a_number(
    name: str, code: int, n_classes: int
) -> None:
    y = np.full(5, code)
    probability = np.full((5, n_classes), 1.0 / n_classes)

    for weight in (None, np.array([0.0, 1.0, 1.0, 0.0, 2.0])):
        assert np.isfinite(METRICS.get(name).raw(y, probability, weight))


def test_auc_of_one_class_is_one_half() -> None:
    probability = np.column_stack([np.linspace(1, 0, 4), np.linspace(0, 1, 4)])

    assert METRICS.get("roc_auc").raw(np.ones(4, dtype=int), probability) == 0.5


def test_auc_skips_a_class_that_is_absent() -> None:
    y, probability, _ = _sample(0, 100, 3, weighted=False, ties=False)
    y[y == 2] = 1
    expected = np.mean([reference.roc_auc_score(y == k, probability[:, k]) for k in (0, 1)])

    assert METRICS.get("roc_auc").raw(y, probability) == pytest.approx(expected)


def test_zero_weight_counts_as_a_row_left_out() -> None:
    y, probability, weight = _sample(3, 200, 2, weighted=True, ties=True)
    kept = weight > 0
    for name in ("roc_auc", "average_precision", "log_loss", "f1", "balanced_accuracy", "mcc"):
        metric = METRICS.get(name)
        whole = metric.raw(y, probability, weight)
        assert whole == pytest.approx(metric.raw(y[kept], probability[kept], weight[kept]))


def test_log_loss_is_clipped_by_the_dtype() -> None:
    y, wrong = np.array([0, 1]), np.array([[0.0, 1.0], [1.0, 0.0]])
    log_loss = METRICS.get("log_loss")

    for dtype in (np.float32, np.float64):
        expected = reference.log_loss(y, wrong.astype(dtype))
        assert log_loss.raw(y, wrong.astype(dtype)) == pytest.approx(expected)


def test_binary_metrics_take_the_probability_of_the_second_class_alone() -> None:
    y, probability, weight = _sample(1, 100, 2, weighted=True, ties=True)
    for name in ("roc_auc", "log_loss", "brier_score", "average_precision"):
        metric = METRICS.get(name)
        both = metric.raw(y, probability, weight)
        assert metric.raw(y, probability[:, 1], weight) == pytest.approx(both)


def test_quadratic_kappa_uses_the_distance_of_codes_though_one_is_absent() -> None:
    y, codes = np.array([0, 1, 3, 3, 0, 1]), np.array([0, 3, 3, 1, 1, 1])
    expected = reference.cohen_kappa_score(y, codes, labels=[0, 1, 2, 3], weights="quadratic")

    assert METRICS.get("quadratic_kappa").raw(y, codes) == pytest.approx(expected)

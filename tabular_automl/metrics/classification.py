"""Metrics of class codes and class probabilities, in numpy.

The figures are those of scikit-learn. Where scikit-learn warns, raises or returns NaN because a
figure is undefined, the value of a prediction that knows nothing is returned, so that a fold or a
test set without some class can still be scored: 0.5 for an area under the ROC curve, 0 for
precision, recall, F1, average precision and the coefficients of agreement.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

from tabular_automl.data.task import ProblemType
from tabular_automl.metrics.base import Array, Metric, Reads

Average = Literal["binary", "macro", "micro", "weighted"]
Floats = npt.NDArray[np.float64]
# From the weights that are true, predicted and both, to one figure for each class.
Statistic = Callable[[Floats, Floats, Floats], Floats]

_BINARY = (ProblemType.BINARY,)
_CLASSES = (ProblemType.BINARY, ProblemType.MULTICLASS)


# ---- labels ---------------------------------------------------------------------------------


def _confusion(y: Array, codes: Array, weight: Array | None) -> Floats:
    """Return the weight of each (true, predicted) pair of codes, shape (n_codes, n_codes)."""
    n_codes = max(int(y.max(initial=0)), int(codes.max(initial=0)), 1) + 1
    pairs = y.astype(np.intp) * n_codes + codes
    counts = np.bincount(pairs, weights=weight, minlength=n_codes * n_codes)
    return counts.astype(np.float64).reshape(n_codes, n_codes)


def _ratio(numerator: Array, denominator: Array) -> Floats:
    """Divide; 0 where the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    result = np.zeros(numerator.shape)
    return np.divide(numerator, denominator, out=result, where=denominator > 0)


def _precision(true: Floats, predicted: Floats, both: Floats) -> Floats:
    return _ratio(both, predicted)


def _recall(true: Floats, predicted: Floats, both: Floats) -> Floats:
    return _ratio(both, true)


def _f1(true: Floats, predicted: Floats, both: Floats) -> Floats:
    return _ratio(2.0 * both, true + predicted)


def _averaged(
    y: Array, codes: Array, weight: Array | None, *, statistic: Statistic, average: Average
) -> float:
    """Return a per-class statistic, of class 1 or averaged over the classes that occur."""
    table = _confusion(y, codes, weight)
    true, predicted, both = table.sum(axis=1), table.sum(axis=0), np.diag(table)
    if average == "micro":
        return float(statistic(true.sum(), predicted.sum(), both.sum()))
    figures = statistic(true, predicted, both)
    if average == "binary":
        return float(figures[1])
    if average == "weighted":
        return float(_ratio(figures @ true, true.sum()))
    occurs = _occurs(y, codes, len(table))
    return float(figures[occurs].mean()) if occurs.any() else 0.0


def _occurs(y: Array, codes: Array, n_codes: int) -> npt.NDArray[np.bool_]:
    """Return which codes are true or predicted in some row, whatever its weight."""
    both = np.bincount(y.astype(np.intp), minlength=n_codes)
    return (both + np.bincount(codes, minlength=n_codes)) > 0


def _accuracy(y: Array, codes: Array, weight: Array | None) -> float:
    return float(np.average(y == codes, weights=weight))


def _balanced_accuracy(y: Array, codes: Array, weight: Array | None) -> float:
    """Mean recall of the classes that are true in some row."""
    table = _confusion(y, codes, weight)
    true = table.sum(axis=1)
    recall = _recall(true, table.sum(axis=0), np.diag(table))
    return float(recall[true > 0].mean()) if (true > 0).any() else 0.0


def _mcc(y: Array, codes: Array, weight: Array | None) -> float:
    """Matthews' coefficient, for any number of classes (Gorodkin, 2004)."""
    table = _confusion(y, codes, weight)
    true, predicted, total = table.sum(axis=1), table.sum(axis=0), table.sum()
    if np.count_nonzero(true) < 2 or np.count_nonzero(predicted) < 2:
        return 0.0  # tested on counts: rounding would make a tiny spread of a constant
    covariance = np.trace(table) * total - true @ predicted
    spread = (total**2 - predicted @ predicted) * (total**2 - true @ true)
    return float(covariance / np.sqrt(spread)) if spread > 0 else 0.0


def _kappa(y: Array, codes: Array, weight: Array | None, *, quadratic: bool) -> float:
    """Cohen's kappa; quadratic: a miss costs the squared distance of the class codes."""
    table = _confusion(y, codes, weight)
    position = np.arange(len(table), dtype=np.float64)
    distance = (position[:, None] - position) ** 2
    cost = distance if quadratic else (distance > 0).astype(np.float64)
    expected = table.sum(axis=1) @ cost @ table.sum(axis=0) / max(table.sum(), 1e-300)
    return float(1.0 - (cost * table).sum() / expected) if expected > 0 else 0.0


# ---- ranking --------------------------------------------------------------------------------


def _binary_auc(positive: npt.NDArray[np.bool_], rank: Array, weight: Array | None) -> float:
    """Return the probability that a positive row ranks above a negative one, ties counting half.

    O(n log n): rows are sorted once; a block of tied rows contributes its positives times the
    negatives below it plus half of those in it. 0.5 when one of the classes has no weight.
    """
    order = np.argsort(rank)
    above, is_last = positive[order], _block_ends(rank[order])
    w = np.ones(len(order)) if weight is None else np.asarray(weight, dtype=np.float64)[order]
    positives = np.diff(np.cumsum(np.where(above, w, 0.0))[is_last], prepend=0.0)
    negatives_up_to = np.cumsum(np.where(above, 0.0, w))[is_last]
    negatives = np.diff(negatives_up_to, prepend=0.0)
    pairs = positives.sum() * negatives_up_to[-1] if len(order) else 0.0
    return float(positives @ (negatives_up_to - 0.5 * negatives) / pairs) if pairs > 0 else 0.5


def _block_ends(ordered: Array) -> npt.NDArray[np.bool_]:
    """Return where a block of equal values ends."""
    ends = np.ones(len(ordered), dtype=bool)
    np.not_equal(ordered[1:], ordered[:-1], out=ends[:-1])
    return ends


def _positive_column(probability: Array) -> Array:
    return probability if probability.ndim == 1 else probability[:, -1]


def _is_binary(probability: Array) -> bool:
    return probability.ndim == 1 or probability.shape[1] <= 2


def _class_weights(y: Array, n_classes: int, weight: Array | None) -> Floats:
    codes = y.astype(np.intp)
    return np.bincount(codes, weights=weight, minlength=n_classes).astype(np.float64)


def _roc_auc_ovr(
    y: Array, probability: Array, weight: Array | None, *, weighted: bool = False
) -> float:
    """Each class against the rest, averaged over the classes that occur and are not alone."""
    if _is_binary(probability):
        return _binary_auc(y > 0, _positive_column(probability), weight)
    sizes = _class_weights(y, probability.shape[1], weight)
    judged = np.flatnonzero((sizes > 0) & (sizes < sizes.sum()))
    if not len(judged):
        return 0.5
    figures = [_binary_auc(y == k, probability[:, k], weight) for k in judged]
    return float(np.average(figures, weights=sizes[judged] if weighted else None))


def _roc_auc_ovo(
    y: Array, probability: Array, weight: Array | None, *, weighted: bool = False
) -> float:
    """Each pair of classes that occur, averaged (Hand and Till, 2001)."""
    if _is_binary(probability):
        return _binary_auc(y > 0, _positive_column(probability), weight)
    sizes = _class_weights(y, probability.shape[1], weight)
    present = np.flatnonzero(sizes > 0)
    order = np.argsort(y, kind="stable")
    ends = np.searchsorted(y[order], np.arange(len(sizes) + 1))
    rows_of = [order[start:end] for start, end in pairwise(ends)]
    figures, shares = [], []
    for position, first in enumerate(present):
        for second in present[position + 1 :]:
            rows = np.concatenate([rows_of[first], rows_of[second]])
            w = None if weight is None else weight[rows]
            one = _binary_auc(y[rows] == first, probability[rows, first], w)
            other = _binary_auc(y[rows] == second, probability[rows, second], w)
            figures.append(0.5 * (one + other))
            shares.append(sizes[first] + sizes[second])
    if not figures:
        return 0.5
    return float(np.average(figures, weights=shares if weighted else None))


def _binary_average_precision(
    positive: npt.NDArray[np.bool_], rank: Array, weight: Array | None
) -> float:
    order = np.argsort(-rank)
    w = np.ones(len(order)) if weight is None else np.asarray(weight, dtype=np.float64)[order]
    is_last = _block_ends(rank[order])
    hits = np.cumsum(np.where(positive[order], w, 0.0))[is_last]
    if not len(hits) or hits[-1] <= 0:
        return 0.0
    precision = _ratio(hits, np.cumsum(w)[is_last])
    return float(np.diff(hits, prepend=0.0) @ precision / hits[-1])


def _average_precision(y: Array, probability: Array, weight: Array | None) -> float:
    """Area under the precision-recall steps of class 1; for more classes the mean over all."""
    if _is_binary(probability):
        return _binary_average_precision(y > 0, _positive_column(probability), weight)
    classes = range(probability.shape[1])
    return float(
        np.mean([_binary_average_precision(y == k, probability[:, k], weight) for k in classes])
    )


# ---- probabilities --------------------------------------------------------------------------


def _of_true_class(y: Array, probability: Array) -> Array:
    """Return the probability of each row's own class, shape (n_samples,)."""
    if probability.ndim == 1:
        return np.where(y > 0, probability, 1.0 - probability)
    return probability[np.arange(len(y)), y.astype(np.intp)]


def _log_loss(y: Array, probability: Array, weight: Array | None) -> float:
    """Mean negative logarithm of the true class' probability, clipped by the dtype's resolution."""
    own = _of_true_class(y, probability)
    eps = np.finfo(own.dtype).eps if np.issubdtype(own.dtype, np.floating) else 2.3e-16
    surprise = -np.log(np.clip(own, eps, 1.0 - eps).astype(np.float64, copy=False))
    return float(np.average(surprise, weights=weight))


def _brier_score(y: Array, probability: Array, weight: Array | None) -> float:
    """Mean squared error of the probabilities, summed over classes; halved for two classes."""
    if _is_binary(probability):
        positive = _positive_column(probability).astype(np.float64, copy=False)
        return float(np.average((positive - (y > 0)) ** 2, weights=weight))
    wide = probability.astype(np.float64, copy=False)
    own = _of_true_class(y, wide)
    # sum over classes of (p - onehot)^2 = sum p^2 - 2 p_own + 1, without building the onehot
    squares = np.einsum("ij,ij->i", wide, wide) - 2.0 * own + 1.0
    return float(np.average(squares, weights=weight))


# ---- the metrics ----------------------------------------------------------------------------


def _on_labels(
    name: str,
    function: Callable[[Array, Array, Array | None], float],
    problem_types: tuple[ProblemType, ...] = _CLASSES,
) -> Metric:
    return Metric(name, function, True, 1.0, Reads.LABEL, problem_types, "log_loss")


def _on_probabilities(
    name: str,
    function: Callable[[Array, Array, Array | None], float],
    greater_is_better: bool = True,
) -> Metric:
    optimum = 1.0 if greater_is_better else 0.0
    reads = Reads.PROBABILITY
    return Metric(name, function, greater_is_better, optimum, reads, _CLASSES, "log_loss")


def _family(name: str, statistic: Statistic) -> tuple[Metric, Metric, Metric, Metric]:
    """Return a statistic of class 1, then its macro, micro and weighted averages."""

    def of(average: Average) -> Callable[[Array, Array, Array | None], float]:
        return partial(_averaged, statistic=statistic, average=average)

    return (
        _on_labels(name, of("binary"), _BINARY),
        _on_labels(f"{name}_macro", of("macro")),
        _on_labels(f"{name}_micro", of("micro")),
        _on_labels(f"{name}_weighted", of("weighted")),
    )


ACCURACY = _on_labels("accuracy", _accuracy)
BALANCED_ACCURACY = _on_labels("balanced_accuracy", _balanced_accuracy)
MCC = _on_labels("mcc", _mcc)
COHEN_KAPPA = _on_labels("cohen_kappa", partial(_kappa, quadratic=False))
QUADRATIC_KAPPA = _on_labels("quadratic_kappa", partial(_kappa, quadratic=True))
F1, F1_MACRO, F1_MICRO, F1_WEIGHTED = _family("f1", _f1)
PRECISION, PRECISION_MACRO, PRECISION_MICRO, PRECISION_WEIGHTED = _family("precision", _precision)
RECALL, RECALL_MACRO, RECALL_MICRO, RECALL_WEIGHTED = _family("recall", _recall)

# "roc_auc" is of class 1 for two classes, and of each class against the rest for more.
ROC_AUC = _on_probabilities("roc_auc", _roc_auc_ovr)
ROC_AUC_OVR = _on_probabilities("roc_auc_ovr", _roc_auc_ovr)
ROC_AUC_OVR_WEIGHTED = _on_probabilities(
    "roc_auc_ovr_weighted", partial(_roc_auc_ovr, weighted=True)
)
ROC_AUC_OVO = _on_probabilities("roc_auc_ovo", _roc_auc_ovo)
ROC_AUC_OVO_WEIGHTED = _on_probabilities(
    "roc_auc_ovo_weighted", partial(_roc_auc_ovo, weighted=True)
)
AVERAGE_PRECISION = _on_probabilities("average_precision", _average_precision)
LOG_LOSS = _on_probabilities("log_loss", _log_loss, greater_is_better=False)
BRIER_SCORE = _on_probabilities("brier_score", _brier_score, greater_is_better=False)

"""The predictor as scikit-learn estimators, for pipelines, searches and cross-validation.

The only module that imports scikit-learn at its top; `tabular_automl` imports it when one of its
two names is first used.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Hashable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import Tags, assert_all_finite, check_consistent_length, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_sample_weight,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from tabular_automl.config import FitConfig
from tabular_automl.core.errors import InterruptedFitWarning, LabelError
from tabular_automl.data.reading import read_table
from tabular_automl.predictor import MetricLike, Predictor

Array = npt.NDArray[Any]


class _AutoMLEstimator(BaseEstimator):
    """What classifier and regressor share: the settings, the table, the fit."""

    def __init__(
        self,
        *,
        time_limit: float | None = None,
        presets: str = "best",
        eval_metric: MetricLike = None,
        columns: Mapping[Hashable, str] | None = None,
        config: FitConfig | None = None,
        random_state: int | np.random.RandomState | None = None,
        n_jobs: int | None = None,
    ) -> None:
        self.time_limit = time_limit
        self.presets = presets
        self.eval_metric = eval_metric
        self.columns = columns
        self.config = config
        self.random_state = random_state
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Self:
        """Fit the ensemble.

        Ctrl-C ends the fit early, and then raises KeyboardInterrupt, so that a search or a
        cross-validation ends with it; `predictor_` holds what was finished.

        Parameters
        ----------
        X : DataFrame or array of shape (n_samples, n_features)
            A pandas, polars or pyarrow table with columns of any kind, or an array.
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), optional
            Rows of weight zero are left out.
        groups : array-like of shape (n_samples,), optional
            Rows of one group are never split between a model's training and its validation.

        Returns
        -------
        self
        """
        table = self._table(X, reset=True)
        labels = self._labels(y)
        check_consistent_length(table, labels, groups)
        roles: dict[str, Array] = {}
        if groups is not None:
            roles["group"] = column_or_1d(groups)
        if sample_weight is not None:
            weight = _check_sample_weight(sample_weight, table, ensure_non_negative=True)
            roles["weight"] = weight
            kept = weight > 0
            table, labels = table.loc[kept], labels[kept]
            roles = {role: values[kept] for role, values in roles.items()}
        self._learn(table, labels, roles)
        return self

    def __sklearn_tags__(self) -> Tags:
        tags: Tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        return tags

    def _labels(self, y: Any) -> Array:
        """Return labels without missing ones, shape (n_samples,)."""
        if y is None:
            raise LabelError(
                f"{type(self).__name__} requires y to be passed, but the target y is None."
            )
        labels: Array = column_or_1d(y, warn=True)
        assert_all_finite(labels, input_name="y", estimator_name=type(self).__name__)
        return labels

    def _problem_type(self, labels: Array) -> str:
        raise NotImplementedError

    def _learn(self, table: pd.DataFrame, labels: Array, roles: Mapping[str, Array]) -> None:
        """Fit a predictor on the table with labels and roles as columns of free names."""
        problem_type = self._problem_type(labels)
        columns = dict(self.columns or {})
        label = _free_name("y", table)
        table = table.assign(**{label: labels})
        for role, values in roles.items():
            name = _free_name(role, table)
            table[name] = values
            columns[name] = role
        with (
            tempfile.TemporaryDirectory(prefix="tabular-automl-") as folder,
            warnings.catch_warnings(),
        ):
            # it says that the predictor is saved, which is true of its folder only
            warnings.simplefilter("ignore", InterruptedFitWarning)
            predictor = Predictor(
                label,
                problem_type=problem_type,
                eval_metric=self.eval_metric,
                path=Path(folder) / "predictor",
                verbosity=0,
            ).fit(
                table,
                time_limit=self.time_limit,
                presets=self.presets,
                columns=columns,
                config=self._settings(),
            )
        predictor.path = None  # its folder is gone; `save` takes a path
        self.predictor_ = predictor
        if predictor.interrupted:
            raise KeyboardInterrupt

    def _settings(self) -> FitConfig | None:
        changes: dict[str, Any] = {}
        if self.random_state is not None:
            changes["seed"] = _seed_of(self.random_state)
        if self.n_jobs is not None:
            changes["n_jobs"] = self.n_jobs
        return replace(self.config or FitConfig(), **changes) if changes else self.config

    def _table(self, X: Any, *, reset: bool) -> pd.DataFrame:
        """Return the features as a table, after scikit-learn's own checks.

        Where one of an array and a table was learned from and the other is to be predicted, these
        warn, and columns go by their position.
        """
        is_table = hasattr(X, "columns") or hasattr(X, "column_names")
        if is_table:
            validate_data(self, X, reset=reset, skip_check_array=True)
            table = read_table(X, purpose="train" if reset else "predict")
        else:
            array = validate_data(
                self,
                X,
                reset=reset,
                dtype=None,
                ensure_all_finite=False,
                ensure_min_samples=1 + reset,
            )
            table = pd.DataFrame(array, columns=[f"x{i}" for i in range(array.shape[1])])
        if reset:
            self._from_table, self._names = is_table, table.columns
        elif is_table != self._from_table:
            table = table.set_axis(self._names, axis=1)
        return table


class AutoMLClassifier(ClassifierMixin, _AutoMLEstimator):
    """`Predictor` as a scikit-learn classifier.

    Silent; the fitted predictor with its leaderboard is in `predictor_`. Unlike `Predictor`, it
    follows scikit-learn's conventions: labels come apart from the features, and prediction wants
    the columns of the training data in their order.

    Parameters
    ----------
    time_limit : float, optional
        Seconds for each fit, those of a search or a cross-validation included.
    presets : {"best", "deploy", "balanced", "fast"}
    eval_metric : str, Metric or callable, optional
        What to optimise; `score` is the accuracy whatever it is.
    columns : mapping, optional
        Column to kind, as in `Predictor.fit`. Columns of an array are "x0", "x1" and so on.
    config : FitConfig, optional
        Everything else. With ``max_specs``, fits of one seed are equal bit for bit, unless models
        are timed (``max_latency_ms``, ``max_error_cost``, the preset ``"deploy"``).
    random_state : int or RandomState, optional
        Seed of every random choice; the one of ``config``, by default 0, when absent.
    n_jobs : int, optional
        Cores to use; the ``n_jobs`` of ``config`` when absent.

    Attributes
    ----------
    predictor_ : Predictor
        Call its `save` to keep the model: the estimator itself writes nothing.
    classes_ : ndarray of shape (n_classes,)
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features,)
        Where all columns are named by text.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = AutoMLClassifier(config=FitConfig(families=("linear",), max_specs=1)).fit(X, y)
    >>> bool(model.score(X, y) > 0.9)
    True
    """

    def predict(self, X: Any) -> Array:
        """Return the class of each row, shape (n_samples,)."""
        check_is_fitted(self, "predictor_")
        predicted = self.predictor_.predict(self._table(X, reset=False))
        return predicted.to_numpy(dtype=object).astype(self.classes_.dtype)

    def predict_proba(self, X: Any) -> Array:
        """Return probabilities, shape (n_samples, n_classes), in the order of `classes_`."""
        check_is_fitted(self, "predictor_")
        return self.predictor_.predict_proba(self._table(X, reset=False)).to_numpy()

    def _problem_type(self, labels: Array) -> str:
        check_classification_targets(labels)
        self.classes_ = np.unique(labels)
        if len(self.classes_) < 2:
            raise LabelError(
                f"{type(self).__name__} must be given at least 2 classes, got one class only: "
                f"{self.classes_[0]!r}; check y, or add rows of other classes with weights above 0."
            )
        return "binary" if len(self.classes_) == 2 else "multiclass"


class AutoMLRegressor(RegressorMixin, _AutoMLEstimator):
    """`Predictor` as a scikit-learn regressor.

    Parameters and attributes are those of `AutoMLClassifier`, without ``classes_``; `score` is the
    coefficient of determination.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = AutoMLRegressor(config=FitConfig(families=("linear",), max_specs=1)).fit(X, y)
    >>> bool(model.score(X, y) > 0.4)
    True
    """

    def predict(self, X: Any) -> Array:
        """Return the value predicted for each row, shape (n_samples,)."""
        check_is_fitted(self, "predictor_")
        return self.predictor_.predict(self._table(X, reset=False)).to_numpy()

    def _problem_type(self, labels: Array) -> str:
        return "regression"


def _seed_of(random_state: Any) -> int:
    if isinstance(random_state, (int, np.integer)):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))


def _free_name(name: str, table: pd.DataFrame) -> str:
    while name in table.columns:
        name += "_"
    return name

from __future__ import annotations

import dataclasses
from typing import Self

import numpy as np
import pytest

from tabular_automl.core.contract import Check, ContractError
from tabular_automl.extend import (
    Budget,
    FeatureTable,
    Model,
    Params,
    Samples,
    State,
    check_model,
    param,
)
from tabular_automl.models.base import MODELS, Prediction
from tabular_automl.models.contract import Candidate, iter_checks

# The base rate is what learning is measured against, and one pass over the target: there is nothing
# to interrupt.
EXEMPT = {
    ("prior", "learns_more_than_the_base_rate"),
    ("prior", "the_deadline_is_asked_for"),
}


# These read nothing but a kind of column that the suite's tables lack; see their own tests.
READERS = ("image_embedding",)

# Enough to learn tables of 160 rows; the defaults are for larger ones.
QUICK = {
    "lightgbm": {"n_rounds": 200, "learning_rate": 0.1},
    "xgboost": {"n_rounds": 200, "learning_rate": 0.1},
    "catboost": {"n_rounds": 100, "learning_rate": 0.1},
    "extra_trees": {"n_trees": 40},
    "random_forest": {"n_trees": 40},
    "neural": {"n_epochs": 30, "width": 32, "n_layers": 2, "n_members": 2},
    "image_network": {"n_epochs": 30},
}

PAIRS = [
    pytest.param(family, check, id=f"{family}-{check}")
    for family in MODELS
    if family not in READERS
    for check in iter_checks()
    if (family, check.name) not in EXEMPT
]


@pytest.mark.parametrize(("family", "check"), PAIRS)
def test_every_family_keeps_the_contract(family: str, check: Check[Candidate]) -> None:
    model_type = MODELS.get(family)
    check(Candidate(model_type, model_type.Params.from_dict(QUICK.get(family, {}))))


class Stumpless(Model):
    """A user's own model: least squares on standardised features and one-hot levels."""

    interruptible = True

    @dataclasses.dataclass(frozen=True)
    class Params(Params):
        ridge: float = param(1.0, 1e-6, 1e6, log=True)

    def _inputs(self, table: FeatureTable) -> np.ndarray:
        numeric = np.nan_to_num(np.clip(table.numeric, -1e3, 1e3))
        levels = [np.eye(n)[table.codes[:, i]] for i, n in enumerate(table.n_levels)]
        return np.hstack([np.ones((len(table), 1)), numeric, *levels])

    def fit(self, train: Samples, valid: Samples | None, budget: Budget) -> Self:
        budget.remaining()
        x, task = self._inputs(train.table), self.setting.task
        y = np.eye(task.n_classes)[train.y] if task.is_classification else train.y[:, None]
        weight = np.ones(len(train)) if train.weight is None else train.weight
        gram = x.T @ (x * weight[:, None]) + self.params.ridge * np.eye(x.shape[1])
        self.coef = np.linalg.solve(gram, x.T @ (y * weight[:, None]))
        return self

    def predict(self, table: FeatureTable) -> Prediction:
        raw = np.einsum("ij,jk->ik", self._inputs(table), self.coef)
        if self.setting.task.is_classification:
            raw = np.clip(raw, 1e-3, 1.0)
            raw /= raw.sum(axis=1, keepdims=True)
        return raw

    def state(self) -> State:
        return State(arrays={"coef": self.coef})

    def restore(self, state: State) -> None:
        self.coef = state.arrays["coef"]


def test_a_model_of_twenty_lines_passes() -> None:
    check_model(Stumpless)
    check_model(Stumpless, params=Stumpless.Params(ridge=0.1))


class Misshapen(Stumpless):
    def predict(self, table: FeatureTable) -> Prediction:
        return super().predict(table)[:, 0]


class Unsummed(Stumpless):
    def predict(self, table: FeatureTable) -> Prediction:
        return 0.9 * super().predict(table)


class Centred(Stumpless):
    """Its predictions depend on the rows predicted together."""

    def predict(self, table: FeatureTable) -> Prediction:
        raw = super().predict(table)
        if self.setting.task.is_classification or not len(raw):
            return raw
        return raw - raw.mean(axis=0)


class Deaf(Stumpless):
    def fit(self, train: Samples, valid: Samples | None, budget: Budget) -> Self:
        return super().fit(train, valid, Budget.unlimited())


class Weightless(Stumpless):
    def fit(self, train: Samples, valid: Samples | None, budget: Budget) -> Self:
        return super().fit(Samples(train.table, train.y), valid, budget)


class Scribbling(Stumpless):
    def fit(self, train: Samples, valid: Samples | None, budget: Budget) -> Self:
        super().fit(train, valid, budget)
        train.table.root.numeric[:1] = 0.0
        return self


class Restless(Stumpless):
    def fit(self, train: Samples, valid: Samples | None, budget: Budget) -> Self:
        super().fit(train, valid, budget)
        self.coef = self.coef * np.random.default_rng().uniform(0.99, 1.01)
        return self


class Forgetful(Stumpless):
    def restore(self, state: State) -> None:
        self.coef = 0.5 * state.arrays["coef"]


class Careless(Stumpless):
    def set_aside(self) -> None:
        self.coef = 0.5 * self.coef


class Unrefittable(Stumpless):
    def fit(self, train: Samples, valid: Samples | None, budget: Budget) -> Self:
        self.ridge = 2.0
        return super().fit(train, valid, budget)

    def restore(self, state: State) -> None:
        super().restore(state)
        self.ridge = 1.0

    def fitted_params(self) -> Params:
        return dataclasses.replace(self.params, ridge=self.ridge)


class Fading(Stumpless):
    def fit(self, train: Samples, valid: Samples | None, budget: Budget) -> Self:
        self.n_epochs = 5.0 if valid is None else 10.0
        return super().fit(train, valid, budget)

    def amount_learned(self) -> float:
        return self.n_epochs


class Pickling(Stumpless):
    def state(self) -> State:
        return State(arrays={"coef": self.coef.astype(object)})


class Undeclared(Stumpless):
    @dataclasses.dataclass(frozen=True)
    class Params(Stumpless.Params):
        extra: float = 1.0


class Lazy(Stumpless):
    def fit(self, train: Samples, valid: Samples | None, budget: Budget) -> Self:
        super().fit(train, valid, budget)
        self.coef[1:] = 0.0
        return self


@pytest.mark.parametrize(
    ("model_type", "sentence"),
    [
        (Misshapen, r"must return an array of shape \(40, 2\), got \(40,\)"),
        (Unsummed, "must return rows that sum to 1, one is off by 0.1"),
        (Centred, r"must predict rows \[3\] of a regression table as"),
        (Deaf, "its binary fit never asked budget"),
        (Weightless, "must follow sample weights"),
        (Scribbling, "must leave features, targets and weights unchanged"),
        (Restless, "must give the same binary predictions with one seed"),
        (Forgetful, "A restored Forgetful must predict"),
        (Careless, "must be saved as before when it has been set aside once"),
        (Unrefittable, "A restored Unrefittable must give fitted_params as before"),
        (Fading, r"must learn as much from its fitted_params.*10.0, got amount_learned\(\) 5.0"),
        (Pickling, r"arrays\['coef'\] must be an array of numbers.*got object"),
        (Undeclared, r"got bare fields \['extra'\]"),
        (Lazy, "must learn an easy binary table of numeric features"),
    ],
)
def test_a_broken_model_is_told_what_is_wrong(model_type: type[Model], sentence: str) -> None:
    with pytest.raises(ContractError, match=sentence):
        check_model(model_type)


def test_checks_have_names_that_read_as_sentences() -> None:
    names = [check.name for check in iter_checks()]
    assert len(names) == len(set(names)) >= 20
    assert all(str(check) == check.name and "check" not in check.name for check in iter_checks())

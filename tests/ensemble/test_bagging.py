import threading

import numpy as np
import pytest

from tabular_automl.artifacts.state import State
from tabular_automl.core.budget import Budget
from tabular_automl.core.errors import OutOfTimeError
from tabular_automl.core.parallel import Machine
from tabular_automl.data.folds import Folds
from tabular_automl.data.table import FeatureTable, Samples
from tabular_automl.data.task import ProblemType, Task
from tabular_automl.ensemble.bagging import fit_bag
from tabular_automl.ensemble.fold_work import BagRequest
from tabular_automl.models.base import MODELS, Model, ModelSpec, Setting

N_ROWS = 20
REGRESSION = Task(ProblemType.REGRESSION)
UNLIMITED = Budget.unlimited()


class Witness(Model):
    """Predicts each row's number, and fails the test when it is shown a row it was trained on."""

    interruptible = True
    n_predictions = 0

    def fit(self, train, valid, budget):
        self.seen = set(train.table.numeric[:, 0].tolist())
        self.seconds_given = budget.remaining()
        return self

    def predict(self, table):
        rows = table.numeric[:, 0]
        assert not self.seen & set(rows.tolist())
        self.n_predictions += 1
        return rows.reshape(-1, 1).astype(float)

    def set_aside(self):
        self.set_aside_after = self.n_predictions

    def state(self):
        return State()

    def restore(self, state):
        pass


class TooWide(Witness):
    def predict(self, table):
        return np.zeros((len(table), 3))


class NotANumber(Witness):
    def predict(self, table):
        return np.full((len(table), 1), np.nan)


class Together(Witness):
    """Trains all folds in one call."""

    @classmethod
    def fit_folds(cls, params, settings, folds, budget):
        models = []
        for setting, (train, valid) in zip(settings, folds, strict=True):
            models.append(cls(params, setting).fit(train, valid, budget))
            models[-1].together = True
        return models


class HangingTogether(Together):
    """Trains all folds in one call, and hangs when it predicts."""

    release = threading.Event()

    def predict(self, table):
        self.release.wait()
        return super().predict(table)


@pytest.fixture(autouse=True)
def registered():
    families = {
        "witness": Witness, "too_wide": TooWide, "nan": NotANumber, "together": Together,
        "hanging_together": HangingTogether,
    }  # fmt: skip
    for name, family in families.items():
        MODELS.register(name, family)
    yield
    for name in families:
        MODELS.unregister(name)


def request_of(family, n_folds=4):
    numeric = np.arange(N_ROWS, dtype=np.float32).reshape(-1, 1)
    table = FeatureTable(numeric, np.empty((N_ROWS, 0), np.int32), ("row",))
    order = np.random.default_rng(0).permutation(N_ROWS)
    valid = tuple(np.sort(part) for part in np.array_split(order, n_folds))
    train = tuple(np.setdiff1d(np.arange(N_ROWS), part) for part in valid)
    return BagRequest(
        spec=ModelSpec.make(family),
        key=family,
        layer=1,
        setting=Setting(REGRESSION, "squared_error", seed=5),
        samples=Samples(table, np.arange(N_ROWS, dtype=float)),
        folds=Folds(train, valid, "test"),
    )


@pytest.mark.parametrize("n_cores", [1, 2, 3])
@pytest.mark.parametrize("family", ["witness", "together"])
def test_oof_rows_keep_training_order_and_no_row_is_seen(family, n_cores):
    fit = fit_bag(request_of(family), UNLIMITED, Machine(n_cores, 10**9))
    np.testing.assert_array_equal(fit.oof[:, 0], np.arange(N_ROWS))


def test_a_family_may_train_all_folds_together():
    fit = fit_bag(request_of("together"), UNLIMITED, Machine(2, 10**9))
    assert all(fitted.model.together for fitted in fit.bag.models)


def test_each_fold_has_its_own_seed():
    fit = fit_bag(request_of("witness"), UNLIMITED, Machine(2, 10**9))
    assert len({fitted.model.setting.seed for fitted in fit.bag.models}) == 4


@pytest.mark.parametrize("family", ["witness", "together"])
def test_models_that_have_been_validated_are_set_aside(family):
    fit = fit_bag(request_of(family), UNLIMITED, Machine(2, 10**9))
    assert [fitted.model.set_aside_after for fitted in fit.bag.models] == [1, 1, 1, 1]


def test_waves_share_the_budget_equally():
    fit = fit_bag(request_of("witness"), Budget.start(100), Machine(2, 10**9))
    given = [fitted.model.seconds_given for fitted in fit.bag.models]
    assert given[0] == pytest.approx(50, abs=1)
    assert given[-1] == pytest.approx(100, abs=2)


def test_an_expired_budget_raises_and_names_the_fold():
    with pytest.raises(OutOfTimeError, match="fold 1 of 4"):
        fit_bag(request_of("witness"), Budget.start(0), Machine(2, 10**9))


@pytest.mark.parametrize(
    ("family", "expected"), [("too_wide", "must return shape"), ("nan", "finite numbers")]
)
def test_an_unusable_prediction_is_refused(family, expected):
    with pytest.raises(ValueError, match=expected):
        fit_bag(request_of(family), UNLIMITED, Machine(1, 10**9))


def test_the_check_sees_the_first_folds_only_once():
    calls = []
    fit_bag(
        request_of("witness"),
        UNLIMITED,
        Machine(2, 10**9),
        check=lambda output, rows: calls.append((output[:, 0].tolist(), rows.tolist())),
    )
    assert len(calls) == 1
    assert calls[0][0] == calls[0][1]


def test_models_trained_together_that_hang_in_predict_are_left_behind():
    budget = Budget.start(0.0).reserve(0.0)  # without a reserve there is no tolerance
    with pytest.raises(OutOfTimeError, match="did not stop at the end of its share"):
        fit_bag(request_of("hanging_together"), budget, Machine(1, 10**9))
    HangingTogether.release.set()

"""The contract suite of model families: what ensembles, files and deadlines rely on.

Run it on a family of your own with `check_model`, or clause by clause under pytest::

    @pytest.mark.parametrize("check", iter_checks(), ids=str)
    def test_contract(check):
        check(Candidate(MyModel))
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tabular_automl.artifacts.contract import require_plain, through_files
from tabular_automl.core.budget import Budget
from tabular_automl.core.contract import Check, named_checks, require
from tabular_automl.core.errors import OutOfTimeError
from tabular_automl.core.params import Params
from tabular_automl.data.table import FeatureTable, Samples
from tabular_automl.data.task import Task
from tabular_automl.models.base import Model, Prediction, Setting
from tabular_automl.models.trial import (
    BINARY,
    LAYOUTS,
    MULTICLASS,
    REGRESSION,
    TASKS,
    UNSEEN_LEVEL,
    CountingBudget,
    FadingBudget,
    Trial,
    base_rate,
    error,
    lay_out,
)


@dataclass(frozen=True)
class Candidate:
    """A family under test, with the hyperparameters to test it with.

    Attributes
    ----------
    model_type : type of Model
    params : Params or None
        None for the family's defaults.
    """

    model_type: type[Model]
    params: Params | None = None

    @property
    def name(self) -> str:
        """The family's name in sentences."""
        return self.model_type.__name__

    def build(self, task: Task, *, seed: int = 7, n_threads: int = 1) -> Model:
        """Return a model that is not fitted yet."""
        loss = "log_loss" if task.is_classification else "squared_error"
        params = self.model_type.Params() if self.params is None else self.params
        return self.model_type(params, Setting(task, loss, seed=seed, n_threads=n_threads))

    def fit(self, task: Task, layout: str = "mixed") -> tuple[Model, Trial]:
        """Return a model fitted on a small table, and that table."""
        trial = Trial.make(task, layout)
        return self.build(task).fit(trial.train, trial.valid, Budget.unlimited()), trial

    def fitted(self, task: Task, layout: str = "mixed") -> tuple[Model, Trial]:
        """Return what `fit` does, fitted once and shared by the checks that only read it."""
        return _fit_once(self, task, layout)


@functools.lru_cache(maxsize=len(TASKS) * len(LAYOUTS))
def _fit_once(candidate: Candidate, task: Task, layout: str) -> tuple[Model, Trial]:
    return candidate.fit(task, layout)


def iter_checks() -> tuple[Check[Candidate], ...]:
    """Return the clauses of the contract, each a callable that takes a `Candidate`."""
    return named_checks(_CHECKS)


def check_model(model_type: type[Model], *, params: Params | None = None) -> None:
    """Check that a model family keeps the contract of `Model`.

    Takes seconds: every table has some 200 rows.

    Parameters
    ----------
    model_type : type of Model
    params : Params, optional
        Hyperparameters to check with, quick ones for slow families; defaults to the family's own.

    Raises
    ------
    ContractError
        At the first clause that does not hold, with a sentence that says what was seen.
    """
    for check in iter_checks():
        check(Candidate(model_type, params))


# Declarations ------------------------------------------------------------------------------------


def check_hyperparameters_are_declared(candidate: Candidate) -> None:
    """Check that params is a dataclass of declared fields that survives json."""
    declared = candidate.model_type.Params
    require(
        isinstance(declared, type) and issubclass(declared, Params),
        f"{candidate.name}.Params must be a subclass of Params, got {declared!r}.",
    )
    params = candidate.build(BINARY).params
    bare = params.to_dict().keys() - declared.domains().keys()
    require(
        not bare,
        f"{candidate.name}.Params must declare every field with param(...), "
        f"got bare fields {sorted(bare)}.",
    )
    again = declared.from_dict(json.loads(json.dumps(params.to_dict())))
    require(
        again == params,
        f"{candidate.name}.Params must come back equal from json, got {again} for {params}.",
    )


def check_construction_only_stores(candidate: Candidate) -> None:
    """Check that the constructor keeps params and setting, and fit returns the model itself."""
    model = candidate.build(BINARY)
    trial = Trial.make(BINARY)
    stored = (model.params, model.setting)
    result = model.fit(trial.train, trial.valid, Budget.unlimited())
    require(
        result is model, f"{candidate.name}.fit must return the model itself, got {type(result)}."
    )
    require(
        model.setting is stored[1] and model.params == stored[0],
        f"{candidate.name}.fit must leave params and setting as they are; choices made from the "
        "data belong into fitted_params.",
    )


def check_memory_is_estimated(candidate: Candidate) -> None:
    """Check that estimate_bytes gives a number of bytes before the fit."""
    for task in TASKS:
        model = candidate.build(task)
        n_bytes = model.estimate_bytes(model.params, Trial.make(task).train.table, task)
        require(
            isinstance(n_bytes, (int, np.integer)) and n_bytes >= 0,
            f"{candidate.name}.estimate_bytes must return a non-negative integer, got {n_bytes!r}.",
        )


# Predictions -------------------------------------------------------------------------------------


def check_predictions_are_valid_on_every_task_and_layout(candidate: Candidate) -> None:
    """Check that shape, dtype, range and sum hold for every task and mix of features."""
    for task in TASKS:
        for layout in LAYOUTS:
            model, trial = candidate.fitted(task, layout)
            _require_valid(candidate, model, trial.test.table, f"{task.problem_type} on {layout}")


def check_no_rows_give_no_predictions(candidate: Candidate) -> None:
    """Check that a table of 0 rows predicts to shape (0, n_outputs)."""
    for task in TASKS:
        model, trial = candidate.fitted(task)
        _require_valid(candidate, model, trial.test.table.take([]), f"{task.problem_type}, 0 rows")


def check_rows_are_predicted_one_by_one_as_in_a_batch(candidate: Candidate) -> None:
    """Check that neither the rows beside a row nor how the table was cut change its prediction."""
    for task in TASKS:
        model, trial = candidate.fitted(task)
        whole = model.predict(trial.test.table)
        for rows in ([3], [5, 1, 5]):
            part = model.predict(trial.test.table.take(rows))
            _require_close(
                part,
                whole[rows],
                f"{candidate.name} must predict rows {rows} of a {task.problem_type} table as it "
                "predicts them in the whole table",
            )


def check_predicting_twice_is_identical(candidate: Candidate) -> None:
    """Check that predict changes nothing in the model."""
    model, trial = candidate.fitted(BINARY)
    first, second = model.predict(trial.test.table), model.predict(trial.test.table)
    require(
        np.array_equal(first, second),
        f"{candidate.name}.predict must give the same result each time, the second differs by up "
        f"to {np.abs(first - second).max():.3g}.",
    )


def check_extreme_values_stay_finite(candidate: Candidate) -> None:
    """Check that huge values, missing values in every feature and unseen levels give no NaN."""
    for task in TASKS:
        model, _ = candidate.fitted(task)
        numeric = np.array([[1e18] * 3, [-1e18] * 3, [np.nan] * 3, [0.0] * 3], dtype=np.float32)
        codes = np.array([[0, 0], [1, 1], [UNSEEN_LEVEL, 1], [UNSEEN_LEVEL, 0]], dtype=np.int32)
        table = lay_out(numeric, codes, "mixed", None)
        _require_valid(candidate, model, table, f"{task.problem_type}, extreme values")


# Learning ----------------------------------------------------------------------------------------


def check_learns_more_than_the_base_rate(candidate: Candidate) -> None:
    """Check that the error on new rows of an easy table is clearly below the base rate's."""
    for task in (BINARY, REGRESSION):
        for layout in LAYOUTS:
            model, trial = candidate.fitted(task, layout)
            learned = error(task, trial.test.y, model.predict(trial.test.table))
            base = error(task, trial.test.y, base_rate(task, trial))
            require(
                learned < 0.9 * base,
                f"{candidate.name} must learn an easy {task.problem_type} table of {layout} "
                f"features: its error {learned:.3f} is not below 0.9 of the base rate's "
                f"{base:.3f}.",
            )


def check_a_seed_fixes_the_predictions(candidate: Candidate) -> None:
    """Check that the same seed gives the same model."""
    for task in (BINARY, REGRESSION):
        (first, trial), (second, _) = candidate.fit(task), candidate.fitted(task)
        _require_close(
            first.predict(trial.test.table),
            second.predict(trial.test.table),
            f"{candidate.name} must give the same {task.problem_type} predictions with one seed",
            tolerance=0.0,
        )


def check_threads_do_not_change_the_predictions(candidate: Candidate) -> None:
    """Check that one thread and two give the same model, if so small a table has two."""
    trial = Trial.make(BINARY)
    predictions = []
    for n_threads in (1, 2):
        model = candidate.build(BINARY, n_threads=n_threads)
        model.fit(trial.train, trial.valid, Budget.unlimited())
        predictions.append(model.predict(trial.test.table))
    message = f"{candidate.name} must predict the same after a fit on 1 thread and on 2"
    _require_close(predictions[0], predictions[1], message)


def check_inputs_stay_unchanged(candidate: Candidate) -> None:
    """Check that fit and predict write neither into features nor into targets or weights."""
    for task in TASKS:
        trial = Trial.make(task).contradicted(np.ones(2))
        parts = (trial.train, trial.valid, trial.test)
        before = [_copies(part) for part in parts]
        model = candidate.build(task).fit(trial.train, trial.valid, Budget.unlimited())
        model.predict(trial.test.table)
        for part, copies in zip(parts, before, strict=True):
            for now, then in zip(_copies(part), copies, strict=True):
                require(
                    np.array_equal(now, then, equal_nan=now.dtype.kind == "f"),
                    f"{candidate.name} must leave features, targets and weights unchanged; "
                    f"a {task.problem_type} fit wrote into one.",
                )


def check_weights_move_the_predictions(candidate: Candidate) -> None:
    """Check that, of rows that contradict each other, the heavier ones are believed."""
    for task in (BINARY, REGRESSION):
        means = []
        for heavy in (1, 0):
            trial = Trial.make(task).contradicted(np.array([0.1, 0.1]) + 1.8 * np.eye(2)[heavy])
            model = candidate.build(task).fit(trial.train, trial.valid, Budget.unlimited())
            label = f"{task.problem_type} with weights"
            means.append(_require_valid(candidate, model, trial.test.table, label)[:, -1].mean())
        require(
            means[0] > means[1],
            f"{candidate.name} must follow sample weights: where the higher target weighs more "
            f"its mean {task.problem_type} prediction is {means[0]:.3f}, otherwise {means[1]:.3f}.",
        )


def check_a_class_that_only_validation_rows_have(candidate: Candidate) -> None:
    """Check that a fold may hold out the only rows of a class."""
    trial = Trial.make(MULTICLASS)
    y = trial.valid.y.copy()
    y[:2] = MULTICLASS.n_classes - 1
    valid = Samples(trial.valid.table, y)
    model = candidate.build(MULTICLASS).fit(trial.train, valid, Budget.unlimited())
    _require_valid(candidate, model, trial.test.table, "a class only in validation rows")


def check_training_rows_of_one_class(candidate: Candidate) -> None:
    """Check that a fold may hold out every row of the rare class."""
    trial = Trial.make(BINARY)
    train = Samples(trial.train.table, np.zeros_like(trial.train.y))
    model = candidate.build(BINARY).fit(train, trial.valid, Budget.unlimited())
    prediction = _require_valid(candidate, model, trial.test.table, "training rows of one class")
    require(
        prediction[:, 0].min() > 0.5,
        f"{candidate.name} must predict the only class it saw, got {prediction[:, 0].min():.3f}.",
    )


def check_a_handful_of_rows(candidate: Candidate) -> None:
    """Check that eight training rows and two validation rows are enough for some model."""
    for task in TASKS:
        trial = Trial.make(task)
        train, valid = trial.train.take(np.arange(8)), trial.valid.take([0, 1])
        model = candidate.build(task).fit(train, valid, Budget.unlimited())
        _require_valid(candidate, model, trial.test.table, f"{task.problem_type}, 8 rows")


def check_refits_on_all_rows(candidate: Candidate) -> None:
    """Check that fitted_params lets the family fit again without validation rows."""
    for task in TASKS:
        model, trial = candidate.fitted(task)
        params = model.fitted_params()
        require(
            isinstance(params, candidate.model_type.Params),
            f"{candidate.name}.fitted_params must return its Params, got {params!r}.",
        )
        refitted = candidate.model_type(params, model.setting)
        refitted.fit(trial.train, None, Budget.unlimited())
        _require_valid(candidate, refitted, trial.test.table, f"{task.problem_type}, refitted")
        before, after = model.amount_learned(), refitted.amount_learned()
        require(
            before is None or (after is not None and after >= 0.95 * before),
            f"{candidate.name} must learn as much from its fitted_params without a deadline as "
            f"before, {before!r}, got amount_learned() {after!r}.",
        )


def check_joined_models_answer_their_mean(candidate: Candidate) -> None:
    """Check that what joins models gives their mean, where a family has it."""
    if not candidate.model_type.joins:
        return
    for task in TASKS:
        model, trial = candidate.fitted(task)
        other = candidate.build(task, seed=1).fit(trial.train, trial.test, Budget.unlimited())
        answer = candidate.model_type.join([model, other])
        if answer is not None:
            table = trial.test.table
            expected = (model.predict(table) + other.predict(table)) / 2
            require(
                np.allclose(answer(table), expected, rtol=1e-4, atol=1e-5),
                f"What {candidate.name}.join returns must predict the mean of the models.",
            )


def check_folds_fitted_together_are_valid(candidate: Candidate) -> None:
    """Check that fit_folds gives None, or one fitted model for each fold."""
    for task in TASKS:
        trial = Trial.make(task)
        folds = [(trial.train, trial.valid), (trial.train, trial.test)]
        models = [candidate.build(task, seed=seed) for seed in range(len(folds))]
        settings = [model.setting for model in models]
        fitted = candidate.model_type.fit_folds(
            models[0].params, settings, folds, Budget.unlimited()
        )
        if fitted is None:
            continue
        require(
            len(fitted) == len(folds),
            f"{candidate.name}.fit_folds must return {len(folds)} models, got {len(fitted)}.",
        )
        for model in fitted:
            _require_valid(candidate, model, trial.test.table, f"{task.problem_type}, fit_folds")


# Time --------------------------------------------------------------------------------------------


def check_a_spent_budget_is_respected(candidate: Candidate) -> None:
    """Check that fit without time raises OutOfTimeError or returns a valid model."""
    for task in TASKS:
        _fit_against(candidate, task, Budget.start(0.0), f"{task.problem_type}, no time")


def check_the_deadline_is_asked_for(candidate: Candidate) -> None:
    """Check that a family that calls itself interruptible looks at the budget while it learns."""
    for task in TASKS:
        asked = CountingBudget(Budget.start(3600.0).deadline)
        model = _fit_against(candidate, task, asked, f"{task.problem_type}, an hour")
        require(model is not None, f"{candidate.name} ran out of time with an hour left.")
        require(
            len(asked.asks) > 0 or not candidate.model_type.interruptible,
            f"{candidate.name} says that it is interruptible, but its {task.problem_type} fit "
            "never asked budget.expired() or budget.remaining().",
        )


def check_a_deadline_amid_the_fit_leaves_a_valid_model(candidate: Candidate) -> None:
    """Check that a deadline while learning leaves the best so far, or OutOfTimeError."""
    for task in TASKS:
        for n_asks in (1, 2, 5):
            budget = FadingBudget(Budget.start(3600.0).deadline, n_asks=n_asks)
            label = f"{task.problem_type}, {n_asks} asks"
            _fit_against(candidate, task, budget, label)


# State -------------------------------------------------------------------------------------------


def check_state_is_plain_data(candidate: Candidate) -> None:
    """Check that state holds json, plain arrays and bytes, nothing else."""
    for task in TASKS:
        model, _ = candidate.fitted(task)
        require_plain(model.state(), f"{candidate.name}.state()")


def check_state_restores_equal_predictions(candidate: Candidate) -> None:
    """Check that a model rebuilt from its state, once and twice, predicts the same."""
    for task in TASKS:
        for layout in LAYOUTS:
            model, trial = candidate.fitted(task, layout)
            expected = model.predict(trial.test.table)
            for generation in ("restored", "twice restored"):
                state = through_files(model.state())
                model = candidate.build(task)
                model.restore(state)
                _require_close(
                    model.predict(trial.test.table),
                    expected,
                    f"A {generation} {candidate.name} must predict {task.problem_type} on "
                    f"{layout} features as before",
                )


def check_saving_keeps_what_a_refit_needs(candidate: Candidate) -> None:
    """Check that a model rebuilt from its state is refitted as the first one would be."""
    for task in TASKS:
        model, trial = candidate.fitted(task)
        restored = candidate.build(task)
        restored.restore(through_files(model.state()))
        refitted = candidate.model_type(restored.fitted_params(), model.setting)
        refitted.take_over(restored)
        refitted.fit(trial.train, None, Budget.unlimited())
        _require_valid(candidate, refitted, trial.test.table, f"{task.problem_type}, refitted")
        expected, got = model.fitted_params(), restored.fitted_params()
        require(
            got == expected,
            f"A restored {candidate.name} must give fitted_params as before, {expected!r}, "
            f"got {got!r}.",
        )


def check_setting_aside_changes_nothing(candidate: Candidate) -> None:
    """Check that a model that was set aside, once and twice, predicts and is saved as before."""
    model, trial = candidate.fit(BINARY)
    expected = model.predict(trial.valid.table)
    for times in ("once", "twice"):
        model.set_aside()
        again = candidate.build(BINARY)
        again.restore(through_files(model.state()))
        for each, what in ((again, "be saved"), (model, "predict")):
            require(
                np.allclose(each.predict(trial.valid.table), expected, rtol=1e-6, atol=1e-8),
                f"{candidate.name} must {what} as before when it has been set aside {times}.",
            )
        model.set_aside()


_CHECKS = (
    check_hyperparameters_are_declared,
    check_construction_only_stores,
    check_memory_is_estimated,
    check_predictions_are_valid_on_every_task_and_layout,
    check_no_rows_give_no_predictions,
    check_rows_are_predicted_one_by_one_as_in_a_batch,
    check_predicting_twice_is_identical,
    check_extreme_values_stay_finite,
    check_learns_more_than_the_base_rate,
    check_a_seed_fixes_the_predictions,
    check_threads_do_not_change_the_predictions,
    check_inputs_stay_unchanged,
    check_weights_move_the_predictions,
    check_a_class_that_only_validation_rows_have,
    check_training_rows_of_one_class,
    check_a_handful_of_rows,
    check_refits_on_all_rows,
    check_joined_models_answer_their_mean,
    check_folds_fitted_together_are_valid,
    check_a_spent_budget_is_respected,
    check_the_deadline_is_asked_for,
    check_a_deadline_amid_the_fit_leaves_a_valid_model,
    check_state_is_plain_data,
    check_state_restores_equal_predictions,
    check_saving_keeps_what_a_refit_needs,
    check_setting_aside_changes_nothing,
)


# Judgements --------------------------------------------------------------------------------------


def _copies(samples: Samples) -> list[npt.NDArray[Any]]:
    root = samples.table.root
    arrays = [samples.table.numeric, samples.table.codes, root.numeric, root.codes, samples.y]
    return [a.copy() for a in [*arrays, samples.weight] if a is not None]


def _fit_against(candidate: Candidate, task: Task, budget: Budget, label: str) -> Model | None:
    """Fit under a budget; None when the family says that the time did not do."""
    trial = Trial.make(task)
    try:
        model = candidate.build(task).fit(trial.train, trial.valid, budget)
    except OutOfTimeError:
        return None
    _require_valid(candidate, model, trial.test.table, label)
    require_plain(model.state(), f"{candidate.name}.state() ({label})")
    return model


def _require_valid(
    candidate: Candidate, model: Model, table: FeatureTable, label: str
) -> Prediction:
    """Return the model's predictions, once their shape, dtype and values are found right."""
    task = model.setting.task
    prediction = model.predict(table)
    who = f"{candidate.name}.predict ({label})"
    shape = (len(table), task.n_outputs)
    require(
        isinstance(prediction, np.ndarray) and prediction.shape == shape,
        f"{who} must return an array of shape {shape}, got {np.shape(prediction)}.",
    )
    require(prediction.dtype.kind == "f", f"{who} must return floats, got {prediction.dtype}.")
    bad = np.flatnonzero(~np.isfinite(prediction).all(axis=1))
    require(not len(bad), f"{who} must be finite, got {prediction[bad[:1]]} in row {bad[:1]}.")
    if task.is_classification and len(table):
        low, high = prediction.min(), prediction.max()
        require(
            low >= 0.0 and high <= 1.0 + 1e-6,
            f"{who} must return probabilities from 0 to 1, got {low:.3g} to {high:.3g}.",
        )
        off = np.abs(prediction.sum(axis=1, dtype=np.float64) - 1.0).max()
        require(off < 1e-5, f"{who} must return rows that sum to 1, one is off by {off:.3g}.")
    return prediction


def _require_close(
    actual: Prediction, expected: Prediction, sentence: str, tolerance: float = 1e-5
) -> None:
    apart = float(np.abs(actual - expected).max(initial=0.0))
    require(apart <= tolerance, f"{sentence}; they are up to {apart:.3g} apart.")

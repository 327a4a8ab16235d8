"""The contract of a model family, and its registry."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from tabular_automl.artifacts.state import State
from tabular_automl.core.budget import Budget
from tabular_automl.core.params import Params as AnyParams
from tabular_automl.core.quantiles import quantile_of
from tabular_automl.core.registry import Registry
from tabular_automl.data.schema import Kind
from tabular_automl.data.table import FeatureTable, Samples
from tabular_automl.data.task import ProblemType, Task

Prediction = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Setting:
    """What a model is told about the fit it takes part in.

    Attributes
    ----------
    task : Task
    loss : str
        What to minimise: "log_loss", "squared_error", "absolute_error" or a quantile such as
        "quantile_0.9".
    seed : int
        Seed of every random choice; differs by fold.
    n_threads : int
        Threads that this model may keep busy.
    aim : float or None
        Rounds times learning rate after which the boosters fitted before no longer improved, and
        half as much again: where time is short, what a booster need not hurry beyond. None while
        that is unknown.
    """

    task: Task
    loss: str
    seed: int = 0
    n_threads: int = 1
    aim: float | None = None

    @property
    def quantile(self) -> float | None:
        """The quantile that the loss asks for, 0.5 for "absolute_error"; None for the mean."""
        return quantile_of(self.loss)


class Model(ABC):
    """One fitted instance of a family on one fold.

    A family is a subclass with a nested ``Params`` dataclass, whose fields are declared with
    `tabular_automl.core.params.param`, and four methods. ``__init__`` only stores.

    Parameters
    ----------
    params : Params
        An instance of the family's own ``Params``.
    setting : Setting

    Attributes
    ----------
    joins : bool
        Whether `join` makes one of several fitted models.
    interruptible : bool
        Whether fit asks its budget often enough to stop by itself. A family that does not say so is
        fitted in processes of its own, which cost their start (a second or two for each fold), and
        are ended when their share of time or memory is used up.
    draws_rows : bool
        Whether fit draws some of more than 200,000 rows where its budget is too short for all of
        them, so that it looks at the budget as early as it would on so many.
    modules : tuple of str
        Packages that fit imports: loaded before the first fold's clock starts.
    reads : frozenset of Kind
        Kinds of untouched columns (`FeatureTable.raw`) that the family reads. A table with such a
        column brings the family into the plan; families that read none join when they are asked
        for.
    cost : float
        Time the family needs next to a plain LightGBM, where `reads` brings it into the plan.
    params : Params
        After fit, `fitted_params` gives them with the choices made from the data filled in.
    hurried : bool
        Whether fit learned in larger steps, or fewer networks, than it would have with more time.
        Such a fit may end early, and yet be worth a longer one.
    n_drawn : int or None
        Training rows that fit drew, where these are not all.
    converged_after : float or None
        Of a booster that stopped because its loss no longer fell: rounds times learning rate kept.
    """

    Params: ClassVar[type[AnyParams]] = AnyParams
    joins: ClassVar[bool] = False
    interruptible: ClassVar[bool] = False
    draws_rows: ClassVar[bool] = False
    modules: ClassVar[tuple[str, ...]] = ()
    reads: ClassVar[frozenset[Kind]] = frozenset()
    cost: ClassVar[float] = 1.0

    def __init__(self, params: AnyParams, setting: Setting) -> None:
        self.params: Any = params
        self.setting = setting
        self.hurried = False
        self.n_drawn: int | None = None
        self.converged_after: float | None = None

    @abstractmethod
    def fit(self, train: Samples, valid: Samples | None, budget: Budget) -> Self:
        """Learn from ``train``; stop by ``budget`` with the best so far.

        Parameters
        ----------
        train : Samples
        valid : Samples or None
            Rows for early stopping; None when refitting on all rows with `fitted_params`.
        budget : Budget
            Asked at each iteration. Without a deadline the result depends on the seed only.

        Raises
        ------
        OutOfTimeError
            When the budget ends before anything useful is learned.
        """

    @abstractmethod
    def predict(self, table: FeatureTable) -> Prediction:
        """Return predictions of shape (n_samples, n_outputs).

        Class probabilities in the order of the codes, rows summing to 1, for classification; one
        column on the target's scale for regression. Works for 0 rows and never returns NaN.
        """

    @abstractmethod
    def state(self) -> State:
        """Return what `restore` needs, params and setting excepted.

        Also what `fitted_params` and `take_over` read: a saved model can be refitted.
        """

    @abstractmethod
    def restore(self, state: State) -> None:
        """Become the fitted model that `state` came from."""

    def set_aside(self) -> None:
        """Take less memory until `predict` is asked again; by default nothing.

        A fit holds many models, most of which it does not ask again. What they predict, and their
        state, stay as they were.
        """
        return None

    def vet(self, table: FeatureTable) -> None:
        """Look at what native code would take on trust, after `restore`; by default nothing.

        Called where a saved predictor comes from somebody else, in a process that may crash.

        Parameters
        ----------
        table : FeatureTable
            Rows with the features that the model predicts from.

        Raises
        ------
        ArtifactError
            When a prediction of any row might read where it should not, or never end.
        """
        return None

    def fitted_params(self) -> AnyParams:
        """Return the params with data-dependent choices (rounds, epochs) filled in, for a refit."""
        params: AnyParams = self.params
        return params

    def longer_params(self) -> AnyParams | None:
        """Return params that learn for longer, where fit used up its own number of rounds.

        None where more rounds would not have helped, or only the deadline kept it from them; by
        default always.
        """
        return None

    def amount_learned(self) -> float | None:
        """Return how much fit learned, in the family's own unit: rounds times rate, epochs, trees.

        With it, a refit that learned as much as a fold is known from one that the clock cut short.
        None where the family does not count, or had nothing to learn; by default always.
        """
        return None

    @classmethod
    def join(cls, models: Sequence[Self]) -> Callable[[FeatureTable], Prediction] | None:
        """Return what answers a few rows with the mean prediction of the models, in one go.

        For families that say that they can, see `joins`; compared with the models before it is
        used. None where these models cannot be joined.
        """
        return None

    def take_over(self, fitted: Self) -> None:
        """Take what a refit needs of a fitted model beside its params; by default nothing."""
        return None

    @classmethod
    def fit_folds(
        cls,
        params: AnyParams,
        settings: Sequence[Setting],
        folds: Sequence[tuple[Samples, Samples]],
        budget: Budget,
    ) -> list[Self] | None:
        """Train all folds of a bag together, where a family can do that cheaper than one by one.

        Returns None, the default, when each fold should be fitted on its own. ``settings`` holds
        one setting for each fold (its seed differs); the family may use all
        ``settings[0].n_threads`` threads, which is the whole machine here.
        """
        return None

    @classmethod
    def least_seconds(cls, table: FeatureTable, task: Task, n_cores: int) -> float:
        """Return about how long one fit takes at least, to be worth it; by default nothing.

        The plan asks where `reads` brings the family in, and leaves out what its time limit is too
        short for.
        """
        return 0.0

    @classmethod
    def estimate_bytes(cls, params: AnyParams, table: FeatureTable, task: Task) -> int:
        """Return about how much memory one fit adds, features not counted."""
        return table.n_bytes


MODELS: Registry[type[Model]] = Registry(
    "model family",
    "tabular_automl.models",
    {
        "lightgbm": "tabular_automl.models.lightgbm:LightGBM",
        "xgboost": "tabular_automl.models.xgboost:XGBoost",
        "catboost": "tabular_automl.models.catboost:CatBoost",
        "extra_trees": "tabular_automl.models.forest:ExtraTrees",
        "random_forest": "tabular_automl.models.forest:RandomForest",
        "linear": "tabular_automl.models.linear:Linear",
        "neighbors": "tabular_automl.models.neighbors:Neighbors",
        "neural": "tabular_automl.models.neural:NeuralNetwork",
        "prior": "tabular_automl.models.prior:Prior",
    },
)


@dataclass(frozen=True)
class ModelSpec:
    """A family with its hyperparameters, under a key that is unique in a fit.

    Attributes
    ----------
    family : str
        Name in the model registry.
    params : Params
    key : str
        Unique name shown to the user: "lightgbm", "lightgbm_extra".
    """

    family: str
    params: AnyParams
    key: str

    @classmethod
    def make(cls, family: str, key: str | None = None, **params: Any) -> ModelSpec:
        """Build from a family's name and plain hyperparameters."""
        return cls(family, MODELS.get(family).Params.from_dict(params), key or family)


@dataclass(frozen=True)
class FittedSpec:
    """A fitted model with the name of its family: what is saved and what predicts."""

    family: str
    model: Model = field(repr=False)

    def state(self) -> State:
        """Return the model's state with what is needed to build it again."""
        task = self.model.setting.task
        meta = {
            "family": self.family,
            "params": self.model.params.to_dict(),
            "task": {"problem_type": task.problem_type.value, "n_classes": task.n_classes},
            "loss": self.model.setting.loss,
            "seed": self.model.setting.seed,
        }
        return State(meta=meta, children={"model": self.model.state()})

    @classmethod
    def from_state(cls, state: State, n_threads: int = 1) -> FittedSpec:
        """Build the model again; the family is looked up by name in the registry."""
        meta = state.meta
        state.require(isinstance(meta["loss"], str), "loss", "be text")
        task = Task(ProblemType(meta["task"]["problem_type"]), int(meta["task"]["n_classes"]))
        setting = Setting(task, meta["loss"], int(meta["seed"]), n_threads)
        family = MODELS.get(meta["family"])
        model = family(family.Params.from_dict(meta["params"]), setting)
        model.restore(state.children["model"])
        return cls(meta["family"], model)

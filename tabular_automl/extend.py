"""The only module that plug-ins import: contracts, registries, contract suites.

Four things can be added without touching the library: a model family, a column encoder, a metric
and a reporter. docs/extending.md shows each. A running program registers with the decorators below;
an installed distribution declares entry points in the groups "tabular_automl.models",
"tabular_automl.encoders" and "tabular_automl.metrics", and is imported when its name is first used.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from tabular_automl.artifacts.state import State
from tabular_automl.core.budget import Budget
from tabular_automl.core.devices import choose_device
from tabular_automl.core.errors import (
    ArtifactError,
    AutoMLError,
    DataError,
    InvalidOptionError,
    LabelError,
    MissingColumnsError,
    MissingDependencyError,
    NotFittedError,
    OutOfMemoryError,
    OutOfTimeError,
    PathError,
    must_be,
    unknown_name,
)
from tabular_automl.core.events import (
    EnsembleFinished,
    Event,
    FitFinished,
    FitStarted,
    Note,
    Reporter,
    SpecFinished,
    SpecSkipped,
    SpecStarted,
)
from tabular_automl.core.imports import import_optional, is_installed
from tabular_automl.core.params import Params, param
from tabular_automl.core.quantiles import losses_of, quantile_of
from tabular_automl.data.schema import Kind
from tabular_automl.data.table import (
    FIRST_LEVEL,
    MISSING_LEVEL,
    OTHER_LEVEL,
    FeatureTable,
    Samples,
)
from tabular_automl.data.task import ProblemType, Task
from tabular_automl.encoders.base import ENCODERS, ColumnEncoder
from tabular_automl.metrics.base import METRICS, Metric, Reads
from tabular_automl.models.base import MODELS, Model, ModelSpec, Prediction, Setting
from tabular_automl.models.dense import DenseEncoder

if TYPE_CHECKING:
    from tabular_automl.core.contract import ContractError
    from tabular_automl.encoders.contract import check_encoder
    from tabular_automl.metrics.contract import check_metric
    from tabular_automl.metrics.resolve import make_metric
    from tabular_automl.models.contract import check_model

# Only developers of plug-ins run these; they are imported when first asked for.
_LAZY = {
    "ContractError": "tabular_automl.core.contract",
    "check_encoder": "tabular_automl.encoders.contract",
    "check_metric": "tabular_automl.metrics.contract",
    "check_model": "tabular_automl.models.contract",
    "make_metric": "tabular_automl.metrics.resolve",
}

Function = TypeVar("Function", bound=Callable[..., float])
ModelType = TypeVar("ModelType", bound=type[Model])
EncoderType = TypeVar("EncoderType", bound=type[ColumnEncoder])

__all__ = [
    "FIRST_LEVEL",
    "MISSING_LEVEL",
    "MODELS",
    "OTHER_LEVEL",
    "ArtifactError",
    "AutoMLError",
    "Budget",
    "ColumnEncoder",
    "ContractError",
    "DataError",
    "DenseEncoder",
    "EnsembleFinished",
    "Event",
    "FeatureTable",
    "FitFinished",
    "FitStarted",
    "InvalidOptionError",
    "Kind",
    "LabelError",
    "Metric",
    "MissingColumnsError",
    "MissingDependencyError",
    "Model",
    "ModelSpec",
    "NotFittedError",
    "Note",
    "OutOfMemoryError",
    "OutOfTimeError",
    "Params",
    "PathError",
    "Prediction",
    "ProblemType",
    "Reads",
    "Reporter",
    "Samples",
    "Setting",
    "SpecFinished",
    "SpecSkipped",
    "SpecStarted",
    "State",
    "Task",
    "check_encoder",
    "check_metric",
    "check_model",
    "choose_device",
    "import_optional",
    "is_installed",
    "losses_of",
    "make_metric",
    "must_be",
    "param",
    "quantile_of",
    "register_encoder",
    "register_metric",
    "register_model",
    "unknown_name",
]


def __getattr__(name: str) -> Any:
    """Import a contract suite when it is first asked for."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return __all__


def register_model(name: str) -> Callable[[ModelType], ModelType]:
    """Return a class decorator that adds a model family under ``name``.

    A saved predictor holds the name only: register before loading it, too.
    """

    def add(model_type: ModelType) -> ModelType:
        if not (isinstance(model_type, type) and issubclass(model_type, Model)):
            raise InvalidOptionError(
                must_be(f"What register_model({name!r}) adds", "a subclass of Model", model_type)
            )
        MODELS.register(name, model_type)
        return model_type

    return add


def register_encoder(name: str) -> Callable[[EncoderType], EncoderType]:
    """Return a class decorator that adds a column encoder under ``name``.

    A saved predictor holds the name only: register before loading it, too.
    """

    def add(encoder_type: EncoderType) -> EncoderType:
        if not (isinstance(encoder_type, type) and issubclass(encoder_type, ColumnEncoder)):
            raise InvalidOptionError(
                must_be(
                    f"What register_encoder({name!r}) adds",
                    "a subclass of ColumnEncoder",
                    encoder_type,
                )
            )
        ENCODERS.register(name, encoder_type)
        return encoder_type

    return add


def register_metric(
    name: str,
    *,
    greater_is_better: bool = True,
    needs: str = "label",
    optimum: float | None = None,
    loss: str | None = None,
) -> Callable[[Function], Function]:
    """Return a decorator that adds a function ``(y_true, y_pred) -> float`` as the metric ``name``.

    The function itself stays as it is. The arguments are those of `make_metric`; a ready `Metric`
    is passed to `Predictor` as it is.
    """

    def add(function: Function) -> Function:
        from tabular_automl.metrics.resolve import make_metric

        METRICS.register(
            name,
            make_metric(
                function,
                name=name,
                greater_is_better=greater_is_better,
                needs=needs,
                optimum=optimum,
                loss=loss,
            ),
        )
        return function

    return add

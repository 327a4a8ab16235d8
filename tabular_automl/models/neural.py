"""A neural network for mixed tables, all folds of a bag trained as one model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from tabular_automl.artifacts.state import State
from tabular_automl.core.budget import Budget
from tabular_automl.core.errors import NotFittedError, OutOfMemoryError, OutOfTimeError
from tabular_automl.core.imports import import_optional
from tabular_automl.core.links import softmax
from tabular_automl.core.memory import free_bytes
from tabular_automl.core.params import Params as AnyParams
from tabular_automl.core.params import param
from tabular_automl.data.table import FeatureTable, Samples
from tabular_automl.data.task import Task
from tabular_automl.models.base import Model, Prediction, Setting
from tabular_automl.models.dense import DenseEncoder, n_pieces

if TYPE_CHECKING:
    from tabular_automl.models.neural_rows import FoldRows

Matrix = npt.NDArray[np.float32]

_BLOCK = 8192  # rows encoded at a time
# Rows multiplied at a time: so few that numpy's matrix library does not start threads, which wait
# for each other far longer than they compute when another process keeps a core busy.
_CHUNK = 64
_MANY_VALUES = 10  # different values from which a number gets a periodic embedding
_MAX_WAVY = 64  # more embedded numbers than this cost more than they bring
_SAMPLE_ROWS = 2000  # rows that are looked at to count different values
_LEAST_SECONDS = 0.5  # less than loading torch and encoding takes
_MEMORY_SHARE = 0.8  # of what is free, for the rows of all folds


class NeuralNetwork(Model):
    """A multilayer perceptron in the manner of RealMLP [1]_, sized for few processor cores.

    Numbers are scaled by median and quartiles and squashed, and get learned periodic features, or
    pieces with as many rows in each [2]_; categories become columns of their own, or target
    averages when there are many. The folds of a
    bag are trained together, as one model with a leading axis of folds, because the time of a
    small network's step is spent on calls, not on arithmetic. The number of epochs follows from
    the time left and the measured time of a step; the schedule of the learning rate is stretched
    over it, and the epoch with the lowest validation loss is kept.

    Prediction is plain numpy: a loaded model needs no torch.

    References
    ----------
    .. [1] D. Holzmüller et al., "Better by default: strong pre-tuned MLPs and boosted trees on
       tabular data", NeurIPS 2024, arXiv 2407.04491.
    .. [2] Y. Gorishniy et al., "On embeddings for numerical features in tabular deep learning",
       NeurIPS 2022, arXiv 2203.05556.
    """

    interruptible: ClassVar[bool] = True
    modules: ClassVar[tuple[str, ...]] = ("torch",)

    @dataclass(frozen=True)
    class Params(AnyParams):
        """Hyperparameters of `NeuralNetwork`."""

        n_epochs: int | None = param(None, 1, 2048, log=True, doc="Most epochs; None: by rows.")
        stop_epoch: int | None = param(None, 1, 2048, doc="Stop after this epoch of n_epochs.")
        batch_size: int | None = param(None, 1, 8192, log=True, doc="None: by rows.")
        width: int | None = param(
            None, 8, 1024, log=True, doc="Neurons of a hidden layer; None: by rows."
        )
        n_layers: int = param(3, 1, 8, doc="Hidden layers.")
        n_members: int | None = param(
            None, 1, 32, doc="Networks averaged in a fold; fewer if short of time. None: by rows."
        )
        n_frequencies: int | None = param(
            None, 0, 64, doc="Periodic features of a number; None: by rows."
        )
        frequency_scale: float | None = param(
            None, 0.001, 10.0, log=True, doc="Waves per unit; None: by rows."
        )
        n_knots: int = param(0, 0, 128, doc="Pieces of a number, each an input; 2 or more.")
        learning_rate: float | None = param(None, 1e-4, 1.0, log=True, doc="None: by rows.")
        weight_decay: float = param(0.02, 0.0, 1.0, doc="Decoupled decay of the weights.")
        dropout: float = param(0.15, 0.0, 0.8, doc="Share of neurons left out of a step.")
        activation: str | None = param(None, choices=("mish", "selu"), doc="None: by task.")
        one_hot_max_levels: int = param(16, 2, 1024, log=True, doc="More: target averages.")
        device: str = param("auto", choices=("auto", "cpu", "cuda"), doc="Where to train.")

    def fit(self, train: Samples, valid: Samples | None, budget: Budget) -> Self:
        """Train on one fold; see `Model.fit`."""
        _fit_together([self], [(train, valid)], budget)
        return self

    @classmethod
    def fit_folds(
        cls,
        params: AnyParams,
        settings: Sequence[Setting],
        folds: Sequence[tuple[Samples, Samples]],
        budget: Budget,
    ) -> list[Self] | None:
        """Train the networks of all folds as one model; see `Model.fit_folds`."""
        models = [cls(params, setting) for setting in settings]
        _fit_together(models, folds, budget)
        return models

    def predict(self, table: FeatureTable) -> Prediction:
        """Return the mean prediction of the members; see `Model.predict`."""
        if not hasattr(self, "_arrays"):
            raise NotFittedError("NeuralNetwork must be fitted before predict; call fit first.")
        result = np.empty((len(table), self.setting.task.n_outputs))
        for block in range(0, len(table), _BLOCK):
            rows = np.arange(block, min(block + _BLOCK, len(table)))
            x = self._encoder.transform(table if len(rows) == len(table) else table.take(rows))
            for start in range(0, len(rows), _CHUNK):
                part = self._predict_chunk(x[start : start + _CHUNK])
                result[block + start : block + start + len(part)] = part
        return result

    def _predict_chunk(self, x: Matrix) -> npt.NDArray[np.float64]:
        outputs = self.outputs(x)
        if self.setting.task.is_classification:
            return np.asarray(softmax(outputs).mean(axis=0))
        return np.asarray(outputs.mean(axis=0).clip(*self._range))

    def outputs(self, x: Matrix) -> npt.NDArray[np.float64]:
        """Return the last layer of every member, shape (n_members, n_samples, n_outputs).

        Parameters
        ----------
        x : ndarray of shape (n_samples, width) or (n_members, n_samples, width)
            Encoded rows, the same ones for all members or each member's own.
        """
        arrays, n_layers = self._arrays, self.params.n_layers
        hidden = x
        if "frequency" in arrays:
            angle = x[..., self._wavy, None] * arrays["frequency"][:, None]
            angle += arrays["phase"][:, None]
            hidden = np.empty((*angle.shape[:2], arrays["weight_0"].shape[1]), np.float32)
            hidden[:, :, : x.shape[-1]] = x
            hidden[:, :, x.shape[-1] :] = np.cos(angle, out=angle).reshape(*angle.shape[:2], -1)
        for layer in range(n_layers):
            hidden = hidden @ arrays[f"weight_{layer}"]
            hidden += arrays[f"bias_{layer}"][:, None]
            bent = _mish(hidden) if self.activation == "mish" else _selu(hidden)
            bent -= hidden
            bent *= arrays[f"mix_{layer}"][:, None]
            hidden += bent
        last = hidden @ arrays[f"weight_{n_layers}"] + arrays[f"bias_{n_layers}"][:, None]
        return np.asarray(last, dtype=np.float64)

    def state(self) -> State:
        """Return the networks' arrays and the encoder's state."""
        arrays: dict[str, npt.NDArray[Any]] = {
            f"net.{name}": array for name, array in self._arrays.items()
        }
        arrays["range"], arrays["wavy"] = self._range, self._wavy
        meta = {
            "epoch": self._epoch,
            "n_epochs": self._n_epochs,
            "chosen": self._chosen.to_dict(),
        }
        return State(meta=meta, arrays=arrays, children={"encoder": self._encoder.state()})

    def restore(self, state: State) -> None:
        """Take the networks and the encoder back."""
        self._encoder = self._new_encoder()
        self._encoder.restore(state.children["encoder"])
        self._range = state.array("range", np.float64, (2,))
        wavy = state.array("wavy", np.int64, (None,), least=0, below=self._encoder.n_numeric)
        self._epoch, self._n_epochs = int(state.meta["epoch"]), int(state.meta["n_epochs"])
        self._chosen: Any = self.Params.from_dict(state.meta["chosen"])
        self.use(self._read_arrays(state, len(wavy)), wavy)

    def use(self, arrays: Mapping[str, Matrix], wavy: npt.NDArray[np.int64]) -> None:
        """Let `outputs` work with a network's arrays.

        Parameters
        ----------
        arrays : mapping of str to ndarray
            As `neural_training.Trained.arrays`, of any number of members.
        wavy : ndarray of int
            Inputs that get periodic features.
        """
        self._arrays, self._wavy = dict(arrays), wavy

    def _read_arrays(self, state: State, n_wavy: int) -> dict[str, Matrix]:
        """Return the networks' arrays, the sizes of layers as the params say."""
        width, n_outputs = self._chosen.width, self.setting.task.n_outputs
        n_layers, n_members = self.params.n_layers, self._chosen.n_members
        shapes: dict[str, tuple[int, ...]] = {}
        n_inputs = self._encoder.width
        if n_wavy:
            shapes |= dict.fromkeys(("frequency", "phase"), (n_wavy, self._chosen.n_frequencies))
            n_inputs += n_wavy * self._chosen.n_frequencies
        sizes = [n_inputs, *[width] * n_layers, n_outputs]
        for layer, (n_in, n_out) in enumerate(pairwise(sizes)):
            shapes[f"weight_{layer}"], shapes[f"bias_{layer}"] = (n_in, n_out), (n_out,)
            if layer < n_layers:
                shapes[f"mix_{layer}"] = (n_out,)
        return {
            name: state.array(f"net.{name}", np.float32, (n_members, *shape))
            for name, shape in shapes.items()
        }

    def fitted_params(self) -> AnyParams:
        """Return the params with the epoch to stop at, on the same schedule."""
        params: AnyParams = dataclasses.replace(
            self._chosen, n_epochs=self._n_epochs, stop_epoch=self._epoch
        )
        return params

    def amount_learned(self) -> float | None:
        """Return the epochs."""
        return float(self._epoch)

    @classmethod
    def estimate_bytes(cls, params: AnyParams, table: FeatureTable, task: Task) -> int:
        """Return the bytes of one fold's encoded rows and of its parameters while they learn."""
        chosen: Any = _chosen(params, len(table))
        levels = sum(min(n, chosen.one_hot_max_levels) for n in table.n_levels)
        n_numbers = table.numeric.shape[1]
        n_inputs = n_numbers + n_pieces(chosen.n_knots, n_numbers) * n_numbers + levels
        first = n_inputs + min(n_numbers, _MAX_WAVY) * chosen.n_frequencies
        sizes = first + chosen.width * chosen.n_layers + task.n_outputs
        n_parameters = chosen.n_members * chosen.width * sizes
        return 4 * (2 * len(table) * n_inputs + 6 * n_parameters)

    @property
    def activation(self) -> str:
        """The activation between the layers."""
        fallback = "selu" if self.setting.task.is_classification else "mish"
        return str(self.params.activation or fallback)

    def _new_encoder(self) -> DenseEncoder:
        return DenseEncoder(
            one_hot_max_levels=self.params.one_hot_max_levels,
            clip=True,
            n_knots=self.params.n_knots,
            topics_as_one=True,
        )


def _fit_together(
    models: Sequence[NeuralNetwork],
    folds: Sequence[tuple[Samples, Samples | None]],
    budget: Budget,
) -> None:
    """Encode the folds, train all networks in step, and give each model its own."""
    if budget.remaining() < _LEAST_SECONDS:
        raise OutOfTimeError(
            f"A network needs at least {_LEAST_SECONDS} seconds, got {budget.remaining():.2f}; "
            "raise the time limit."
        )
    import_optional("torch", extra="torch", purpose="The neural network")
    from tabular_automl.models import neural_training as training

    setting = models[0].setting
    n_rows = int(np.median([len(train) for train, _ in folds]))
    for model in models:
        model._chosen = _chosen(model.params, n_rows)
    recipe = _recipe(models[0], training, n_rows)
    columns = _columns_of_many_values(folds[0][0].table) if recipe.n_frequencies else []
    encoded = []
    for model, (train, valid) in zip(models, folds, strict=True):
        if budget.expired():
            raise OutOfTimeError("A network's time was over before its rows were encoded.")
        encoded.append(_encode_fold(model, train, valid, columns))
        if len(encoded) == 1:
            _check_memory(encoded[0], train, len(folds) - 1)
    results = training.train_folds(encoded, recipe, budget, setting.n_threads)
    for model, result in zip(models, results, strict=True):
        model._arrays = result.arrays
        model._epoch, model._n_epochs = result.epoch, result.n_epochs
        model._chosen = dataclasses.replace(model._chosen, n_members=len(result.arrays["bias_0"]))
        model.hurried = model._chosen.n_members < recipe.n_members


def _check_memory(fold: FoldRows, train: Samples, n_more: int) -> None:
    """Refuse so many more folds like this one where they do not fit: all stay until the end."""
    held = 0 if fold.valid is None else fold.valid.x.nbytes
    n_bytes = n_more * (fold.train.x.nbytes + held + train.table.numeric.nbytes)
    n_free = free_bytes()
    if n_bytes > _MEMORY_SHARE * n_free:
        raise OutOfMemoryError(
            f"the other {n_more} folds would need {n_bytes / 1e9:.1f} GB of memory, there are "
            f"{n_free / 1e9:.1f}"
        )


def _encode_fold(
    model: NeuralNetwork, train: Samples, valid: Samples | None, columns: list[int]
) -> FoldRows:
    """Fit the fold's encoder and return its rows."""
    from tabular_automl.models.neural_rows import FoldRows, Rows

    task, seed = model.setting.task, model.setting.seed
    model._encoder = model._new_encoder()
    model._wavy = np.array(columns, dtype=np.int64)
    x = model._encoder.fit_transform(train, task, seed)
    model._range = np.array([0.0, 1.0])
    offset = np.zeros(task.n_outputs, dtype=np.float32)
    if task.is_classification:
        offset = _log_frequencies(train, task.n_classes)
    else:
        model._range = np.array([train.y.min(), train.y.max()], dtype=np.float64)
    held = None
    if valid is not None and len(valid):
        held = Rows(model._encoder.transform(valid.table), valid.y, valid.weight)
    rows = Rows(x, train.y, train.weight)
    return FoldRows(rows, held, model._wavy, offset, seed)


@dataclass(frozen=True)
class _Size:
    """Choices for training folds of up to so many rows."""

    max_rows: float
    batch_size: int
    n_epochs: int
    learning_rate: float
    n_frequencies: int
    frequency_scale: float
    width: int
    n_members: int


# Few rows are overfitted within some epochs, and the more so the faster the waves; many rows need
# fast waves and large steps to show what is in them, and wider layers rather than more networks.
_SIZES = (
    _Size(400, 32, 64, 0.03, 8, 0.5, 64, 8),
    _Size(1_500, 64, 48, 0.03, 8, 0.5, 64, 8),
    _Size(8_000, 128, 32, 0.05, 16, 0.5, 64, 8),
    _Size(50_000, 256, 24, 0.1, 16, 1.0, 128, 4),
    _Size(np.inf, 512, 16, 0.1, 16, 1.0, 128, 4),
)


def _chosen(params: Any, n_rows: int) -> Any:
    """Return the params with every choice that was left to the number of training rows made."""
    size = next(size for size in _SIZES if n_rows <= size.max_rows)
    names = [field.name for field in dataclasses.fields(_Size) if field.name != "max_rows"]
    open_choices = {name: getattr(size, name) for name in names if getattr(params, name) is None}
    return dataclasses.replace(params, **open_choices)


def _recipe(model: NeuralNetwork, training: Any, n_rows: int) -> Any:
    """Return the model's params and setting as a `neural_training.Recipe`."""
    task = model.setting.task
    params: Any = model._chosen
    names = {field.name for field in dataclasses.fields(training.Recipe)}
    values = {name: value for name, value in params.to_dict().items() if name in names}
    values |= {
        "loss": model.setting.loss,
        "n_outputs": task.n_outputs,
        "activation": model.activation,
        "batch_size": min(params.batch_size, n_rows),
    }
    return training.Recipe(**values)


def _columns_of_many_values(table: FeatureTable) -> list[int]:
    """Return the numeric features with many values; none when there are too many of those."""
    # From all over the table: it may be sorted by one of the columns.
    spread = np.linspace(0, len(table) - 1, min(len(table), _SAMPLE_ROWS)).astype(np.intp)
    sample = table.take(spread).numeric
    columns = [
        column
        for column in range(sample.shape[1])
        if len(np.unique(sample[:, column])) > _MANY_VALUES
    ]
    return columns if len(columns) <= _MAX_WAVY else []


def _log_frequencies(train: Samples, n_classes: int) -> Matrix:
    """Return the logarithm of each class's share, one imagined row of each class added."""
    count = np.bincount(train.y, weights=train.weight, minlength=n_classes) + 1.0
    logs = np.log(count / count.sum())
    return np.asarray(logs - logs.mean(), dtype=np.float32)


def _mish(x: Matrix) -> Matrix:
    """Return x tanh(log(1 + e^x)), with one exponential: it equals x (1 - 2 / (2 + 2e + e^2))."""
    e = np.exp(np.minimum(x, np.float32(20.0)))
    ratio = e + np.float32(2.0)
    ratio *= e
    np.add(ratio, np.float32(2.0), out=e)
    ratio /= e
    ratio *= x
    return ratio


def _selu(x: Matrix) -> Matrix:
    bent = np.expm1(np.minimum(x, np.float32(0.0))) * np.float32(1.6732632423543772)
    bent += np.maximum(x, np.float32(0.0))
    bent *= np.float32(1.0507009873554805)
    return np.asarray(bent)

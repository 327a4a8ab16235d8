"""A compact convolutional network for tables with images, trained from nothing."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from tabular_automl.extend import (
    Budget,
    DenseEncoder,
    FeatureTable,
    Kind,
    Model,
    NotFittedError,
    OutOfTimeError,
    Prediction,
    Samples,
    State,
    Task,
    choose_device,
    import_optional,
    param,
)
from tabular_automl.extend import Params as AnyParams
from vision_ext.pixels import Pictures, pictures_of, read_table

_SIDES = (32, 48, 64)
_MOST_PIXELS = 128  # along an image's side
_BLOCK = 1024  # rows predicted at a time
_MAX_PIXEL_BYTES = 1_000_000_000  # of all images of a table
_LEAST_SECONDS = 0.5  # less than loading torch and reading images takes
_SIZES = ((300, 60), (3_000, 45), (20_000, 30), (np.inf, 20))  # most rows, epochs
_ONE_THREAD_ROWS = 16  # so few images are seen sooner without waiting for other threads


class ImageNetwork(Model):
    """A small convolutional network over a row's images, joined with its other features.

    Patches are whitened by a fixed first layer and go through three blocks of convolutions, in the
    manner of airbench [1]_; images grow during training, from half their final size [2]_. Size and
    schedule follow from the time left and the measured time of a step. Training images are moved,
    turned, stretched, tinted and partly covered; they are mirrored where a network that saw no
    mirrored image predicts mirrored validation images about as well (garments, unlike digits).
    The other features, those derived from the images excepted, enter through a perceptron.

    An image that is missing or cannot be read has a description of zeros, and a flag says so.

    References
    ----------
    .. [1] K. Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", arXiv 2404.00498.
    .. [2] M. Tan, Q. Le, "EfficientNetV2: smaller models and faster training", ICML 2021.
    """

    interruptible: ClassVar[bool] = True
    modules: ClassVar[tuple[str, ...]] = ("torch", "PIL")
    reads: ClassVar[frozenset[Kind]] = frozenset({Kind.IMAGE})
    # No other family sees the pixels: it gets about two thirds of the time.
    cost: ClassVar[float] = 30.0

    @dataclass(frozen=True)
    class Params(AnyParams):
        """Hyperparameters of `ImageNetwork`."""

        n_epochs: int | None = param(None, 1, 1000, log=True, doc="Most epochs; None: by rows.")
        side: int | None = param(
            None, 16, _MOST_PIXELS, doc="Pixels of an image's side; None: by time."
        )
        width: int = param(48, 8, 256, log=True, doc="Channels of the first block.")
        batch_size: int | None = param(None, 2, 1024, log=True, doc="Rows of a step; None: 64.")
        learning_rate: float = param(0.004, 1e-5, 1.0, log=True)
        weight_decay: float = param(0.05, 0.0, 1.0, doc="Decoupled decay of the weights.")
        label_smoothing: float = param(0.1, 0.0, 0.5, doc="Share of a label spread over all.")
        dropout: float = param(0.1, 0.0, 0.8, doc="Share of an image's description left out.")
        flip: bool | None = param(
            None, choices=(True, False), doc="Mirror images; None: where it is harmless."
        )
        device: str = param("auto", choices=("auto", "cpu", "cuda"), doc="Where to compute.")

    def fit(self, train: Samples, valid: Samples | None, budget: Budget) -> Self:
        """Train on one fold; see `Model.fit`."""
        if budget.remaining() < _LEAST_SECONDS:
            raise OutOfTimeError(
                f"An image network needs at least {_LEAST_SECONDS} seconds, got "
                f"{budget.remaining():.2f}; raise the time limit."
            )
        import_optional("torch", extra="vision", purpose="The image network")
        from vision_ext import network_training as training

        setting = self.setting
        self._choose_side(train.table, budget)
        self._kept = _own_numbers(train.table)
        self._encoder = DenseEncoder(one_hot_max_levels=32, clip=True)
        x = self._encoder.fit_transform(self._plain(train), setting.task, setting.seed)
        rows = self._rows(training, train, x, budget)
        held = None
        if valid is not None and len(valid):
            encoded = self._encoder.transform(self._plain(valid).table)
            held = self._rows(training, valid, encoded, budget)
        recipe = self._recipe(training, len(train))
        result = training.train(rows, held, recipe, setting.seed, budget)
        self._range = np.array([0.0, 1.0])
        if not setting.task.is_classification:
            self._range = np.array([train.y.min(), train.y.max()], dtype=np.float64)
        self._take(result)
        if valid is None:
            self._temperature = getattr(self, "_known_temperature", result.temperature)
        return self

    def take_over(self, fitted: Self) -> None:
        """Keep the temperature, which only validation rows can tell."""
        self._known_temperature = fitted._temperature

    def predict(self, table: FeatureTable) -> Prediction:
        """Return the network's predictions; see `Model.predict`."""
        if not hasattr(self, "_net"):
            raise NotFittedError("ImageNetwork must be fitted before predict; call fit first.")
        import torch

        before = torch.get_num_threads()
        n_threads = self.setting.n_threads if len(table) > _ONE_THREAD_ROWS else 1
        torch.set_num_threads(n_threads)
        # The images of folds and of small tables are kept for the other models of the ensemble.
        shared = table.rows is not None or len(table) <= _BLOCK
        result = np.empty((len(table), self.setting.task.n_outputs))
        try:
            for start in range(0, len(table), _BLOCK):
                stop = min(start + _BLOCK, len(table))
                whole = stop - start == len(table)
                part = table if whole else table.take(np.arange(start, stop))
                result[start:stop] = self._predict_block(part, self._pictures(part, shared))
        finally:
            torch.set_num_threads(before)
        return result

    def _predict_block(self, table: FeatureTable, pictures: Pictures) -> npt.NDArray[np.float64]:
        import torch

        from vision_ext.network_training import outputs_of

        device = self._center.device
        pixels = torch.from_numpy(pictures.pixels).to(device)
        present = torch.from_numpy(pictures.present).to(device)
        x = torch.from_numpy(self._encoder.transform(self._plain_table(table))).to(device)
        if pixels.shape[1]:
            pixels = (pixels.permute(0, 1, 4, 2, 3).float() - self._center) / self._scale
            pixels = pixels * present[:, :, None, None, None]
        views = (False, True) if self._flip and pixels.shape[1] else (False,)
        with torch.no_grad():
            outputs = outputs_of(self._net, pixels, present, x, self._side, views).double()
            if self.setting.task.is_classification:
                outputs = (outputs / self._temperature).softmax(dim=1)
        return np.asarray(outputs.cpu().numpy().clip(*self._range))

    def state(self) -> State:
        """Return the network's arrays and the encoder's state."""
        arrays = {f"net.{name}": array for name, array in self._arrays.items()}
        arrays |= {"range": self._range, "kept": self._kept}
        meta = {
            "stored_side": self._stored_side,
            "side": self._side,
            "flip": self._flip,
            "n_epochs": self._n_epochs,
            "temperature": self._temperature,
            "columns": list(self._columns),
        }
        return State(meta=meta, arrays=arrays, children={"encoder": self._encoder.state()})

    def restore(self, state: State) -> None:
        """Take the network and the encoder back."""
        meta = state.meta
        self._encoder = DenseEncoder(one_hot_max_levels=32, clip=True)
        self._encoder.restore(state.children["encoder"])
        self._range = state.array("range", np.float64, (2,))
        self._kept = state.array("kept", np.intp, (self._encoder.n_numeric,), least=0)
        self._stored_side = state.integer("stored_side", 1, _MOST_PIXELS)
        least = 1 if meta["columns"] else 0  # without images, none of a size was seen
        self._side = state.integer("side", least, _MOST_PIXELS)
        self._flip = bool(meta["flip"])
        self._temperature = state.number("temperature", least=1e-6)
        self._n_epochs = int(meta["n_epochs"])
        self._columns = tuple(meta["columns"])
        named = {name.partition("net.")[2]: array for name, array in state.arrays.items()}
        self._arrays = {name: array for name, array in named.items() if name}
        for name in self._arrays:
            found = state.arrays[f"net.{name}"]
            state.array(f"net.{name}", found.dtype, found.shape)
        try:
            self._build()
        except RuntimeError as error:  # what torch says of arrays that are no such network's
            raise state.refusal("net", "be an image network's arrays", str(error)) from error

    def fitted_params(self) -> AnyParams:
        """Return the params with the size, the epochs and whether to mirror filled in."""
        side = self._side if self._columns else None
        params: AnyParams = dataclasses.replace(
            self.params, n_epochs=self._n_epochs, side=side, flip=self._flip
        )
        return params

    @classmethod
    def estimate_bytes(cls, params: AnyParams, table: FeatureTable, task: Task) -> int:
        """Return the bytes of all pixels, of a fold's, and of what a step keeps for the way back.

        Beyond 325,000 images, those of the smallest side are more than `_MAX_PIXEL_BYTES`.
        """
        chosen: Any = params
        n_columns = len(table.raw_of(Kind.IMAGE))
        side = chosen.side or _affordable_side(len(table.root) * n_columns)
        n_pixels = (len(table.root) + len(table)) * n_columns * 3 * side**2
        n_activations = (chosen.batch_size or 64) * n_columns * chosen.width * side**2
        return n_pixels + 4 * 4 * n_activations + 4 * table.n_bytes

    def _choose_side(self, table: FeatureTable, budget: Budget) -> None:
        """Choose the size in which images are kept: about their own, fewer pixels if many."""
        self._columns = tuple(table.raw_of(Kind.IMAGE))
        self._stored_side = self.params.side or _SIDES[-1]
        if not self._columns or self.params.side is not None:
            return
        self._stored_side = _affordable_side(len(table.root) * len(self._columns))
        pictures = pictures_of(table, self._stored_side, self.setting.n_threads, budget)
        extent = np.median(pictures.extent[pictures.present]) if pictures.present.any() else 0
        useful = [s for s in _SIDES if s <= self._stored_side and s >= extent]
        self._stored_side = min(useful, default=self._stored_side)

    def _rows(self, training: Any, samples: Samples, x: Any, budget: Budget) -> Any:
        pictures = pictures_of(samples.table, self._stored_side, self.setting.n_threads, budget)
        return training.Rows(pictures.pixels, pictures.present, x, samples.y, samples.weight)

    def _pictures(self, table: FeatureTable, shared: bool) -> Pictures:
        n_threads = self.setting.n_threads
        if shared:
            return pictures_of(table, self._stored_side, n_threads, Budget.unlimited())
        return read_table(table, self._stored_side, n_threads)

    def _recipe(self, training: Any, n_rows: int) -> Any:
        """Return the params and the setting as a `network_training.Recipe`."""
        params = self.params
        n_epochs = next(n for most, n in _SIZES if n_rows <= most)
        return training.Recipe(
            loss=self.setting.loss,
            n_outputs=self.setting.task.n_outputs,
            width=params.width,
            batch_size=params.batch_size or (64 if n_rows > 1_000 else 32),
            n_epochs=params.n_epochs or n_epochs,
            learning_rate=params.learning_rate,
            weight_decay=params.weight_decay,
            label_smoothing=params.label_smoothing,
            dropout=params.dropout,
            flip=params.flip,
            side=params.side,
            device=params.device,
            n_threads=self.setting.n_threads,
        )

    def _take(self, result: Any) -> None:
        self._arrays = result.arrays
        self._side, self._flip = result.side, result.flip
        self._n_epochs, self._temperature = result.n_epochs, result.temperature
        self._build()

    def _build(self) -> None:
        """Make the network of its arrays."""
        import_optional("torch", extra="vision", purpose="The image network")
        import torch

        from vision_ext.network_modules import JointNetwork, NetworkShape, load_arrays

        device = choose_device("cpu" if self.params.device == "cpu" else "auto")
        n_outputs = self.setting.task.n_outputs
        shape = NetworkShape(
            len(self._columns), self._encoder.width, n_outputs, self.params.width, 0.0
        )
        arrays = dict(self._arrays)
        colours = [torch.tensor(arrays.pop(name)) for name in ("center", "scale")]
        self._center, self._scale = (c.to(device).reshape(3, 1, 1) for c in colours)
        net = JointNetwork(shape)
        load_arrays(net, arrays)
        self._net = net.to(device).train(False)

    def _plain(self, samples: Samples) -> Samples:
        return Samples(self._plain_table(samples.table), samples.y, samples.weight)

    def _plain_table(self, table: FeatureTable) -> FeatureTable:
        """Return the features that do not come from the images."""
        if len(self._kept) == len(table.numeric_names):
            return table
        names = tuple(table.numeric_names[i] for i in self._kept)
        numeric = np.ascontiguousarray(table.numeric[:, self._kept])
        return FeatureTable(numeric, table.codes, names, table.code_names, table.n_levels)


def _affordable_side(n_images: int) -> int:
    """Return the largest size in which so many images are kept; the smallest is always one."""
    fitting = [side for side in _SIDES if 3 * side**2 * n_images <= _MAX_PIXEL_BYTES]
    return max(fitting, default=_SIDES[0])


def _own_numbers(table: FeatureTable) -> npt.NDArray[np.intp]:
    """Return the numeric features that are not made of an image column."""
    made = tuple(f"{name}:" for name in table.raw_of(Kind.IMAGE))
    kept = [i for i, name in enumerate(table.numeric_names) if not name.startswith(made or "\0")]
    return np.array(kept, dtype=np.intp)

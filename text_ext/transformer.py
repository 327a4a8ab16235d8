"""A transformer fine-tuned on the texts of a table together with its other features."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
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
    Setting,
    State,
    Task,
    import_optional,
    param,
)
from tabular_automl.extend import Params as AnyParams
from text_ext.design import texts_of
from text_ext.encoders import (
    BUNDLED,
    BUNDLED_PACKAGE,
    SentenceEncoder,
    copied_files,
    copy_of,
    load_encoder,
    remember_copy,
    torch_threads,
)
from text_ext.tokens import Tokens, in_batches, row_lengths
from text_ext.tuning_time import has_gpu, seconds_of_model, tokens_of_row

_BLOCK = 8192  # rows predicted at a time
_LEAST_SECONDS = 0.5  # less than loading torch and taking texts apart takes
_MOST_TOKENS = 128
_EPOCHS, _MOST_EPOCHS = 3, 20
_GOOD_STEPS = 300  # fewer rows are seen more often, so that there are about as many steps
_BATCHES = ((2_000, 16), (np.inf, 32))  # most rows, rows of a step
_ENCODER_BYTES = 600_000_000  # of a small encoder, its slopes, and what a step keeps
_TUNED = "encoder."  # begins the names of its weights


class TextTransformer(Model):
    """A pretrained transformer, tuned on the target together with a head that reads all features.

    Every text column is embedded by the same encoder, the mean of its token vectors; a perceptron
    describes the other features; a linear layer reads both. The upper layers of the encoder are
    tuned with the rest: all layers on a GPU, the upper half on processors, the deeper ones with
    smaller steps [1]_. Its word embeddings stay as they are. The number of steps, and where texts
    are cut, follow from the measured time of a few steps; the weights are those that predicted the
    validation rows best.

    An artifact holds the encoder as it was, once for a bag, and what each fold changed.

    References
    ----------
    .. [1] Howard, Ruder, "Universal Language Model Fine-tuning for Text Classification", ACL 2018.
    """

    interruptible: ClassVar[bool] = True
    modules: ClassVar[tuple[str, ...]] = ("torch", "transformers", BUNDLED_PACKAGE)
    reads: ClassVar[frozenset[Kind]] = frozenset({Kind.TEXT})
    # Where there is time for it at all, embedding the same texts once is done in a third of that.
    cost: ClassVar[float] = 240.0
    _copied = ""  # the name of the encoder that came with an artifact
    _restored = False  # from an artifact, which may be anybody's
    _keeps_copy = True  # of what the models of a bag share

    @dataclass(frozen=True)
    class Params(AnyParams):
        """Hyperparameters of `TextTransformer`."""

        encoder: str = param(BUNDLED, doc="'minilm', a folder, or a name on the hub")
        max_tokens: int = param(_MOST_TOKENS, 8, 8192, log=True, doc="of a text; the rest is cut")
        n_tuned_layers: int | None = param(
            None, 0, 100, doc="the last ones; None: all on a GPU, else half"
        )
        n_epochs: int | None = param(None, 1, 1000, log=True, doc="at most; None: by rows")
        batch_size: int | None = param(None, 1, 1024, log=True, doc="rows of a step; None: by rows")
        learning_rate: float = param(1e-4, 1e-7, 0.1, log=True, doc="of the last layer")
        layer_decay: float = param(0.9, 0.1, 1.0, doc="of the learning rate, for each layer below")
        head_learning_rate: float = param(3e-3, 1e-6, 1.0, log=True, doc="of the new layers")
        weight_decay: float = param(0.01, 0.0, 1.0, doc="decoupled decay of the weights")
        dropout: float = param(0.1, 0.0, 0.8, doc="share of what the head reads that is left out")

    def fit(self, train: Samples, valid: Samples | None, budget: Budget) -> Self:
        """Tune on one fold; see `Model.fit`."""
        if budget.remaining() < _LEAST_SECONDS:
            raise OutOfTimeError(
                f"A transformer needs at least {_LEAST_SECONDS} seconds, got "
                f"{budget.remaining():.2f}; raise the time limit."
            )
        import_optional("torch", extra="text", purpose="The text transformer")
        self._columns = tuple(train.table.root.raw_of(Kind.TEXT))
        self._dense = DenseEncoder(one_hot_max_levels=32, clip=True)
        self._range = np.array([0.0, 1.0])
        if not self.setting.task.is_classification:
            self._range = np.array([train.y.min(), train.y.max()], dtype=np.float64)
        # Threads inside a step change the last bits of sums; a small perceptron needs none.
        with torch_threads(self.setting.n_threads if self._columns else 1):
            self._train(train, valid, budget)
        return self

    @classmethod
    def fit_folds(
        cls,
        params: AnyParams,
        settings: Sequence[Setting],
        folds: Sequence[tuple[Samples, Samples]],
        budget: Budget,
    ) -> list[Self] | None:
        """Tune the folds one after the other, each with all threads, or alone on the GPU."""
        models: list[Self] = []
        unread = 0.0  # seconds in which the caller predicts a fold's validation rows
        for setting, (train, valid) in zip(settings, folds, strict=True):
            left = budget.within(budget.remaining() - unread * len(models))
            model = cls(params, setting)
            model._keeps_copy = not models
            model.fit(train, valid, left.share(1.0 / (len(folds) - len(models))))
            unread = model._look_seconds
            models.append(model)
        return models

    def predict(self, table: FeatureTable) -> Prediction:
        """Return probabilities, or values inside the range of the training rows."""
        if not hasattr(self, "_arrays"):
            raise NotFittedError("TextTransformer must be fitted before predict; call fit first.")
        result = np.empty((len(table), self.setting.task.n_outputs))
        with torch_threads(self.setting.n_threads if self._columns else 1):
            for start in range(0, len(table), _BLOCK):
                rows = np.arange(start, min(start + _BLOCK, len(table)))
                part = table if len(rows) == len(table) else table.take(rows)
                result[rows] = self._predict_block(part)
        return result

    def state(self) -> State:
        """Return what was learned, and the encoder if this model is the one that keeps a copy."""
        arrays = {f"net.{name}": array for name, array in self._arrays.items()}
        meta: dict[str, Any] = {
            "columns": list(self._columns),
            "max_tokens": self._max_tokens,
            "n_tuned_layers": self._n_tuned,
            "n_epochs": self._n_epochs,
        }
        children = {"dense": self._dense.state()}
        if self._columns:
            meta["encoder"], files = self._copy()
            if self._keeps_copy:
                children["encoder"] = State(blobs=files)
        return State(meta=meta, arrays=arrays | {"range": self._range}, children=children)

    def restore(self, state: State) -> None:
        """Take back what was learned; the network is built with the first prediction."""
        meta = state.meta
        self._columns = tuple(str(column) for column in meta["columns"])
        self._max_tokens = state.integer("max_tokens", 0, 8_192)
        self._n_epochs, self._n_tuned = int(meta["n_epochs"]), int(meta["n_tuned_layers"])
        self._dense = DenseEncoder(one_hot_max_levels=32, clip=True)
        self._dense.restore(state.children["dense"])
        self._range = state.array("range", np.float64, (2,))
        named = {name.partition("net.")[2]: array for name, array in state.arrays.items()}
        self._arrays = {name: array for name, array in named.items() if name}
        for name in self._arrays:
            found = state.arrays[f"net.{name}"]
            state.array(f"net.{name}", found.dtype, found.shape)
        self._restored = True
        self._keeps_copy = "encoder" in state.children
        self._copied = str(meta.get("encoder", ""))
        if self._keeps_copy:
            remember_copy(self._copied, state.children["encoder"].blobs)

    def fitted_params(self) -> AnyParams:
        """Return the params with the epochs, the tuned layers and the length filled in."""
        params: AnyParams = dataclasses.replace(
            self.params,
            n_epochs=self._n_epochs,
            n_tuned_layers=self._n_tuned,
            max_tokens=self._max_tokens,
        )
        return params

    def take_over(self, fitted: Self) -> None:
        """Use the encoder that came with the artifact: its folder may be gone."""
        self._restored = fitted._restored
        self._copied = fitted._copied

    @classmethod
    def least_seconds(cls, table: FeatureTable, task: Task, n_cores: int) -> float:
        """Return the estimate of `tuning_time.seconds_of_model` for the table's texts."""
        n_tokens = tokens_of_row(table.raw_of(Kind.TEXT), _MOST_TOKENS)
        return seconds_of_model(len(table), n_tokens, n_cores, on_gpu=has_gpu())

    @classmethod
    def estimate_bytes(cls, params: AnyParams, table: FeatureTable, task: Task) -> int:
        """Return the bytes of a small encoder that is tuned, and of the rows' tokens."""
        chosen: Any = params
        n_texts = len(table) * len(table.raw_kinds)
        return _ENCODER_BYTES * bool(n_texts) + 4 * n_texts * chosen.max_tokens + table.n_bytes

    def _train(self, train: Samples, valid: Samples | None, budget: Budget) -> None:
        import torch

        from text_ext import transformer_training as training
        from text_ext.transformer_modules import learned_weights

        encoder = self._encoder(budget) if self._columns else None
        x = self._dense.fit_transform(train, self.setting.task, self.setting.seed)
        rows = training.Rows(self._tokens(train.table, budget), x, train.y, train.weight)
        held = None
        if valid is not None and len(valid):
            x = self._dense.transform(valid.table)
            held = training.Rows(self._tokens(valid.table, budget), x, valid.y, valid.weight)
        self._n_tuned = self._layers_to_tune(encoder)
        net = self._new_network(encoder)
        net.initialise(
            _offset(train, self.setting.task), torch.Generator().manual_seed(self.setting.seed)
        )
        recipe = self._recipe(training, len(train))
        trained = training.train(net, rows, held, recipe, self.setting.seed, budget)
        self._arrays = {name: _as_saved(name, p) for name, p in learned_weights(net).items()}
        self._max_tokens, self._n_epochs = trained.max_tokens, trained.n_epochs
        self._look_seconds = trained.look_seconds
        self._net = self._filled(net)

    def _recipe(self, training: Any, n_rows: int) -> Any:
        """Return the params and the setting as a `transformer_training.Recipe`."""
        params = self.params
        batch_size = params.batch_size or next(size for most, size in _BATCHES if n_rows <= most)
        n_steps = -(-n_rows // batch_size)
        n_epochs = min(_MOST_EPOCHS, max(_EPOCHS, -(-_GOOD_STEPS // n_steps)))
        return training.Recipe(
            loss=self.setting.loss,
            encoder=self._copied or params.encoder,
            max_tokens=params.max_tokens,
            batch_size=batch_size,
            n_epochs=params.n_epochs or n_epochs,
            learning_rate=params.learning_rate,
            layer_decay=params.layer_decay,
            head_learning_rate=params.head_learning_rate,
            weight_decay=params.weight_decay,
        )

    def _predict_block(self, table: FeatureTable) -> npt.NDArray[np.float64]:
        import torch

        from text_ext.transformer_modules import outputs_of_rows
        from text_ext.transformer_training import EVALUATED

        net = self._network()
        columns, x = self._tokens(table, Budget.unlimited()), self._dense.transform(table)
        outputs = torch.empty(len(table), self.setting.task.n_outputs, dtype=torch.float64)
        lengths = row_lengths(columns, len(table), self._max_tokens)
        with torch.no_grad():
            for rows in in_batches(lengths, EVALUATED):
                found = outputs_of_rows(net, columns, x, rows, self._max_tokens)
                outputs[torch.from_numpy(rows)] = found.double().cpu()
        if self.setting.task.is_classification:
            outputs = outputs.softmax(dim=1)
        return np.asarray(outputs.numpy().clip(*self._range))

    def _encoder(self, budget: Budget | None = None) -> SentenceEncoder:
        name, max_tokens = self._copied or self.params.encoder, self.params.max_tokens
        return load_encoder(name, max_tokens, budget, from_hub=not self._restored)

    def _tokens(self, table: FeatureTable, budget: Budget) -> tuple[Tokens, ...]:
        """Return each text column's tokens, worked out for the whole table a view is cut from."""
        if not self._columns:
            return ()
        encoder = self._encoder()
        blank = encoder.tokenizer.pad_token_id or 0
        found = []
        for column in self._columns:

            def build(root: FeatureTable, column: str = column) -> Tokens:
                return Tokens.of(encoder.token_ids(texts_of(root, column), budget), blank)

            tokens = table.root.derived(("text_ext.tokens", encoder, column), build)
            found.append(tokens if table.rows is None else tokens.take(table.rows))
        return tuple(found)

    def _layers_to_tune(self, encoder: SentenceEncoder | None) -> int:
        if encoder is None:
            return 0
        from text_ext.transformer_modules import layers_of

        n_layers = len(layers_of(encoder.model, self.params.encoder))
        if self.params.n_tuned_layers is not None:
            return int(min(self.params.n_tuned_layers, n_layers))
        return n_layers if encoder.model.device.type == "cuda" else -(-n_layers // 2)

    def _network(self) -> Any:
        """Return the network, built of its arrays where it is not there yet."""
        if not hasattr(self, "_net"):
            self._net = self._filled(self._new_network(self._encoder() if self._columns else None))
        return self._net

    def _new_network(self, encoder: SentenceEncoder | None) -> Any:
        import_optional("torch", extra="text", purpose="The text transformer")
        from text_ext.transformer_modules import JointNetwork, tunable_copy

        n_outputs, n_inputs = self.setting.task.n_outputs, self._dense.width
        tuned, device = None, "cpu"
        if encoder is not None:
            tuned = tunable_copy(encoder.model, self._n_tuned, self.params.encoder)
            device = encoder.model.device
        n_columns = len(self._columns)
        return JointNetwork(tuned, n_columns, n_inputs, n_outputs, self.params.dropout).to(device)

    def _filled(self, net: Any) -> Any:
        """Return the network with its learned weights, ready to predict."""
        from text_ext.transformer_modules import load_weights

        load_weights(net, self._arrays)
        return net

    def _copy(self) -> tuple[str, Any]:
        if self._copied:
            return self._copied, copied_files(self._copied)
        return copy_of(self._encoder())


def _as_saved(name: str, weight: Any) -> npt.NDArray[Any]:
    """Return a weight as an array; half precision halves what each fold adds to an artifact."""
    array = weight.detach().cpu().numpy()
    return np.asarray(array.astype(np.float16 if name.startswith(_TUNED) else np.float32))


def _offset(train: Samples, task: Task) -> npt.NDArray[np.float64]:
    """Return outputs that predict the base rate, one imagined row of each class added."""
    if not task.is_classification:
        return np.array([np.average(train.y, weights=train.weight)])
    count = np.bincount(train.y, weights=train.weight, minlength=task.n_classes) + 1.0
    return np.asarray(np.log(count / count.sum()))

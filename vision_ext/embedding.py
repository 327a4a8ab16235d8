"""Images embedded by a pretrained model, and another family fitted on top."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from tabular_automl.extend import (
    MODELS,
    Budget,
    DataError,
    FeatureTable,
    Kind,
    Model,
    NotFittedError,
    Prediction,
    Samples,
    Setting,
    State,
    Task,
    param,
)
from tabular_automl.extend import Params as AnyParams
from vision_ext.backbone import Backbone, load_backbone, packed_files, unpacked_backbone

HEADS = ("linear", "neural", "lightgbm", "catboost")


class ImageEmbedding(Model):
    """A frozen backbone describes the images; a tabular family learns from that and the rest.

    The backbone is any image model that `transformers.AutoModel` loads: ConvNeXt, ResNet, ViT,
    DINOv2 and the like. Its last hidden state is averaged over the image; for transformers the
    first token comes before the average. An image is embedded once, whatever folds, specs and
    predictions ask for it. A missing image has a missing embedding.

    The family takes part where it is asked for::

        spec = ModelSpec.make("image_embedding", backbone="facebook/dinov2-small")
        Predictor(label="y").fit(table, config=FitConfig(specs=(spec,)))
    """

    interruptible: ClassVar[bool] = True
    modules: ClassVar[tuple[str, ...]] = ("torch", "transformers", "PIL")
    _restored = False  # from an artifact, which may be of another machine and of anybody

    @dataclass(frozen=True)
    class Params(AnyParams):
        """Hyperparameters of `ImageEmbedding`."""

        backbone: str = param("facebook/dinov2-small", doc="A folder, or a name on the hub.")
        copy_backbone: bool = param(False, doc="Save the backbone with the predictor.")
        side: int | None = param(None, 16, 1024, doc="Pixels of an image; None: the backbone's.")
        head: str = param("linear", choices=HEADS, doc="The family on top.")
        device: str = param("auto", choices=("auto", "cpu", "cuda"), doc="Where to embed.")

    def fit(self, train: Samples, valid: Samples | None, budget: Budget) -> Self:
        """Embed the table's images, once for all folds, and fit the head; see `Model.fit`."""
        _require_images(train.table)
        self._files: dict[str, bytes] = {}
        self._backbone = getattr(self, "_backbone", None) or self._load(budget)
        if self.params.copy_backbone:
            self._files = packed_files(self._backbone)
        head = self._new_head() if valid is not None else self._head_as_chosen()
        held = None if valid is None else self._extended(valid, budget)
        self._head = head.fit(self._extended(train, budget), held, budget)
        self.hurried = head.hurried
        self.__dict__.pop("_chosen_head", None)  # with all its trees
        return self

    def amount_learned(self) -> float | None:
        """Return what the head learned."""
        return self._head.amount_learned()

    @classmethod
    def fit_folds(
        cls,
        params: AnyParams,
        settings: Sequence[Setting],
        folds: Sequence[tuple[Samples, Samples]],
        budget: Budget,
    ) -> list[Self] | None:
        """Embed with all threads before the folds, which would wait for one of them, begin."""
        model = cls(params, settings[0])
        root = folds[0][0].table.root
        _require_images(root)
        model._backbone = model._load(budget)
        model._extended_table(root, budget)
        return None

    def predict(self, table: FeatureTable) -> Prediction:
        """Return the head's predictions; see `Model.predict`."""
        if not hasattr(self, "_head"):
            raise NotFittedError("ImageEmbedding must be fitted before predict; call fit first.")
        self._head.setting = self.setting
        return self._head.predict(self._extended_table(table, Budget.unlimited()))

    def state(self) -> State:
        """Return the head's state, and the backbone's files where they are to be kept."""
        return State(blobs=self._files, children={"head": self._head.state()})

    def restore(self, state: State) -> None:
        """Take the head back; the backbone is loaded with the first prediction."""
        self._restored = True
        self._files = dict(state.blobs)
        self._head = self._new_head()
        self._head.restore(state.children["head"])

    def take_over(self, fitted: Self) -> None:
        """Use the head's choices, and the backbone that came with an artifact."""
        self._chosen_head = fitted._head
        self._restored = fitted._restored
        if fitted._files:  # its folder may be gone
            self._backbone = fitted._loaded()

    @classmethod
    def estimate_bytes(cls, params: AnyParams, table: FeatureTable, task: Task) -> int:
        """Return the bytes of a base-sized backbone and of the embeddings."""
        n_images = len(table) * len(table.raw_of(Kind.IMAGE))
        return 400_000_000 + 2 * 4 * 1_536 * n_images + table.n_bytes

    def _new_head(self) -> Model:
        family = MODELS.get(self.params.head)
        return family(family.Params(), self.setting)

    def _head_as_chosen(self) -> Model:
        """Return a head for a refit, with what the one taken over has chosen."""
        chosen: Model | None = getattr(self, "_chosen_head", None)
        if chosen is None:
            return self._new_head()
        head = type(chosen)(chosen.fitted_params(), self.setting)
        head.take_over(chosen)
        return head

    def _load(self, budget: Budget) -> Backbone:
        name, side, device = self._wanted()
        return load_backbone(name, side, device, budget, from_hub=not self._restored)

    def _wanted(self) -> tuple[str, int | None, str]:
        """Return the name, the side and the device; what learned on a GPU predicts without, too."""
        params = self.params
        anywhere = self._restored and params.device == "cuda"
        return params.backbone, params.side, "auto" if anywhere else params.device

    def _loaded(self) -> Backbone:
        if not hasattr(self, "_backbone"):
            if self._files:
                _, side, device = self._wanted()
                self._backbone = unpacked_backbone(self._files, side, device)
            else:
                self._backbone = self._load(Budget.unlimited())
        return self._backbone

    def _extended(self, samples: Samples, budget: Budget) -> Samples:
        table = self._extended_table(samples.table, budget)
        return Samples(table, samples.y, samples.weight)

    def _extended_table(self, table: FeatureTable, budget: Budget) -> FeatureTable:
        """Return the table with the embeddings as further numbers."""
        backbone = self._loaded()
        key = ("embedded", backbone.name, id(backbone.model), backbone.side)
        whole: FeatureTable = table.root.derived(
            key, lambda root: _with_embeddings(root, backbone, self.setting.n_threads, budget)
        )
        return whole if table.rows is None else whole.take(table.rows)


def _with_embeddings(
    table: FeatureTable, backbone: Backbone, n_threads: int, budget: Budget
) -> FeatureTable:
    for name, values in table.raw_of(Kind.IMAGE).items():
        block = backbone.embed(values.tolist(), n_threads, budget)
        names = tuple(f"{name}:embedding {i}" for i in range(block.shape[1]))
        table = table.with_numeric(block, names)
    return table


def _require_images(table: FeatureTable) -> None:
    if not table.raw_of(Kind.IMAGE):
        kinds: Any = sorted(kind.value for kind in set(table.raw_kinds.values()))
        raise DataError(
            f"image_embedding needs a column of images, got columns of {kinds or 'other kinds'}; "
            "leave the family out, or name the column of images: fit(columns={'name': 'image'})."
        )

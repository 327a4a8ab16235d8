"""A linear model of sentence embeddings, n-grams and all features."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

from tabular_automl.extend import Budget, FeatureTable, Kind, State, param
from text_ext.design import Floats, texts_of
from text_ext.encoders import (
    BUNDLED,
    BUNDLED_PACKAGE,
    SentenceEncoder,
    copied_files,
    copy_of,
    load_encoder,
    remember_copy,
)
from text_ext.linear import TextLinear

_EMBEDDING_SHARE = 0.85  # of the time left; the rest is for the fit


class TextEmbedding(TextLinear):
    """`TextLinear` with the embeddings of a pretrained sentence encoder beside the n-grams.

    Each text is embedded once, for all folds, all specs and later predictions. Where that would
    take longer than there is time, the spec is left out and says so.
    """

    _copied = ""  # the name of the encoder that came with an artifact
    _restored = False  # from an artifact, which may be anybody's
    modules: ClassVar[tuple[str, ...]] = (
        "scipy.sparse",
        "torch",
        "transformers",
        BUNDLED_PACKAGE,
    )
    cost: ClassVar[float] = 120.0

    @dataclass(frozen=True)
    class Params(TextLinear.Params):
        """Hyperparameters of `TextEmbedding`."""

        encoder: str = param(BUNDLED, doc="'minilm', a folder, or a name on the hub")
        copy_encoder: bool = param(False, doc="save the encoder with the predictor")
        max_tokens: int = param(128, 8, 8192, log=True, doc="of a text; the rest is not read")
        embedding_scale: float = param(
            1.0, 0.01, 100.0, log=True, doc="length of an embedding next to that of the n-grams"
        )

    def state(self) -> State:
        """Return the weights, and the encoder if this model is the one that keeps a copy."""
        state = super().state()
        if not self.params.copy_encoder:
            return state
        name, files = self._copy()
        children = {"encoder": State(blobs=files)} if self._keeps_copy else {}
        return dataclasses.replace(state, meta={**state.meta, "encoder": name}, children=children)

    def restore(self, state: State) -> None:
        """Take the weights back, and the encoder where the artifact holds one."""
        super().restore(state)
        self._restored = True
        self._keeps_copy = "encoder" in state.children
        if "encoder" in state.meta:
            self._copied = str(state.meta["encoder"])
        if self._keeps_copy:
            remember_copy(self._copied, state.children["encoder"].blobs)

    def take_over(self, fitted: Self) -> None:
        """Use the encoder that came with the artifact: its folder may be gone."""
        self._restored = fitted._restored
        self._copied = fitted._copied

    def _blocks(self, table: FeatureTable, budget: Budget) -> list[tuple[Floats, float]]:
        blocks = super()._blocks(table, budget)
        columns = tuple(table.raw_of(Kind.TEXT))
        share = budget.share(_EMBEDDING_SHARE)
        scale = self.params.embedding_scale / max(1, len(columns)) ** 0.5
        blocks += [(self._embedded(table, column, share), scale) for column in columns]
        return blocks

    def _embedded(self, table: FeatureTable, column: str, budget: Budget) -> Floats:
        """Return a column's embeddings, worked out for the whole table that a view is cut from."""
        encoder = self._encoder(budget)

        def build(root: FeatureTable) -> Floats:
            return encoder.embed(texts_of(root, column), budget, self.setting.n_threads)

        embedded = table.root.derived(("text_ext.embedding", encoder, column), build)
        return embedded if table.rows is None else embedded[table.rows]

    def _encoder(self, budget: Budget | None = None) -> SentenceEncoder:
        name, max_tokens = self._copied or self.params.encoder, self.params.max_tokens
        return load_encoder(name, max_tokens, budget, from_hub=not self._restored)

    def _copy(self) -> tuple[str, Mapping[str, bytes]]:
        if self._copied:
            return self._copied, copied_files(self._copied)
        return copy_of(self._encoder())

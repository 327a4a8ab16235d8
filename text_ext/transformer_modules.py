"""Layers of the fine-tuned transformer; imported only when one is fitted or predicts."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from tabular_automl.extend import ArtifactError, InvalidOptionError
from text_ext.tokens import Tokens

Array = npt.NDArray[Any]

_HIDDEN = 64  # numbers that describe a row's other features
_TEXT_SCALE = 0.25  # of an embedding's numbers, which are many, next to those


class JointNetwork(nn.Module):
    """Texts and other features of a row, to one output.

    All text columns go through the same encoder; the token vectors of a text are averaged and
    scaled to one size. Next to them stands what a small perceptron makes of the other features. A
    linear layer reads all.

    Shape: texts, one (ids, present) of shape (n, n_tokens) for each column, and x (n, n_inputs) to
    (n, n_outputs).

    Parameters
    ----------
    encoder : Module or None
        From `tunable_copy`; None leaves a network of the other features.
    n_columns, n_inputs, n_outputs : int
    dropout : float
    """

    def __init__(
        self, encoder: Any, n_columns: int, n_inputs: int, n_outputs: int, dropout: float
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.n_inputs, self.dropout = n_inputs, dropout
        n_read = n_columns * int(encoder.config.hidden_size) if n_columns else 0
        if n_inputs:
            self.hidden = nn.Linear(n_inputs, _HIDDEN)
            self.hidden_2 = nn.Linear(_HIDDEN, _HIDDEN)
            n_read += _HIDDEN
        self.head = nn.Linear(n_read, n_outputs)

    @torch.no_grad()
    def initialise(self, offset: Array, generator: torch.Generator) -> None:
        """Draw the weights of all layers but the encoder's; the outputs begin at the offset."""
        for module in self.children():
            if isinstance(module, nn.Linear):
                drawn = torch.rand(module.weight.shape, generator=generator)
                module.weight.copy_((2.0 * drawn - 1.0) * (3.0 / module.in_features) ** 0.5)
                module.bias.zero_()
        self.head.weight.mul_(0.1)
        self.head.bias.copy_(torch.from_numpy(np.asarray(offset, dtype=np.float32)))

    def forward(
        self,
        texts: Sequence[tuple[Tensor, Tensor]],
        x: Tensor,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the outputs; ``generator`` draws what is dropped while training."""
        parts = [self._dropped(self.embed(*text), generator) for text in texts]
        if self.n_inputs:
            hidden = self._dropped(functional.silu(self.hidden(x)), generator)
            parts.append(functional.silu(self.hidden_2(hidden)))
        read = torch.cat(parts, dim=1) if parts else x
        outputs: Tensor = self.head(read)
        return outputs

    def embed(self, ids: Tensor, present: Tensor) -> Tensor:
        """Return what describes each text, shape (n, n_embedding): zeros for an empty one."""
        there = present.any(dim=1)
        width = int(self.encoder.config.hidden_size)
        embedded = torch.zeros(len(ids), width, device=ids.device)
        if not there.any():
            return embedded
        ids, mask = ids[there], present[there]
        hidden = self.encoder(input_ids=ids, attention_mask=mask.long()).last_hidden_state.float()
        weight = mask[..., None].to(hidden.dtype)
        mean = (hidden * weight).sum(dim=1) / weight.sum(dim=1)
        return embedded.index_put(
            (there.nonzero()[:, 0],), _TEXT_SCALE * functional.layer_norm(mean, (width,))
        )

    def _dropped(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        if generator is None or self.dropout <= 0:
            return x
        kept = torch.rand(x.shape, generator=generator, device=x.device) >= self.dropout
        return x * kept / (1.0 - self.dropout)


def layers_of(encoder: Any, name: str) -> nn.ModuleList:
    """Return an encoder's stack of layers.

    Raises
    ------
    InvalidOptionError
        When it has none, so that one could not say which layers are the upper ones.
    """
    stacks = [module for module in encoder.modules() if isinstance(module, nn.ModuleList)]
    if not stacks:
        raise InvalidOptionError(
            f"The encoder must be a transformer with a stack of layers to be tuned, got {name!r}; "
            "take text_embedding, which leaves the encoder as it is."
        )
    return max(stacks, key=len)


def tunable_copy(encoder: Any, n_tuned: int, name: str) -> Any:
    """Return an encoder of which the last layers are a copy's own, to be learned.

    The other weights are shared with ``encoder``, so that many copies take little memory.
    """
    layers = layers_of(encoder, name)
    own = {id(p) for layer in layers[max(0, len(layers) - n_tuned) :] for p in layer.parameters()}
    shared = {id(p): p for p in encoder.parameters() if id(p) not in own}
    copied = copy.deepcopy(encoder, memo=dict(shared))
    for parameter in copied.parameters():
        if id(parameter) not in shared:
            parameter.requires_grad_(True)
    return copied


def by_depth(encoder: Any, name: str) -> Iterator[tuple[int, list[nn.Parameter]]]:
    """Yield each tuned layer's distance from the last one, and its parameters."""
    layers = layers_of(encoder, name)
    for depth, layer in enumerate(reversed(layers)):
        learned = [p for p in layer.parameters() if p.requires_grad]
        if learned:
            yield depth, learned


def learned_weights(net: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that are learned, by name."""
    return {name: p for name, p in net.named_parameters() if p.requires_grad}


@torch.no_grad()
def load_weights(net: nn.Module, weights: Mapping[str, Any]) -> None:
    """Take learned parameters from arrays or tensors."""
    for name, parameter in learned_weights(net).items():
        weight = weights[name]
        if tuple(weight.shape) != tuple(parameter.shape):  # copy_ would spread it
            raise ArtifactError(
                f"In a saved predictor, {name!r} must be of shape {tuple(parameter.shape)}, got "
                f"{tuple(weight.shape)}; save the predictor again."
            )
        parameter.copy_(weight if isinstance(weight, Tensor) else torch.tensor(weight))


def outputs_of_rows(
    net: JointNetwork,
    columns: Sequence[Tokens],
    x: Array,
    rows: npt.NDArray[np.intp],
    max_tokens: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return the outputs of some rows, on the device of the network."""
    device = net.head.weight.device
    texts = []
    for tokens in columns:
        ids, present = tokens.padded(rows, max_tokens)
        texts.append((torch.from_numpy(ids).to(device), torch.from_numpy(present).to(device)))
    outputs: Tensor = net(texts, torch.from_numpy(x[rows]).to(device), generator)
    return outputs

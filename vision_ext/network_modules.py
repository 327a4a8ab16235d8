"""Layers of the image network; imported only when one is fitted or predicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_PATCH = 4  # pixels along the side of a patch that the first layer looks at
N_DIRECTIONS = 16  # of the patches' principal directions that are kept, each with both signs
_HIDDEN = 64
_LEAST_VARIANCE = 1e-2  # of a direction of patches, so that noise is not blown up


@dataclass(frozen=True)
class NetworkShape:
    """Sizes of a `JointNetwork`.

    Attributes
    ----------
    n_columns : int
        Image columns; 0 leaves a network of the other features.
    n_inputs : int
        Other features, encoded.
    n_outputs : int
    width : int
        Channels of the first block; each later one has twice as many.
    dropout : float
    """

    n_columns: int
    n_inputs: int
    n_outputs: int
    width: int
    dropout: float

    @property
    def n_embedding(self) -> int:
        """Numbers that describe one image."""
        return 2 * 4 * self.width


class Block(nn.Module):
    """Two convolutions, the picture halved between them [1]_.

    Shape: (n, n_in, side, side) to (n, n_out, side // 2, side // 2).

    References
    ----------
    .. [1] K. Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", arXiv 2404.00498.
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(n_in, n_out, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(n_out)
        self.second = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(n_out)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's channels."""
        x = functional.gelu(self.first_norm(functional.max_pool2d(self.first(x), 2)))
        return functional.gelu(self.second_norm(self.second(x)))


class JointNetwork(nn.Module):
    """Images and other features of a row, to one output.

    All image columns go through the same convolutions. A row's images are described by the mean and
    the largest value of each channel, zeros where there is none; next to them stand which images
    are there and what a small perceptron makes of the other features. A linear layer reads all.

    Shape: images (n, n_columns, 3, side, side), present (n, n_columns), x (n, n_inputs) to
    (n, n_outputs).
    """

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.shape = shape
        width = shape.width
        n_read = shape.n_columns + shape.n_columns * shape.n_embedding
        if shape.n_columns:
            self.stem = nn.Conv2d(3, 2 * N_DIRECTIONS, _PATCH, stride=2, padding=1, bias=False)
            self.stem.weight.requires_grad_(False)
            sizes = (2 * N_DIRECTIONS, width, 2 * width, 4 * width)
            self.blocks = nn.Sequential(*map(Block, sizes[:-1], sizes[1:]))
        if shape.n_inputs:
            self.hidden = nn.Linear(shape.n_inputs, _HIDDEN)
            self.hidden_2 = nn.Linear(_HIDDEN, _HIDDEN)
            n_read += _HIDDEN
        self.head = nn.Linear(n_read, shape.n_outputs)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw every weight; the outputs begin at 0."""
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                bound = (3.0 / module.weight[0].numel()) ** 0.5
                with torch.no_grad():
                    module.weight.uniform_(-bound, bound, generator=generator)
                    if module.bias is not None:
                        module.bias.zero_()
        with torch.no_grad():
            self.head.weight.mul_(0.1)

    @torch.no_grad()
    def whiten(self, images: Tensor) -> None:
        """Let the first layer turn patches into uncorrelated numbers, learned from images."""
        patches = images.unfold(2, _PATCH, 2).unfold(3, _PATCH, 2)
        flat = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, 3 * _PATCH * _PATCH).double()
        variance, directions = torch.linalg.eigh(flat.T @ flat / len(flat))
        variance = variance.flip(0)[:N_DIRECTIONS]
        directions = directions.flip(1)[:, :N_DIRECTIONS]
        scaled = (directions / torch.sqrt(variance + _LEAST_VARIANCE)).T
        weight = scaled.reshape(-1, 3, _PATCH, _PATCH).float()
        self.stem.weight.copy_(torch.cat([weight, -weight]))

    def forward(
        self, images: Tensor, present: Tensor, x: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return the outputs; ``generator`` draws what is dropped while training."""
        parts = []
        if self.shape.n_columns:
            flags = present.to(x.dtype)
            seen = self.embed(images.flatten(0, 1)).unflatten(0, present.shape)
            seen = self._dropped(seen * flags[..., None], generator)
            parts = [seen.flatten(1), flags]
        if self.shape.n_inputs:
            hidden = functional.silu(self.hidden(x))
            parts.append(self._dropped(functional.silu(self.hidden_2(hidden)), generator))
        outputs: Tensor = self.head(torch.cat(parts, dim=1)) if parts else self._constant(x)
        return outputs

    def embed(self, images: Tensor) -> Tensor:
        """Return what describes each image, shape (n, n_embedding)."""
        x = functional.gelu(self.stem(images.contiguous(memory_format=torch.channels_last)))
        x = self.blocks(x)
        return torch.cat([x.mean((2, 3)), x.amax((2, 3))], dim=1)

    def _dropped(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        rate = self.shape.dropout
        if not self.training or rate <= 0:
            return x
        kept = torch.rand(x.shape, generator=generator, device=x.device) >= rate
        return x * kept / (1.0 - rate)

    def _constant(self, x: Tensor) -> Tensor:
        return self.head.bias.expand(len(x), -1)


def augmented(x: Tensor, side: int, flip: bool, generator: torch.Generator) -> Tensor:
    """Return images moved, turned, stretched, tinted and partly covered, each in its own way.

    Parameters
    ----------
    x : Tensor of shape (n, 3, any, any)
        On a scale of mean 0 and standard deviation 1.
    side : int
        Of the result, in pixels.
    flip : bool
        Whether half of the images are mirrored.
    """
    n = len(x)

    def draw(low: float, high: float, *shape: int) -> Tensor:
        span = torch.rand(shape or (n,), generator=generator, device=x.device)
        return low + (high - low) * span

    scale, stretch, angle = draw(0.75, 1.1), draw(-0.12, 0.12).exp(), draw(-0.15, 0.15)
    mirror = torch.where(draw(0.0, 1.0) < 0.5, -1.0, 1.0) if flip else torch.ones_like(scale)
    theta = torch.zeros(n, 2, 3, device=x.device)
    theta[:, 0, 0] = mirror * scale * stretch * angle.cos()
    theta[:, 0, 1] = -scale * angle.sin()
    theta[:, 1, 0] = mirror * scale * angle.sin()
    theta[:, 1, 1] = scale / stretch * angle.cos()
    theta[:, :, 2] = draw(-0.15, 0.15, n, 2)
    grid = functional.affine_grid(theta, [n, 3, side, side], align_corners=False)
    x = functional.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
    x = x * draw(0.8, 1.2, n, 1, 1, 1) + draw(-0.15, 0.15, n, 3, 1, 1)
    return _covered(x, draw(0.0, 1.0, n, 2), draw(0.0, 1.0) < 0.5)


def _covered(x: Tensor, corner: Tensor, chosen: Tensor) -> Tensor:
    """Return images of which those chosen lose a square of a third of their side."""
    side = x.shape[-1]
    length = side // 3
    first = (corner * (side - length + 1)).long()[:, :, None]
    along = torch.arange(side, device=x.device)
    inside = (along >= first) & (along < first + length)
    hole = inside[:, 0, :, None] & inside[:, 1, None, :] & chosen[:, None, None]
    return x.masked_fill(hole[:, None], 0.0)


def resized(x: Tensor, side: int) -> Tensor:
    """Return images at another size, each pixel the mean of those it stands for."""
    if x.shape[-1] == side:
        return x
    return functional.interpolate(x, size=(side, side), mode="area")


def arrays_of(module: nn.Module) -> dict[str, Any]:
    """Return all weights and running statistics as arrays, by name."""
    return {
        name: value.detach().cpu().numpy().copy() for name, value in module.state_dict().items()
    }


def load_arrays(module: nn.Module, arrays: dict[str, Any]) -> None:
    """Take weights and running statistics from arrays."""
    module.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()})

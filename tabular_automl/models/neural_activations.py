"""What happens between the layers of a network; imported only when a network is fitted."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

# E. of G. Klambauer et al., "Self-normalizing neural networks", NeurIPS 2017.
_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
_STEEP = 1e30  # times a number, cut off at 1: whether it is above 0
_MISH_IS_LINEAR = 30.0  # from here on, to the last digit
_LEVELS = 65_536  # of the random numbers that decide what drops out


def _selu(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return SELU(x) - x, and its derivative."""
    above = x.relu()
    below = x - above
    bent = torch.exp(below).mul_(_SELU_SCALE * _SELU_ALPHA)
    excess = bent.sub(_SELU_SCALE * _SELU_ALPHA).add_(above, alpha=_SELU_SCALE - 1.0).sub_(below)
    is_above = above.mul_(_STEEP).clamp_(max=1.0)
    slope = bent.sub_(1.0).add_(is_above, alpha=_SELU_SCALE * (1.0 - _SELU_ALPHA))
    return excess, slope


def _mish(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return Mish(x) - x, that is x (tanh(softplus(x)) - 1), and its derivative."""
    grown = torch.exp(x.clamp(max=_MISH_IS_LINEAR))
    less = (grown + 2.0).mul_(grown).add_(2.0).reciprocal_().mul_(-2.0)
    sigmoid = grown.div_(grown + 1.0)
    slope = sigmoid.mul_(less + 2.0).mul_(x).neg_().add_(1.0).mul_(less)
    return less.mul_(x), slope


# Both by operations that torch computes several numbers at a time: its own `selu`, `mish` and their
# gradients take two to five times as long on a CPU.
ACTIVATIONS: dict[str, Callable[[Tensor], tuple[Tensor, Tensor]]] = {"mish": _mish, "selu": _selu}


class Dropout:
    """Masks for dropout [1]_: of each neuron and row, 0 or what makes up for those that are 0.

    On a CPU, numpy draws and compares them in a seventh of the time that torch takes.

    Parameters
    ----------
    seed : int
    device : torch.device

    References
    ----------
    .. [1] N. Srivastava et al., "Dropout: a simple way to prevent neural networks from
       overfitting", JMLR 2014.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self._device = device
        self._rng = np.random.default_rng(seed)
        self._generator = torch.Generator(device).manual_seed(seed)

    def mask(self, n_rows: int, width: int, rate: float) -> Tensor:
        """Return a mask of shape (n_rows, width); ``rate`` of it is 0, about."""
        if self._device.type != "cpu":
            shares = torch.rand(n_rows, width, generator=self._generator, device=self._device)
            return (shares >= rate) * (1.0 / (1.0 - rate))
        n_words = -(-n_rows * width // 4)
        words = self._rng.integers(0, 2**64 - 1, n_words, np.uint64, endpoint=True)
        drawn = words.view(np.uint16)[: n_rows * width].reshape(n_rows, width)
        return torch.from_numpy((drawn >= round(rate * _LEVELS)) * np.float32(1.0 / (1.0 - rate)))

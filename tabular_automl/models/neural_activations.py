"""The activations of a network, with their derivatives; imported only when a network is fitted."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

# E. of G. Klambauer et al., "Self-normalizing neural networks", NeurIPS 2017.
_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
_STEEP = 1e30  # times a number, cut off at 1: a quick way to say whether it is above 0
_MISH_IS_LINEAR = 30.0  # from here on, to the last digit


def _selu(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return SELU(x) - x, and the derivative of that difference."""
    bent = functional.selu(x)
    excess = bent - x
    is_above = (x * _STEEP).clamp_(0.0, 1.0)
    # SELU's own is the scale above 0, and below it what is there plus its distance from the floor.
    derivative = bent.clamp_(max=0.0).add_(_SELU_SCALE * _SELU_ALPHA - 1.0)
    return excess, derivative.add_(is_above, alpha=_SELU_SCALE * (1.0 - _SELU_ALPHA))


def _mish(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return Mish(x) - x, and the derivative of that difference.

    Mish(x) is x tanh(softplus(x)), and with e = exp(x) the tangent is 1 - 2 / (e (e + 2) + 2).
    """
    grown = torch.exp(x.clamp(max=_MISH_IS_LINEAR))
    tanh_minus_one = (grown + 2.0).mul_(grown).add_(2.0).reciprocal_().mul_(-2.0)
    sigmoid = grown.div_(grown + 1.0)
    bend = sigmoid.mul_(tanh_minus_one + 2.0).mul_(x)
    derivative = bend.neg_().add_(1.0).mul_(tanh_minus_one)
    return tanh_minus_one.mul_(x), derivative


# On a CPU torch's own `mish` and its gradient take two to three times as long (decision 44), and
# comparisons and `where` longer than what stands for them here.
ACTIVATIONS: dict[str, Callable[[Tensor], tuple[Tensor, Tensor]]] = {"mish": _mish, "selu": _selu}

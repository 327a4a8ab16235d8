"""The activations of a network, with their derivatives; imported only when a network is fitted."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# E. of G. Klambauer et al., "Self-normalizing neural networks", NeurIPS 2017.
_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
_STEEP = 1e30  # times a number, cut off at 1: a quick way to say whether it is above 0
_MISH_IS_LINEAR = 30.0  # from here on, to the last digit


def _selu(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return SELU(x) - x, and the derivative of that difference."""
    above = x.relu()
    below = x - above
    bent = torch.exp(below).mul_(_SELU_SCALE * _SELU_ALPHA)
    excess = bent.sub(_SELU_SCALE * _SELU_ALPHA).add_(above, alpha=_SELU_SCALE - 1.0).sub_(below)
    is_above = above.mul_(_STEEP).clamp_(max=1.0)
    derivative = bent.sub_(1.0).add_(is_above, alpha=_SELU_SCALE * (1.0 - _SELU_ALPHA))
    return excess, derivative


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


# On a CPU torch's own `selu`, `mish` and their gradients take up to five times as long
# (decision 44), and so do comparisons and `where`.
ACTIVATIONS: dict[str, Callable[[Tensor], tuple[Tensor, Tensor]]] = {"mish": _mish, "selu": _selu}

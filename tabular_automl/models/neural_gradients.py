"""The gradients of stacked networks, by hand; imported only when a network is fitted."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tabular_automl.models.neural_modules import FACTORS, StackedNetwork


@torch.no_grad()
def write_gradients(
    net: StackedNetwork, x: Tensor, loss_of: Callable[[Tensor], Tensor], masks: Sequence[Tensor]
) -> None:
    """Overwrite the gradients of networks with those of a loss for some rows.

    With autograd and torch's own activations a step takes 1.2 to 1.6 times as long (decision 44):
    it multiplies by constants in steps of their own, sets gradients to zero to add to them, and
    cannot share what an activation and its derivative have in common.

    Parameters
    ----------
    net : StackedNetwork
    x : Tensor of shape (n_nets, n_rows, n_inputs)
    loss_of : callable
        Returns the loss of outputs (n_nets, n_rows, n_outputs), by operations that autograd knows.
    masks : sequence of Tensor of shape (n_rows, width)
        What each hidden layer's outputs are multiplied by, for dropout; empty without.
    """
    n_layers, gain = net.shape.n_layers, net.gain
    features, wave_derivative = _first_features(net, x)
    inputs, excesses, derivatives = [features * gain], [], []
    for layer in range(n_layers):
        hidden, mix = net.linear(inputs[layer], layer), net.mix(layer)
        excess, derivative = net.activation(hidden)
        hidden.addcmul_(excess, mix)
        inputs.append(hidden.mul_(masks[layer]) if masks else hidden)
        excesses.append(excess)
        derivatives.append(derivative.mul_(mix).add_(1.0))
    gradient = _gradient_of_loss(net.linear(inputs[-1], n_layers), loss_of)
    gradient = _through_layer(net, n_layers, inputs[-1], gradient)
    for layer in reversed(range(n_layers)):
        if masks:
            gradient.mul_(masks[layer])
        by_mix = excesses[layer].mul_(gradient)
        torch.sum(by_mix, 1, out=net.gradients[f"mix_{layer}"]).mul_(FACTORS["mix"])
        gradient = _through_layer(net, layer, inputs[layer], gradient.mul_(derivatives[layer]))
    torch.sum(features.mul_(gradient), 1, out=net.gradients["gain"]).mul_(FACTORS["gain"])
    if wave_derivative is not None:
        by_wave = gradient.mul_(gain)[:, :, x.shape[2] :].view_as(wave_derivative)
        _write_for_waves(net, x, wave_derivative.mul_(by_wave))


def _first_features(net: StackedNetwork, x: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return inputs beside their periodic features, and the derivative of these by the phase.

    That by the frequency is the same times the input, since both have one factor.
    """
    if not net.shape.n_wavy:
        return x.clone(), None
    angles = net.angles(x)
    features = torch.cat([x, torch.cos(angles).flatten(2)], dim=2)
    return features, angles.sin_().mul_(-FACTORS["phase"])


def _gradient_of_loss(output: Tensor, loss_of: Callable[[Tensor], Tensor]) -> Tensor:
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(loss_of(output.requires_grad_()), output)
    return gradient


def _through_layer(net: StackedNetwork, layer: int, inputs: Tensor, gradient: Tensor) -> Tensor:
    """Write the gradients of a layer's weights and biases; return that of its inputs."""
    alpha = 1.0 / math.sqrt(inputs.shape[2])
    weight, gradients = net.parameters[f"weight_{layer}"], net.gradients
    torch.sum(gradient, 1, out=gradients[f"bias_{layer}"]).mul_(FACTORS["bias"])
    by_weight = gradients[f"weight_{layer}"]
    by_weight.baddbmm_(inputs.transpose(1, 2), gradient, beta=0.0, alpha=alpha)
    return torch.baddbmm(inputs, gradient, weight.transpose(1, 2), beta=0.0, alpha=alpha)


def _write_for_waves(net: StackedNetwork, x: Tensor, by_angle: Tensor) -> None:
    """Write the gradients of phases and frequencies, from those of the angles.

    Parameters
    ----------
    by_angle : Tensor of shape (n_nets, n_rows, n_wavy, n_frequencies)
    """
    torch.sum(by_angle, 1, out=net.gradients["phase"])
    by_frequency = by_angle.mul_(net.wavy_inputs(x))
    torch.sum(by_frequency, 1, out=net.gradients["frequency"])

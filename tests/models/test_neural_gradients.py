from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from tabular_automl.models.neural_activations import ACTIVATIONS, Dropout
from tabular_automl.models.neural_gradients import write_gradients
from tabular_automl.models.neural_modules import NetworkShape, StackedNetwork, row_losses

CPU = torch.device("cpu")
EDGES = torch.tensor([-200.0, -30.0, -1.0, -1e-6, 0.0, 1e-6, 1.0, 29.9, 30.1, 200.0])


def make_network(activation: str, n_wavy: int, n_outputs: int) -> StackedNetwork:
    shape = NetworkShape(2, 5, n_wavy, 4, width=16, n_layers=3, n_outputs=n_outputs)
    wavy = torch.arange(n_wavy).repeat(2, 1)
    net = StackedNetwork(shape, wavy, activation)
    rngs = [np.random.default_rng(seed) for seed in range(2)]
    net.initialise(torch.randn(2, 100, 5), torch.zeros(2, n_outputs), 1.0, rngs)
    return net


@pytest.mark.parametrize("name", ["mish", "selu"])
def test_activations_and_their_slopes_are_torchs(name: str) -> None:
    x = torch.cat([EDGES, torch.linspace(-8.0, 8.0, 1_001)])
    exact = x.double().requires_grad_()
    expected = getattr(functional, name)(exact) - exact
    expected.sum().backward()
    excess, slope = ACTIVATIONS[name](x)
    torch.testing.assert_close(excess.double(), expected.detach(), atol=2e-6, rtol=1e-6)
    kink = x == 0.0  # the slope of SELU jumps there
    torch.testing.assert_close(slope[~kink].double(), exact.grad[~kink], atol=2e-6, rtol=1e-6)


@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("n_wavy", [0, 3])
@pytest.mark.parametrize(
    ("activation", "loss", "n_outputs"),
    [("selu", "log_loss", 3), ("mish", "squared_error", 1), ("mish", "absolute_error", 1)],
)
def test_gradients_are_those_of_autograd(
    activation: str, loss: str, n_outputs: int, n_wavy: int, dropout: float
) -> None:
    torch.manual_seed(0)
    net = make_network(activation, n_wavy, n_outputs)
    x = torch.randn(2, 64, 5)
    y = torch.randint(0, 3, (2, 64)) if loss == "log_loss" else torch.randn(2, 64)
    masks = [Dropout(seed, CPU).mask(64, 16, dropout) for seed in range(3)] if dropout else []

    def loss_of(output: torch.Tensor) -> torch.Tensor:
        return row_losses(output, y.to(output) if loss != "log_loss" else y, loss).mean(1).sum()

    for gradient in net.gradients.values():
        gradient.fill_(7.0)  # what was there does not count
    write_gradients(net, x, loss_of, masks)

    exact = {name: p.double().requires_grad_() for name, p in net.parameters.items()}
    net.parameters = exact
    hidden = net.first_inputs(x.double())
    for layer in range(3):
        bent = net.linear(hidden, layer)
        blended = torch.lerp(bent, getattr(functional, activation)(bent), net.mix(layer))
        hidden = blended * masks[layer].double() if masks else blended
    loss_of(net.linear(hidden, 3)).backward()
    for name, parameter in exact.items():
        assert parameter.grad is not None
        largest = float(parameter.grad.abs().max())
        assert largest > 0.0
        difference = (net.gradients[name] - parameter.grad).abs().max()
        assert float(difference) < 1e-5 * largest, name


@pytest.mark.parametrize("rate", [0.001, 0.15, 0.5])
def test_masks_drop_the_share_asked_for_and_keep_the_mean(rate: float) -> None:
    masks = Dropout(0, CPU)
    mask = torch.cat([masks.mask(251, 255, rate) for _ in range(4)])
    kept = np.float32(1.0 / (1.0 - rate))
    assert set(mask.unique().tolist()) == {0.0, float(kept)}
    assert float((mask == 0.0).float().mean()) == pytest.approx(rate, abs=0.005)
    assert not torch.equal(masks.mask(9, 8, rate), masks.mask(9, 8, 0.5))


def test_masks_come_back_with_their_seed() -> None:
    first, again = Dropout(3, CPU), Dropout(3, CPU)
    assert torch.equal(first.mask(7, 5, 0.3), again.mask(7, 5, 0.3))
    assert torch.equal(first.mask(7, 5, 0.3), again.mask(7, 5, 0.3))

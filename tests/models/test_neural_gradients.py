from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional  # noqa: E402

from tabular_automl.models.neural_dropout import Dropout  # noqa: E402
from tabular_automl.models.neural_gradients import write_gradients  # noqa: E402
from tabular_automl.models.neural_modules import (  # noqa: E402
    NetworkShape,
    StackedNetwork,
    row_losses,
)


def make_network(activation, n_wavy, n_outputs, device="cpu"):
    torch.manual_seed(0)
    shape = NetworkShape(2, 5, n_wavy, 4, width=16, n_layers=3, n_outputs=n_outputs)
    wavy = torch.arange(n_wavy).repeat(2, 1).to(device)
    net = StackedNetwork(shape, wavy, activation)
    rngs = [np.random.default_rng(seed) for seed in range(2)]
    rows, offset = torch.randn(2, 100, 5), torch.zeros(2, n_outputs)
    net.initialise(rows.to(device), offset.to(device), 1.0, rngs)
    return net


def make_rows(loss):
    torch.manual_seed(1)
    y = torch.randint(0, 3, (2, 64)) if loss == "log_loss" else torch.randn(2, 64)
    return torch.randn(2, 64, 5), y


def make_masks(rate, device="cpu"):
    dropout = Dropout(0, torch.device("cpu"))
    return [dropout.mask(64, 16, rate).to(device) for _ in range(3)] if rate else []


@pytest.mark.parametrize("rate", [0.0, 0.2])
@pytest.mark.parametrize("n_wavy", [0, 3])
@pytest.mark.parametrize(
    ("activation", "loss", "n_outputs"),
    [
        ("selu", "log_loss", 3),
        ("mish", "squared_error", 1),
        ("mish", "absolute_error", 1),
        ("mish", "quantile_0.9", 1),
    ],
)
def test_gradients_are_those_of_autograd(activation, loss, n_outputs, n_wavy, rate):
    net = make_network(activation, n_wavy, n_outputs)
    (x, y), masks = make_rows(loss), make_masks(rate)

    def loss_of(output):
        return row_losses(output, y, loss).mean(1).sum()

    for gradient in net.gradients.values():
        gradient.fill_(torch.nan)  # what was there does not count
    before = x.clone()
    write_gradients(net, x, loss_of, masks)
    assert torch.equal(x, before)

    exact = {name: p.double().requires_grad_() for name, p in net.parameters.items()}
    net.parameters = exact
    hidden = net.first_inputs(x.double())
    for layer in range(3):
        bent = net.linear(hidden, layer)
        hidden = torch.lerp(bent, getattr(functional, activation)(bent), net.mix(layer))
        if masks:
            hidden = hidden * masks[layer].double()
    loss_of(net.linear(hidden, 3)).backward()
    for name, parameter in exact.items():
        largest = float(parameter.grad.abs().max())
        assert largest > 0.0
        difference = (net.gradients[name] - parameter.grad).abs().max()
        assert float(difference) < 1e-5 * largest, name


@pytest.mark.gpu
def test_gradients_of_a_gpu_are_those_of_a_cpu():
    x, y = make_rows("log_loss")
    found = []
    for device in ("cpu", "cuda"):
        net, target = make_network("selu", 3, 3, device), y.to(device)

        def loss_of(output, target=target):
            return row_losses(output, target, "log_loss").mean(1).sum()

        write_gradients(net, x.to(device), loss_of, make_masks(0.2, device))
        found.append({name: gradient.cpu() for name, gradient in net.gradients.items()})
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, atol=1e-4, rtol=1e-3)

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional  # noqa: E402

from tabular_automl.models.neural_activations import ACTIVATIONS  # noqa: E402

EDGES = [-200.0, -30.0, -1.0, -1e-6, 0.0, 1e-6, 1.0, 29.9, 30.1, 200.0]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_and_their_derivatives_are_torchs(name):
    x = torch.cat([torch.tensor(EDGES), torch.linspace(-8.0, 8.0, 1_001)])
    exact = x.double().requires_grad_()
    expected = getattr(functional, name)(exact) - exact
    expected.sum().backward()
    excess, derivative = ACTIVATIONS[name](x)
    torch.testing.assert_close(excess.double(), expected.detach(), atol=2e-6, rtol=1e-6)
    kink = x == 0.0  # the derivative of SELU jumps there
    torch.testing.assert_close(derivative[~kink].double(), exact.grad[~kink], atol=2e-6, rtol=1e-6)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_what_is_not_finite_stays_so(name):
    excess, _ = ACTIVATIONS[name](torch.tensor([float("nan")]))
    assert excess.isnan().all()

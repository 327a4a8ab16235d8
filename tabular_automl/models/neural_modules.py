"""Many small networks as one torch model; imported only when a network is fitted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from tabular_automl.core.quantiles import losses_of
from tabular_automl.models.neural_activations import ACTIVATIONS

# Learning rates relative to that of the weights. Adam ignores a gradient's scale, so a parameter
# stored divided by its factor, and multiplied when used, learns that much faster or slower.
FACTORS = {"gain": 6.0, "bias": 0.1, "mix": 0.1, "frequency": 0.1, "phase": 0.1}
_RISE = 0.05  # of the schedule
_MIXED_ROWS = 5  # whose random mean sets where a neuron bends at first


@dataclass(frozen=True)
class NetworkShape:
    """Sizes of one network, the same for all that are stacked."""

    n_nets: int
    n_inputs: int
    n_wavy: int
    n_frequencies: int
    width: int
    n_layers: int
    n_outputs: int

    @property
    def fan_ins(self) -> list[int]:
        """Inputs of each layer, the last one included."""
        first = self.n_inputs + self.n_wavy * self.n_frequencies
        return [first] + [self.width] * self.n_layers

    def decayed(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the weights, which decay."""
        fan_outs = [self.width] * self.n_layers + [self.n_outputs]
        sizes = zip(self.fan_ins, fan_outs, strict=True)
        return {f"weight_{layer}": size for layer, size in enumerate(sizes)}

    def free(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of everything else."""
        shapes: dict[str, tuple[int, ...]] = {"gain": (self.fan_ins[0],)}
        if self.n_wavy:
            shapes["frequency"] = shapes["phase"] = (self.n_wavy, self.n_frequencies)
        for layer in range(self.n_layers):
            shapes[f"bias_{layer}"] = shapes[f"mix_{layer}"] = (self.width,)
        shapes[f"bias_{self.n_layers}"] = (self.n_outputs,)
        return shapes


@dataclass(frozen=True)
class Block:
    """Parameters side by side, and their gradients."""

    values: Tensor
    gradients: Tensor


class StackedNetwork:
    """Multilayer perceptrons that share nothing but the calls that compute them.

    Each is a network in the manner of RealMLP [1]_: periodic features of the numbers join the
    inputs, a learned gain scales every input, and each hidden layer ends in an activation that a
    learned mix blends with the identity. Weights are of order 1 and divided by the root of the
    layer's inputs when used. NOTE[DIFF]: the periodic features enter the first layer as they are,
    which multiplies one matrix instead of one for each feature.

    Parameters
    ----------
    shape : NetworkShape
    wavy : Tensor of shape (n_nets, n_wavy)
        The inputs that get periodic features.
    activation : {"mish", "selu"}

    Attributes
    ----------
    decayed, free : Block
        All parameters: weights, and what does not decay. Two long blocks make the optimiser's step
        two calls instead of dozens.
    parameters, gradients : dict of str to Tensor of shape (n_nets, ...)
        The blocks' parts by name.
    activation : callable
        Returns what the activation adds to its inputs, and the derivative of that.

    References
    ----------
    .. [1] D. Holzmüller et al., "Better by default: strong pre-tuned MLPs and boosted trees on
       tabular data", NeurIPS 2024, arXiv 2407.04491.
    """

    def __init__(self, shape: NetworkShape, wavy: Tensor, activation: str) -> None:
        self.shape = shape
        self.wavy = wavy
        self.activation = ACTIVATIONS[activation]
        self.parameters: dict[str, Tensor] = {}
        self.gradients: dict[str, Tensor] = {}
        self.decayed = self._block(shape.decayed())
        self.free = self._block(shape.free())

    def _block(self, shapes: dict[str, tuple[int, ...]]) -> Block:
        """Lay parameters out side by side, with their gradients, and name the views of them."""
        shapes = {name: (self.shape.n_nets, *shape) for name, shape in shapes.items()}
        values = torch.zeros(sum(map(math.prod, shapes.values())), device=self.wavy.device)
        block = Block(values, torch.zeros_like(values))
        start = 0
        for name, shape in shapes.items():
            span = slice(start, start + math.prod(shape))
            self.parameters[name] = block.values[span].view(shape)
            self.gradients[name] = block.gradients[span].view(shape)
            start = span.stop
        return block

    def __call__(self, x: Tensor) -> Tensor:
        """Return outputs (n_nets, n_rows, n_outputs) for inputs (n_nets, n_rows, n_inputs)."""
        hidden = self.first_inputs(x)
        for layer in range(self.shape.n_layers):
            hidden = self._activate(self.linear(hidden, layer), layer)
        return self.linear(hidden, self.shape.n_layers)

    def angles(self, x: Tensor) -> Tensor:
        """Return what the periodic features are cosines of.

        Of shape (n_nets, n_rows, n_wavy, n_frequencies). Frequencies and phases have one factor.
        """
        phase, frequency = self.parameters["phase"], self.parameters["frequency"]
        angle = torch.addcmul(phase.unsqueeze(1), self.wavy_inputs(x), frequency.unsqueeze(1))
        return angle.mul_(FACTORS["phase"])

    def wavy_inputs(self, x: Tensor) -> Tensor:
        """Return the inputs that get periodic features, shape (n_nets, n_rows, n_wavy, 1)."""
        columns = self.wavy[:, None, :].expand(-1, x.shape[1], -1)
        return x.gather(2, columns).unsqueeze(-1)

    def first_inputs(self, x: Tensor) -> Tensor:
        """Return inputs with their periodic features, each times its gain."""
        if self.shape.n_wavy:
            x = torch.cat([x, torch.cos(self.angles(x)).flatten(2)], dim=2)
        return x * self.gain

    @property
    def gain(self) -> Tensor:
        """The factors of the first layer's inputs, shape (n_nets, 1, n_features)."""
        return (self.parameters["gain"] * FACTORS["gain"]).unsqueeze(1)

    def linear(self, hidden: Tensor, layer: int) -> Tensor:
        """Return a layer's outputs (n_nets, n_rows, width) before its activation."""
        return torch.baddbmm(
            self.parameters[f"bias_{layer}"].unsqueeze(1),
            hidden,
            self.parameters[f"weight_{layer}"],
            beta=FACTORS["bias"],
            alpha=1.0 / math.sqrt(hidden.shape[2]),
        )

    def mix(self, layer: int) -> Tensor:
        """Return how much of the activation is in a layer's outputs, (n_nets, 1, width)."""
        return (self.parameters[f"mix_{layer}"] * FACTORS["mix"]).unsqueeze(1)

    def _activate(self, hidden: Tensor, layer: int) -> Tensor:
        excess, _ = self.activation(hidden)
        return torch.addcmul(hidden, excess, self.mix(layer))

    def initialise(
        self, x: Tensor, offset: Tensor, frequency_scale: float, rngs: Sequence[np.random.Generator]
    ) -> None:
        """Draw the parameters so that every neuron varies, and bends, among the rows given.

        Parameters
        ----------
        x : Tensor of shape (n_nets, n_rows, n_inputs)
        offset : Tensor of shape (n_nets, n_outputs)
            The last layer's bias.
        rngs : sequence of Generator
            One for each network.
        """
        for name, parameter in self.parameters.items():
            kind = name.partition("_")[0]
            if kind in ("gain", "mix"):
                parameter.fill_(1.0 / FACTORS[kind])
            elif kind != "bias":
                drawn = np.stack([_draw(kind, rng, parameter.shape[1:]) for rng in rngs])
                parameter.copy_(torch.from_numpy(drawn))
        self.parameters.get("frequency", x.new_empty(0)).mul_(frequency_scale)
        hidden = self.first_inputs(x)
        for layer in range(self.shape.n_layers):
            hidden = self._standardise(hidden, layer, rngs)
        self.parameters[f"bias_{self.shape.n_layers}"].copy_(offset / FACTORS["bias"])

    def _standardise(
        self, hidden: Tensor, layer: int, rngs: Sequence[np.random.Generator]
    ) -> Tensor:
        """Scale a layer's weights to outputs of spread 1, and centre them on a few rows."""
        outputs = self.linear(hidden, layer)
        spread = outputs.std(1, keepdim=True).clamp(min=1e-3)
        self.parameters[f"weight_{layer}"].div_(spread)
        outputs = outputs / spread
        n_rows, width = outputs.shape[1:]
        shape = (_MIXED_ROWS, width)
        rows = torch.from_numpy(np.stack([r.integers(0, n_rows, shape) for r in rngs]))
        shares = np.stack([r.dirichlet(np.ones(_MIXED_ROWS), width).T for r in rngs])
        share = torch.from_numpy(shares).to(outputs)
        centre = (outputs.gather(1, rows.to(outputs.device)) * share).sum(1)
        self.parameters[f"bias_{layer}"].copy_(-centre / FACTORS["bias"])
        return self._activate(outputs - centre.unsqueeze(1), layer)

    def is_finite(self) -> npt.NDArray[np.bool_]:
        """Return which networks have finite parameters only, shape (n_nets,)."""
        finite = [p.flatten(1).isfinite().all(1) for p in self.parameters.values()]
        return np.asarray(torch.stack(finite).all(0).cpu().numpy())

    def snapshot(self) -> dict[str, Tensor]:
        """Return a copy of all parameters, by name."""
        return {name: parameter.clone() for name, parameter in self.parameters.items()}

    def copy_to(self, kept: dict[str, Tensor], nets: npt.NDArray[np.bool_]) -> None:
        """Overwrite the chosen networks of a snapshot with their parameters now."""
        chosen = torch.from_numpy(nets).to(self.wavy.device)
        for name, parameter in self.parameters.items():
            kept[name][chosen] = parameter[chosen]

    def take_from(self, kept: dict[str, Tensor]) -> None:
        """Go back to a snapshot."""
        for name, parameter in self.parameters.items():
            parameter.copy_(kept[name])

    def export(self) -> dict[str, npt.NDArray[np.float32]]:
        """Return the parameters as a plain network's: factors and gains multiplied in."""
        arrays = {name: p.cpu().numpy() for name, p in self.parameters.items()}
        for name, array in arrays.items():
            arrays[name] = array * np.float32(FACTORS.get(name.partition("_")[0], 1.0))
        for layer, fan_in in enumerate(self.shape.fan_ins):
            arrays[f"weight_{layer}"] /= np.float32(math.sqrt(fan_in))
        arrays["weight_0"] *= arrays.pop("gain")[:, :, None]
        return arrays


def _draw(kind: str, rng: np.random.Generator, shape: Sequence[int]) -> npt.NDArray[np.float64]:
    """Return one network's first values of a parameter, in the units that it is stored in."""
    if kind == "phase":
        return rng.uniform(-math.pi, math.pi, shape) / FACTORS[kind]
    turn = 2.0 * math.pi / FACTORS[kind] if kind == "frequency" else 1.0
    return rng.standard_normal(tuple(shape)) * turn


def row_losses(output: Tensor, y: Tensor, loss: str) -> Tensor:
    """Return each row's loss, shape (n_nets, n_rows), for outputs (n_nets, n_rows, n_outputs)."""
    if loss == "log_loss":
        flat = functional.cross_entropy(output.flatten(0, 1), y.flatten(), reduction="none")
        return flat.view(y.shape)
    losses: Tensor = losses_of(output.squeeze(2) - y, loss)
    return losses


def members_losses(output: Tensor, y: Tensor, loss: str) -> Tensor:
    """Return each row's loss, shape (n_folds, n_rows), of the mean prediction of some networks.

    Parameters
    ----------
    output : Tensor of shape (n_folds, n_members, n_rows, n_outputs)
    y : Tensor of shape (n_folds, n_rows)
    """
    if loss != "log_loss":
        return row_losses(output.mean(1), y, loss)
    probability = output.softmax(-1).mean(1).clamp(min=1e-7)
    return -probability.gather(2, y.unsqueeze(2)).squeeze(2).log()


def up_then_down(moment: float) -> float:
    """Return a schedule that rises over the first 5 % and then falls to 0 as a cosine."""
    return min(1.0, moment / _RISE) * 0.5 * (1.0 + math.cos(math.pi * moment))


def flat_then_down(moment: float) -> float:
    """Return a schedule that is 1 for the first half and then falls to 0 as a cosine."""
    return 1.0 if moment < 0.5 else 0.5 * (1.0 + math.cos(math.pi * (2.0 * moment - 1.0)))

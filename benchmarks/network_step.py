"""Milliseconds of a network's training step, beside the same step by autograd."""

from __future__ import annotations

import csv
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from tabular_automl.models.neural_activations import Dropout
from tabular_automl.models.neural_gradients import write_gradients
from tabular_automl.models.neural_modules import NetworkShape, StackedNetwork, row_losses

N_ROWS = 256
DROPOUT = 0.15
CASES = {  # activation, loss, shape
    "26 classes": ("selu", "log_loss", NetworkShape(1, 16, 16, 16, 256, 3, 26)),
    "two classes, four networks": ("selu", "log_loss", NetworkShape(4, 20, 10, 16, 256, 3, 2)),
    "numbers": ("mish", "squared_error", NetworkShape(1, 30, 8, 16, 256, 3, 1)),
    "numbers, wide": ("mish", "squared_error", NetworkShape(1, 300, 0, 0, 256, 3, 1)),
}


class Case:
    """One kind of network, with rows to learn from."""

    def __init__(self, activation: str, loss: str, shape: NetworkShape) -> None:
        torch.manual_seed(0)
        self.activation, self.loss, self.shape = activation, loss, shape
        wavy = torch.arange(shape.n_wavy).repeat(shape.n_nets, 1)
        self.net = StackedNetwork(shape, wavy, activation)
        self.x = torch.randn(shape.n_nets, N_ROWS, shape.n_inputs)
        rngs = [np.random.default_rng(seed) for seed in range(shape.n_nets)]
        self.net.initialise(self.x, torch.zeros(shape.n_nets, shape.n_outputs), 1.0, rngs)
        classes = torch.randint(0, shape.n_outputs, (shape.n_nets, N_ROWS))
        self.y = classes if loss == "log_loss" else torch.randn(shape.n_nets, N_ROWS)
        self.dropout = Dropout(0, torch.device("cpu"))

    def loss_of(self, output: torch.Tensor) -> torch.Tensor:
        """Return the sum of the networks' losses."""
        return row_losses(output, self.y, self.loss).mean(1).sum()

    def by_hand(self) -> None:
        """Write the gradients as the library does."""
        width, n_layers = self.shape.width, self.shape.n_layers
        masks = [self.dropout.mask(N_ROWS, width, DROPOUT) for _ in range(n_layers)]
        write_gradients(self.net, self.x, self.loss_of, masks)

    def by_autograd(self) -> None:
        """Write the gradients with torch's own activations, dropout and autograd."""
        for name, parameter in self.net.parameters.items():
            parameter.requires_grad_().grad = self.net.gradients[name].zero_()
        hidden = self.net.first_inputs(self.x)
        for layer in range(self.shape.n_layers):
            hidden = self._activated(self.net.linear(hidden, layer), layer)
        self.loss_of(self.net.linear(hidden, self.shape.n_layers)).backward()
        for parameter in self.net.parameters.values():
            parameter.requires_grad_(False)

    def _activated(self, hidden: torch.Tensor, layer: int) -> torch.Tensor:
        bent = getattr(functional, self.activation)(hidden)
        kept = torch.rand(hidden.shape[1:]) >= DROPOUT
        return torch.lerp(hidden, bent, self.net.mix(layer)) * (kept * (1.0 / (1.0 - DROPOUT)))


def milliseconds(steps: dict[str, Callable[[], None]], n_turns: int = 25) -> dict[str, float]:
    """Return the median time of each kind of step, taken in turn."""
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(n_turns):
        for name, step in steps.items():
            step()
            start = time.perf_counter()
            for _ in range(5):
                step()
            taken[name].append(1e3 * (time.perf_counter() - start) / 5)
    return {name: statistics.median(times) for name, times in taken.items()}


def main(out: Path | None = None) -> None:
    """Write ``benchmarks/results/DATE-network-step.csv``; one thread."""
    torch.set_num_threads(1)
    out = out or Path(f"benchmarks/results/{datetime.now(UTC):%Y-%m-%d}-network-step.csv")
    with out.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["case", "autograd_ms", "by_hand_ms", "ratio"])
        for name, settings in CASES.items():
            case = Case(*settings)
            found = milliseconds({"autograd": case.by_autograd, "by_hand": case.by_hand})
            ratio = found["autograd"] / found["by_hand"]
            row = [f"{found['autograd']:.2f}", f"{found['by_hand']:.2f}", f"{ratio:.2f}"]
            writer.writerow([name, *row])
            print(f"{name}: {', '.join(row)}")


if __name__ == "__main__":
    main()

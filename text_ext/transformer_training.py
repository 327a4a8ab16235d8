"""Fine-tuning of a transformer in torch; imported only when one is fitted."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from tabular_automl.extend import AutoMLError, Budget, OutOfTimeError, losses_of
from text_ext.tokens import Tokens, in_batches, reading_length, row_lengths
from text_ext.transformer_modules import (
    JointNetwork,
    by_depth,
    learned_weights,
    load_weights,
    outputs_of_rows,
)

Array = npt.NDArray[Any]

_WARM_UP = 0.1  # part of the schedule in which the learning rate rises
_LOOK_FROM = 0.3  # part of the schedule after which validation rows are looked at
_N_LOOKS = 4  # at least, and at most one for each epoch beyond
_USED = 0.9  # part of the time that is planned with
_PROBE_STEPS = 4  # of which the first is slow
_LEAST_STEPS = 30
_GOOD_EPOCHS = 2.0  # rather shorter texts than fewer epochs
_SHORT = 32  # tokens below which texts are not cut for the sake of time
_LOOK_COST = 0.5  # of a token that is only read, next to one that is learned from
EVALUATED = 64  # rows of a batch that is only read


@dataclass(frozen=True)
class Recipe:
    """How to train; every choice that does not depend on the clock is made already."""

    loss: str
    encoder: str
    max_tokens: int
    batch_size: int
    n_epochs: int
    learning_rate: float
    layer_decay: float
    head_learning_rate: float
    weight_decay: float


@dataclass(frozen=True)
class Rows:
    """What a network sees of some rows.

    Attributes
    ----------
    columns : tuple of Tokens
        Of each text column.
    x : ndarray of shape (n_samples, n_inputs), float32
    y : ndarray of shape (n_samples,)
    weight : ndarray of shape (n_samples,) or None
    """

    columns: tuple[Tokens, ...]
    x: npt.NDArray[np.float32]
    y: Array
    weight: Array | None

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class Trained:
    """How the training went.

    Attributes
    ----------
    max_tokens : int
        Longer texts were cut.
    n_epochs : int
        Epochs that the schedule had time for.
    look_seconds : float
        That predicting the validation rows once takes.
    """

    max_tokens: int
    n_epochs: int
    look_seconds: float


def train(
    net: JointNetwork, rows: Rows, valid: Rows | None, recipe: Recipe, seed: int, budget: Budget
) -> Trained:
    """Train a network within the budget, and leave it with the weights of the best look.

    Raises
    ------
    OutOfTimeError
        When there is no time for some steps.
    AutoMLError
        When the loss is no longer a number.
    """
    return _Run(net, rows, valid, recipe, seed, budget).result()


class _Run:
    """The loop over steps: length of texts, learning rate, deadline, and which look to keep."""

    def __init__(
        self,
        net: JointNetwork,
        rows: Rows,
        valid: Rows | None,
        recipe: Recipe,
        seed: int,
        budget: Budget,
    ) -> None:
        self.net, self.rows, self.valid = net, rows, valid
        self.recipe, self.budget = recipe, budget
        self.device = net.head.weight.device
        # Where it is emulated, the shorter format costs time instead of saving it.
        self.halves = self.device.type == "cuda" and torch.cuda.is_bf16_supported(False)
        self.rng = np.random.default_rng(seed)
        self.generator = torch.Generator(self.device).manual_seed(seed)
        self.max_tokens = recipe.max_tokens
        if rows.columns:
            self.max_tokens = reading_length(rows.columns, recipe.max_tokens)
        self.batch_size = max(1, min(recipe.batch_size, len(rows)))
        self.n_steps = -(-len(rows) // self.batch_size)  # of an epoch
        self.n_planned = recipe.n_epochs * self.n_steps
        self.n_taken = 0
        self.look_seconds = 0.0
        self.best: tuple[float, dict[str, Tensor]] | None = None
        self.optimizer = self._new_optimizer()
        self.start, self.training = time.monotonic(), budget.share(_USED)

    def result(self) -> Trained:
        """Train, keep the best look, and say how it went."""
        batches = self._batches()
        if self.rows.columns and self.budget.limited:
            self._fit_schedule(self._seconds_per_token(batches))
        n_between = max(1, self.n_planned // max(_N_LOOKS, self.n_planned // self.n_steps))
        while (progress := self._progress()) < 1.0:
            self._step(next(batches), progress)
            if self.n_taken % n_between == 0 and _LOOK_FROM <= self._progress() < 1.0:
                self._look()
        if self.n_taken < min(_LEAST_STEPS, self.n_planned):
            raise OutOfTimeError(
                f"Fine-tuning needs time for at least {_LEAST_STEPS} steps, got it for "
                f"{self.n_taken}; raise the time limit or use a smaller encoder."
            )
        self._look()
        self.optimizer.zero_grad()  # the slopes are as large as the weights
        if self.best is not None:
            load_weights(self.net, self.best[1])
        n_epochs = max(1, round(self.n_taken / self.n_steps))
        return Trained(self.max_tokens, n_epochs, self.look_seconds)

    def _batches(self) -> Iterator[npt.NDArray[np.intp]]:
        while True:
            yield from in_batches(self._lengths(self.rows), self.batch_size, self.rng)

    def _lengths(self, rows: Rows) -> npt.NDArray[np.int64]:
        return row_lengths(rows.columns, len(rows), self.max_tokens)

    def _seconds_per_token(self, batches: Iterator[npt.NDArray[np.intp]]) -> float:
        """Take a few steps to learn what a token costs."""
        lengths = self._lengths(self.rows)
        self._step(next(batches), 0.0)
        n_tokens, began = 0, time.monotonic()
        for _ in range(min(_PROBE_STEPS, self.n_steps) - 1):
            if self.budget.expired():
                break
            batch = next(batches)
            self._step(batch, 0.0)
            n_tokens += int(lengths[batch].sum())
        return (time.monotonic() - began) / max(1, n_tokens)

    def _fit_schedule(self, seconds_per_token: float) -> None:
        """Choose how long texts and how many steps there is time for."""
        left = _USED * self.budget.remaining()
        while True:
            epoch = seconds_per_token * float(self._lengths(self.rows).sum())
            self.look_seconds = 0.0
            if self.valid is not None:
                n_read = float(self._lengths(self.valid).sum())
                self.look_seconds = _LOOK_COST * seconds_per_token * n_read
            # The last look, and the caller's predictions of the same rows, come after the steps.
            usable = left - (_N_LOOKS + 1) * self.look_seconds
            affordable = usable / max(epoch, 1e-9)
            if affordable >= _GOOD_EPOCHS or self.max_tokens <= _SHORT:
                break
            self.max_tokens = max(_SHORT, self.max_tokens // 2)
        n_more = int(min(affordable, self.recipe.n_epochs) * self.n_steps)
        self.n_planned = min(self.n_planned, self.n_taken + max(0, n_more))
        if self.n_planned < min(_LEAST_STEPS, self.n_steps * self.recipe.n_epochs):
            raise OutOfTimeError(
                f"tuning the encoder {self.recipe.encoder!r} for one epoch would take about "
                f"{epoch:.0f} s, and there are {left:.0f} s for all"
            )
        self.training = self.budget.within(left - 2 * self.look_seconds)

    def _progress(self) -> float:
        """Return how far the schedule is, from 0 to 1, by the clock or by the steps."""
        by_steps = self.n_taken / self.n_planned
        if not self.budget.limited:
            return by_steps
        spent, left = time.monotonic() - self.start, self.training.remaining()
        return max(by_steps, spent / max(1e-9, spent + left))

    def _step(self, batch: npt.NDArray[np.intp], progress: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = group["top"] * _rate(progress)
        y, weight = self._targets(self.rows, batch)
        with torch.autocast("cuda", torch.bfloat16, enabled=self.halves):
            outputs = self._outputs(self.rows, batch, self.generator)
        loss = (losses(outputs.float(), y, self.recipe.loss) * weight).mean()
        if not torch.isfinite(loss):
            raise AutoMLError("The transformer diverged; lower its learning_rate.")
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()
        self.n_taken += 1

    def _outputs(
        self,
        rows: Rows,
        batch: npt.NDArray[np.intp],
        generator: torch.Generator | None = None,
    ) -> Tensor:
        return outputs_of_rows(self.net, rows.columns, rows.x, batch, self.max_tokens, generator)

    def _targets(self, rows: Rows, batch: npt.NDArray[np.intp]) -> tuple[Tensor, Tensor]:
        y = torch.from_numpy(rows.y[batch]).to(self.device)
        weight = np.ones(len(batch)) if rows.weight is None else rows.weight[batch]
        return y, torch.from_numpy(weight).to(self.device, torch.float32)

    def _look(self) -> None:
        """Keep the weights if the validation rows are predicted better than ever before."""
        error = self._error()
        if error is not None and (self.best is None or error < self.best[0]):
            weights = learned_weights(self.net)
            self.best = error, {name: p.detach().clone() for name, p in weights.items()}

    @torch.no_grad()
    def _error(self) -> float | None:
        """Return the error of the validation rows; None without any, or without the time."""
        if self.valid is None:
            return None
        total, mass = 0.0, 0.0
        for batch in in_batches(self._lengths(self.valid), EVALUATED):
            if self.budget.expired():
                return None
            y, weight = self._targets(self.valid, batch)
            outputs = self._outputs(self.valid, batch)
            total += float((losses(outputs, y, self.recipe.loss) * weight).sum())
            mass += float(weight.sum())
        return total / max(mass, 1e-9)

    def _new_optimizer(self) -> torch.optim.AdamW:
        """Let the encoder learn the slower the deeper, and the new layers fast."""
        recipe, net = self.recipe, self.net
        groups = []
        if net.encoder is not None:
            for depth, parameters in by_depth(net.encoder, recipe.encoder):
                rate = recipe.learning_rate * recipe.layer_decay**depth
                groups += _groups(parameters, rate, recipe.weight_decay)
        new = [p for name, p in learned_weights(net).items() if not name.startswith("encoder.")]
        groups += _groups(new, recipe.head_learning_rate, recipe.weight_decay)
        return torch.optim.AdamW(groups, betas=(0.9, 0.98))


def _groups(
    parameters: Sequence[torch.nn.Parameter], rate: float, decay: float
) -> list[dict[str, Any]]:
    """Return groups of one rate: matrices, which decay, and the rest, which does not."""
    split = [[p for p in parameters if (p.ndim > 1) is matrix] for matrix in (True, False)]
    return [
        {"params": part, "lr": rate, "top": rate, "weight_decay": each}
        for part, each in zip(split, (decay, 0.0), strict=True)
        if part
    ]


def losses(outputs: Tensor, y: Tensor, loss: str) -> Tensor:
    """Return each row's loss, shape (n,)."""
    if loss == "log_loss":
        return functional.cross_entropy(outputs, y, reduction="none")
    by_row: Tensor = losses_of(outputs[:, 0] - y.to(outputs.dtype), loss)
    return by_row


def _rate(progress: float) -> float:
    """Return the part of the learning rate: a rise, then a straight fall to 0."""
    if progress < _WARM_UP:
        return max(0.02, progress / _WARM_UP)
    return max(0.0, (1.0 - progress) / (1.0 - _WARM_UP))

"""Training of the image network in torch; imported only when one is fitted."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from tabular_automl.extend import (
    AutoMLError,
    Budget,
    OutOfTimeError,
    choose_device,
    losses_of,
    quantile_of,
)
from vision_ext.network_modules import JointNetwork, NetworkShape, arrays_of, augmented, resized

Array = npt.NDArray[Any]

_WARM_UP = 0.15  # part of the schedule in which the learning rate rises
_FULL_SIZE = 0.7  # part of the schedule after which images have their final size
_LOOK_FROM = 0.5  # part of the schedule after which epochs are compared
_USED = 0.92  # part of the time for training; what follows is a last look at validation rows
_SIDES = (64, 48, 32)
_GOOD_EPOCHS = 5  # rather smaller images than fewer epochs
_GROWING_COST = 0.65  # of an epoch, next to one at the final size
_LEAST_STEPS = 10
_EVALUATED = 256
_WHITENED = 512
_HARMLESS = 0.1  # part of what was learned that mirroring may cost, to be called harmless
_LEARNED = 0.8  # of the base rate's error: above it, the network knows too little to ask
_TEMPERATURES = np.geomspace(0.4, 2.0, 41)


@dataclass(frozen=True)
class Recipe:
    """How to train; every choice that does not depend on the clock is made already."""

    loss: str
    n_outputs: int
    width: int
    batch_size: int
    n_epochs: int
    learning_rate: float
    weight_decay: float
    label_smoothing: float
    dropout: float
    flip: bool | None
    side: int | None
    device: str
    n_threads: int


@dataclass(frozen=True)
class Rows:
    """What a network sees of some rows.

    Attributes
    ----------
    pixels : ndarray of shape (n_samples, n_columns, side, side, 3), uint8
    present : ndarray of shape (n_samples, n_columns), bool
    x : ndarray of shape (n_samples, n_inputs), float32
    y : ndarray of shape (n_samples,)
    weight : ndarray of shape (n_samples,) or None
    """

    pixels: npt.NDArray[np.uint8]
    present: npt.NDArray[np.bool_]
    x: npt.NDArray[np.float32]
    y: Array
    weight: Array | None


@dataclass(frozen=True)
class Trained:
    """A trained network.

    Attributes
    ----------
    arrays : dict of str to ndarray
        Its weights; "center" and "scale" of the colours among them.
    side : int
        Size of the images that it was trained for in the end.
    flip : bool
        Whether mirrored images mean the same.
    n_epochs : int
        Epochs that the schedule had time for.
    temperature : float
        What the outputs are divided by.
    """

    arrays: dict[str, Array]
    side: int
    flip: bool
    n_epochs: int
    temperature: float


def train(rows: Rows, valid: Rows | None, recipe: Recipe, seed: int, budget: Budget) -> Trained:
    """Train one network within the budget.

    Raises
    ------
    OutOfTimeError
        When there is no time for some steps.
    AutoMLError
        When the loss is no longer a number.
    """
    before = torch.get_num_threads()
    # Threads inside a step change the last bits of sums; tables without images need none.
    torch.set_num_threads(recipe.n_threads if rows.present.shape[1] else 1)
    try:
        return _Run(rows, valid, recipe, seed, budget).result()
    finally:
        torch.set_num_threads(before)


class _Run:
    """The loop over steps: sizes, learning rate, deadline, and which epoch to keep."""

    def __init__(
        self, rows: Rows, valid: Rows | None, recipe: Recipe, seed: int, budget: Budget
    ) -> None:
        self.rows, self.valid = rows, valid
        self.recipe, self.budget = recipe, budget
        self.device = choose_device(recipe.device)
        self.rng = np.random.default_rng(seed)
        self.generator = torch.Generator(self.device).manual_seed(seed)
        self.has_images = rows.present.any()
        self.native = rows.pixels.shape[2] if rows.present.shape[1] else 0
        self.side = recipe.side or self.native
        self.flip = bool(recipe.flip)
        self.flip_is_open = recipe.flip is None and valid is not None and self.has_images
        self.batch_size = max(2, min(recipe.batch_size, len(rows.y)))
        self.n_steps = max(1, round(len(rows.y) / self.batch_size))
        self.stream = np.empty(0, dtype=np.intp)
        self.best: tuple[float, dict[str, Any]] | None = None
        self.net = self._new_network()
        self.optimizer = self._new_optimizer()
        self.start = time.monotonic()
        self.n_taken = 0
        self.base_error = _base_error(valid or rows, recipe)

    def result(self) -> Trained:
        """Train, and return the network of the best epoch."""
        self._fit_side()
        n_epochs = 0
        while self._progress() < 1.0 and not self.budget.expired():
            finished = self._epoch()
            n_epochs += 1
            if finished and not self._look():
                break
        if self.n_taken < min(_LEAST_STEPS, self.n_steps * self.recipe.n_epochs):
            raise OutOfTimeError(
                f"An image network needs time for at least {_LEAST_STEPS} steps, got it for "
                f"{self.n_taken}; raise the time limit or use fewer rows."
            )
        temperature = self._finish()
        arrays = arrays_of(self.net) | {
            "center": self.center.cpu().numpy().ravel(),
            "scale": self.scale.cpu().numpy().ravel(),
        }
        return Trained(arrays, self.side, self.flip, max(1, n_epochs), temperature)

    def _new_network(self) -> JointNetwork:
        rows, recipe = self.rows, self.recipe
        n_columns, n_inputs = rows.present.shape[1], rows.x.shape[1]
        shape = NetworkShape(n_columns, n_inputs, recipe.n_outputs, recipe.width, recipe.dropout)
        net = JointNetwork(shape)
        net.initialise(torch.Generator().manual_seed(int(self.rng.integers(2**31))))
        self.center = torch.zeros(3, 1, 1, device=self.device)
        self.scale = torch.ones(3, 1, 1, device=self.device)
        net = net.to(self.device)
        if self.has_images:
            sample = self._some_images()
            self.center = sample.mean((0, 2, 3)).reshape(3, 1, 1)
            self.scale = sample.std((0, 2, 3)).reshape(3, 1, 1) + 1.0
            net.whiten((sample - self.center) / self.scale)
        return net

    def _some_images(self) -> Tensor:
        """Return some training images as they are, shape (n, 3, side, side)."""
        row, column = np.nonzero(self.rows.present)
        chosen = self.rng.permutation(len(row))[:_WHITENED]
        pixels = self.rows.pixels[row[chosen], column[chosen]]
        return torch.from_numpy(pixels).to(self.device).permute(0, 3, 1, 2).float()

    def _new_optimizer(self) -> torch.optim.AdamW:
        learned = [p for p in self.net.parameters() if p.requires_grad]
        groups = [
            {
                "params": [p for p in learned if p.ndim > 1],
                "weight_decay": self.recipe.weight_decay,
            },
            {"params": [p for p in learned if p.ndim <= 1], "weight_decay": 0.0},
        ]
        rate = self.recipe.learning_rate
        return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.95), fused=True)

    def _fit_side(self) -> None:
        """Take two steps to learn what one costs, and choose the size there is time for."""
        if not self.has_images or not self.budget.limited or self.recipe.side is not None:
            return
        seconds = math.inf
        for _ in range(2):
            start = time.monotonic()
            self._step(self._draw(), self.side, 0.0)
            seconds = min(seconds, time.monotonic() - start)
        epoch = seconds * self.n_steps * _GROWING_COST
        affordable = self.budget.remaining() * _USED / epoch
        for side in (self.native, *(s for s in _SIDES if s < self.native)):
            self.side = side
            if affordable * (self.native / side) ** 2 >= _GOOD_EPOCHS:
                break

    def _progress(self) -> float:
        """Return how far the schedule is, from 0 to 1, by the clock or by the steps."""
        by_steps = self.n_taken / (self.n_steps * self.recipe.n_epochs)
        if not self.budget.limited:
            return by_steps
        spent, left = time.monotonic() - self.start, self.budget.remaining()
        return max(by_steps, spent / max(1e-9, _USED * (spent + left)))

    def _epoch(self) -> bool:
        """Take an epoch's steps; return whether there was time for all of them."""
        for _ in range(self.n_steps):
            progress = self._progress()
            if progress >= 1.0 or self.budget.expired():
                return False
            self._step(self._draw(), self._side_at(progress), progress)
        return True

    def _side_at(self, progress: float) -> int:
        """Return the size of the images: it grows from half the final one, by multiples of 8."""
        grown = 0.5 + 0.5 * min(1.0, progress / _FULL_SIZE)
        return min(self.side, max(16, round(self.side * grown / 8) * 8))

    def _draw(self) -> npt.NDArray[np.intp]:
        """Return the next rows of an endless stream of permutations."""
        while len(self.stream) < self.batch_size:
            self.stream = np.concatenate([self.stream, self.rng.permutation(len(self.rows.y))])
        drawn, self.stream = np.split(self.stream, [self.batch_size])
        return drawn

    def _step(self, drawn: npt.NDArray[np.intp], side: int, progress: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate * _rate(progress)
        images = self._images(self.rows, drawn)
        if self.has_images:
            flat = augmented(images.flatten(0, 1), side, self.flip, self.generator)
            images = flat.unflatten(0, images.shape[:2])
        present, x, y, weight = self._others(self.rows, drawn)
        self.net.train()
        output = self.net(images, present, x, self.generator)
        smoothing = self.recipe.label_smoothing
        loss = (losses(output, y, self.recipe.loss, smoothing) * weight).mean()
        if not torch.isfinite(loss):
            raise AutoMLError("The image network diverged; lower its learning_rate.")
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.n_taken += 1

    def _images(self, rows: Rows, chosen: Array) -> Tensor:
        """Return images on a scale of 1, shape (n, n_columns, 3, side, side)."""
        pixels = torch.from_numpy(rows.pixels[chosen]).to(self.device)
        if not pixels.shape[1]:
            return pixels
        scaled = (pixels.permute(0, 1, 4, 2, 3).float() - self.center) / self.scale
        there = torch.from_numpy(rows.present[chosen]).to(self.device)
        return scaled * there[:, :, None, None, None]

    def _others(self, rows: Rows, chosen: Array) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        present = torch.from_numpy(rows.present[chosen]).to(self.device)
        x = torch.from_numpy(rows.x[chosen]).to(self.device)
        y = torch.from_numpy(rows.y[chosen]).to(self.device)
        if not y.is_floating_point():
            y = y.long()
        weight = np.ones(len(chosen)) if rows.weight is None else rows.weight[chosen]
        return present, x, y, torch.from_numpy(weight).to(self.device, torch.float32)

    def _look(self) -> bool:
        """Compare with the best epoch so far; return whether there is time to go on."""
        progress = self._progress()
        if self.flip_is_open:
            self._ask_the_mirror(self._side_at(progress))
        if self.valid is None or progress < _LOOK_FROM or progress >= 1.0:
            return progress < 1.0
        error = self._error(self._outputs(self.valid, self._side_at(progress)))
        if self.best is None or error < self.best[0]:
            self.best = error, copy.deepcopy(self.net.state_dict())
        return not self.budget.expired()

    def _ask_the_mirror(self, side: int) -> None:
        """Mirror images from now on if the network, which saw no mirrored one, does not mind."""
        plain = self._error(self._outputs(self.valid, side))
        learned = self.base_error - plain
        if plain > _LEARNED * self.base_error:
            return
        mirrored = self._error(self._outputs(self.valid, side, mirrored=True))
        self.flip = mirrored - plain <= _HARMLESS * learned
        self.flip_is_open = False

    def _finish(self) -> float:
        """Take the best epoch's weights, and return the temperature that suits them."""
        if self.valid is None:
            return 1.0
        outputs = self._outputs(self.valid, self.side)
        if self.best is not None and self.best[0] < self._error(outputs):
            self.net.load_state_dict(self.best[1])
            outputs = self._outputs(self.valid, self.side)
        if self.recipe.loss != "log_loss":
            return 1.0
        tried = [self._error(outputs / float(t)) for t in _TEMPERATURES]
        return float(_TEMPERATURES[int(np.argmin(tried))])

    @torch.no_grad()
    def _outputs(self, rows: Rows | None, side: int, *, mirrored: bool = False) -> Tensor:
        """Return the network's outputs for rows as they are, or mirrored."""
        assert rows is not None
        self.net.train(False)
        parts = []
        for start in range(0, len(rows.y), _EVALUATED):
            chosen = np.arange(start, min(start + _EVALUATED, len(rows.y)))
            images = self._images(rows, chosen)
            present, x, _, _ = self._others(rows, chosen)
            parts.append(outputs_of(self.net, images, present, x, side, (mirrored,)))
        return torch.cat(parts)

    def _error(self, outputs: Tensor) -> float:
        rows = self.valid or self.rows
        _, _, y, weight = self._others(rows, np.arange(len(rows.y)))
        each = losses(outputs, y, self.recipe.loss, 0.0) * weight
        return float(each.sum() / weight.sum().clamp_min(1e-9))


def outputs_of(
    net: JointNetwork,
    images: Tensor,
    present: Tensor,
    x: Tensor,
    side: int,
    views: tuple[bool, ...],
) -> Tensor:
    """Return the mean outputs over views of the images, plain (False) or mirrored (True)."""
    if images.shape[1]:
        flat = resized(images.flatten(0, 1), side)
        images = flat.unflatten(0, images.shape[:2])
    outputs = [net(images.flip(-1) if mirror else images, present, x) for mirror in views]
    return torch.stack(outputs).mean(0)


def losses(outputs: Tensor, y: Tensor, loss: str, smoothing: float) -> Tensor:
    """Return each row's loss, shape (n,)."""
    if loss == "log_loss":
        return functional.cross_entropy(outputs, y, reduction="none", label_smoothing=smoothing)
    by_row: Tensor = losses_of(outputs[:, 0] - y.to(outputs.dtype), loss)
    return by_row


def _rate(progress: float) -> float:
    """Return the part of the learning rate: a rise, then a straight fall to 0."""
    if progress < _WARM_UP:
        return max(0.02, progress / _WARM_UP)
    return max(0.0, (1.0 - progress) / (1.0 - _WARM_UP))


def _base_error(rows: Rows, recipe: Recipe) -> float:
    """Return the error of predicting every row alike."""
    if recipe.loss == "log_loss":
        share = np.bincount(rows.y.astype(np.intp), minlength=recipe.n_outputs) / len(rows.y)
        return float(-(share * np.log(np.maximum(share, 1e-9))).sum())
    quantile = quantile_of(recipe.loss)
    best = np.mean(rows.y) if quantile is None else np.quantile(rows.y, quantile)
    return float(losses_of(best - rows.y, recipe.loss).mean())

"""Training of stacked networks in torch; imported only when a network is fitted.

All networks of a bag are one model: parameters have a leading axis of networks, each network sees
its own mini-batches, and the sum of their losses keeps their gradients apart.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tabular_automl.core.budget import Budget
from tabular_automl.core.devices import choose_device
from tabular_automl.core.errors import AutoMLError, OutOfTimeError
from tabular_automl.models.neural_dropout import Dropout
from tabular_automl.models.neural_gradients import write_gradients
from tabular_automl.models.neural_modules import (
    Block,
    NetworkShape,
    StackedNetwork,
    flat_then_down,
    members_losses,
    row_losses,
    up_then_down,
)
from tabular_automl.models.neural_rows import FoldRows, Padded

Array = npt.NDArray[Any]

_AVERAGED_EPOCHS = 3.0  # a mean over these hides the noise of single steps
_BETAS = (0.9, 0.95)
_EPSILON = 1e-8  # torch's own
_WARMING_STEPS, _PROBE_STEPS = 4, 12
_MIN_EPOCHS = 3
_GOOD_EPOCHS = 20  # rather fewer members than fewer epochs
# Inputs of a fold's members that are judged at a time: 2 MB, and several times as much for what
# the layers make of them.
_VALID_CELLS = 500_000
_INIT_ROWS = 256
_SEED_OF_OTHER_HALF = 104_729  # far from the seeds of folds and of the members in them
_WORTH_THREADS = 65_536  # numbers in a layer's activations from which threads inside a step pay


@dataclass(frozen=True)
class Recipe:
    """How to build and train the networks; every choice is made already.

    Attributes
    ----------
    loss : str
        "log_loss", "squared_error", "absolute_error" or a quantile such as "quantile_0.9".
    n_epochs : int
        Epochs that the schedule is made for; fewer when the time is short.
    stop_epoch : int or None
        Epoch after which to stop, whatever validation rows say.
    """

    loss: str
    n_outputs: int
    width: int
    n_layers: int
    n_frequencies: int
    frequency_scale: float
    learning_rate: float
    weight_decay: float
    dropout: float
    batch_size: int
    n_epochs: int
    stop_epoch: int | None
    n_members: int
    activation: str
    device: str

    @property
    def last_epoch(self) -> int:
        """The last epoch to train, where there is time for it."""
        return min(self.stop_epoch or self.n_epochs, self.n_epochs)


@dataclass(frozen=True)
class Trained:
    """The networks of one fold: arrays with a leading axis of members, ready to multiply with.

    Attributes
    ----------
    arrays : dict of str to ndarray, float32
        "frequency" and "phase" (n_wavy, n_frequencies); "weight_i", "bias_i", "mix_i" by layer.
    epoch : int
        The epoch they are from.
    n_epochs : int
        The epochs that the schedule ended up with.
    """

    arrays: dict[str, npt.NDArray[np.float32]]
    epoch: int
    n_epochs: int


def train_folds(
    folds: Sequence[FoldRows], recipe: Recipe, budget: Budget, n_threads: int
) -> list[Trained]:
    """Train ``n_members`` networks for each fold, all in step, each fold's best epoch kept.

    Threads take a share of the folds each instead of a share of every operation: that needs no
    waiting for each other within a step, and the result does not depend on their number. The
    members of a single fold, if even in number, are trained as two halves: two threads have work.

    Raises
    ------
    OutOfTimeError
        When fewer than three epochs fit into the budget.
    AutoMLError
        When a fold's networks diverge before their first epoch ends.
    """
    if len(folds) == 1 and recipe.n_members % 2 == 0:
        half = dataclasses.replace(recipe, n_members=recipe.n_members // 2)
        other = dataclasses.replace(folds[0], seed=folds[0].seed + _SEED_OF_OTHER_HALF)
        return [_joined(train_folds([folds[0], other], half, budget, n_threads))]
    device = choose_device(recipe.device)
    run = _Run(folds, recipe, budget, n_threads, device)
    with run:
        affordable = run.probe()
        wanted = min(_GOOD_EPOCHS, recipe.last_epoch)
        if affordable < wanted and recipe.n_members > 1:
            n_members = max(1, int(recipe.n_members * affordable / wanted))
            run.build(dataclasses.replace(recipe, n_members=n_members))
            run.probe()
        run.descend()
        return run.results()


def _joined(halves: Sequence[Trained]) -> Trained:
    """Return the members of both halves as those of one fold."""
    first, second = halves
    arrays = {
        name: np.concatenate([array, second.arrays[name]]) for name, array in first.arrays.items()
    }
    return Trained(arrays, max(first.epoch, second.epoch), first.n_epochs)


def _steps_per_epoch(folds: Sequence[FoldRows], batch_size: int) -> int:
    mean_rows = np.mean([len(fold.train.y) for fold in folds])
    return max(1, round(mean_rows / batch_size))


class _Run:
    """The loop over epochs: schedule, deadline, and when to stop."""

    def __init__(
        self,
        folds: Sequence[FoldRows],
        recipe: Recipe,
        budget: Budget,
        n_threads: int,
        device: torch.device,
    ) -> None:
        self.folds = folds
        self.budget = budget
        self.device = device
        self.n_threads = n_threads
        self.n_groups = 1 if device.type == "cuda" else max(1, min(n_threads, len(folds)))
        self.n_steps = _steps_per_epoch(folds, recipe.batch_size)
        self.build(recipe)

    def build(self, recipe: Recipe) -> None:
        """Make new networks, and begin again."""
        n_inputs = max(fold.train.x.shape[1] for fold in self.folds)
        common = _Common(n_inputs, self.n_steps, self.folds[0].seed)
        self.groups = [
            _Stack([self.folds[i] for i in members.tolist()], recipe, common, self.device)
            for members in np.array_split(np.arange(len(self.folds)), self.n_groups)
        ]
        layer = recipe.batch_size * recipe.width * recipe.n_members
        worth = layer >= _WORTH_THREADS
        self.n_inner = max(1, self.n_threads // self.n_groups) if worth else 1
        self.recipe = recipe
        self.n_epochs = recipe.n_epochs
        self.n_probed = 0
        self.progress = 0.0
        self.seconds_per_step = 0.0

    def __enter__(self) -> None:
        self.n_before = torch.get_num_threads()  # shared by the whole process
        self.pool = ThreadPoolExecutor(self.n_groups)

    def __exit__(self, *_: object) -> None:
        self.pool.shutdown()
        torch.set_num_threads(self.n_before)

    def results(self) -> list[Trained]:
        """Return the best networks of each fold."""
        return [trained for group in self.groups for trained in group.results(self.n_epochs)]

    def probe(self) -> float:
        """Take some steps to learn what one costs; return the epochs that there is time for."""
        n_left = self.n_steps * self.recipe.n_epochs
        self.n_probed = 0
        for n_steps in (_WARMING_STEPS, _PROBE_STEPS):  # the first ones are slower
            n_steps = min(n_steps, self.n_steps - self.n_probed)
            if n_steps and not self._steps(n_steps, n_left - self.n_probed):
                self._raise_out_of_time()
            self.n_probed += n_steps
        return self.budget.remaining() / (self.seconds_per_step * self.n_steps)

    def descend(self) -> None:
        """Train until the schedule ends, the folds stop improving, or the time is over."""
        done = self.n_probed
        for epoch in range(1, self.recipe.n_epochs + 1):
            n_now = self.n_steps - done
            n_left = self._plan(epoch, n_now)
            if n_now and n_left <= 0:
                break
            finished = not n_now or self._steps(n_now, n_left)
            done = 0
            if not finished or not self._look(epoch):
                break
        if any(group.best is None for group in self.groups):
            self._raise_out_of_time()

    def _plan(self, epoch: int, n_first: int) -> int:
        """Return the steps that are left; the schedule is squeezed into the time that is."""
        if self.progress < 0.5:
            self.n_epochs = self.recipe.n_epochs  # an early step may have been a slow one
        n_more = n_first + self.n_steps * (self.n_epochs - epoch)
        if not self.budget.limited:
            return n_more
        affordable = int(self.budget.remaining() * 0.95 / self.seconds_per_step)
        last = min(self.n_epochs, self.recipe.last_epoch)
        if affordable >= n_first + self.n_steps * (last - epoch):
            return n_more
        n_more = n_first + (affordable - n_first) // self.n_steps * self.n_steps
        self.n_epochs = epoch + (n_more - n_first) // self.n_steps
        if epoch == 1 and self.n_epochs < min(_MIN_EPOCHS, self.recipe.n_epochs):
            self._raise_out_of_time()
        return n_more if self.n_epochs >= epoch else 0

    def _steps(self, n_steps: int, n_left: int) -> bool:
        """Take steps in every group; return whether there was time for all of them."""
        start = time.monotonic()
        advance = (1.0 - self.progress) / max(n_left, n_steps)
        moments = [self.progress + advance * step for step in range(n_steps)]

        def work(group: _Stack) -> bool:
            torch.set_num_threads(self.n_inner)  # a thread starts with torch's own default
            return group.steps(moments, self.budget)

        finished = all(list(self.pool.map(work, self.groups)))
        self.progress += advance * n_steps
        if n_steps:
            self.seconds_per_step = max(1e-6, (time.monotonic() - start) / n_steps)
        return finished

    def _look(self, epoch: int) -> bool:
        """Compare with the best epochs so far; return whether going on is worth it."""
        start = time.monotonic()

        def work(group: _Stack) -> None:
            torch.set_num_threads(self.n_inner)
            group.look(epoch)

        list(self.pool.map(work, self.groups))
        self.seconds_per_step += (time.monotonic() - start) / self.n_steps
        patience = 8 + self.n_epochs // 8
        best = max(int(group.epochs.max()) for group in self.groups)
        return epoch < min(self.recipe.last_epoch, self.n_epochs) and epoch <= 2 * best + patience

    def _raise_out_of_time(self) -> None:
        raise OutOfTimeError(
            f"A network needs time for at least {_MIN_EPOCHS} epochs of {self.n_steps} steps, got "
            f"{self.budget.remaining():.1f} more seconds; raise the time limit or use fewer rows."
        )


@dataclass(frozen=True)
class _Common:
    """What all groups agree on, so that grouping changes no result."""

    n_inputs: int
    n_steps: int
    noise_seed: int


class _AdamW:
    """Adam with decoupled weight decay [1]_, for blocks of weights.

    The kernel that `torch.optim.AdamW` calls with ``fused=True``, and the same results. The first
    optimizer of `torch.optim` in a process imports torch's compiler: on two slow cores 1.9 s, which
    came out of the network's own time, and 76 MB.

    References
    ----------
    .. [1] Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019.
    """

    def __init__(self, blocks: Sequence[Block]) -> None:
        self._blocks = blocks
        self._means = [torch.zeros_like(block.values) for block in blocks]
        self._squares = [torch.zeros_like(block.values) for block in blocks]
        self._taken = [torch.zeros((), device=block.values.device) for block in blocks]

    @torch.no_grad()
    def step(self, rate: float, decays: Sequence[float]) -> None:
        """Move each block along its gradient, with its part of the weight decay."""
        states = zip(self._blocks, self._means, self._squares, self._taken, decays, strict=True)
        for block, mean, square, taken, decay in states:
            taken += 1
            torch._fused_adamw_(
                [block.values],
                [block.gradients],
                [mean],
                [square],
                [],
                [taken],
                lr=rate,
                beta1=_BETAS[0],
                beta2=_BETAS[1],
                weight_decay=decay,
                eps=_EPSILON,
                amsgrad=False,
                maximize=False,
            )


class _Stack:
    """Networks that are trained in step by one thread."""

    def __init__(
        self, folds: Sequence[FoldRows], recipe: Recipe, common: _Common, device: torch.device
    ) -> None:
        self.folds = folds
        self.recipe = recipe
        self.common = common
        self.device = device
        self.n_nets = len(folds) * recipe.n_members
        self.fold_of_net = np.repeat(np.arange(len(folds)), recipe.n_members)
        self.owners = [fold for fold in folds for _ in range(recipe.n_members)]
        self.rngs = [
            np.random.default_rng([fold.seed, member])
            for fold in folds
            for member in range(recipe.n_members)
        ]
        self.dropout = Dropout(common.noise_seed, device)
        self.streams = [np.empty(0, np.intp) for _ in range(self.n_nets)]
        self.train = Padded.of([fold.train for fold in folds], common.n_inputs, recipe.loss, device)
        parts = [fold.valid for fold in folds if fold.valid is not None]
        self.valid = (
            Padded.of(parts, common.n_inputs, recipe.loss, device).normalised() if parts else None
        )
        self.net, self.mean = self._new_network(), self._new_network()
        self.n_taken = 0
        self.adam = _AdamW([self.net.decayed, self.net.free])
        self.best: dict[str, Tensor] | None = None
        self.best_loss = np.full(len(folds), np.inf)
        self.epochs = np.zeros(len(folds), dtype=int)

    def _new_network(self) -> StackedNetwork:
        wavy = np.stack([owner.wavy for owner in self.owners])
        shape = NetworkShape(
            n_nets=self.n_nets,
            n_inputs=self.train.n_inputs,
            n_wavy=wavy.shape[1],
            n_frequencies=self.recipe.n_frequencies,
            width=self.recipe.width,
            n_layers=self.recipe.n_layers,
            n_outputs=self.recipe.n_outputs,
        )
        net = StackedNetwork(shape, torch.from_numpy(wavy).to(self.device), self.recipe.activation)
        offset = np.stack([owner.offset for owner in self.owners])
        rows = [
            rng.integers(0, len(owner.train.y), _INIT_ROWS)
            for rng, owner in zip(self.rngs, self.owners, strict=True)
        ]
        x = self.train.inputs(self._on_device(np.stack(rows)))
        offsets = torch.from_numpy(offset).to(self.device)
        net.initialise(x, offsets, self.recipe.frequency_scale, self.rngs)
        return net

    def _on_device(self, array: Array) -> Tensor:
        return torch.from_numpy(array).to(self.device)

    def _draw(self, n_rows: int) -> Tensor:
        """Return each network's next rows (n_nets, n_rows) of endless permutations."""
        drawn = []
        for net, owner in enumerate(self.owners):
            stream = [self.streams[net]]
            while sum(map(len, stream)) < n_rows:
                stream.append(self.rngs[net].permutation(len(owner.train.y)))
            joined = np.concatenate(stream)
            drawn.append(joined[:n_rows])
            self.streams[net] = joined[n_rows:]
        return self._on_device(np.stack(drawn))

    def steps(self, moments: Sequence[float], budget: Budget) -> bool:
        """Take one optimiser step for each moment of the schedule, until time is over."""
        size = self.recipe.batch_size
        drawn = self._draw(size * len(moments))
        fold = self._on_device(self.fold_of_net)[:, None]
        for step, moment in enumerate(moments):
            if budget.expired():
                return False
            rows = drawn[:, step * size : (step + 1) * size]
            dropout = self.recipe.dropout * flat_then_down(moment)
            self._write_gradients(rows, fold, dropout)
            rate = self.recipe.learning_rate * up_then_down(moment)
            decay = self.recipe.weight_decay * flat_then_down(moment)
            self.adam.step(rate, [decay, 0.0])
            self._follow()
        return True

    def _write_gradients(self, rows: Tensor, fold: Tensor, dropout: float) -> None:
        """Set the gradients to those of each network's mean loss for its rows (n_nets, n_rows).

        The networks share their dropout masks, which need not differ to be random for each.
        """
        y, weight, recipe = self.train.y[fold, rows], self.train.weight[fold, rows], self.recipe

        def loss_of(output: Tensor) -> Tensor:
            return (row_losses(output, y, recipe.loss) * weight).mean(1).sum()

        n_masks = recipe.n_layers if dropout > 0.0 else 0
        masks = [self.dropout.mask(rows.shape[1], recipe.width, dropout) for _ in range(n_masks)]
        write_gradients(self.net, self.train.inputs(rows), loss_of, masks)

    def _follow(self) -> None:
        """Move the averaged networks towards the ones that learn: a mean over the last epochs."""
        self.n_taken += 1
        pace = max(1.0 / (_AVERAGED_EPOCHS * self.common.n_steps), 10.0 / (10.0 + self.n_taken))
        self.mean.decayed.values.lerp_(self.net.decayed.values, pace)
        self.mean.free.values.lerp_(self.net.free.values, pace)

    def look(self, epoch: int) -> None:
        """Keep the networks of each fold whose validation loss is the lowest so far."""
        healthy = self.mean.is_finite().reshape(len(self.folds), -1).all(1)
        loss = self._validation_losses()
        better = (loss <= self.best_loss) & healthy
        if self.best is None:
            if not healthy.all():
                raise AutoMLError(
                    "A network diverged in its first epoch; lower its learning_rate, got "
                    f"{self.recipe.learning_rate}."
                )
            better[:] = True
            self.best = self.mean.snapshot()
        self.mean.copy_to(self.best, better[self.fold_of_net])
        self.best_loss = np.where(better, loss, self.best_loss)
        self.epochs[better] = epoch

    def _validation_losses(self) -> Array:
        """Return the loss of each fold's averaged members; 0 without validation rows."""
        if self.valid is None:
            return np.zeros(len(self.folds))
        fold_of_net = self._on_device(self.fold_of_net)
        total = torch.zeros(len(self.folds), device=self.device)
        # By what a fold needs, not all of a thread's: who shares the work must change no sum.
        size = max(64, _VALID_CELLS // (self.recipe.n_members * self.net.shape.fan_ins[0]))
        for start in range(0, self.valid.y.shape[1], size):
            rows = slice(start, start + size)
            x = self.valid.inputs_of(rows)
            if self.recipe.n_members > 1:
                x = x[fold_of_net]
            with torch.no_grad():
                output = self.mean(x).unflatten(0, (len(self.folds), -1))
            loss = members_losses(output, self.valid.y[:, rows], self.recipe.loss)
            total += (loss * self.valid.weight[:, rows]).sum(1)
        return np.asarray(total.double().cpu().numpy())

    def results(self, n_epochs: int) -> list[Trained]:
        """Return each fold's best networks as arrays."""
        if self.best is None:
            return []
        self.mean.take_from(self.best)
        arrays = self.mean.export()
        results = []
        for fold, rows in enumerate(self.folds):
            nets = slice(fold * self.recipe.n_members, (fold + 1) * self.recipe.n_members)
            mine = {name: np.ascontiguousarray(array[nets]) for name, array in arrays.items()}
            mine["weight_0"] = self._without_padding(mine["weight_0"], rows.train.x.shape[1])
            results.append(Trained(mine, int(self.epochs[fold]), n_epochs))
        return results

    def _without_padding(self, weight: Array, n_inputs: int) -> Array:
        """Drop the rows of the first layer that belong to inputs this fold does not have."""
        kept = np.r_[:n_inputs, self.train.n_inputs : weight.shape[1]]
        return np.ascontiguousarray(weight[:, kept])

"""A fitted stack: layers of bags, what each layer reads of the one before, the final weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from tabular_automl.artifacts.state import State
from tabular_automl.data.table import FeatureTable
from tabular_automl.ensemble.bagging import Bag
from tabular_automl.models.base import FittedSpec, Prediction


@dataclass(frozen=True)
class FittedStack:
    """The bags that predict.

    Attributes
    ----------
    bags : tuple of Bag
        In the order in which they were fitted, so that a bag comes after those it reads.
    feeds : mapping of int to tuple of str
        Layer to the keys of the bags whose outputs it reads besides the features.
    weights : mapping of str to float
        Weight of each bag in the ensemble; non-negative, of sum 1, only bags above zero.
    spares : tuple of Bag
        Quick ones of the first layer that are not asked, to answer in place of all others.
    """

    bags: tuple[Bag, ...] = field(repr=False)
    feeds: Mapping[int, tuple[str, ...]]
    weights: Mapping[str, float]
    spares: tuple[Bag, ...] = field(default=(), repr=False)

    @classmethod
    def of_needed(
        cls,
        bags: Sequence[Bag],
        feeds: Mapping[int, tuple[str, ...]],
        weights: Mapping[str, float],
    ) -> FittedStack:
        """Keep the bags of positive weight and those that they read."""
        kept = {key: weight for key, weight in weights.items() if weight > 0}
        needed = set(kept)
        for bag in sorted(bags, key=lambda bag: -bag.layer):
            if bag.key in needed:
                needed |= set(feeds.get(bag.layer, ()))
        chosen = tuple(bag for bag in bags if bag.key in needed)
        layers = {bag.layer for bag in chosen}
        return cls(chosen, {n: feeds[n] for n in feeds if n in layers}, kept)

    def weighed(self, weights: Mapping[str, float]) -> FittedStack:
        """Return the stack with other weights of its bags and spares, without what none needs."""
        stack = self.of_needed((*self.bags, *self.spares), self.feeds, weights)
        asked = {bag.key for bag in stack.bags}
        return replace(stack, spares=tuple(bag for bag in self.spares if bag.key not in asked))

    def outputs(self, table: FeatureTable) -> dict[str, Prediction]:
        """Return what each bag predicts on the models' scale, by key."""
        inputs = {1: table}
        outputs: dict[str, Prediction] = {}
        for bag in self.bags:
            if bag.layer not in inputs:
                inputs[bag.layer] = self.inputs_of(bag.layer, table, outputs)
            outputs[bag.key] = bag.predict(inputs[bag.layer])
        return outputs

    def inputs_of(
        self, layer: int, table: FeatureTable, outputs: Mapping[str, Prediction]
    ) -> FeatureTable:
        """Return what a layer reads: the features, and the outputs of the bags that feed it."""
        by_key = {bag.key: bag for bag in self.bags}
        keys = self.feeds[layer]
        return extend_table(table, [by_key[key] for key in keys], [outputs[key] for key in keys])

    def importance(self) -> dict[str, float]:
        """Return each bag's weight and that of all bags which read it, by key."""
        weight_of = {bag.key: self.weights.get(bag.key, 0.0) for bag in self.bags}
        found = dict(weight_of)
        for layer, keys in self.feeds.items():
            reading = sum(weight_of[bag.key] for bag in self.bags if bag.layer == layer)
            for key in keys:
                found[key] += reading
        return found

    def state(self) -> State:
        """Return the bags, feeds and weights."""
        meta = {
            "bags": [{"key": bag.key, "layer": bag.layer} for bag in self.bags],
            "feeds": {str(layer): list(keys) for layer, keys in self.feeds.items()},
            "weights": dict(self.weights),
            "spares": [bag.key for bag in self.spares],
        }
        bags = {f"bag{position}": _models_of(bag) for position, bag in enumerate(self.bags)}
        spares = {f"spare{position}": _models_of(bag) for position, bag in enumerate(self.spares)}
        return State(meta=meta, children={**bags, **spares})

    @classmethod
    def from_state(cls, state: State, n_threads: int) -> FittedStack:
        """Build the stack again."""

        def read(name: str, key: str, layer: int) -> Bag:
            saved = state.children[name].children
            models = tuple(
                FittedSpec.from_state(saved[f"model{i}"], n_threads) for i in range(len(saved))
            )
            state.require(bool(models), name, "hold models")
            return Bag(key, layer, models)

        bags = tuple(
            read(f"bag{position}", str(described["key"]), int(described["layer"]))
            for position, described in enumerate(state.meta["bags"])
        )
        spares = tuple(
            read(f"spare{position}", str(key), 1)
            for position, key in enumerate(state.meta.get("spares", ()))
        )
        feeds = {int(layer): tuple(keys) for layer, keys in state.meta["feeds"].items()}
        stack = cls(bags, feeds, dict(state.meta["weights"]), spares)
        keys = [bag.key for bag in (*bags, *spares)]
        state.require(len(set(keys)) == len(keys), "spares", "have names of their own")
        state.require(stack.reads_what_is_there(), "feeds", "name bags of earlier layers")
        state.require(stack.is_weighed(), "weights", "be shares of the bags, of sum 1")
        return stack

    def reads_what_is_there(self) -> bool:
        """Return whether each bag comes after all those that its layer reads."""
        seen: set[str] = set()
        for bag in self.bags:
            read = () if bag.layer == 1 else self.feeds.get(bag.layer, ())
            if (bag.layer != 1 and not read) or not seen.issuperset(read):
                return False
            seen.add(bag.key)
        return len(seen) == len(self.bags)

    def is_weighed(self) -> bool:
        """Return whether the weights are positive shares of bags that are there."""
        shares = list(self.weights.values())
        known = {bag.key for bag in self.bags}.issuperset(self.weights)
        return known and all(share > 0 for share in shares) and abs(sum(shares) - 1.0) < 1e-3


def _models_of(bag: Bag) -> State:
    return State(children={f"model{i}": fitted.state() for i, fitted in enumerate(bag.models)})


def stack_features(predictions: Sequence[Prediction]) -> npt.NDArray[np.float32]:
    """Return the outputs of a layer's bags side by side, shape (n_samples, n_stack_features).

    The first class of each bag is left out: it is one minus the others.
    """
    columns = [p if p.shape[1] == 1 else p[:, 1:] for p in predictions]
    return np.hstack(columns).astype(np.float32)


def extend_table(
    table: FeatureTable, bags: Sequence[Bag], predictions: Sequence[Prediction]
) -> FeatureTable:
    """Return the table with a layer's predictions appended, for the next layer."""
    n_outputs = predictions[0].shape[1]
    shown = range(1) if n_outputs == 1 else range(1, n_outputs)
    names = tuple(f"{bag.key}:{output}" for bag in bags for output in shown)
    return table.with_numeric(stack_features(predictions), names)

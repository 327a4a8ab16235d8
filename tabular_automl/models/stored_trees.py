"""Trees of a booster as the bytes that are saved: read when they are asked for, and checked."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from tabular_automl.artifacts.state import State
from tabular_automl.core.errors import ArtifactError
from tabular_automl.data.task import Task
from tabular_automl.models.boosting import Outputs

Booster = TypeVar("Booster")
Ints = npt.NDArray[np.int64]

_PACKING = "zstd"


class Stored(Generic[Booster]):
    """Saved trees, read when they are first asked for, by whichever thread asks first.

    And read again when they are asked for after `set_aside`.

    Reading them imports their library, which takes longer than all else that loading a predictor
    does; and a compiled predictor reads them in its own way.

    Parameters
    ----------
    raw : bytes
        In the library's own format.
    read : callable
        From the bytes to a booster; a function of a module, so that it travels to processes.

    Attributes
    ----------
    raw : bytes
    lock : RLock
        To be held while the booster is changed, as some libraries do to predict, or must not be.
    n_threads : int
        With which the booster predicts, where it was told; 0 before.
    """

    def __init__(self, raw: bytes, read: Callable[[bytes], Booster]) -> None:
        self._kept, self._n_packed = raw, 0
        self._read = read
        self._booster: Booster | None = None
        self.n_threads = 0
        self.lock = threading.RLock()

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as the bytes: locks and boosters do not."""
        return Stored, (self.raw, self._read)

    @property
    def raw(self) -> bytes:
        """The saved bytes."""
        with self.lock:
            if not self._n_packed:
                return self._kept
            unpacked: bytes = _codec().decompress(self._kept, self._n_packed, asbytes=True)
            return unpacked

    def set_aside(self) -> None:
        """Let go of the booster until it is asked for again, and keep the bytes packed.

        LightGBM's takes four times the memory of its bytes, and those three times that of what they
        are packed into, at a few hundred megabytes a second.
        """
        with self.lock:
            self._booster, self.n_threads = None, 0
            if not self._n_packed:
                self._kept, self._n_packed = _packed(self._kept)

    def get(self) -> Booster:
        """Return the booster."""
        with self.lock:
            if self._booster is None:
                self._booster = self._read(self.raw)
            return self._booster


@dataclass(frozen=True)
class ReadBack(Generic[Booster]):
    """What a boosted model is restored from.

    Attributes
    ----------
    outputs : Outputs
    chosen : dict
        Hyperparameters that were chosen while fitting.
    booster : Stored or None
        None where all targets were the same.
    """

    outputs: Outputs
    chosen: dict[str, Any]
    booster: Stored[Booster] | None

    @classmethod
    def of(
        cls, state: State, task: Task, blob: str, read: Callable[[bytes], Booster]
    ) -> ReadBack[Booster]:
        """Take apart the state of a boosted model, whose trees are the blob of this name.

        Raises
        ------
        ArtifactError
            When the parts do not fit together. The trees themselves are not read yet.
        """
        described = State(meta=state.meta["outputs"], where=f"{state.where}/outputs")
        outputs = Outputs.from_state(described, task)
        has_trees = (blob in state.blobs) != outputs.is_constant
        state.require(has_trees, blob, "be there, unless all targets were the same")
        booster = None if outputs.is_constant else Stored(state.blobs[blob], read)
        return cls(outputs, dict(state.meta["chosen"]), booster)


def _packed(raw: bytes) -> tuple[bytes, int]:
    """Return bytes packed, with how many they were; 0 where they are as they were."""
    codec = _codec()
    return (raw, 0) if codec is None or not raw else (codec.compress(raw, asbytes=True), len(raw))


def _codec() -> Any:
    """Return what packs; None from builds of pyarrow that are without."""
    import pyarrow

    there = pyarrow.Codec.is_available(_PACKING)
    return pyarrow.Codec(_PACKING, compression_level=1) if there else None


def all_paths_end(left: Ints, right: Ints, n_inner: int, n_leaves: int) -> bool:
    """Return whether every path from node 0 of a tree ends in a leaf, whoever wrote it.

    Parameters
    ----------
    left, right : ndarray of int, shape (n_inner,)
        Children: the number of another inner node, or -1, -2, ... for leaf 0, 1, ...
    n_inner, n_leaves : int
    """
    children = np.concatenate([left, right])
    if len(left) != n_inner or len(right) != n_inner or not n_inner:
        return False
    inside = bool((children >= -n_leaves).all() and (children < n_inner).all())
    inner = children[children >= 0]
    # With at most one parent for each node, and none for the root, there is no way back.
    return inside and 0 not in inner and len(np.unique(inner)) == len(inner)


def unreadable(family: str, error: Exception) -> ArtifactError:
    """Return the sentence for trees that their own library does not read."""
    return ArtifactError(
        f"The saved trees must be readable by {family}, which says {str(error)!r:.200}; save the "
        "predictor again, or do not use it if somebody else made it."
    )


def require_walkable(sound: bool, family: str, number: int) -> None:
    """Raise `ArtifactError` unless a tree is one that a prediction can safely follow."""
    if not sound:
        raise ArtifactError(
            f"Every tree of a {family} model must lead from its root to leaves over features that "
            f"are there, got a tree {number} that does not; do not use the predictor."
        )

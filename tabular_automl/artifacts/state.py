"""State: the only thing a component saves or loads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt


@dataclass(frozen=True)
class State:
    """A component's saved state: plain data, no objects, no code.

    Attributes
    ----------
    meta : mapping
        Anything json can hold (NaN and infinities included: they are written as strings).
    arrays : mapping of str to ndarray
        Numeric, boolean or fixed-width string arrays; never of dtype object.
    blobs : mapping of str to bytes
        Files in a library's native format, named with their suffix: "booster.txt".
    children : mapping of str to State
        States of the parts.
    """

    meta: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    blobs: Mapping[str, bytes] = field(default_factory=dict)
    children: Mapping[str, State] = field(default_factory=dict)

    @property
    def n_bytes(self) -> int:
        """Size of the arrays and blobs, those of the parts included."""
        own = sum(a.nbytes for a in self.arrays.values()) + sum(map(len, self.blobs.values()))
        return own + sum(child.n_bytes for child in self.children.values())

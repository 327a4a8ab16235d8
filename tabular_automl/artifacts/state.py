"""State: the only thing a component saves or loads."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tabular_automl.core.errors import ArtifactError

_LARGEST = sys.float_info.max
_READ_FROM = {"f": "f", "i": "iu", "u": "iu", "b": "b"}  # kinds of dtype that may be read as one


@dataclass(frozen=True)
class State:
    """A component's saved state: plain data, no objects, no code.

    What is read from a file may have been made by anybody. A component takes its arrays and numbers
    back through `array`, `number` and `integer`, which refuse what it could not have saved.

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
    where : str
        Place in the artifact that it was read from, for errors.
    """

    meta: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    blobs: Mapping[str, bytes] = field(default_factory=dict)
    children: Mapping[str, State] = field(default_factory=dict)
    where: str = field(default="", compare=False, repr=False)

    @property
    def n_bytes(self) -> int:
        """Size of the arrays and blobs, those of the parts included."""
        own = sum(a.nbytes for a in self.arrays.values()) + sum(map(len, self.blobs.values()))
        return own + sum(child.n_bytes for child in self.children.values())

    def array(
        self,
        name: str,
        dtype: npt.DTypeLike,
        shape: tuple[int | None, ...],
        *,
        least: float | None = None,
        below: float | None = None,
        finite: bool = True,
    ) -> npt.NDArray[Any]:
        """Return a saved array as ``dtype``, after a look at every value of it.

        Parameters
        ----------
        name : str
        dtype : dtype
            A dtype of numbers or booleans. Whole numbers may be saved in another width.
        shape : tuple of int or None
            None stands for any length.
        least, below : float, optional
            Values must be at least the one and less than the other.
        finite : bool
            Whether NaN and infinities are refused.

        Raises
        ------
        ArtifactError
            When the array is absent or another one than asked for.

        Examples
        --------
        >>> state = State(arrays={"child": np.array([1, 2, 9])})
        >>> state.array("child", np.int32, (None,), least=0, below=9)
        Traceback (most recent call last):
        ...
        tabular_automl.core.errors.ArtifactError: In a saved predictor, 'child' must be int32 ...
        """
        wanted, found = np.dtype(dtype), self.arrays.get(name)
        if found is None:
            raise self.refusal(name, "be there", "none")
        sound = (
            found.dtype.kind in _READ_FROM[wanted.kind]
            and found.ndim == len(shape)
            and all(n in (None, got) for n, got in zip(shape, found.shape, strict=True))
        )
        if not (sound and _all_within(found, wanted, least, below, finite)):
            raise self.refusal(
                name,
                _words(wanted, shape, least, below, finite),
                f"{found.dtype} of shape {found.shape}{_range_words(found)}",
            )
        return found.astype(wanted, copy=False)

    def number(self, name: str, least: float = -_LARGEST, most: float = _LARGEST) -> float:
        """Return a saved number; infinities only where the bounds let them in, never NaN.

        Raises
        ------
        ArtifactError
            When it is absent, no number, or out of bounds.
        """
        found: Any = self.meta.get(name)
        is_number = isinstance(found, (int, float)) and not isinstance(found, bool)
        if not (is_number and least <= found <= most):
            raise self.refusal(name, f"be a number from {least:.6g} to {most:.6g}", repr(found))
        return float(found)

    def integer(self, name: str, least: int, most: int) -> int:
        """Return a saved whole number.

        Raises
        ------
        ArtifactError
            When it is absent, no whole number, or out of bounds.
        """
        found: Any = self.meta.get(name)
        is_whole = isinstance(found, int) and not isinstance(found, bool)
        if not (is_whole and least <= found <= most):
            raise self.refusal(name, f"be a whole number from {least} to {most}", repr(found))
        return int(found)

    def require(self, sound: bool, name: str, expected: str) -> None:
        """Raise `ArtifactError` unless what was saved under ``name`` is as ``expected``."""
        if not sound:
            raise self.refusal(name, expected, "another")

    def refusal(self, name: str, expected: str, got: str) -> ArtifactError:
        """Return the sentence for something that this library cannot have saved."""
        place = f"{self.where}/{name}" if self.where else name
        return ArtifactError(
            f"In a saved predictor, {place!r} must {expected}, got {got:.200}; "
            "save the predictor again, or do not use it if somebody else made it."
        )


def _all_within(
    found: npt.NDArray[Any],
    wanted: np.dtype[Any],
    least: float | None,
    below: float | None,
    finite: bool,
) -> bool:
    """Return whether all values lie in the bounds and can be held by a dtype."""
    if not found.size or wanted.kind == "b":
        return True
    low, high = found.min().item(), found.max().item()  # NaN, if there is one
    if finite or wanted.kind != "f":
        smallest, largest = _range_of(wanted)
        if not (low >= smallest and high <= largest):
            return False
    return (least is None or low >= least) and (below is None or high < below)


def _range_of(dtype: np.dtype[Any]) -> tuple[float, float]:
    """Return the smallest and the largest number that a dtype holds, infinities apart."""
    if dtype.kind == "f":
        return float(np.finfo(dtype).min), float(np.finfo(dtype).max)
    return np.iinfo(dtype).min, np.iinfo(dtype).max


def _words(
    dtype: np.dtype[Any],
    shape: tuple[int | None, ...],
    least: float | None,
    below: float | None,
    finite: bool,
) -> str:
    lengths = ", ".join("any" if n is None else str(n) for n in shape)
    words = f"be {dtype} of shape ({lengths})"
    words += ", finite" if finite and dtype.kind == "f" else ""
    words += "" if least is None else f", at least {least}"
    return words if below is None else f"{words}, below {below}"


def _range_words(found: npt.NDArray[Any]) -> str:
    if not found.size or found.dtype.kind not in "iuf" or math.isnan(found.max()):
        return ""
    return f" from {found.min()} to {found.max()}"

"""Hyperparameters declared once: default, bounds and scale on one line.

Validation, the search space and the documentation all read that line.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from tabular_automl.core.errors import InvalidOptionError, must_be, unknown_name

_DOMAIN = "domain"


@dataclass(frozen=True)
class Domain:
    """The values a hyperparameter may take.

    Attributes
    ----------
    low, high : float or None
        Inclusive bounds of a number; None leaves that side open.
    log : bool
        Whether a search should step on a logarithmic scale.
    choices : tuple
        The allowed values, instead of bounds.
    optional : bool
        Whether None is allowed ("chosen from the data").
    integer : bool
        Whether only whole numbers are allowed.
    text : bool
        Whether the value is a text, such as the name of a file, instead of a number.
    doc : str
        One line for the documentation.
    """

    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: tuple[Any, ...] = ()
    optional: bool = False
    integer: bool = False
    doc: str = ""
    text: bool = False

    def describe(self) -> str:
        """Return the domain in words, as errors and documentation show it."""
        if self.choices:
            words = f"one of {', '.join(repr(choice) for choice in self.choices)}"
        elif self.text:
            words = "a text"
        else:
            kind = "an integer" if self.integer else "a number"
            bounds = {
                (True, True): f" from {self.low} to {self.high}",
                (True, False): f" of at least {self.low}",
                (False, True): f" of at most {self.high}",
                (False, False): "",
            }
            words = kind + bounds[(self.low is not None, self.high is not None)]
        return f"{words} or None" if self.optional else words

    def allows(self, value: object) -> bool:
        """Return whether ``value`` lies in the domain."""
        if value is None:
            return self.optional
        if self.choices:
            return value in self.choices
        if self.text:
            return isinstance(value, str) and bool(value)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        if not math.isfinite(value) or (self.integer and value != int(value)):
            return False
        above = self.low is None or value >= self.low
        below = self.high is None or value <= self.high
        return above and below


def param(
    default: Any,
    low: float | None = None,
    high: float | None = None,
    *,
    log: bool = False,
    choices: tuple[Any, ...] = (),
    doc: str = "",
) -> Any:
    """Declare one hyperparameter of a `Params` dataclass.

    A default of None means "chosen from the data" and makes None an allowed value; a whole-number
    default makes the hyperparameter an integer, a text without choices lets it be any text.
    """
    if isinstance(default, bool) and not choices:
        choices = (True, False)
    whole = isinstance(default, int) or (default is None and isinstance(low, int))
    text = isinstance(default, str) and not choices
    domain = Domain(low, high, log, choices, default is None, whole and not choices, doc, text)
    return dataclasses.field(default=default, metadata={_DOMAIN: domain})


@dataclass(frozen=True)
class Params:
    """Base of every family's hyperparameters; each field is declared with `param`."""

    def __post_init__(self) -> None:
        """Check every declared field against its domain."""
        for name, domain in self.domains().items():
            value = getattr(self, name)
            if not domain.allows(value):
                owner = f"{type(self).__qualname__}.{name}"
                raise InvalidOptionError(must_be(owner, domain.describe(), value))

    @classmethod
    def domains(cls) -> dict[str, Domain]:
        """Return the declared domain of each hyperparameter, by name."""
        fields = dataclasses.fields(cls)
        return {f.name: f.metadata[_DOMAIN] for f in fields if _DOMAIN in f.metadata}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from plain values; an unknown name raises with its nearest known names."""
        known = {f.name for f in dataclasses.fields(cls)}
        for name in values:
            if name not in known:
                raise InvalidOptionError(unknown_name("hyperparameter", name, known))
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return the values as a plain dictionary that json can hold."""
        return dataclasses.asdict(self)

"""What every contract suite is made of: named checks that fail with a sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from tabular_automl.core.errors import AutoMLError

Subject = TypeVar("Subject")


class ContractError(AutoMLError, AssertionError):
    """A plug-in breaks the contract of its role; the message says which clause and how."""


@dataclass(frozen=True)
class Check(Generic[Subject]):
    """One clause of a contract.

    Attributes
    ----------
    name : str
        Reads as a sentence: "rows_are_predicted_one_by_one_as_in_a_batch".
    run : callable
        Takes what is checked; raises `ContractError` when the clause does not hold.
    """

    name: str
    run: Callable[[Subject], None]

    def __call__(self, subject: Subject) -> None:
        """Run the check on ``subject``."""
        self.run(subject)

    def __str__(self) -> str:
        return self.name


def named_checks(functions: Sequence[Callable[[Subject], None]]) -> tuple[Check[Subject], ...]:
    """Return a check for each function, named after it without a leading ``check_``."""
    return tuple(Check(f.__name__.removeprefix("check_"), f) for f in functions)


def require(condition: object, sentence: str) -> None:
    """Raise `ContractError` with ``sentence`` unless ``condition`` holds."""
    if not condition:
        raise ContractError(sentence)

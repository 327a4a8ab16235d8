"""Named plug-ins, loaded when first used; built-ins and third parties join the same way."""

from __future__ import annotations

import importlib
import importlib.metadata
import warnings
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from tabular_automl.core.errors import InvalidOptionError, unknown_name

T = TypeVar("T")

PLUG_IN_ERRORS = Exception  # the code of a third party may raise any, imported or asked


class Registry(Generic[T]):
    """Names to things of one role.

    A name comes from three places, later ones winning: the built-in table (``"module:attribute"``,
    imported when first asked for), the entry points of ``group`` declared by any installed
    distribution, and `register` in a running program.

    Parameters
    ----------
    role : str
        What the registry holds, as errors say it: "model family", "metric".
    group : str
        The entry point group that third parties declare.
    builtins : dict of str to str
        Name to ``"module:attribute"``.
    """

    def __init__(self, role: str, group: str, builtins: dict[str, str]) -> None:
        self.role = role
        self.group = group
        self._targets = dict(builtins)
        self._loaded: dict[str, T] = {}
        self._discovered = False

    def register(self, name: str, thing: T | None = None) -> Callable[[T], T]:
        """Add ``thing`` under ``name``; without ``thing``, a decorator that does so."""

        def add(target: T) -> T:
            self._loaded[name] = target
            return target

        if thing is not None:
            add(thing)
        return add

    def unregister(self, name: str) -> None:
        """Forget what `register` added under ``name``."""
        self._loaded.pop(name, None)

    def names(self) -> list[str]:
        """Return every known name, sorted; nothing is imported."""
        self._discover()
        return sorted(self._targets.keys() | self._loaded.keys())

    def __contains__(self, name: object) -> bool:
        self._discover()
        return name in self._targets or name in self._loaded

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def get(self, name: str) -> T:
        """Return the thing called ``name``, importing it when first used.

        Raises
        ------
        InvalidOptionError
            When no such name is known, or when the plug-in that declares it cannot be imported.
        """
        if name not in self._loaded:
            if name not in self:
                raise InvalidOptionError(unknown_name(self.role, name, self.names()))
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def available(self) -> dict[str, T]:
        """Return all that can be loaded, by name; the others are skipped with a warning."""
        found = {}
        for name in self:
            try:
                found[name] = self.get(name)
            except InvalidOptionError as error:
                warnings.warn(f"Skipped: {error}", stacklevel=2)
        return found

    def _load(self, name: str) -> T:
        module, _, attribute = self._targets[name].partition(":")
        try:
            loaded: T = getattr(importlib.import_module(module), attribute)
        except PLUG_IN_ERRORS as error:
            raise InvalidOptionError(
                f"The {self.role} {name!r} could not be loaded from "
                f"{self._targets[name]!r}: {type(error).__name__}: {error}."
            ) from error
        return loaded

    def _discover(self) -> None:
        if not self._discovered:
            self._discovered = True
            for entry in importlib.metadata.entry_points(group=self.group):
                self._targets[entry.name] = entry.value

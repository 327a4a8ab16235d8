"""Optional packages: one helper, one sentence."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType

from tabular_automl.core.errors import MissingDependencyError
from tabular_automl.core.memory import freed_at_once

_SECONDS = {"torch": 1.6, "transformers": 0.8}  # twice what it takes from a disk just read
_OTHER_SECONDS = 0.3  # 0.1, or 0.6 for the first that brings scikit-learn
# Rows from which freed memory is worth the time to give it back: CatBoost takes a tenth longer on
# 260,000, a quarter on 30,000, and up to twice as long on 3,000, which it frees bit by bit.
_MANY_ROWS = 100_000


def import_optional(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import an optional package, or say which extra brings it.

    Raises
    ------
    MissingDependencyError
        When the package is not installed; the message holds the install command.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise MissingDependencyError(
            f"{purpose} needs the package {package!r}, which could not be imported ({error}). "
            f"Install it with: pip install 'tabular-automl[{extra}]'"
        ) from error


def is_installed(module: str) -> bool:
    """Return whether a package can be found, without importing it."""
    return importlib.util.find_spec(module.partition(".")[0]) is not None


def seconds_to_import(modules: tuple[str, ...]) -> float:
    """Return about how long `import_installed` takes for packages not imported yet."""
    packages = {module.partition(".")[0] for module in modules} - sys.modules.keys()
    return sum(_SECONDS.get(package, _OTHER_SECONDS) for package in packages)


def import_installed(modules: tuple[str, ...], n_rows: int = 0) -> None:
    """Import those of the packages that are there, so that later imports cost no time.

    Parameters
    ----------
    modules : tuple of str
    n_rows : int
        Of the table that is learned from. What is imported for many rows gives freed memory back
        at once, for as long as the process lives.
    """
    with freed_at_once(wanted=n_rows >= _MANY_ROWS):
        for module in modules:
            if is_installed(module):
                importlib.import_module(module)

"""The record of a running fit: every finished piece of work, on disk as soon as it is finished."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tabular_automl.artifacts.state import State
from tabular_automl.artifacts.storage import read_artifact, read_info, write_artifact
from tabular_automl.artifacts.syncing import lock_file, make_folder
from tabular_automl.core.errors import ArtifactError, PathError

_ENTRY_NAME = re.compile(r"\d{6,}")
_LOCK = "lock"


class Journal:
    """A folder that work units are only ever added to.

    Each entry is an artifact of its own, in a numbered folder: it counts once its manifest is in
    place, so a kill at any moment loses at most the entry being written. Entries that do not read
    are passed over, since their work can be done again.

    One process writes at a time.

    Parameters
    ----------
    path : path
        The journal's folder, made by the first `append`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._sound: dict[str, Path] = {}
        self._seen: set[str] = set()

    def append(self, key: str, state: State) -> None:
        """Add a finished work unit; a later unit of the same key takes the place of the earlier.

        Raises
        ------
        PathError
            When the disk refuses.
        ArtifactError
            When the state holds something that cannot be saved as data.
        """
        entry = self.path / f"{self._next_number():06d}"
        write_artifact(state, entry, info={"key": key})
        self._seen.add(entry.name)
        self._sound[key] = entry

    def keys(self) -> list[str]:
        """Return the keys of all work units that can be read, in the order of their first entry.

        Every entry is read in full once, so that what is listed can be relied on.
        """
        for entry in self._entries():
            if entry.name in self._seen:
                continue
            self._seen.add(entry.name)
            key = _sound_key(entry)
            if key is not None:
                self._sound[key] = entry
        return list(self._sound)

    def read(self, key: str) -> State:
        """Return the state of a work unit.

        Raises
        ------
        KeyError
            When the journal has no sound entry of that key.
        """
        if key not in self.keys():
            raise KeyError(f"The journal {str(self.path)!r} has no entry {key!r}.")
        return read_artifact(self._sound[key])

    @property
    def is_empty(self) -> bool:
        """Whether nothing was added but a first entry, which tells what the others are about."""
        return len(self._entries()) < 2

    @property
    def is_begun(self) -> bool:
        """Whether there is any entry."""
        return bool(self._entries())

    def clear(self) -> None:
        """Remove every entry, the first one first."""
        for entry in self._entries():
            shutil.rmtree(entry, ignore_errors=True)
        self._sound.clear()
        self._seen.clear()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from writing here meanwhile; a killed one holds no lock.

        The folder is made for it, and removed again when it was left without entries.

        Raises
        ------
        PathError
            When another fit is writing here, or the disk refuses.
        """
        try:
            made = [folder for folder in (self.path, self.path.parent) if not folder.exists()]
            make_folder(self.path)
            lock = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise PathError(f"{str(self.path)!r} cannot be written to: {error}.") from error
        try:
            lock_file(lock)
        except BlockingIOError as error:
            os.close(lock)
            raise PathError(
                f"Another fit is writing to {str(self.path.parent)!r}; wait for it or choose "
                "another path."
            ) from error
        try:
            yield
        finally:
            os.close(lock)  # first: not every system removes a file that is open
            if not self._entries():
                (self.path / _LOCK).unlink(missing_ok=True)
                _remove_if_empty(made)

    def _entries(self) -> list[Path]:
        try:
            within = list(self.path.iterdir()) if self.path.is_dir() else []
        except OSError as error:
            raise PathError(
                f"{str(self.path)!r} could not be looked into: {error.strerror}; check the path, "
                "and that you may read it."
            ) from error
        entries = [entry for entry in within if _ENTRY_NAME.fullmatch(entry.name)]
        return sorted(entries, key=lambda entry: int(entry.name))

    def _next_number(self) -> int:
        entries = self._entries()
        return int(entries[-1].name) + 1 if entries else 0


def _sound_key(entry: Path) -> str | None:
    """Return an entry's key, or None when the entry is incomplete or damaged."""
    try:
        key = read_info(entry).get("key")
        read_artifact(entry)
    except (ArtifactError, PathError):
        return None
    return key if isinstance(key, str) else None


def _remove_if_empty(folders: list[Path]) -> None:
    for folder in folders:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()

"""Files and folders that survive a power cut, and that one process at a time writes to.

What survives is on disk, not only with the system, when we go on.
"""

from __future__ import annotations

import os
from itertools import takewhile
from pathlib import Path


def write_synced(path: Path, content: bytes) -> None:
    """Write a new file."""
    with open(path, "xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_file(path: Path) -> None:
    """Make what others wrote to a file survive."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Make a folder's entries survive, where the system lets folders be opened."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where they are not there yet."""
    made = list(takewhile(lambda place: not place.exists(), (folder, *folder.parents)))
    folder.mkdir(parents=True, exist_ok=True)
    for new in reversed(made):
        sync_folder(new.parent)


def lock_file(descriptor: int) -> None:
    """Lock a file or folder until it is closed, where the system and its disk have such locks.

    Raises
    ------
    BlockingIOError
        When somebody else has locked it.
    """
    try:
        import fcntl
    except ImportError:  # not a POSIX system
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # a network disk without locks, for one: nobody can be kept out there
        return

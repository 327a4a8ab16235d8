"""Where an artifact may be written, what belongs to it, and how large it is."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from pathlib import Path

from tabular_automl.core.errors import PathError

MANIFEST = "manifest.json"
GENERATION_PREFIX = "data-"
JOURNAL = "journal"
OS_DROPPINGS = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})  # left by file browsers
ROOM_TO_FIT = 10_000_000  # bytes that must be free before a fit: its record and its predictor


def is_own_entry(name: str) -> bool:
    """Return whether an entry of an artifact's folder is one that we write or may ignore."""
    return name in {MANIFEST, JOURNAL} | OS_DROPPINGS or is_generation(name)


def is_generation(name: str) -> bool:
    """Return whether a folder's or file's name is one that a save of ours makes."""
    return re.fullmatch(GENERATION_PREFIX + r"(probe-)?[0-9a-f]{16}(\.json)?", name) is not None


def check_writable(
    path: str | os.PathLike[str], overwrite: bool = False, *, n_bytes: int = 0
) -> None:
    """Raise now when an artifact could not be written to ``path`` later.

    An empty folder and one that an unfinished fit left are fine. Nothing is changed on disk.

    Parameters
    ----------
    path : path
    overwrite : bool
        Whether a predictor that is already there may be replaced. Other people's files never are.
    n_bytes : int
        Room that the disk must have.

    Raises
    ------
    PathError
    """
    folder = Path(path)
    try:
        _check_free(folder, overwrite)
        place = _nearest_folder(folder)
        if n_bytes:
            _check_room(place, n_bytes)
        _check_probe(place)
    except PathError:
        raise
    except OSError as error:
        raise PathError(f"{str(folder)!r} cannot be written to: {error}.") from error


def disk_usage(path: str | os.PathLike[str]) -> dict[str, int]:
    """Return the size in bytes of each file under ``path``, by its name relative to ``path``.

    Raises
    ------
    PathError
        When nothing is at ``path``.
    """
    root = Path(path)
    if not root.is_dir():
        raise PathError(f"No saved predictor at {str(root)!r}: there is no such folder.")
    files = sorted(entry for entry in root.rglob("*") if entry.is_file())
    return {file.relative_to(root).as_posix(): file.stat().st_size for file in files}


def _check_free(folder: Path, overwrite: bool) -> None:
    """Refuse a path that holds something else than an artifact, or one that must stay."""
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise PathError(f"{str(folder)!r} is a file; choose the path of a folder.")
    entries = sorted(entry.name for entry in folder.iterdir())
    foreign = [name for name in entries if not is_own_entry(name)]
    if foreign:
        raise PathError(
            f"{str(folder)!r} already holds other files ({foreign[0]!r}); choose another path."
        )
    if MANIFEST in entries and not overwrite:
        raise PathError(
            f"{str(folder)!r} already holds a saved predictor; choose another path, or replace it "
            "with overwrite=True (on the command line: --overwrite)."
        )


def _nearest_folder(folder: Path) -> Path:
    """Return the folder itself, or the one above it that is there already."""
    place = folder
    while not os.path.lexists(place):
        place = place.parent
    if not place.is_dir():
        raise PathError(f"{str(folder)!r} lies under {str(place)!r}, which is not a folder.")
    return place


def _check_room(place: Path, n_bytes: int) -> None:
    usage = shutil.disk_usage(place)
    if usage.total and usage.free < n_bytes:  # some network disks tell nothing, which reads as 0
        raise PathError(
            f"The disk of {str(place)!r} must have {n_bytes / 1e6:.0f} MB free, got "
            f"{usage.free / 1e6:.1f} MB; make room, or choose another path."
        )


def _check_probe(place: Path) -> None:
    """Write a file where the artifact will be, and remove it: permissions alone can mislead."""
    probe = place / f"{GENERATION_PREFIX}probe-{secrets.token_hex(8)}"
    try:
        probe.write_bytes(b"probe")
    finally:
        probe.unlink(missing_ok=True)

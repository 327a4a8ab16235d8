"""What the container of this process leaves it of memory and cores.

Linux limits groups of processes, of which one lies in another: the least limit on the way up is the
one that counts. Each group is a folder. Version 2 has one tree of them, version 1 one for each kind
of limit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

_TREES = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")
# Names of files in version 2, and in version 1.
_MEMORY = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))
_QUOTA, _QUOTA_1, _PERIOD_1 = "cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us"


def free_bytes() -> int | None:
    """Return the memory that is free in the fullest of our groups; None where none has a limit."""
    found = [_free_in(folder) for folder in _groups("memory")]
    return min((free for free in found if free is not None), default=None)


def n_cores() -> int | None:
    """Return the cores whose time we may use, rounded up; None where no group has a limit."""
    found = [_cores_in(folder) for folder in _groups("cpu")]
    least = min((cores for cores in found if cores is not None), default=None)
    return None if least is None else max(1, math.ceil(least))


def _groups(kind: str) -> Iterator[Path]:
    """Yield the folders of the groups this process lies in that may limit a kind of thing.

    The roots are among them: a container often sees its own group there, whatever its path says.
    """
    yield from (_TREES, _TREES / kind)
    for kinds, path in _own_paths():
        parts = [part for part in path.split("/") if part]
        if ".." in parts or (kinds and kind not in kinds.split(",")):
            continue
        root = _TREES / kind if kinds else _TREES
        yield from (root.joinpath(*parts[:depth]) for depth in range(1, len(parts) + 1))


def _own_paths() -> Iterator[tuple[str, str]]:
    """Yield the kinds of limits of each tree, "" for that of version 2, and our group's path."""
    try:
        lines = _OWN_GROUPS.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, _, told = line.partition(":")
        kinds, _, path = told.partition(":")
        yield kinds, path


def _free_in(folder: Path) -> int | None:
    """Return the memory that a group may still use; None when it has no limit."""
    for limit, usage in _MEMORY:
        total, used = _read_number(folder / limit), _read_number(folder / usage)
        if total is not None and used is not None:
            return max(0, total - max(0, used - _reclaimable(folder)))
    return None


def _reclaimable(folder: Path) -> int:
    """Return the bytes in use that cache files and that the kernel gives back when asked."""
    pairs = (line.split() for line in _read_text(folder / "memory.stat").splitlines())
    found = {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}
    # The first is of version 1, where the second leaves out what lies below.
    return found.get("total_inactive_file", found.get("inactive_file", 0))


def _cores_in(folder: Path) -> float | None:
    """Return the cores' time a group may use, in cores; None when it has no limit."""
    quota, _, period = _read_text(folder / _QUOTA).partition(" ")
    if not quota:
        quota, period = _read_text(folder / _QUOTA_1), _read_text(folder / _PERIOD_1)
    if not (quota.isdigit() and period.isdigit() and int(period)):  # "max", -1 or no such file
        return None
    return int(quota) / int(period)


def _read_number(path: Path) -> int | None:
    """Return the whole number in a kernel file; None when absent or "max"."""
    text = _read_text(path)
    return int(text) if text.isdigit() else None


def _read_text(path: Path) -> str:
    """Return what a kernel file says; nothing when it is absent."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""

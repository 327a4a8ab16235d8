"""The most memory that a process and its children hold at once."""

from __future__ import annotations

import threading

import psutil

INTERVAL = 0.1  # seconds


class PeakMemory:
    """Watches a process tree from outside until told to stop.

    One process counts with its resident memory; several with their proportional share, so that
    pages they share count once (where the system tells it, resident memory otherwise).
    """

    def __init__(self, pid: int) -> None:
        self.n_bytes = 0
        self._root = psutil.Process(pid)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        """Stop watching and return the peak in MB."""
        self._done.set()
        self._thread.join()
        return self.n_bytes / 1e6

    def _watch(self) -> None:
        while not self._done.wait(INTERVAL):
            try:
                tree = [self._root, *self._root.children(recursive=True)]
            except psutil.Error:  # it has ended
                return
            self.n_bytes = max(self.n_bytes, sum(_held(p, len(tree) > 1) for p in tree))


def _held(process: psutil.Process, shared: bool) -> int:
    try:
        if shared:
            info = process.memory_full_info()
            return int(getattr(info, "pss", info.rss))
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0

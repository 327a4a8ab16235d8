"""Time that passes only when a test says so."""

from __future__ import annotations

import time

import pytest


class FakeClock:
    """What `time.monotonic` shows for the length of a test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

"""Processes of our own: started, looked at, and ended for certain."""

from __future__ import annotations

import ctypes
import functools
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType

LOOK_EVERY = 0.02  # seconds between looks at a child

_PR_SET_PDEATHSIG = 1


def start_child(module: str, *arguments: str, output: Path) -> subprocess.Popen[bytes]:
    """Run a module in a process of its own, what it prints going to a file.

    Its standard input stays open, and the end of that tells it that the parent is gone.
    """
    paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
    with open(output, "wb") as file:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=file,
            env={**os.environ, "PYTHONPATH": paths},
            start_new_session=True,  # Ctrl-C in a terminal is the parent's to decide on
        )


def end_child(child: subprocess.Popen[bytes]) -> None:
    """Kill a child with all that it started, and wait until it is gone."""
    try:
        if os.name == "posix":
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()
    except (ProcessLookupError, PermissionError):  # it has ended already
        pass
    child.wait()
    if child.stdin is not None:
        child.stdin.close()


def how_it_ended(code: int) -> str:
    """Return the end of a process in words."""
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"


def resident_bytes(pid: int) -> int:
    """Return the memory that a process holds; 0 where the system does not tell."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except (OSError, IndexError):  # another system, or the process has just ended
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def become_child(error_file: Path) -> None:
    """End with the parent, however it ends, and leave it what is raised and not caught."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    def watch() -> None:
        os.read(0, 1)  # ends with the parent; sys.stdin would be locked at exit
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    sys.excepthook = functools.partial(_write_error, error_file)


def _write_error(
    path: Path, kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Leave what was raised for the parent to raise."""
    bases = [base.__name__ for base in kind.__mro__]
    path.write_text(json.dumps({"kind": kind.__name__, "text": str(error), "bases": bases}))
    sys.__excepthook__(kind, error, trace)

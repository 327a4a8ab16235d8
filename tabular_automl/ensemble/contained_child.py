"""What the child process of `tabular_automl.ensemble.contained` does: fit one fold and leave."""

from __future__ import annotations

import ctypes
import functools
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import TracebackType

import numpy as np

from tabular_automl.artifacts.state import State
from tabular_automl.artifacts.storage import write_artifact
from tabular_automl.core.budget import Budget
from tabular_automl.ensemble.contained import ERROR, MESSAGE, RESULT, Message, read_samples
from tabular_automl.models.base import MODELS, FittedSpec

_PR_SET_PDEATHSIG = 1


def main(folder: Path, place: Path) -> None:
    """Fit the fold that the message in ``place`` asks for, and write the result there."""
    _end_with_parent()
    sys.excepthook = functools.partial(_write_error, place / ERROR)
    from joblib.externals.loky.backend.reduction import loads

    message: Message = loads((place / MESSAGE).read_bytes())
    spec = message.spec
    MODELS.register(spec.family, message.family)
    samples = read_samples(folder, message)
    train, valid = (samples.take(rows) for rows in message.rows)
    model = message.family(spec.params, message.setting)
    model.fit(train, valid, Budget(message.deadline))
    start = time.monotonic()
    prediction = np.asarray(model.predict(valid.table), dtype=np.float64)
    seconds = time.monotonic() - start
    state = State(
        meta={"predict_seconds": seconds},
        arrays={"prediction": prediction},
        children={"fitted": FittedSpec(spec.family, model).state()},
    )
    write_artifact(state, place / RESULT, info={})


def _end_with_parent() -> None:
    """See to it that a killed parent leaves no child behind."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    def watch() -> None:
        os.read(0, 1)  # ends with the parent; sys.stdin would be locked at exit
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _write_error(
    path: Path, kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Leave what was raised for the parent to raise."""
    bases = [base.__name__ for base in kind.__mro__]
    path.write_text(json.dumps({"kind": kind.__name__, "text": str(error), "bases": bases}))
    sys.__excepthook__(kind, error, trace)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

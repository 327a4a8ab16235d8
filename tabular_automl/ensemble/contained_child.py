"""What the child process of `tabular_automl.ensemble.contained` does: fit one fold and leave."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from tabular_automl.artifacts.state import State
from tabular_automl.artifacts.storage import write_artifact
from tabular_automl.core.budget import Budget
from tabular_automl.core.children import become_child
from tabular_automl.ensemble.contained import ERROR, MESSAGE, RESULT, Message, read_samples
from tabular_automl.models.base import MODELS, FittedSpec


def main(folder: Path, place: Path) -> None:
    """Fit the fold that the message in ``place`` asks for, and write the result there."""
    become_child(place / ERROR)
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


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

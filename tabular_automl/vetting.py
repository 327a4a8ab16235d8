"""A saved predictor of unknown origin is tried in a process that may fall over in our place.

Arrays and json are looked at wherever a predictor is loaded. Boosted trees are read by their own
libraries, in native code that trusts its input: of a forged file it makes a crash, an endless loop
or an allocation of any size. So the predictor is loaded by a child first, which has every tree read
and looked at and predicts some rows; what it survives is read in the same way here.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from tabular_automl.artifacts.storage import disk_usage, read_artifact
from tabular_automl.core import errors
from tabular_automl.core.children import (
    LOOK_EVERY,
    become_child,
    end_child,
    how_it_ended,
    resident_bytes,
    start_child,
)
from tabular_automl.core.errors import ArtifactError, AutoMLError
from tabular_automl.data.table import FeatureTable
from tabular_automl.ensemble.stack import FittedStack
from tabular_automl.fitted import FittedPipeline
from tabular_automl.models.base import Prediction
from tabular_automl.saving import load_saved

_MODULE = "tabular_automl.vetting"
_MEMORY_SHARE = 0.8  # of what is free
_LEAST_BYTES, _BYTES_PER_BYTE = 2e9, 20.0  # that a child may use: libraries, and what it reads
_LEAST_SECONDS, _SECONDS_PER_BYTE = 30.0, 1e-6  # of processor time that it may take
_PATIENCE = 10.0  # times as long may it be there, on a machine that is busy or was asleep
_N_ROWS = 200  # that it predicts
_MAX_TEXT = 500  # of what it says


def vet_artifact(path: str | os.PathLike[str], n_free_bytes: int) -> None:
    """Raise unless a child process can load a saved predictor and predict with it.

    Parameters
    ----------
    path : path
    n_free_bytes : int
        Memory of which the child may use a part.

    Raises
    ------
    ArtifactError
        When the child refuses the predictor, crashes, or takes too much time or memory.
    """
    n_bytes = sum(disk_usage(path).values())
    most_bytes = min(_MEMORY_SHARE * n_free_bytes, _LEAST_BYTES + _BYTES_PER_BYTE * n_bytes)
    most_seconds = math.ceil(_LEAST_SECONDS + _SECONDS_PER_BYTE * n_bytes)
    with tempfile.TemporaryDirectory(prefix="tabular-automl-") as folder:
        error_file, output = Path(folder) / "error.json", Path(folder) / "output.txt"
        arguments = os.fspath(path), str(error_file), str(most_seconds)
        child = start_child(_MODULE, *arguments, output=output)
        try:
            _wait(child, _PATIENCE * most_seconds, most_bytes)
        finally:
            end_child(child)
        if error_file.is_file():
            raise _as_raised(json.loads(error_file.read_text()))
    if child.returncode:
        raise _refusal(f"its process {how_it_ended(child.returncode)}")


def _wait(child: subprocess.Popen[bytes], most_seconds: float, most_bytes: float) -> None:
    """Wait until a child ends by itself, or raise once it has used up its time or its memory."""
    deadline = time.monotonic() + most_seconds
    while child.poll() is None:
        if time.monotonic() > deadline:
            raise _refusal(f"its process took more than {most_seconds:.0f} s")
        if resident_bytes(child.pid) > most_bytes:
            raise _refusal(f"its process took more than {most_bytes / 1e9:.1f} GB of memory")
        time.sleep(LOOK_EVERY)


def _as_raised(error: dict[str, str]) -> AutoMLError:
    """Return the library's own error that a child raised, or what another one means."""
    kind, text = error["kind"], error["text"][:_MAX_TEXT]
    known = getattr(errors, kind, None)
    if isinstance(known, type) and issubclass(known, AutoMLError):
        return known(text)
    return _refusal(f"its process ended with {kind}: {text}")


def _refusal(what: str) -> ArtifactError:
    return ArtifactError(
        "The predictor must load and predict in a process of its own before it is trusted, but "
        f"{what}; do not use it."
    )


# ---- in the child ---------------------------------------------------------------------------


def _examine(path: str) -> None:
    """Load a predictor, have all its trees read and looked at, and predict rows of all kinds."""
    pipeline = load_saved(read_artifact(path), n_threads=1).pipeline
    rng = np.random.default_rng(0)
    _examine_stack(pipeline.stack, _random_rows(pipeline, rng), pipeline.task.n_outputs)
    names = [column.name for column in pipeline.featurizer.schema.used]
    cells = np.full((2, len(names)), None, dtype=object)
    nothing = pd.DataFrame(cells, columns=pd.Index(names, tupleize_cols=False))
    _check(pipeline.predict(nothing), (2, pipeline.task.n_outputs), "The predictor")


def _random_rows(pipeline: FittedPipeline, rng: np.random.Generator) -> FeatureTable:
    """Return features of any magnitude and level, some of them missing."""
    blank = pipeline.featurizer.blank(0)
    shape = (_N_ROWS, len(blank.numeric_names))
    numeric = rng.normal(size=shape) * 10.0 ** rng.uniform(-3, 6, size=shape)
    numeric[rng.random(shape) < 0.1] = np.nan
    n_levels = np.array(blank.n_levels, dtype=np.int64)
    codes = rng.integers(0, n_levels, (_N_ROWS, len(n_levels)))
    return FeatureTable(
        numeric.astype(np.float32),
        codes.astype(np.int32),
        blank.numeric_names,
        blank.code_names,
        blank.n_levels,
        {name: np.full(_N_ROWS, None, dtype=object) for name in blank.raw_kinds},
        blank.raw_kinds,
    )


def _examine_stack(stack: FittedStack, table: FeatureTable, n_outputs: int) -> None:
    """Have each model look at its own trees before it predicts."""
    outputs: dict[str, Prediction] = {}
    for bag in (*stack.bags, *stack.spares):
        inputs = table if bag.layer == 1 else stack.inputs_of(bag.layer, table, outputs)
        for fitted in bag.models:
            fitted.model.vet(inputs)
        outputs[bag.key] = bag.predict(inputs)
        _check(outputs[bag.key], (len(table), n_outputs), f"The model {bag.key!r}")


def _check(prediction: Prediction, shape: tuple[int, int], what: str) -> None:
    if prediction.shape != shape or not np.isfinite(prediction).all():
        raise ArtifactError(
            f"{what} must predict finite numbers of shape {shape}, got others of shape "
            f"{prediction.shape}; do not use the predictor."
        )


def _limit_time(most_seconds: int) -> None:
    """Have the system end this process after so much processor time, and keep no image of it."""
    if os.name == "posix":
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        soft = most_seconds if hard == resource.RLIM_INFINITY else min(most_seconds, hard)
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    become_child(Path(sys.argv[2]))
    _limit_time(int(sys.argv[3]))
    _examine(sys.argv[1])

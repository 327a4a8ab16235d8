"""A quick model family that notes every fit in a file, and a program that is killed while it fits.

    python -m tests.faults.counted

reads orders, one JSON object a line, and carries each out in a process forked for it: the imports
are paid once. It writes the process's id, each event of the fit, and at last the exit status.
"""

import json
import os
import sys
import time
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tabular_automl import FitConfig, Predictor
from tabular_automl.core.errors import AutoMLError, OutOfTimeError
from tabular_automl.core.params import Params, param
from tabular_automl.ensemble import resuming
from tabular_automl.extend import Model, ModelSpec, State
from tabular_automl.models.base import MODELS
from tests.conftest import make_table


class Counted(Model):
    """Ridge regression; a line of the file named by COUNTED_LOG for each fit that ended."""

    interruptible = True

    @dataclass(frozen=True)
    class Params(Params):
        penalty: float = param(1.0, 1e-6, 1e6, doc="Weight of the squared coefficients.")
        pause: float = param(0.0, 0.0, 600.0, doc="Seconds that a fit takes besides.")

    def inputs(self, table):
        numbers = np.nan_to_num(table.numeric.clip(-10, 10))
        return np.hstack([np.ones((len(table), 1)), numbers, table.codes.clip(0, 3)])

    def fit(self, train, valid, budget):
        end = time.monotonic() + self.params.pause
        while time.monotonic() < end:
            if budget.expired():
                raise OutOfTimeError("no time")
            time.sleep(0.005)
        x, n_classes = self.inputs(train.table), self.setting.task.n_classes
        y = np.eye(n_classes)[train.y] if n_classes else train.y[:, None]
        penalty = self.params.penalty * np.eye(x.shape[1])
        self.coef = np.linalg.solve(x.T @ x + penalty, x.T @ y)
        log = os.environ.get("COUNTED_LOG")
        if log:
            with open(log, "a") as file:
                width = train.table.n_features  # tells the layers apart
                file.write(f"{self.params.penalty} {self.setting.seed} {width}\n")
        return self

    def predict(self, table):
        raw = self.inputs(table) @ self.coef
        if not self.setting.task.is_classification:
            return raw
        positive = raw.clip(1e-3, 1.0)
        return positive / positive.sum(axis=1, keepdims=True)

    def state(self):
        return State(arrays={"coef": self.coef})

    def restore(self, state):
        self.coef = state.arrays["coef"]


def counted_config(n_specs=3, pause=0.0, **settings):
    """Return settings of a fit of counted models only, with a budget in trials.

    The family must be registered as "counted" by whoever fits, and not by an import: the contract
    suite runs over all that is registered.
    """
    specs = tuple(
        ModelSpec("counted", Counted.Params(penalty=10.0**i, pause=pause), f"counted{i}")
        for i in range(n_specs)
    )
    chosen = {"n_folds": 3, "n_layers": 2, "n_jobs": 2, "on_error": "raise", **settings}
    return FitConfig(specs=specs, max_specs=n_specs, families=("prior",), **chosen)


def fits_noted(log):
    """Return how often each fit was noted."""
    return Counter(Path(log).read_text().splitlines()) if Path(log).exists() else Counter()


def carry_out(order):
    """Fit as ordered and save the predictions; the exit status says how it went."""
    if "most_bytes" in order:
        import resource  # not on every system

        resource.setrlimit(resource.RLIMIT_FSIZE, (order["most_bytes"],) * 2)
    resuming._WRITING_SHARE = 1e9  # so that every fold is on disk as soon as it is finished
    os.environ["COUNTED_LOG"] = order["log"]
    warnings.simplefilter("ignore")
    table = make_table("binary")
    config = counted_config(pause=order.get("pause", 0.02))
    predictor = Predictor("y", path=order["path"], reporter=lambda event: tell(type(event)))
    try:
        predictor.fit(
            table,
            config=config,
            resume=order.get("resume", True),
            overwrite=order.get("overwrite", False),
        )
    except AutoMLError as error:
        tell(type(error))
        return 1
    np.save(order["predictions"], predictor.predict_proba(table).to_numpy())
    return 0


def tell(kind):
    print(kind.__name__, flush=True)


def serve():
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            os._exit(carry_out(json.loads(line)))
        print(pid, flush=True)
        print(f"status {os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}", flush=True)


if __name__ == "__main__":
    MODELS.register("counted", Counted)
    serve()

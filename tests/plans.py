"""Plans of tables that are told by their size, for several test files."""

from tabular_automl.config import FitConfig
from tabular_automl.core.parallel import Machine
from tabular_automl.data.task import ProblemType, Task
from tabular_automl.plan import plan_fit
from tabular_automl.shape import Shape

BINARY = Task(ProblemType.BINARY, 2)
REGRESSION = Task(ProblemType.REGRESSION)
MACHINE = Machine(n_cores=2, n_bytes=8_000_000_000)


def plan(
    config=None, task=BINARY, n_samples=1000, n_features=10, limit=60.0, machine=MACHINE, **shape
):
    """Return the plan of a fit of such a table."""
    return plan_fit(
        config or FitConfig(), task, Shape(n_samples, n_features, **shape), machine, limit
    )


def keys(layer):
    """Return the keys of a layer's specs."""
    return [planned.spec.key for planned in layer]

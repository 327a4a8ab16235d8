"""Steps from each older format of a saved predictor to the next one.

To change the format: raise ``FORMAT`` by one, add the function that turns a state of the old format
into one of the new format to ``MIGRATIONS`` under the old number, and keep a small saved artifact
of the old format in the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tabular_automl.artifacts.state import State
from tabular_automl.core.errors import ArtifactError

Migration = Callable[[State], State]

FORMAT = 1
MIGRATIONS: dict[int, Migration] = {}


def migrate(
    state: State,
    version: int,
    *,
    target: int = FORMAT,
    migrations: Mapping[int, Migration] = MIGRATIONS,
) -> State:
    """Return ``state`` of format ``version`` as one of format ``target``, step by step.

    Raises
    ------
    ArtifactError
        When a step is missing: that format is no longer read.
    """
    for step in range(version, target):
        if step not in migrations:
            raise ArtifactError(
                f"Artifacts of format {step} are no longer read by this version of tabular-automl; "
                "install the version that saved it, or fit again."
            )
        state = migrations[step](state)
    return state

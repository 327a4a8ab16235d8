import dataclasses

import pytest

from tabular_automl.artifacts.migrations import FORMAT, MIGRATIONS, migrate
from tabular_automl.artifacts.state import State
from tabular_automl.core.errors import ArtifactError


def renamed(state: State) -> State:
    meta = dict(state.meta)
    meta["target"] = meta.pop("label")
    return dataclasses.replace(state, meta=meta)


def numbered(state: State) -> State:
    return dataclasses.replace(state, meta={**state.meta, "n_folds": 8})


def test_steps_run_in_order_from_the_saved_format():
    state = State(meta={"label": "y"})
    both = migrate(state, 1, target=3, migrations={1: renamed, 2: numbered})
    assert both.meta == {"target": "y", "n_folds": 8}
    assert migrate(both, 2, target=3, migrations={2: numbered}).meta["n_folds"] == 8


def test_current_format_is_left_alone():
    state = State(meta={"label": "y"})
    assert migrate(state, FORMAT) is state


def test_format_without_a_step_is_refused():
    with pytest.raises(ArtifactError, match="format 1 are no longer read"):
        migrate(State(), 1, target=3, migrations={2: numbered})


def test_every_older_format_has_a_step():
    assert sorted(MIGRATIONS) == list(range(1, FORMAT))

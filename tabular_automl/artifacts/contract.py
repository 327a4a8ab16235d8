"""What every saved state must keep to, for the contract suites of models and encoders."""

from __future__ import annotations

import io
import json

import numpy as np

from tabular_automl.artifacts.state import State
from tabular_automl.core.contract import ContractError, require

_PLAIN_DTYPES = "biufUS"


def require_plain(state: State, name: str) -> None:
    """Raise `ContractError` unless ``state`` holds json, plain arrays, bytes and such states."""
    require(isinstance(state, State), f"{name} must be a State, got {type(state).__name__}.")
    try:
        json.dumps(dict(state.meta))
    except (TypeError, ValueError) as error:
        raise ContractError(f"{name}.meta must hold what json can hold: {error}.") from error
    for key, array in state.arrays.items():
        require(
            isinstance(array, np.ndarray) and array.dtype.kind in _PLAIN_DTYPES,
            f"{name}.arrays[{key!r}] must be an array of numbers, booleans or fixed-width strings, "
            f"got {getattr(array, 'dtype', type(array).__name__)}.",
        )
    for key, blob in state.blobs.items():
        require(
            isinstance(blob, bytes),
            f"{name}.blobs[{key!r}] must be bytes, got {type(blob).__name__}.",
        )
    for key, child in state.children.items():
        require_plain(child, f"{name}.children[{key!r}]")


def through_files(state: State) -> State:
    """Return the state as it comes back from disk: meta through json, arrays through npy."""
    return State(
        meta=json.loads(json.dumps(dict(state.meta))),
        arrays={key: _through_npy(array) for key, array in state.arrays.items()},
        blobs=dict(state.blobs),
        children={key: through_files(child) for key, child in state.children.items()},
    )


def _through_npy(array: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    file.seek(0)
    loaded: np.ndarray = np.load(file, allow_pickle=False)
    loaded.setflags(write=False)  # arrays of a saved predictor may be memory-mapped
    return loaded

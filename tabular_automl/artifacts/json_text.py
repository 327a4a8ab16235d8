"""Json text that gives back exactly the plain values that went in, NaN and infinities included.

Standard json has no NaN. A float that is not finite is written as ``{"$float": "nan"}``, and a key
that itself begins with ``$`` gets a second one, so nothing a user writes can be taken for it.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from tabular_automl.core.errors import ArtifactError

MAX_DEPTH = 100  # far below the interpreter's recursion limit, far above what a component needs
_FLOAT_KEY = "$float"
_SPECIAL_FLOATS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def to_json(value: object, where: str) -> str:
    """Return ``value`` as standard json text.

    Parameters
    ----------
    value : object
        Dictionaries with text keys, lists, tuples (read back as lists), text, numbers, booleans,
        None; numpy scalars count as the Python values they hold.
    where : str
        What an error calls the value.

    Raises
    ------
    ArtifactError
        When something inside cannot be written as json.
    """
    return json.dumps(_encode(value, where, 0), allow_nan=False, separators=(",", ":"))


def from_json(text: str | bytes, where: str) -> Any:
    """Return the values that `to_json` wrote.

    Raises
    ------
    ArtifactError
        When the text is not json, or nested too deeply to be ours.
    """
    try:
        return json.loads(text, object_hook=_decode)
    except RecursionError as error:
        raise ArtifactError(f"{where} is nested too deeply to be one of ours.") from error
    except ValueError as error:  # json and unicode errors are ValueErrors
        raise ArtifactError(f"{where} is not readable as json ({error}).") from error


def _encode(value: object, where: str, depth: int) -> Any:
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, np.generic):
        return _encode(_python_value(value, where), where, depth)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {_FLOAT_KEY: str(float(value))}
    if depth >= MAX_DEPTH:
        raise ArtifactError(f"{where} is nested deeper than {MAX_DEPTH} levels.")
    if isinstance(value, (list, tuple)):
        return [_encode(item, where, depth + 1) for item in value]
    if isinstance(value, dict):
        return {_encode_key(k, where): _encode(v, where, depth + 1) for k, v in value.items()}
    raise ArtifactError(
        f"{where} must hold plain json values, got {type(value).__name__} {value!r:.80}."
    )


def _encode_key(key: object, where: str) -> str:
    if not isinstance(key, str):
        raise ArtifactError(
            f"{where} must have text keys, got {key!r}; json would silently turn it into text."
        )
    return f"${key}" if key.startswith("$") else key


def _python_value(value: np.generic, where: str) -> object:
    plain: object = value.item()
    if isinstance(plain, np.generic):  # long doubles and some dates stay numpy's
        raise ArtifactError(f"{where} must hold plain json values, got {value!r}.")
    return plain


def _decode(pairs: dict[str, Any]) -> Any:
    if not any(key.startswith("$") for key in pairs):
        return pairs
    if pairs.keys() == {_FLOAT_KEY}:
        name = pairs[_FLOAT_KEY]
        if not isinstance(name, str) or name not in _SPECIAL_FLOATS:
            raise ValueError(f"unknown number {name!r}")
        return _SPECIAL_FLOATS[name]
    return {key.removeprefix("$"): value for key, value in pairs.items()}

"""How long fine-tuning an encoder takes: what the plan goes by, before anything is loaded."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Mapping
from typing import Any

from tabular_automl.extend import choose_device, is_installed

# Of one token read, learned from, and validated now and then, by an encoder of 6 layers of 384
# numbers. On processors its upper half is tuned. The second is an assumption, not a measurement.
_CORE_SECONDS_PER_TOKEN = 1.1e-3
_GPU_SECONDS_PER_TOKEN = 1.0e-5
_MOST_CORES = 16  # more do not help with batches this small
_LEAST_EPOCHS = 2
_LEAST_ROWS_SEEN = 3_200  # by a small table's network: some 200 steps
_CHARS_PER_TOKEN = 4.5
_MARKS = 2  # tokens that an encoder adds to each text
_SAMPLED = 200


def seconds_of_model(n_rows: int, n_tokens: float, n_cores: int, *, on_gpu: bool) -> float:
    """Return about how long one model needs to learn more than frozen embeddings tell.

    Parameters
    ----------
    n_rows : int
    n_tokens : float
        Of a row, all its texts together.
    n_cores : int
        That one model may keep busy.
    on_gpu : bool
    """
    n_seen = max(_LEAST_EPOCHS * n_rows, _LEAST_ROWS_SEEN) * n_tokens
    if on_gpu:
        return n_seen * _GPU_SECONDS_PER_TOKEN
    return n_seen * _CORE_SECONDS_PER_TOKEN / min(n_cores, _MOST_CORES)


def tokens_of_row(texts: Mapping[str, Any], max_tokens: int) -> float:
    """Return about how many tokens a row's texts have, from some of the rows."""
    total = 0.0
    for column in texts.values():
        sample = column[:: max(1, len(column) // _SAMPLED)]
        n_chars = [len(value) if isinstance(value, str) else 0 for value in sample.tolist()]
        n_tokens = [min(max_tokens, _MARKS + n / _CHARS_PER_TOKEN) for n in n_chars if n]
        total += sum(n_tokens) / max(1, len(n_chars))
    return total


def has_gpu() -> bool:
    """Return whether torch computes on a GPU; torch is loaded only where there is a driver."""
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return is_installed("torch") and choose_device().type == "cuda"

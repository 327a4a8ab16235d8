"""A LightGBM booster that is asked for single rows by calls that are prepared once.

`Booster.predict` reads its parameters anew for each call, which takes longer than walking a
thousand trees. LightGBM's C interface has a call for one row without that, for which its Python
package has no function; where a version of the package lacks what is used here, `predict` answers.
"""

from __future__ import annotations

import ctypes
import threading
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Answer = Literal["raw_score", "pred_leaf"]
Floats = npt.NDArray[np.float32]
# As LightGBM's c_api.h numbers them.
_ANSWERS = {"raw_score": 1, "pred_leaf": 2}
_FLOAT32 = 0
_ALL_TREES = -1


class AskedBooster:
    """A booster with one kind of answer; any number of threads may ask at once.

    Parameters
    ----------
    booster : lightgbm.Booster
    answer : {"raw_score", "pred_leaf"}
    n_columns : int
        Values that each row is answered with.
    n_threads : int
        Of a call with several rows.
    """

    def __init__(self, booster: Any, answer: Answer, n_columns: int, n_threads: int) -> None:
        self._booster = booster
        self._answer = answer
        self._n_columns = n_columns
        self._n_threads = n_threads
        self._own = threading.local()  # a prepared call has buffers that threads must not share

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._booster, self._answer, self._n_columns, self._n_threads)

    def predict(self, matrix: Floats) -> npt.NDArray[np.float64]:
        """Return the answers of rows in C order, shape (n_samples, n_columns)."""
        if len(matrix) == 1:
            call = self._prepared(matrix.shape[1])
            if call is not None and call.n_features == matrix.shape[1]:
                return call(matrix)
        answers = self._booster.predict(
            matrix,
            num_threads=self._n_threads,
            validate_features=False,
            **{self._answer: True},
        )
        return np.asarray(answers, dtype=np.float64).reshape(len(matrix), self._n_columns)

    def _prepared(self, n_features: int) -> _CallOfOneRow | None:
        """Return this thread's own call, None where LightGBM offers none."""
        if not hasattr(self._own, "call"):
            self._own.call = None
            library = _library()
            if library is not None:
                arguments = self._answer, n_features, self._n_columns
                self._own.call = _CallOfOneRow(library, self._booster, *arguments)
        call: _CallOfOneRow | None = self._own.call
        return call


@dataclass(frozen=True)
class _Library:
    """The functions of LightGBM's C interface that a prepared call takes."""

    prepare: Any
    ask: Any
    free: Any
    check: Any


def _library() -> _Library | None:
    """Return the functions, None where the package has other insides than this was written for."""
    from lightgbm import basic

    try:
        library: Any = basic._LIB  # type: ignore[attr-defined]
        return _Library(
            library.LGBM_BoosterPredictForMatSingleRowFastInit,
            library.LGBM_BoosterPredictForMatSingleRowFast,
            library.LGBM_FastConfigFree,
            basic._safe_call,
        )
    except AttributeError:
        return None


class _CallOfOneRow:
    """LightGBM's call for one row of ``n_features`` features."""

    def __init__(
        self, library: _Library, booster: Any, answer: Answer, n_features: int, n_columns: int
    ) -> None:
        self._library = library
        self._booster = booster  # lives as long as the call
        self.n_features = n_features
        self._handle = ctypes.c_void_p()
        self._answers = np.empty(n_columns)
        self._length = ctypes.c_int64()
        self._out = self._answers.ctypes.data_as(ctypes.POINTER(ctypes.c_double))
        library.check(
            library.prepare(
                booster._handle,
                ctypes.c_int(_ANSWERS[answer]),
                ctypes.c_int(0),
                ctypes.c_int(_ALL_TREES),
                ctypes.c_int(_FLOAT32),
                ctypes.c_int32(n_features),
                ctypes.c_char_p(b"num_threads=1"),
                ctypes.byref(self._handle),
            )
        )

    def __call__(self, row: Floats) -> npt.NDArray[np.float64]:
        """Return the answers of a row of shape (1, n_features): (1, n_columns)."""
        plain = np.ascontiguousarray(row, dtype=np.float32)
        pointer, length = ctypes.c_void_p(plain.ctypes.data), ctypes.byref(self._length)
        self._library.check(self._library.ask(self._handle, pointer, length, self._out))
        return self._answers[np.newaxis].copy()

    def __del__(self) -> None:
        if self._handle:
            self._library.free(self._handle)

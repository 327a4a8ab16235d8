"""Every error the library raises on purpose.

AutoMLError
├── InvalidOptionError (ValueError)       an argument, option, hyperparameter or metric name
├── DataError (ValueError)                a table that cannot be used as asked
│   ├── LabelError                        the label column
│   └── MissingColumnsError               columns that predict needs and did not get
├── NotFittedError                        fit has not run yet
├── PathError (OSError)                   a path that cannot be read or written
├── ArtifactError                         a saved predictor that is damaged, foreign or too new
├── ExportError                           a predictor that another format cannot hold
├── MissingDependencyError (ImportError)  an optional package
├── ResumeError (ValueError)              an unfinished fit that was started with something else
├── CrashedModelError                     the process that a model was fitted in ended by itself
├── OutOfTimeError (TimeoutError)         a model had no time to learn anything
│   └── OverrunError                      a model did not stop when its time was over
└── OutOfMemoryError (MemoryError)        a model would not fit into memory

AutoMLWarning (UserWarning)               the base of every warning
├── MismatchWarning                       new data departs from the training data
└── InterruptedFitWarning                 Ctrl-C ended a fit early; what was done by then is saved

A message says what was expected, what arrived, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

_MOST_NAMES = 20  # that a message lists in full; of more, ...
_NEAREST_NAMES = 5  # ... the nearest


class AutoMLError(Exception):
    """Base class of every error raised by this library on purpose."""


class InvalidOptionError(AutoMLError, ValueError):
    """An argument, option, hyperparameter or metric name is not one that the library knows."""


class DataError(AutoMLError, ValueError):
    """A table cannot be used as asked; the message names the column, the row or the value."""


class LabelError(DataError):
    """The label column is absent, empty, of one class only, or of the wrong kind."""


class MissingColumnsError(DataError):
    """Columns that the fitted predictor needs are absent; the message lists all of them."""


class NotFittedError(AutoMLError):
    """A method that needs a fitted predictor was called before fit."""


class PathError(AutoMLError, OSError):
    """A path cannot be read, cannot be written, or is already taken."""


class ArtifactError(AutoMLError):
    """A saved predictor is damaged, incomplete, foreign, or of a newer format."""


class ExportError(AutoMLError):
    """A fitted predictor holds something that the format to export to cannot."""


class MissingDependencyError(AutoMLError, ImportError):
    """An optional package is needed and not installed."""


class ResumeError(AutoMLError, ValueError):
    """A fit cannot be continued with what is given now; the message says what differs."""


class CrashedModelError(AutoMLError):
    """The process that a model was fitted in ended without a result."""


class OutOfTimeError(AutoMLError, TimeoutError):
    """A model had no time to learn anything."""


class OverrunError(OutOfTimeError):
    """A model did not stop when its time was over, and was ended or left behind."""


class OutOfMemoryError(AutoMLError, MemoryError):
    """A model would not fit into the memory that is free."""


class AutoMLWarning(UserWarning):
    """Base class of every warning given by this library on purpose."""


class MismatchWarning(AutoMLWarning):
    """New data departs from the training data, and was made to fit."""


class InterruptedFitWarning(AutoMLWarning):
    """Ctrl-C ended a fit early; the predictor holds what was done by then."""


def must_be(name: str, expected: str, value: object) -> str:
    """Return the library's one sentence for a value that is not what was expected."""
    return f"{name} must be {expected}, got {value!r}."


def unknown_name(kind: str, name: object, known: Iterable[object]) -> str:
    """Return a sentence that names the unknown value, its nearest known names and all of them.

    Of more than twenty known names, it has the nearest five and the number of the others. A guess
    is in quotes only where it is text: the column 1 is not the column '1'.
    """
    names = [str(each) if isinstance(each, str) else each for each in known]
    quoted = {each if isinstance(each, str) else repr(each): repr(each) for each in names}
    options = sorted(quoted)
    near = difflib.get_close_matches(str(name), options, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(quoted[match] for match in near)}?" if near else ""
    return f"Unknown {kind} {name!r}.{hint} Known: {_listed(str(name), options)}."


def _listed(name: str, options: Sequence[str]) -> str:
    if len(options) <= _MOST_NAMES:
        return ", ".join(options)
    nearest = difflib.get_close_matches(name, options, n=_NEAREST_NAMES, cutoff=0.0)
    return f"{', '.join(nearest)} and {len(options) - len(nearest)} more"

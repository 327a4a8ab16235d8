"""What each command of the command line does, given its arguments; returns the exit code.

Imports stay light on purpose: pandas and the model libraries load inside the command that needs
them.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import sys
import warnings
from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from tabular_automl.core.errors import (
    DataError,
    InterruptedFitWarning,
    InvalidOptionError,
    LabelError,
    unknown_name,
)
from tabular_automl.core.interrupts import exiting_on_sigterm

if TYPE_CHECKING:
    import pandas as pd

    from tabular_automl.predictor import Predictor

PROGRAM = "tabular-automl"
OK, FAILED, INTERRUPTED, TERMINATED = 0, 1, 130, 143  # argparse ends with 2 on wrong usage
ROLES = ("weight", "group", "time", "fold")

_REASON_WIDTH = 70


@contextmanager
def _warning_in_a_sentence() -> Iterator[None]:
    """Print warnings as errors are printed, without the line of code that they came from."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: tell(message)
        yield


def tell(message: object) -> None:
    """Print a message for the user to stderr; where nobody reads it, the work goes on."""
    with suppress(OSError, ValueError):
        print(f"{PROGRAM}: {message}", file=sys.stderr)


@contextmanager
def _read_or_not() -> Iterator[None]:
    """Let figures that nobody reads to their end, as behind grep -q, change no exit code."""
    try:
        yield
    except BrokenPipeError:
        drop_the_rest(sys.stdout)


def drop_the_rest(stream: IO[str]) -> None:
    """Send nowhere what is yet to be written to a stream."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@_warning_in_a_sentence()
def fit(arguments: argparse.Namespace) -> int:
    """Fit and save a predictor, and evaluate it where a test table is given."""
    from tabular_automl import FitConfig, Predictor

    kinds = _kinds(arguments)
    names = _columns_of(arguments.train)
    label = _meant(arguments.label, names)
    if arguments.test is not None:
        _check_test(arguments.test, label)
    columns = {_meant(name, names): kind for name, kind in kinds.items()}
    verbosity = 0 if arguments.quiet else 3 if arguments.verbose else 2
    predictor = Predictor(
        label,
        problem_type=arguments.problem_type,
        eval_metric=arguments.metric,
        path=arguments.out,
        verbosity=verbosity,
    )
    with exiting_on_sigterm(TERMINATED), warnings.catch_warnings():
        warnings.simplefilter("ignore", InterruptedFitWarning)  # told below
        predictor.fit(
            arguments.train,
            time_limit=arguments.time_limit,
            presets=arguments.preset,
            columns=columns,
            config=FitConfig(
                seed=arguments.seed,
                n_jobs=arguments.jobs,
                cluster=arguments.cluster,
                exclude=tuple(arguments.exclude),
                max_rows=arguments.max_rows,
                max_latency_ms=arguments.max_latency_ms,
                max_error_cost=arguments.max_error_cost,
            ),
            overwrite=arguments.overwrite,
            resume=arguments.resume,
        )
    if predictor.interrupted:
        tell(
            f"interrupted; what was finished is saved to {arguments.out}, and the same command "
            "with --resume continues"
        )
        return INTERRUPTED
    if arguments.test is not None:
        _print_figures(predictor.evaluate(arguments.test), as_json=False)
    return OK


def _columns_of(path: str) -> pd.Index:
    """Return the names of a table's columns, for which a row is read."""
    from tabular_automl.data.batches import read_batches

    return next(read_batches(path, n_rows=1)).columns


def _meant(text: str, names: Iterable[Hashable]) -> Hashable:
    """Return the column that a word of the command line names: of a Parquet file, 1 for "1"."""
    alike = [name for name in names if str(name) == text]
    return alike[0] if len(alike) == 1 else text


def _kinds(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the kind or role of each column that has one on the command line."""
    asked = [(name, kind, f"--column {name}={kind}") for name, kind in arguments.column]
    roles = [(getattr(arguments, role), role) for role in ROLES]
    asked += [(name, role, f"--{role} {name}") for name, role in roles if name is not None]
    kinds: dict[str, str] = {}
    options: dict[str, str] = {}
    for name, kind, option in asked:
        if kinds.setdefault(name, kind) != kind:
            raise InvalidOptionError(
                f"A column must have one kind or role, got {options[name]} and {option}; leave one "
                "of them out."
            )
        options[name] = option
    return kinds


def _check_test(path: str, label: Hashable) -> None:
    """Raise before the fit what would else raise after it: nothing to evaluate on.

    Of the table, a row is read.
    """
    from tabular_automl.data.batches import read_batches

    for batch in read_batches(path, n_rows=1):
        if label not in batch.columns:
            sentence = unknown_name("label column", label, batch.columns)
            raise LabelError(f"--test must be a table with the label: {sentence}")
        if len(batch):  # of a folder, the first files may have none
            return
    raise DataError(f"--test must be a table with rows, got none in {path!r}.")


@_warning_in_a_sentence()
def predict(arguments: argparse.Namespace) -> int:
    """Predict a table, to a file or to stdout."""
    predictor = _load(arguments.model)
    if arguments.out is None:
        _print_predictions(predictor, arguments)
        return OK
    names = _columns_of(arguments.data) if arguments.keep else ()
    n_rows = predictor.predict_file(
        arguments.data,
        arguments.out,
        proba=arguments.proba,
        keep=[_meant(text, names) for text in arguments.keep],
        on_mismatch=arguments.on_mismatch,
    )
    with suppress(OSError, ValueError):  # they are written, whether somebody reads this or not
        print(f"{n_rows} predictions written to {arguments.out}", file=sys.stderr)
    return OK


def _print_predictions(predictor: Predictor, arguments: argparse.Namespace) -> None:
    """Write the predictions of a table to stdout."""
    from tabular_automl.deployment.streaming import kept_columns, with_kept

    table = predictor.read(arguments.data, as_text=arguments.keep)
    kept = kept_columns(table, [_meant(text, table.columns) for text in arguments.keep])
    if arguments.proba:
        predictions = predictor.predict_proba(table, on_mismatch=arguments.on_mismatch)
    else:
        predictions = predictor.predict(table, on_mismatch=arguments.on_mismatch).to_frame()
    with_kept(predictions, kept).to_csv(sys.stdout, index=False)


@_warning_in_a_sentence()
def evaluate(arguments: argparse.Namespace) -> int:
    """Print the metrics on a table with labels."""
    predictor = _load(arguments.model)
    figures = predictor.evaluate(arguments.data, on_mismatch=arguments.on_mismatch)
    _print_figures(figures, arguments.json)
    return OK


@_warning_in_a_sentence()
def compare(arguments: argparse.Namespace) -> int:
    """Print whether another predictor is better on a table with labels."""
    predictor, other = _load(arguments.model), _load(arguments.other)
    found = predictor.compare(other, arguments.data, on_mismatch=arguments.on_mismatch)
    with _read_or_not():
        if arguments.json:
            told = {name: _finite(value) for name, value in dataclasses.asdict(found).items()}
            print(json.dumps({**told, "verdict": found.verdict}, indent=2))
        else:
            print(found)
    fine = found.verdict == "better" if arguments.if_better else found.verdict != "worse"
    return OK if fine else FAILED


@_warning_in_a_sentence()
def validate(arguments: argparse.Namespace) -> int:
    """Print how a table departs from that of training."""
    report = _load(arguments.model).validate(arguments.data)
    with _read_or_not():
        if arguments.json:
            _print_json(report.to_frame())
        else:
            print(report)
    return OK if report.can_predict else FAILED


@_warning_in_a_sentence()
def leaderboard(arguments: argparse.Namespace) -> int:
    """Print one row for each model."""
    predictor = _load(arguments.model)
    board = predictor.leaderboard(arguments.data, on_mismatch=arguments.on_mismatch)
    if arguments.json:
        _print_json(board)
        return OK
    if "reason" in board:
        if not board["reason"].any():
            board = board.drop(columns="reason")
        else:
            board["reason"] = board["reason"].map(_shorten)
    _print_table(board)
    return OK


@_warning_in_a_sentence()
def importance(arguments: argparse.Namespace) -> int:
    """Print what each column contributes."""
    ranking = _load(arguments.model).feature_importance(
        arguments.data, time_limit=arguments.time_limit, on_mismatch=arguments.on_mismatch
    )
    ranking = ranking.rename_axis("column").reset_index()
    _print_json(ranking) if arguments.json else _print_table(ranking)
    return OK


@_warning_in_a_sentence()
def schema(arguments: argparse.Namespace) -> int:
    """Print the kind of each column, with the reason."""
    import pandas as pd

    columns = pd.DataFrame(
        [(c.name, c.kind.value, c.reason) for c in _load(arguments.model).schema],
        columns=["column", "kind", "reason"],
    )
    _print_json(columns) if arguments.json else _print_table(columns)
    return OK


@_warning_in_a_sentence()
def export(arguments: argparse.Namespace) -> int:
    """Write a predictor as an ONNX model."""
    exported = _load(arguments.model).export_onnx(
        arguments.out, data=arguments.data, without=arguments.without
    )
    parity = exported.parity
    print(
        f"{exported.path} answers within {parity.largest_difference:.1g} of the predictor on "
        f"{parity.n_rows} rows; see {exported.parity_path}"
    )
    return OK


def demo(arguments: argparse.Namespace) -> int:
    """Show all of it on a table that scikit-learn ships."""
    from tabular_automl.demo import show_all

    return show_all(Path(arguments.out), arguments.time_limit, PROGRAM, arguments.main)


def _load(path: str) -> Predictor:
    from tabular_automl import Predictor

    return Predictor.load(path, verbosity=0)


def _print_figures(figures: dict[str, float], as_json: bool) -> None:
    if as_json:
        print(json.dumps({name: _finite(figure) for name, figure in figures.items()}, indent=2))
        return
    width = max(map(len, figures), default=0)
    for name, figure in figures.items():
        print(f"{name:<{width}}  {_figure(figure):>10}")


def _finite(value: Any) -> Any:
    """Return a value as JSON can hold it."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _print_json(table: pd.DataFrame) -> None:
    print(table.to_json(orient="records", indent=2, double_precision=15))


def _print_table(table: pd.DataFrame) -> None:
    """Print rows under their column names: text to the left, numbers to the right."""
    import pandas as pd

    numeric = [pd.api.types.is_numeric_dtype(dtype) for dtype in table.dtypes]
    names = [str(name) for name in table.columns]
    rows = [names]
    rows += [
        [_cell(name, value) for name, value in zip(names, values, strict=True)]
        for values in table.itertuples(index=False, name=None)
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            f"{cell:>{width}}" if right else f"{cell:<{width}}"
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ]
        print("  ".join(cells).rstrip())


def _cell(name: str, value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    if name.endswith("_seconds") and math.isfinite(value):
        return f"{value:.3f}"
    return _figure(value)


def _figure(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.4f}" if value == 0.0 or 1e-3 <= abs(value) < 1e6 else f"{value:.3e}"


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _REASON_WIDTH else line[: _REASON_WIDTH - 1] + "…"

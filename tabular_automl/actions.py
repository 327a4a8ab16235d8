"""What each command of the command line does, given its arguments; returns the exit code.

Imports stay light on purpose: pandas and the model libraries load inside the command that needs
them.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tabular_automl.core.errors import (
    DataError,
    InterruptedFitWarning,
    LabelError,
    MissingColumnsError,
    unknown_name,
)
from tabular_automl.core.interrupts import exiting_on_sigterm

if TYPE_CHECKING:
    import pandas as pd

    from tabular_automl.predictor import Predictor

PROGRAM = "tabular-automl"
OK, FAILED, INTERRUPTED, TERMINATED = 0, 1, 130, 143  # argparse ends with 2 on wrong usage
ROLES = ("weight", "group", "time")

_REASON_WIDTH = 70


@contextmanager
def _warning_in_a_sentence() -> Iterator[None]:
    """Print warnings as errors are printed, without the line of code that they came from."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: print(
            f"{PROGRAM}: {message}", file=sys.stderr
        )
        yield


def fit(arguments: argparse.Namespace) -> int:
    """Fit and save a predictor, and evaluate it where a test table is given."""
    from tabular_automl import FitConfig, Predictor

    if arguments.test is not None:
        _check_test(arguments.test, arguments.label)
    columns = dict(arguments.column)
    for role in ROLES:
        name = getattr(arguments, role)
        if name is not None:
            columns[name] = role
    verbosity = 0 if arguments.quiet else 3 if arguments.verbose else 2
    predictor = Predictor(
        arguments.label,
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
                max_latency_ms=arguments.max_latency_ms,
                max_error_cost=arguments.max_error_cost,
            ),
            overwrite=arguments.overwrite,
            resume=arguments.resume,
        )
    if predictor.interrupted:
        print(
            f"{PROGRAM}: interrupted; what was finished is saved to {arguments.out}, and the same "
            "command with --resume continues",
            file=sys.stderr,
        )
        return INTERRUPTED
    if arguments.test is not None:
        _print_figures(predictor.evaluate(arguments.test), as_json=False)
    return OK


def _check_test(path: str, label: str) -> None:
    """Raise before the fit what would else raise after it: nothing to evaluate on.

    Of the table, a row is read.
    """
    from tabular_automl.data.batches import read_batches

    batch = next(read_batches(path, n_rows=1))
    if not len(batch):
        raise DataError(f"--test must be a table with rows, got none in {path!r}.")
    if label not in batch.columns:
        names = [str(name) for name in batch.columns]
        sentence = unknown_name("label column", label, names)
        raise LabelError(f"--test must be a table with the label: {sentence}")


@_warning_in_a_sentence()
def predict(arguments: argparse.Namespace) -> int:
    """Predict a table, to a file or to stdout."""
    predictor = _load(arguments.model)
    if arguments.out is None:
        _print_predictions(predictor, arguments)
        return OK
    n_rows = predictor.predict_file(
        arguments.data,
        arguments.out,
        proba=arguments.proba,
        keep=arguments.keep,
        on_mismatch=arguments.on_mismatch,
    )
    print(f"{n_rows} predictions written to {arguments.out}", file=sys.stderr)
    return OK


def _print_predictions(predictor: Predictor, arguments: argparse.Namespace) -> None:
    """Write the predictions of a table to stdout."""
    table = predictor.read(arguments.data)
    absent = [name for name in arguments.keep if name not in table.columns]
    if absent:
        raise MissingColumnsError(
            f"--keep must name columns of {arguments.data}, got {', '.join(map(repr, absent))}."
        )
    if arguments.proba:
        predictions = predictor.predict_proba(table, on_mismatch=arguments.on_mismatch)
    else:
        predictions = predictor.predict(table, on_mismatch=arguments.on_mismatch).to_frame()
    predictions.columns = [
        f"{name} predicted" if name in arguments.keep else str(name) for name in predictions.columns
    ]
    for name in reversed(arguments.keep):
        predictions.insert(0, name, table[name].array)
    predictions.to_csv(sys.stdout, index=False)


@_warning_in_a_sentence()
def evaluate(arguments: argparse.Namespace) -> int:
    """Print the metrics on a table with labels."""
    predictor = _load(arguments.model)
    figures = predictor.evaluate(arguments.data, on_mismatch=arguments.on_mismatch)
    _print_figures(figures, arguments.json)
    return OK


def validate(arguments: argparse.Namespace) -> int:
    """Print how a table departs from that of training."""
    report = _load(arguments.model).validate(arguments.data)
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


def schema(arguments: argparse.Namespace) -> int:
    """Print the kind of each column, with the reason."""
    import pandas as pd

    columns = pd.DataFrame(
        [(c.name, c.kind.value, c.reason) for c in _load(arguments.model).schema],
        columns=["column", "kind", "reason"],
    )
    _print_json(columns) if arguments.json else _print_table(columns)
    return OK


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
        finite = {k: v if math.isfinite(v) else None for k, v in figures.items()}
        print(json.dumps(finite, indent=2))
        return
    width = max(map(len, figures), default=0)
    for name, figure in figures.items():
        print(f"{name:<{width}}  {_figure(figure):>10}")


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

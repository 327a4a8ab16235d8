"""The command line: fit, predict, evaluate and look at a predictor without writing Python.

Imports stay light on purpose: pandas and the model libraries load inside the command that needs
them, so that ``--help`` and usage errors answer at once.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tabular_automl.core.errors import (
    AutoMLError,
    InterruptedFitWarning,
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

_TABLE_SUFFIXES = (".csv", ".csv.gz", ".parquet")
_REASON_WIDTH = 70

_EPILOG = """\
examples:
  tabular-automl demo
  tabular-automl fit train.csv --label price --time-limit 60 --out model/
  tabular-automl leaderboard model/
  tabular-automl predict model/ new.csv --out predictions.csv
  tabular-automl evaluate model/ test.csv

tables are CSV, CSV.gz or Parquet files, or folders of Parquet files.

exit codes:
  0    done
  1    the data, the settings or a path cannot be used; one sentence on stderr says why
  2    wrong usage of the command line
  130  interrupted with Ctrl-C
  143  ended by SIGTERM
"""

_FIT_EPILOG = """\
examples:
  tabular-automl fit train.csv --label price --time-limit 60 --out model/
  tabular-automl fit train.parquet --label churn --metric log_loss --column zip=category
  tabular-automl fit visits.csv --label cost --group patient --preset fast --overwrite --quiet

kinds of columns: numeric, category, datetime, text, image, identifier, ignored.

finished work is kept in FOLDER/journal: after a crash, a Ctrl-C or a SIGTERM, the same command with
--resume continues. the last two end early and save what was finished (exit code 130 or 143).
"""

_PREDICT_EPILOG = """\
examples:
  tabular-automl predict model/ new.csv --proba
  tabular-automl predict model/ big.parquet --out scored.parquet --keep id

with --out, tables may be larger than memory: rows are read, predicted and written batch by batch,
in order. The file appears when it is complete; after an interruption the same command goes on
where it was, from the parts in the hidden folder beside it.
"""


_VALIDATE_EPILOG = """\
examples:
  tabular-automl validate model/ new.csv && tabular-automl predict model/ new.csv --out scored.csv

exit code 1 when predict would refuse the table; 0 otherwise, whatever else was found.
"""

_EXPORT_EPILOG = """\
examples:
  tabular-automl export model/ --out model.onnx --data new.csv

the model is compared with the predictor before it is written, on the table or on rows drawn like
the training's; FILE.parity.json tells how far they are apart. needs the extra onnx.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 an error of the library, 130 interrupted.

    Parameters
    ----------
    argv : sequence of str, optional
        The words after the program's name; those of the process by default.

    Raises
    ------
    SystemExit
        With code 2 on wrong usage, with code 0 after ``--help`` and ``--version``.
    """
    arguments = build_parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
        return code
    except AutoMLError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="AutoML for tables: fit an ensemble on a file, on time, and predict with it.",
        epilog=_EPILOG,
        formatter_class=_Help,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version)
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    _add_fit(commands)
    _add_predict(commands)
    _add_evaluate(commands)
    _add_validate(commands)
    _add_leaderboard(commands)
    _add_importance(commands)
    _add_schema(commands)
    _add_export(commands)
    _add_demo(commands)
    return parser


# The commands' options ---------------------------------------------------------------------------


def _add_fit(commands: Any) -> None:
    parser = _add(commands, "fit", _fit, "learn to predict one column from the others")
    parser.usage = f"{PROGRAM} fit TABLE --label COLUMN [options]"
    parser.epilog = _FIT_EPILOG
    parser.add_argument("train", metavar="TABLE", help="table to learn from")
    parser.add_argument("--label", required=True, metavar="COLUMN", help="column to predict")
    parser.add_argument(
        "--out", default="model", metavar="FOLDER", help="folder to save to (default: model)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a predictor saved there")
    parser.add_argument(
        "--resume", action="store_true", help="continue the fit there, or give it more time"
    )
    parser.add_argument(
        "--time-limit", type=float, metavar="SECONDS", help="time for everything, saving included"
    )
    parser.add_argument(
        "--preset", default="best", choices=("best", "balanced", "fast"), help="(default: best)"
    )
    parser.add_argument(
        "--metric", help="what to optimise, such as roc_auc, log_loss, r2 (default: by task)"
    )
    parser.add_argument(
        "--problem-type",
        choices=("binary", "multiclass", "regression"),
        help="(default: told from the label's values)",
    )
    _add_columns(parser)
    parser.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="FAMILY",
        help="leave this model family out; may be given several times",
    )
    parser.add_argument(
        "--test", metavar="TABLE", help="print the figures on this table at the end"
    )
    parser.add_argument(
        "--max-latency-ms",
        type=float,
        metavar="MS",
        help="drop models until one compiled row is answered within so many milliseconds",
    )
    parser.add_argument("--seed", type=int, default=0, help="of every random choice (default: 0)")
    parser.add_argument("--jobs", type=int, metavar="N", help="cores to use (default: all)")
    volume = parser.add_mutually_exclusive_group()
    volume.add_argument("--quiet", "-q", action="store_true", help="print nothing")
    volume.add_argument("--verbose", "-v", action="store_true", help="print everything")


def _add_columns(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--column",
        action="append",
        default=[],
        type=_column_kind,
        metavar="NAME=KIND",
        help="use a column as this kind; may be given several times",
    )
    parser.add_argument("--weight", metavar="COLUMN", help="column of sample weights")
    parser.add_argument("--group", metavar="COLUMN", help="rows of a group are validated together")
    parser.add_argument("--time", metavar="COLUMN", help="validate on later rows than trained on")


def _add_predict(commands: Any) -> None:
    parser = _add(commands, "predict", _predict, "predict the label of each row, in order")
    _add_model_and_data(parser, "table to predict")
    parser.add_argument(
        "--out", type=_output_path, metavar="TABLE", help="CSV or Parquet file (default: stdout)"
    )
    parser.epilog = _PREDICT_EPILOG
    parser.add_argument("--proba", action="store_true", help="probability of each class instead")
    parser.add_argument(
        "--keep",
        action="append",
        default=[],
        metavar="COLUMN",
        help="copy this column of the table too; may be given several times",
    )


def _add_evaluate(commands: Any) -> None:
    parser = _add(commands, "evaluate", _evaluate, "compute metrics on a table with labels")
    _add_model_and_data(parser, "table with the label column")
    _add_json(parser)


def _add_validate(commands: Any) -> None:
    parser = _add(commands, "validate", _validate, "tell how new data departs from the training's")
    parser.epilog = _VALIDATE_EPILOG
    _add_model_and_data(parser, "table to compare, with the label column or without it")
    _add_json(parser)


def _add_leaderboard(commands: Any) -> None:
    parser = _add(commands, "leaderboard", _leaderboard, "list every model with its scores")
    parser.add_argument("model", help="folder of a saved predictor")
    parser.add_argument("data", nargs="?", help="table with the label column, to score on too")
    _add_json(parser)


def _add_importance(commands: Any) -> None:
    parser = _add(commands, "importance", _importance, "rank columns by what they contribute")
    _add_model_and_data(parser, "table with the label column, best of rows not trained on")
    parser.add_argument("--time-limit", type=float, metavar="SECONDS")
    _add_json(parser)


def _add_schema(commands: Any) -> None:
    parser = _add(commands, "schema", _schema, "tell what each column was taken for, and why")
    parser.add_argument("model", help="folder of a saved predictor")
    _add_json(parser)


def _add_export(commands: Any) -> None:
    parser = _add(commands, "export", _export, "write a predictor as an ONNX model")
    parser.epilog = _EXPORT_EPILOG
    parser.add_argument("model", help="folder of a saved predictor")
    parser.add_argument("--out", required=True, metavar="FILE", help="file to write: model.onnx")
    parser.add_argument("--data", metavar="TABLE", help="compare on up to 1,000 of its rows")
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        metavar="MODEL",
        help="leave this model of the leaderboard out; may be given several times",
    )


def _add_demo(commands: Any) -> None:
    parser = _add(commands, "demo", _demo, "show all of it on a real table, in half a minute")
    parser.add_argument("--time-limit", type=float, default=20.0, metavar="SECONDS")
    parser.add_argument(
        "--out", default="demo", metavar="FOLDER", help="folder to write to (default: demo)"
    )


def _add(commands: Any, name: str, run: Any, summary: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary.capitalize() + ".",
        formatter_class=_Help,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    return parser


def _add_model_and_data(parser: argparse.ArgumentParser, data: str) -> None:
    parser.add_argument("model", help="folder of a saved predictor")
    parser.add_argument("data", help=data)


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON for programs")


class _Help(argparse.RawDescriptionHelpFormatter):
    """Keeps each option and its help on one line where they fit."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=34, width=100)


class _Version(argparse.Action):
    """Prints the version without importing more than the package itself."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, help="print the version and exit")

    def __call__(self, parser: argparse.ArgumentParser, *unused: object) -> None:
        """Print the version and exit."""
        from tabular_automl import __version__

        print(f"{PROGRAM} {__version__}")
        parser.exit()


def _column_kind(text: str) -> tuple[str, str]:
    """Read NAME=KIND; the name itself may hold "="."""
    from tabular_automl.data.schema import Kind

    name, separator, kind = text.rpartition("=")
    if not separator or not name:
        raise argparse.ArgumentTypeError(f"must be NAME=KIND, got {text!r}.")
    if kind not in list(Kind):
        raise argparse.ArgumentTypeError(unknown_name("kind", kind, Kind))
    return name, kind


def _output_path(text: str) -> Path:
    if not text.lower().endswith(_TABLE_SUFFIXES):
        raise argparse.ArgumentTypeError(f"must end in {', '.join(_TABLE_SUFFIXES)}, got {text!r}.")
    return Path(text)


# The commands ------------------------------------------------------------------------------------


def _fit(arguments: argparse.Namespace) -> int:
    from tabular_automl import FitConfig, Predictor

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
                exclude=tuple(arguments.exclude),
                max_latency_ms=arguments.max_latency_ms,
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


def _predict(arguments: argparse.Namespace) -> int:
    predictor = _load(arguments.model)
    if arguments.out is not None:
        n_rows = predictor.predict_file(
            arguments.data, arguments.out, proba=arguments.proba, keep=arguments.keep
        )
        print(f"{n_rows} predictions written to {arguments.out}", file=sys.stderr)
        return OK
    _print_predictions(predictor, arguments)
    return OK


def _print_predictions(predictor: Predictor, arguments: argparse.Namespace) -> None:
    """Write the predictions of a table to stdout."""
    from tabular_automl.data.reading import read_table

    table = read_table(arguments.data, purpose="predict")
    absent = [name for name in arguments.keep if name not in table.columns]
    if absent:
        raise MissingColumnsError(
            f"--keep must name columns of {arguments.data}, got {', '.join(map(repr, absent))}."
        )
    if arguments.proba:
        predictions = predictor.predict_proba(table)
    else:
        predictions = predictor.predict(table).to_frame()
    predictions.columns = [
        f"{name} predicted" if name in arguments.keep else str(name) for name in predictions.columns
    ]
    for name in reversed(arguments.keep):
        predictions.insert(0, name, table[name].array)
    predictions.to_csv(sys.stdout, index=False)


def _evaluate(arguments: argparse.Namespace) -> int:
    _print_figures(_load(arguments.model).evaluate(arguments.data), arguments.json)
    return OK


def _validate(arguments: argparse.Namespace) -> int:
    report = _load(arguments.model).validate(arguments.data)
    if arguments.json:
        _print_json(report.to_frame())
    else:
        print(report)
    return OK if report.can_predict else FAILED


def _leaderboard(arguments: argparse.Namespace) -> int:
    board = _load(arguments.model).leaderboard(arguments.data)
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


def _importance(arguments: argparse.Namespace) -> int:
    ranking = _load(arguments.model).feature_importance(
        arguments.data, time_limit=arguments.time_limit
    )
    ranking = ranking.rename_axis("column").reset_index()
    _print_json(ranking) if arguments.json else _print_table(ranking)
    return OK


def _schema(arguments: argparse.Namespace) -> int:
    import pandas as pd

    columns = pd.DataFrame(
        [(c.name, c.kind.value, c.reason) for c in _load(arguments.model).schema],
        columns=["column", "kind", "reason"],
    )
    _print_json(columns) if arguments.json else _print_table(columns)
    return OK


def _export(arguments: argparse.Namespace) -> int:
    exported = _load(arguments.model).export_onnx(
        arguments.out, data=arguments.data, without=arguments.without
    )
    parity = exported.parity
    print(
        f"{exported.path} answers within {parity.largest_difference:.1g} of the predictor on "
        f"{parity.n_rows} rows; see {exported.parity_path}"
    )
    return OK


def _demo(arguments: argparse.Namespace) -> int:
    from tabular_automl.demo import show_all

    return show_all(Path(arguments.out), arguments.time_limit, PROGRAM, main)


# Reading and writing -----------------------------------------------------------------------------


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


if __name__ == "__main__":
    sys.exit(main())

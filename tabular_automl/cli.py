"""The command line: fit, predict, evaluate and look at a predictor without writing Python.

Imports stay light on purpose: pandas and the model libraries load inside the command that needs
them, so that ``--help`` and usage errors answer at once.
"""

from __future__ import annotations

import argparse
import errno
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tabular_automl import actions
from tabular_automl.actions import FAILED, INTERRUPTED, OK, PROGRAM, drop_the_rest, tell
from tabular_automl.core.errors import AutoMLError, unknown_name
from tabular_automl.core.memory import keep_few_arenas

_TABLE_SUFFIXES = (".csv", ".csv.gz", ".parquet")

_EPILOG = """\
examples:
  tabular-automl demo
  tabular-automl fit train.csv --label price --time-limit 60 --out model/
  tabular-automl leaderboard model/
  tabular-automl predict model/ new.csv --out predictions.csv
  tabular-automl evaluate model/ test.csv

tables are CSV or TSV files, compressed or not, Parquet files, or folders of files of one kind.

exit codes:
  0    done
  1    the data, the settings or a path cannot be used; one sentence on stderr says why.
       of validate also: predict would refuse the table; of compare: the other is worse
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

_COMPARE_EPILOG = """\
examples:
  tabular-automl compare models/used models/new recent.parquet && ln -sfn new models/used
  tabular-automl compare models/used models/new recent.parquet --if-better

both predict the table, and are judged by the metric of the first. exit code 1 when the other is
worse by more than chance, or with --if-better unless it is better by more than chance; 0 otherwise.
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
    keep_few_arenas()
    code = OK
    try:
        code = arguments.run(arguments)
        if sys.stdout is not None:  # as in programs without a console
            sys.stdout.flush()
        return code
    except AutoMLError as error:
        tell(error)
        return FAILED
    except KeyboardInterrupt:
        tell("interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # the reader of stdout, such as head, has seen enough: a fit is saved
        drop_the_rest(sys.stdout)
        return code
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        tell(f"the disk is full, make room: {error}")
        if sys.stdout is not None:
            drop_the_rest(sys.stdout)
        return FAILED
    finally:
        _flush_messages()


def _flush_messages() -> None:
    """Leave nothing on stderr that Python could not write when it ends: its code would be 120."""
    try:
        if sys.stderr is not None:
            sys.stderr.flush()
    except OSError:
        drop_the_rest(sys.stderr)


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
    _add_compare(commands)
    _add_validate(commands)
    _add_leaderboard(commands)
    _add_importance(commands)
    _add_schema(commands)
    _add_export(commands)
    _add_demo(commands)
    return parser


# The commands' options ---------------------------------------------------------------------------


def _add_fit(commands: Any) -> None:
    parser = _add(commands, "fit", "learn to predict one column from the others")
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
        "--preset",
        default="best",
        choices=("best", "deploy", "balanced", "fast"),
        help="(default: best)",
    )
    parser.add_argument(
        "--metric",
        help="what to optimise, such as roc_auc, log_loss, r2, pinball_0.9 (default: by task)",
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
        "--max-rows",
        type=int,
        metavar="N",
        help="learn from so many rows at most, drawn at random (default: as time and memory allow)",
    )
    parser.add_argument(
        "--max-latency-ms",
        type=float,
        metavar="MS",
        help="drop models until one compiled row is answered within so many milliseconds",
    )
    parser.add_argument(
        "--max-error-cost",
        type=float,
        metavar="SHARE",
        help="drop models not worth their time while the error grows by at most this share, such "
        "as 0.01 (default: 0.001 from 1,000 validated rows on, 0.05 with deploy; 0: none)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of every random choice (default: 0)")
    parser.add_argument("--jobs", type=int, metavar="N", help="cores to use (default: all)")
    parser.add_argument(
        "--cluster",
        metavar="NAME",
        help="fit the folds there: dask or ray, with :ADDRESS, as in dask:tcp://10.0.0.5:8786",
    )
    volume = parser.add_mutually_exclusive_group()
    volume.add_argument("--quiet", "-q", action="store_true", help="print no progress")
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
    parser.add_argument("--fold", metavar="COLUMN", help="the folds of your own, one a value")


def _add_predict(commands: Any) -> None:
    parser = _add(commands, "predict", "predict the label of each row, in order")
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
    _add_on_mismatch(parser)


def _add_evaluate(commands: Any) -> None:
    parser = _add(commands, "evaluate", "compute metrics on a table with labels")
    _add_model_and_data(parser, "table with the label column")
    _add_on_mismatch(parser)
    _add_json(parser)


def _add_compare(commands: Any) -> None:
    parser = _add(commands, "compare", "tell whether another predictor is better, or only seems so")
    parser.epilog = _COMPARE_EPILOG
    parser.add_argument("model", help="folder of a saved predictor, such as the one in use")
    parser.add_argument("other", help="folder of another one of the same label")
    parser.add_argument("data", help="table with the label column that neither was fitted on")
    parser.add_argument(
        "--if-better",
        action="store_true",
        help="exit with 1 unless the other is better by more than chance",
    )
    _add_on_mismatch(parser)
    _add_json(parser)


def _add_validate(commands: Any) -> None:
    parser = _add(commands, "validate", "tell how new data departs from the training's")
    parser.epilog = _VALIDATE_EPILOG
    _add_model_and_data(parser, "table to compare, with the label column or without it")
    _add_json(parser)


def _add_leaderboard(commands: Any) -> None:
    parser = _add(commands, "leaderboard", "list every model with its scores")
    parser.add_argument("model", help="folder of a saved predictor")
    parser.add_argument("data", nargs="?", help="table with the label column, to score on too")
    _add_on_mismatch(parser)
    _add_json(parser)


def _add_importance(commands: Any) -> None:
    parser = _add(commands, "importance", "rank columns by what they contribute")
    _add_model_and_data(parser, "table with the label column, best of rows not trained on")
    parser.add_argument("--time-limit", type=float, metavar="SECONDS")
    _add_on_mismatch(parser)
    _add_json(parser)


def _add_schema(commands: Any) -> None:
    parser = _add(commands, "schema", "tell what each column was taken for, and why")
    parser.add_argument("model", help="folder of a saved predictor")
    _add_json(parser)


def _add_export(commands: Any) -> None:
    parser = _add(commands, "export", "write a predictor as an ONNX model")
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
    parser = _add(commands, "demo", "show all of it on a real table, in half a minute")
    parser.add_argument("--time-limit", type=float, default=20.0, metavar="SECONDS")
    parser.add_argument(
        "--out", default="demo", metavar="FOLDER", help="folder to write to (default: demo)"
    )
    parser.set_defaults(main=main)  # whose commands the demo goes through


def _add(commands: Any, name: str, summary: str) -> argparse.ArgumentParser:
    """Add the command that does the action of its name."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary.capitalize() + ".",
        formatter_class=_Help,
        allow_abbrev=False,
    )
    parser.set_defaults(run=getattr(actions, name))
    return parser


def _add_model_and_data(parser: argparse.ArgumentParser, data: str) -> None:
    parser.add_argument("model", help="folder of a saved predictor")
    parser.add_argument("data", help=data)


def _add_on_mismatch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--on-mismatch",
        choices=("raise", "warn", "coerce"),
        default="raise",
        help="stop at absent columns and unreadable cells, or take them as missing, with a warning "
        "or without one (default: raise)",
    )


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


if __name__ == "__main__":
    sys.exit(main())

"""The demo: a real table as CSV files, and the command line's own commands on them."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

from tabular_automl.core.errors import PathError

_TEST_SHARE = 0.25
_INTRODUCTION = """\
A real table: 569 biopsies of breast tissue, 30 measures of cell nuclei each, and what they turned
out to be (the breast cancer data that scikit-learn ships)."""


def show_all(
    folder: Path, time_limit: float, program: str, main: Callable[[list[str]], int]
) -> int:
    """Write the table, then print and run each command as a user would type it.

    Parameters
    ----------
    folder : Path
        Where the tables, the predictor and the predictions go.
    time_limit : float
        Seconds for the fit.
    program : str
        Name of the command line's program.
    main : callable
        Runs the program on a list of words; returns its exit code.

    Returns
    -------
    int
        0, or the exit code of the first command that failed.

    Raises
    ------
    PathError
        When the folder cannot be written, or holds other files of the same names.
    """
    train, test, model, predictions = (
        str(folder / name) for name in ("train.csv", "test.csv", "model", "predictions.csv")
    )
    print(_INTRODUCTION)
    _write_tables(Path(train), Path(test))
    limit = f"{time_limit:g}"
    steps = (
        f"fit {shlex.quote(train)} --label diagnosis --time-limit {limit} "
        f"--out {shlex.quote(model)} --overwrite",
        shlex.join(["leaderboard", model, test]),
        shlex.join(["predict", model, test, "--out", predictions]),
        shlex.join(["evaluate", model, test]),
    )
    for step in steps:
        print(f"\n$ {program} {step}", flush=True)
        code = main(shlex.split(step))
        if code:
            return code
    print(f"\nNow with a table of your own: {program} fit TABLE --label COLUMN")
    return 0


def _write_tables(train: Path, test: Path) -> None:
    """Write scikit-learn's breast cancer table as two CSV files, the label in words."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer(as_frame=True)
    table = data.data.rename(columns=lambda name: name.replace(" ", "_"))
    table["diagnosis"] = [data.target_names[code] for code in data.target]
    held_out = table.sample(frac=_TEST_SHARE, random_state=0).index
    for path, part in ((train, table.drop(held_out)), (test, table.loc[held_out])):
        _write_unless_foreign(path, part.to_csv(index=False).encode())
        print(f"wrote {path}: {len(part)} rows, {part.shape[1]} columns")


def _write_unless_foreign(path: Path, content: bytes) -> None:
    """Write a file that is ours to write: absent, or with this very content already."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        foreign = path.exists() and path.read_bytes() != content
        if not foreign:
            path.write_bytes(content)
    except OSError as error:
        raise PathError(f"{str(path)!r} must be writable, got: {error}.") from error
    if foreign:
        raise PathError(
            f"{str(path)!r} must be free for the demo, got another file; choose another --out."
        )

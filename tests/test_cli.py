from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest

import tabular_automl
from tabular_automl.cli import main
from tabular_automl.config import PRESETS
from tabular_automl.core.errors import LabelError, MismatchWarning
from tabular_automl.data.schema import Column, Kind, Schema
from tabular_automl.inspection.comparing import Comparison
from tabular_automl.inspection.drift import Finding, Severity, ValidationReport
from tabular_automl.predictor import Predictor

BOARD = pd.DataFrame(
    {
        "model": ["ensemble", "lightgbm", "neural"],
        "score": [0.91234567, 0.9, np.nan],
        "fit_seconds": [3.0, 2.0, np.nan],
        "status": ["ok", "ok", "failed"],
        "reason": ["", "", "ValueError: " + "no luck " * 30],
    }
)


class FakePredictor:
    """Takes what the command line passes on, and answers like a predictor of "y"."""

    calls: ClassVar[list[tuple[Any, ...]]] = []
    board: ClassVar[pd.DataFrame] = BOARD
    error: ClassVar[BaseException | None] = None
    interrupted: ClassVar[bool] = False
    gain: ClassVar[float] = 0.0
    label = "y"
    _saved_as = "one"
    findings: ClassVar[tuple[Finding, ...]] = ()
    predict_file = Predictor.predict_file  # the real ones, on top of the answers below
    read = Predictor.read
    schema = Schema(
        (Column("x", Kind.NUMERIC, "numbers", "numeric"), Column("id", Kind.IGNORED, "constant"))
    )

    def __init__(self, label: str, **options: Any) -> None:
        self.calls.append(("init", {"label": label, **options}))

    def fit(self, train: Any, **options: Any) -> FakePredictor:
        if self.error is not None:
            raise self.error
        self.calls.append(("fit", {"train": train, **options}))
        return self

    @classmethod
    def load(cls, path: str, **options: Any) -> FakePredictor:
        if cls.error is not None:
            raise cls.error
        cls.calls.append(("load", path))
        return cls("y")

    def _fitted(self) -> SimpleNamespace:
        return SimpleNamespace(
            featurizer=SimpleNamespace(schema=self.schema, encoders={"x": None}),
            summary=None,
            codec=SimpleNamespace(classes=["hi", "lo"], has_mixed_classes=False),
            task=SimpleNamespace(is_classification=True),
        )

    def predict(self, data: pd.DataFrame, *, on_mismatch: str = "raise") -> pd.Series:
        self.calls.append(("predict", on_mismatch))
        return pd.Series(np.where(data["x"] > 1, "hi", "lo"), index=data.index, name="y")

    def predict_proba(self, data: pd.DataFrame, *, on_mismatch: str = "raise") -> pd.DataFrame:
        self.calls.append(("predict_proba", on_mismatch))
        return pd.DataFrame({"hi": [0.25] * len(data), "lo": [0.75] * len(data)}, index=data.index)

    def evaluate(self, data: Any, *, on_mismatch: str = "raise") -> dict[str, float]:
        self.calls.append(("evaluate", data, on_mismatch))
        return {"roc_auc": 0.98765, "log_loss": float("inf")}

    def validate(self, data: Any) -> ValidationReport:
        self.calls.append(("validate", data))
        return ValidationReport(self.findings, pd.DataFrame(), 3)

    def compare(self, other: FakePredictor, data: Any, *, on_mismatch: str = "raise") -> Comparison:
        self.calls.append(("compare", data, on_mismatch))
        return Comparison(
            "roc_auc", 0.8, 0.8 + self.gain, self.gain, self.gain - 0.1, self.gain + 0.1, 5
        )

    def leaderboard(self, data: Any = None, *, on_mismatch: str = "raise") -> pd.DataFrame:
        self.calls.append(("leaderboard", data, on_mismatch))
        return self.board.copy()

    def feature_importance(self, data: Any, **options: Any) -> pd.DataFrame:
        self.calls.append(("importance", data, options["on_mismatch"]))
        index = pd.Index(["x", "z"])
        return pd.DataFrame({"importance": [0.5, 0.0], "stddev": [0.1, np.nan]}, index=index)


@pytest.fixture
def fake(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[type[FakePredictor]]:
    monkeypatch.chdir(tmp_path_factory.mktemp("here"))
    Path("train.csv").write_text("x,y\n1,2\n")
    FakePredictor.calls.clear()
    monkeypatch.setitem(vars(tabular_automl), "Predictor", FakePredictor)
    yield FakePredictor
    FakePredictor.calls.clear()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "new.csv"
    pd.DataFrame({"x": [3, 1, 2, 0], "id": ["d", "a", "c", "b"]}).to_csv(path, index=False)
    return path


def usage_error(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit, match="2"):
        main(words)
    return capsys.readouterr().err


# fit


def test_fit_passes_every_option_on(fake: type[FakePredictor]) -> None:
    words = """fit train.csv --label y --time-limit 60 --preset fast --metric log_loss
        --problem-type binary --out m --overwrite --resume --column zip=category --column a=b=text
        --weight w --group g --time t --fold f --seed 3 --jobs 2 --exclude neural
        --max-rows 5000 --max-latency-ms 2.5 --max-error-cost 0.01 --quiet"""
    assert main(words.split()) == 0
    (_, made), (_, fitted) = fake.calls
    assert made == {
        "label": "y",
        "problem_type": "binary",
        "eval_metric": "log_loss",
        "path": "m",
        "verbosity": 0,
    }
    config = fitted.pop("config")
    assert (config.seed, config.n_jobs, config.exclude) == (3, 2, ("neural",))
    assert (config.max_latency_ms, config.max_error_cost) == (2.5, 0.01)
    assert config.max_rows == 5_000
    assert fitted == {
        "train": "train.csv",
        "time_limit": 60.0,
        "presets": "fast",
        "columns": {
            "zip": "category",
            "a=b": "text",
            "w": "weight",
            "g": "group",
            "t": "time",
            "f": "fold",
        },
        "overwrite": True,
        "resume": True,
    }


@pytest.mark.parametrize("preset", PRESETS)
def test_fit_knows_every_preset(fake: type[FakePredictor], preset: str) -> None:
    assert main(["fit", "train.csv", "--label", "y", "--preset", preset]) == 0
    assert fake.calls[1][1]["presets"] == preset


def test_fit_needs_little(fake: type[FakePredictor]) -> None:
    assert main(["fit", "train.csv", "--label", "y"]) == 0
    assert fake.calls[0][1]["path"] == "model"
    assert fake.calls[0][1]["verbosity"] == 2
    assert fake.calls[1][1]["presets"] == "best"
    assert main(["fit", "train.csv", "--label", "y", "-v"]) == 0
    assert fake.calls[2][1]["verbosity"] == 3


def test_fit_prints_the_figures_of_a_test_table(
    fake: type[FakePredictor], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", "train.csv", "--label", "id", "--test", str(data)]) == 0
    assert fake.calls[-1] == ("evaluate", str(data), "raise")
    assert capsys.readouterr().out == "roc_auc       0.9877\nlog_loss         inf\n"


@pytest.mark.parametrize(
    ("test", "told"),
    [
        ("nowhere.csv", "path must exist"),
        ("new.xlsx", "must end in .csv"),
        ("new.csv", "--test must be a table with the label: Unknown label column 'y'"),
        ("new.parquet", "--test must be a table with the label: Unknown label column 'y'"),
        ("empty.csv", "--test must be a table with rows, got none"),
    ],
)
def test_a_test_table_of_no_use_is_refused_before_the_fit(
    fake: type[FakePredictor],
    data: Path,
    capsys: pytest.CaptureFixture[str],
    test: str,
    told: str,
) -> None:
    (data.parent / "new.xlsx").touch()
    (data.parent / "empty.csv").write_text("y\n")
    pd.read_csv(data).to_parquet(data.parent / "new.parquet")
    assert main(["fit", "train.csv", "--label", "y", "--test", str(data.parent / test)]) == 1
    assert told in capsys.readouterr().err
    assert fake.calls == []


def test_of_a_folder_as_test_table_the_first_files_may_be_empty(
    fake: type[FakePredictor], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    (folder / "part-0.csv").write_text("x,y\n")
    (folder / "part-1.csv").write_text("x,y\n1,hi\n")
    monkeypatch.setattr(fake, "evaluate", lambda self, table: {"accuracy": 1.0}, raising=False)
    assert main(["fit", str(data), "--label", "y", "--test", str(folder)]) == 0


def test_an_unknown_kind_is_wrong_usage_with_the_nearest_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    error = usage_error(["fit", "t.csv", "--label", "y", "--column", "zip=categry"], capsys)
    assert "Did you mean 'category'" in error
    error = usage_error(["fit", "t.csv", "--label", "y", "--column", "zip"], capsys)
    assert "must be NAME=KIND, got 'zip'" in error


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--group day --time day", "got --group day and --time day"),
        ("--column w=numeric --weight w", "got --column w=numeric and --weight w"),
        ("--column a=text --column a=category", "got --column a=text and --column a=category"),
    ],
)
def test_two_roles_of_one_column_are_refused(
    fake: type[FakePredictor], capsys: pytest.CaptureFixture[str], words: str, told: str
) -> None:
    assert main(["fit", "train.csv", "--label", "y", *words.split()]) == 1
    assert f"must have one kind or role, {told}; leave one" in capsys.readouterr().err
    assert fake.calls == []
    twice = ["--column", "w=weight", "--weight", "w"]
    assert main(["fit", "train.csv", "--label", "y", *twice]) == 0
    assert fake.calls[1][1]["columns"] == {"w": "weight"}


def test_a_word_stands_for_a_column_that_is_no_text(
    fake: type[FakePredictor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "numbered.parquet"
    pd.DataFrame({1: [1, 2], 2: [3, 4], 3: [5, 6]}).to_parquet(path)
    words = ["--label", "1", "--column", "2=category", "--weight", "3", "--test", str(path)]
    assert main(["fit", str(path), *words]) == 0
    assert fake.calls[0][1]["label"] == 1
    assert fake.calls[1][1]["columns"] == {2: "category", 3: "weight"}
    assert main(["fit", "train.csv", "--label", "1", "--test", str(path)]) == 1
    assert "Unknown label column '1'. Did you mean 1? Known: 1, 2, 3." in capsys.readouterr().err


@pytest.mark.parametrize("out", [None, "out.csv"])
def test_a_kept_column_may_be_no_text(
    fake: type[FakePredictor],
    tmp_path: Path,
    out: str | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def high(self: FakePredictor, table: pd.DataFrame, **_: str) -> pd.Series:
        return pd.Series("hi", table.index, name="y")

    monkeypatch.setattr(fake, "predict", high)
    path = tmp_path / "numbered.parquet"
    pd.DataFrame({1: [1, 2], 2: [3, 4]}).to_parquet(path)
    words = [] if out is None else ["--out", out]
    assert main(["predict", "model", str(path), "--keep", "2", *words]) == 0
    printed = capsys.readouterr().out if out is None else Path(out).read_text()
    assert printed.split() == ["2,y", "3,hi", "4,hi"]


# predict


def test_predictions_go_to_stdout_in_the_rows_order(
    fake: type[FakePredictor], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", "model", str(data)]) == 0
    assert capsys.readouterr().out.split() == ["y", "hi", "lo", "hi", "lo"]


@pytest.mark.parametrize("name", ["out.csv", "out.csv.gz", "out.parquet"])
def test_predictions_go_to_a_file_by_its_suffix(
    fake: type[FakePredictor], data: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = data.parent / name
    assert main(["predict", "model", str(data), "--out", str(out)]) == 0
    read = pd.read_parquet if name.endswith("parquet") else pd.read_csv
    assert read(out)["y"].tolist() == ["hi", "lo", "hi", "lo"]
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err == f"4 predictions written to {out}\n"
    assert sorted(path.name for path in out.parent.iterdir()) == sorted(["new.csv", name])


def test_probabilities_have_a_column_for_each_class_beside_kept_columns(
    fake: type[FakePredictor], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", "model", str(data), "--proba", "--keep", "id"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["id,hi,lo", "d,0.25,0.75"]


def test_a_kept_column_that_is_not_there_is_named(
    fake: type[FakePredictor], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", "model", str(data), "--keep", "nope"]) == 1
    assert "Unknown column to keep 'nope'." in capsys.readouterr().err


def test_kept_columns_go_to_stdout_once_and_as_they_are_written(
    fake: type[FakePredictor], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data.write_text("x,id\n3,00012\n1,3e5\n")
    assert main(["predict", "model", str(data), "--keep", "id", "--keep", "x", "--keep", "id"]) == 0
    assert capsys.readouterr().out.split() == ["id,x,y", "00012,3,hi", "3e5,1,lo"]


@pytest.mark.parametrize("policy", ["warn", "coerce"])
def test_what_to_do_on_a_mismatch_is_passed_on(
    fake: type[FakePredictor], data: Path, policy: str
) -> None:
    option = ["--on-mismatch", policy]
    assert main(["predict", "model", str(data), *option]) == 0
    assert main(["predict", "model", str(data), "--proba", *option]) == 0
    assert main(["predict", "model", str(data), "--out", str(data.parent / "o.csv"), *option]) == 0
    for action in ("evaluate", "leaderboard", "importance"):
        assert main([action, "model", "test.csv", *option]) == 0
    assert [call for call in fake.calls if call[0] != "load" and call[0] != "init"] == [
        ("predict", policy),
        ("predict_proba", policy),
        ("predict", policy),
        ("evaluate", "test.csv", policy),
        ("leaderboard", "test.csv", policy),
        ("importance", "test.csv", policy),
    ]


def test_a_warning_is_one_sentence(
    fake: type[FakePredictor],
    data: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def warning(self: FakePredictor, data: Any, on_mismatch: str) -> dict[str, float]:
        warnings.warn("'x' is absent.", MismatchWarning, stacklevel=1)
        return {}

    monkeypatch.setattr(fake, "evaluate", warning)
    assert main(["evaluate", "model", "test.csv"]) == 0
    assert capsys.readouterr().err == "tabular-automl: 'x' is absent.\n"


def test_a_format_that_cannot_be_written_is_wrong_usage(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = usage_error(["predict", "model", str(data), "--out", "x.xlsx"], capsys)
    assert "must end in .csv, .csv.gz, .parquet, got 'x.xlsx'" in error


def test_a_folder_that_is_not_there_is_an_error_of_one_sentence(
    fake: type[FakePredictor], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = data.parent / "nowhere" / "out.csv"
    assert main(["predict", "model", str(data), "--out", str(out)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"tabular-automl: The folder of '{out}' must exist")
    assert error.count("\n") == 1


# evaluate, leaderboard, importance, schema


def test_figures_are_printed_aligned_or_as_valid_json(
    fake: type[FakePredictor], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "model", "test.csv"]) == 0
    assert capsys.readouterr().out == "roc_auc       0.9877\nlog_loss         inf\n"
    assert main(["evaluate", "model", "test.csv", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"roc_auc": 0.98765, "log_loss": None}


@pytest.mark.parametrize(("gain", "codes"), [(0.2, (0, 0)), (0.05, (0, 1)), (-0.2, (1, 1))])
def test_compare_fails_where_the_other_is_worse_or_not_better_as_asked(
    fake: type[FakePredictor],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    gain: float,
    codes: tuple[int, int],
) -> None:
    monkeypatch.setattr(fake, "gain", gain)
    words = ["compare", "used", "new", "recent.csv", "--on-mismatch", "warn"]
    assert (main(words), main([*words, "--if-better"])) == codes
    asked = [call for call in fake.calls if call[0] != "init"]
    assert asked[:3] == [("load", "used"), ("load", "new"), ("compare", "recent.csv", "warn")]
    assert "roc_auc on 5 rows: 0.8, the other" in capsys.readouterr().out
    main([*words, "--json"])
    told = json.loads(capsys.readouterr().out)
    assert (told["metric"], told["gain"]) == ("roc_auc", gain)
    assert told["verdict"] in ("better", "no different beyond chance", "worse")


def test_validate_tells_what_is_found_and_fails_only_where_predict_would(
    fake: type[FakePredictor], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["validate", "model", "new.csv"]) == 0
    assert capsys.readouterr().out == "3 rows, all as in training.\n"
    for severity, code in ((Severity.WARNING, 0), (Severity.ERROR, 1)):
        finding = Finding("x", "missing column", severity, "'x' is not there.")
        monkeypatch.setattr(fake, "findings", (finding,))
        assert main(["validate", "model", "new.csv"]) == code
        assert f"{severity.value}: 'x' is not there." in capsys.readouterr().out
    main(["validate", "model", "new.csv", "--json"])
    assert json.loads(capsys.readouterr().out)[0]["problem"] == "missing column"


def test_the_leaderboard_shows_short_reasons_and_dashes(
    fake: type[FakePredictor], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["leaderboard", "model"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "model      score  fit_seconds  status  reason"
    assert lines[1] == "ensemble  0.9123        3.000  ok"
    assert lines[3].startswith("neural         -            -  failed  ValueError: no luck")
    assert lines[3].endswith("…")
    assert len(lines[3]) < 115


def test_the_leaderboard_drops_reasons_when_there_are_none(
    fake: type[FakePredictor],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fake, "board", BOARD.iloc[:2])
    assert main(["leaderboard", "model", "test.csv"]) == 0
    assert fake.calls[-1] == ("leaderboard", "test.csv", "raise")
    assert "reason" not in capsys.readouterr().out


def test_the_leaderboard_as_json_is_complete(
    fake: type[FakePredictor], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["leaderboard", "model", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[0]["score"] == 0.91234567
    assert rows[2]["score"] is None
    assert rows[2]["reason"] == BOARD["reason"][2]


def test_importance_and_schema_name_the_columns(
    fake: type[FakePredictor], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["importance", "model", "test.csv"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "column  importance  stddev",
        "x           0.5000  0.1000",
        "z           0.0000       -",
    ]
    assert main(["schema", "model"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "column  kind     reason",
        "x       numeric  numbers",
        "id      ignored  constant",
    ]
    assert main(["schema", "model", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["reason"] == "numbers"


# exit codes


def test_an_error_of_the_library_is_one_sentence_and_code_1(
    fake: type[FakePredictor],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fake, "error", LabelError("Unknown label column 'y'."))
    assert main(["fit", "train.csv", "--label", "y"]) == 1
    assert capsys.readouterr() == ("", "tabular-automl: Unknown label column 'y'.\n")


def test_a_fit_that_ended_early_is_code_130_and_says_how_to_continue(
    fake: type[FakePredictor], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fake, "interrupted", True)
    assert main(["fit", "train.csv", "--label", "y", "--out", "m"]) == 130
    assert "saved to m, and the same command with --resume continues" in capsys.readouterr().err


def test_an_interrupt_is_code_130(
    fake: type[FakePredictor],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fake, "error", KeyboardInterrupt())
    assert main(["evaluate", "model", "test.csv"]) == 130
    assert capsys.readouterr() == ("", "tabular-automl: interrupted\n")


@pytest.mark.parametrize(
    "words", [[], ["fit", "train.csv"], ["bake"], ["demo", "--time-limit", "x"]]
)
def test_wrong_usage_is_code_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "usage: tabular-automl" in usage_error(words, capsys)


def test_a_programming_error_is_not_hidden(
    fake: type[FakePredictor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake, "error", ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError, match="a bug"):
        main(["fit", "train.csv", "--label", "y"])


# the program itself


def run(*words: str, code: str = "") -> subprocess.CompletedProcess[str]:
    command = ["-c", code] if code else ["-m", "tabular_automl.cli", *words]
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)


def test_help_has_examples_and_exit_codes() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert "tabular-automl fit train.csv --label price" in done.stdout
    assert "130  interrupted" in done.stdout


def test_version_is_printed() -> None:
    assert run("--version").stdout == f"tabular-automl {tabular_automl.__version__}\n"


def test_help_imports_no_pandas() -> None:
    code = (
        "import sys\n"
        "from tabular_automl.cli import build_parser\n"
        "build_parser().format_help()\n"
        "heavy = {'pandas', 'numpy', 'sklearn', 'rich'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)\n"
    )
    done = run(code=code)
    assert done.returncode == 0, done.stderr


def test_a_closed_pipe_ends_quietly() -> None:
    code = (
        "import subprocess, sys\n"
        "from tabular_automl import actions, cli\n"
        "def broken(arguments):\n"
        "    raise BrokenPipeError\n"
        "actions.schema = broken\n"
        "sys.exit(cli.main(['schema', 'model']))\n"
    )
    done = run(code=code)
    assert (done.returncode, done.stderr) == (0, "")


_PRINTING = (
    "import os, sys\n"
    "from types import SimpleNamespace\n"
    "from tabular_automl import actions, cli\n"
    "class Report:\n"
    "    can_predict = not {code}\n"
    "    __str__ = lambda self: 'told'\n"
    "actions._load = lambda path: SimpleNamespace(validate=lambda data: Report())\n"
    "{before}\n"
    "sys.exit(cli.main(['validate', 'model', 'table.csv']))\n"
)


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("code", [0, 1])
@pytest.mark.parametrize(
    "before",
    ["reader, writer = os.pipe(); os.close(reader); os.dup2(writer, 1)", "sys.stdout = None"],
)
def test_figures_that_nobody_reads_change_no_exit_code(
    before: str, code: int, unbuffered: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    done = run(code=_PRINTING.format(before=before, code=code))
    assert (done.returncode, done.stderr) == (code, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a device that is full")
def test_a_full_disk_is_told_in_a_sentence() -> None:
    before = "os.dup2(os.open('/dev/full', os.O_WRONLY), 1)"
    done = run(code=_PRINTING.format(before=before, code=0))
    assert done.returncode == 1
    assert done.stderr.startswith("tabular-automl: the disk is full, make room: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("body", "code"),
    [("raise AutoMLError('no')", 1), ("raise KeyboardInterrupt", 130), ("return 0", 0)],
)
def test_messages_that_nobody_reads_change_no_exit_code(body: str, code: int) -> None:
    program = (
        "import os, sys\n"
        "from tabular_automl import actions, cli\n"
        "from tabular_automl.core.errors import AutoMLError\n"
        "def schema(arguments):\n"
        "    actions.tell('before')\n"
        f"    {body}\n"
        "actions.schema = schema\n"
        "reader, writer = os.pipe()\n"
        "os.close(reader)\n"
        "os.dup2(writer, 2)\n"
        "sys.exit(cli.main(['schema', 'model']))\n"
    )
    assert run(code=program).returncode == code


# demo


def test_the_demo_goes_through_the_commands_that_it_prints(
    fake: type[FakePredictor],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def benign(self: FakePredictor, table: pd.DataFrame, **_: str) -> pd.Series:
        return pd.Series("benign", table.index, name="diagnosis")

    monkeypatch.setattr(fake, "predict", benign)
    assert main(["demo", "--out", str(tmp_path / "demo"), "--time-limit", "5"]) == 0
    shown = [line[2:].split() for line in capsys.readouterr().out.splitlines() if line[:1] == "$"]
    assert [words[1] for words in shown] == ["fit", "leaderboard", "predict", "evaluate"]
    assert fake.calls[1][1]["time_limit"] == 5.0
    assert len(pd.read_csv(tmp_path / "demo" / "predictions.csv")) == 142

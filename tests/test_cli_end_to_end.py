"""The command line with a real fit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tabular_automl import Predictor
from tabular_automl.cli import main


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"size": rng.normal(size=240), "town": rng.choice(["a", "b"], 240)})
    table["price"] = np.where(table["size"] + (table["town"] == "a") > 0.5, "high", "low")
    table.iloc[:180].to_csv(folder / "train.csv", index=False)
    table.iloc[180:].to_parquet(folder / "test.parquet")
    words = f"fit {folder}/train.csv --label price --time-limit 20 --preset fast --out {folder}/m"
    assert main([*words.split(), "--quiet"]) == 0
    return folder


def test_a_real_fit_predicts_evaluates_and_ranks(
    fitted: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model, test, out = str(fitted / "m"), str(fitted / "test.parquet"), fitted / "p.parquet"
    assert main(["predict", model, test, "--out", str(out)]) == 0
    labels = pd.read_parquet(fitted / "test.parquet")["price"]
    assert (pd.read_parquet(out)["price"].to_numpy() == labels.to_numpy()).mean() > 0.85
    assert main(["predict", model, test, "--proba", "--out", str(out)]) == 0
    assert pd.read_parquet(out).columns.tolist() == ["high", "low"]
    capfd.readouterr()
    assert main(["evaluate", model, test, "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["roc_auc"] > 0.9
    assert main(["leaderboard", model, test, "--json"]) == 0
    board = json.loads(capfd.readouterr().out)
    assert board[0]["model"] == "ensemble"
    assert main(["importance", model, test]) == 0
    assert capfd.readouterr().out.splitlines()[1].startswith("size")
    assert main(["schema", model]) == 0
    assert "town    category" in capfd.readouterr().out


def test_a_bad_cell_stops_the_command_or_is_missing_as_asked(
    fitted: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    table = pd.read_parquet(fitted / "test.parquet").astype({"size": object})
    table.iloc[3, table.columns.get_loc("size")] = "huge"
    table.to_csv(fitted / "bad.csv", index=False)
    for command in ("predict", "evaluate"):
        words = [command, str(fitted / "m"), str(fitted / "bad.csv")]
        assert main(words) == 1
        assert "'huge'" in capfd.readouterr().err
        assert main([*words, "--on-mismatch", "coerce"]) == 0
        assert capfd.readouterr().err == ""
        assert main([*words, "--on-mismatch", "warn"]) == 0
        error = capfd.readouterr().err
        assert error.startswith("tabular-automl: Column 'size' has values that cannot be read")
        assert error.count("\n") == 1


def test_quiet_means_silent_with_a_real_fit(
    fitted: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = f"fit {fitted}/train.csv --label price --time-limit 20 --preset fast --out {fitted}/m"
    assert main([*words.split(), "--quiet"]) == 1
    assert "m'" in capfd.readouterr().err  # the path is taken
    assert main([*words.split(), "--quiet", "--overwrite"]) == 0
    assert capfd.readouterr() == ("", "")


def test_a_fit_whose_progress_nobody_reads_is_saved(fitted: Path) -> None:
    words = f"fit {fitted}/train.csv --label price --time-limit 20 --preset fast --out {fitted}/u"
    program = (
        "import os, sys\n"
        "from tabular_automl.cli import main\n"
        "reader, writer = os.pipe()\n"
        "os.close(reader)\n"
        "os.dup2(writer, 1)\n"
        "os.dup2(writer, 2)\n"
        f"sys.exit(main({[*words.split(), '--test', str(fitted / 'test.parquet')]!r}))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False)
    assert done.returncode == 0
    assert Predictor.load(fitted / "u", verbosity=0).leaderboard()["score"].notna().any()

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tabular_automl.core.errors import PathError
from tabular_automl.demo import show_all


def succeed(words: list[str]) -> int:
    return 0


def test_every_command_that_is_printed_is_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[list[str]] = []

    def main(words: list[str]) -> int:
        ran.append(words)
        return 0

    folder = tmp_path / "a folder"
    assert show_all(folder, 5.0, "program", main) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line.startswith("$ program ")]) == len(ran) == 4
    assert [words[0] for words in ran] == ["fit", "leaderboard", "predict", "evaluate"]
    assert f"$ program evaluate '{folder}/model' '{folder}/test.csv'" in lines


def test_the_tables_share_no_row_and_hold_labels_in_words(tmp_path: Path) -> None:
    show_all(tmp_path, 5.0, "program", succeed)
    train, test = pd.read_csv(tmp_path / "train.csv"), pd.read_csv(tmp_path / "test.csv")
    assert len(train) + len(test) == 569
    assert set(train["diagnosis"]) == set(test["diagnosis"]) == {"benign", "malignant"}
    assert len(train.merge(test)) == 0


def test_it_runs_again_and_spares_foreign_files(tmp_path: Path) -> None:
    show_all(tmp_path, 5.0, "program", succeed)
    show_all(tmp_path, 5.0, "program", succeed)
    (tmp_path / "train.csv").write_text("my,own")
    with pytest.raises(PathError, match=r"train.csv' must be free for the demo"):
        show_all(tmp_path, 5.0, "program", succeed)
    assert (tmp_path / "train.csv").read_text() == "my,own"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PathError, match=r"file/demo/train.csv' must be writable"):
        show_all(tmp_path / "file" / "demo", 5.0, "program", succeed)


def test_it_stops_at_the_first_failure(tmp_path: Path) -> None:
    ran: list[str] = []

    def main(words: list[str]) -> int:
        ran.append(words[0])
        return 130

    assert show_all(tmp_path, 5.0, "program", main) == 130
    assert ran == ["fit"]

import os

import pytest

from tabular_automl.artifacts import syncing
from tabular_automl.artifacts.journal import Journal
from tabular_automl.artifacts.state import State
from tabular_automl.artifacts.storage import write_artifact
from tabular_automl.artifacts.syncing import make_folder, sync_file, write_synced


@pytest.fixture
def synced(monkeypatch):
    """Return the folders whose entries were synced, in order."""
    folders, sync = [], syncing.sync_folder
    monkeypatch.setattr(syncing, "sync_folder", lambda path: (folders.append(path), sync(path)))
    return folders


def test_each_new_folder_is_synced_in_the_one_above_it(tmp_path, synced):
    make_folder(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()
    assert synced == [tmp_path, tmp_path / "a", tmp_path / "a" / "b"]


def test_folders_that_are_there_are_left_alone(tmp_path, synced):
    make_folder(tmp_path)
    assert synced == []


def test_a_file_in_the_way_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        make_folder(tmp_path / "file" / "model")
    with pytest.raises(FileExistsError, match="file"):
        make_folder(tmp_path / "file")


def test_a_journals_folders_are_synced_before_it_is_written_to(tmp_path, synced):
    with Journal(tmp_path / "runs" / "model" / "journal").locked():
        assert synced == [tmp_path, tmp_path / "runs", tmp_path / "runs" / "model"]


def test_an_artifacts_folders_are_synced(tmp_path, synced):
    write_artifact(State(), tmp_path / "runs" / "model", info={})
    assert synced == [tmp_path, tmp_path / "runs"]


def test_a_file_is_synced_after_it_is_written(tmp_path, monkeypatch):
    sizes = []
    monkeypatch.setattr(os, "fsync", lambda number: sizes.append(os.fstat(number).st_size))
    write_synced(tmp_path / "new", b"12345")
    sync_file(tmp_path / "new")
    assert sizes == [5, 5]
    with pytest.raises(FileExistsError, match="new"):
        write_synced(tmp_path / "new", b"")

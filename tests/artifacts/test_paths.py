import os
from types import SimpleNamespace

import pytest

from tabular_automl.artifacts import paths
from tabular_automl.artifacts.paths import check_writable, disk_usage
from tabular_automl.artifacts.state import State
from tabular_automl.artifacts.storage import write_artifact
from tabular_automl.core.errors import PathError


def test_absent_folders_are_fine_and_are_not_made(tmp_path):
    check_writable(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []


def test_empty_and_unfinished_folders_are_fine_and_left_as_they_are(tmp_path):
    check_writable(tmp_path)
    (tmp_path / "journal").mkdir()
    (tmp_path / "data-0123456789abcdef").mkdir()
    check_writable(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["data-0123456789abcdef", "journal"]


def test_saved_predictor_is_only_replaced_when_allowed(tmp_path):
    write_artifact(State(), tmp_path / "model", info={})
    with pytest.raises(PathError, match="already holds a saved predictor"):
        check_writable(tmp_path / "model")
    check_writable(tmp_path / "model", overwrite=True)


@pytest.mark.parametrize("overwrite", [False, True])
def test_folders_with_other_files_are_never_taken(tmp_path, overwrite):
    (tmp_path / "thesis.tex").write_text("dear")
    with pytest.raises(PathError, match=r"already holds other files \('thesis.tex'\)"):
        check_writable(tmp_path, overwrite)


def test_path_of_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PathError, match="is a file; choose the path of a folder"):
        check_writable(tmp_path / "file")
    with pytest.raises(PathError, match="which is not a folder"):
        check_writable(tmp_path / "file" / "model")


def test_dangling_link_is_refused(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(PathError, match="is a file"):
        check_writable(tmp_path / "link")


def test_place_that_refuses_a_file_is_refused(tmp_path, monkeypatch):
    # mode bits do not stop root, under which tests may run, so the disk's refusal is imitated
    def refuse(self, data):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(paths.Path, "write_bytes", refuse)
    with pytest.raises(PathError, match=r"cannot be written to: .*Read-only file system"):
        check_writable(tmp_path / "model")


def disk_of(total, free):
    return lambda place: SimpleNamespace(total=total * 10**6, free=free * 10**6)


def test_a_disk_without_room_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(paths.shutil, "disk_usage", disk_of(total=1000, free=5))
    check_writable(tmp_path / "model", n_bytes=5_000_000)
    with pytest.raises(PathError, match=r"must have 6 MB free, got 5\.0 MB; make room"):
        check_writable(tmp_path / "model", n_bytes=6_000_000)


def test_a_disk_that_does_not_tell_its_room_is_tried(tmp_path, monkeypatch):
    monkeypatch.setattr(paths.shutil, "disk_usage", disk_of(total=0, free=0))
    check_writable(tmp_path / "model", n_bytes=6_000_000)


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a folder that refuses files")
def test_kernel_folder_is_refused():
    with pytest.raises(PathError, match="cannot be written to"):
        check_writable("/proc/self/model")


def test_disk_usage_counts_every_file(tmp_path):
    write_artifact(State(blobs={"booster.txt": b"12345"}), tmp_path / "model", info={})
    usage = disk_usage(tmp_path / "model")
    sizes = [size for name, size in usage.items() if name.endswith("booster.txt")]
    assert sizes == [5]
    assert "manifest.json" in usage
    with pytest.raises(PathError, match="No saved predictor"):
        disk_usage(tmp_path / "absent")


@pytest.mark.parametrize("name", ["data-2024", "data-train.csv", "data-", "data-0123456789abcdeg"])
def test_names_that_only_resemble_ours_are_other_peoples_files(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(PathError, match="already holds other files"):
        check_writable(tmp_path, overwrite=True)

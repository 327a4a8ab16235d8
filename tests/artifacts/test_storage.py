import json
import math
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabular_automl.artifacts import storage
from tabular_automl.artifacts.state import State
from tabular_automl.artifacts.storage import (
    read_artifact,
    read_info,
    read_save,
    replace_file,
    write_artifact,
)
from tabular_automl.core.errors import ArtifactError, PathError
from tests.faults.forging import edit_manifest

TREE = State(
    meta={"family": "lightgbm", "scores": [0.5, math.inf], "$float": None},
    arrays={"average": np.arange(3, dtype=np.float32)},
    blobs={"booster.txt": b"tree\n", "empty.bin": b""},
    children={
        "a/b": State(arrays={"x": np.array([1, 2])}, blobs={"booster.txt": b"other"}),
        "a": State(children={"b": State(arrays={"x": np.array([3])})}),
        "..": State(arrays={".": np.array([4])}, blobs={"../../x": b"5"}),
        "": State(arrays={"": np.array([6])}),
        "żółw \ud800": State(arrays={"é": np.array(["é"])}),
    },
)


def assert_same(left: State, right: State) -> None:
    assert left.meta == right.meta
    assert left.blobs == right.blobs
    assert left.arrays.keys() == right.arrays.keys()
    for name, array in left.arrays.items():
        assert array.dtype == right.arrays[name].dtype
        np.testing.assert_array_equal(array, right.arrays[name])
    assert list(left.children) == list(right.children)
    for name, child in left.children.items():
        assert_same(child, right.children[name])


def test_tree_comes_back_whatever_its_names(tmp_path):
    write_artifact(TREE, tmp_path / "model", info={})
    assert_same(read_artifact(tmp_path / "model"), TREE)


NAMES = st.text(max_size=5) | st.sampled_from([".", "..", "/", "a.npy", "%2E", "CON", "~"])
TREES = st.recursive(
    st.builds(
        State,
        meta=st.dictionaries(NAMES, st.integers() | NAMES, max_size=2),
        arrays=st.dictionaries(NAMES, st.just(np.arange(2)), max_size=2),
        blobs=st.dictionaries(NAMES, st.binary(max_size=3), max_size=2),
    ),
    lambda inner: st.builds(State, children=st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=4,
)


@given(TREES)
def test_any_tree_comes_back(tmp_path_factory, tree):
    path = tmp_path_factory.mktemp("any") / "model"
    write_artifact(tree, path, info={})
    assert_same(read_artifact(path), tree)


def test_artifact_reads_after_a_move_in_another_process_and_folder(tmp_path):
    write_artifact(TREE, tmp_path / "model", info={"label": "y"})
    shutil.move(tmp_path / "model", tmp_path / "elsewhere")
    code = (
        "from tabular_automl.artifacts.storage import read_artifact; "
        "print(read_artifact('elsewhere').arrays['average'].tolist())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[0.0, 1.0, 2.0]"


def test_files_are_json_plain_arrays_and_native_blobs(tmp_path):
    write_artifact(TREE, tmp_path, info={})
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    root = tmp_path / manifest["generation"]
    json.loads((root / "state.json").read_text())
    with np.load(root / "arrays.npz", allow_pickle=False) as arrays:
        assert arrays["average"].dtype == np.float32
    contents = {file.read_bytes() for file in (root / "blobs").iterdir()}
    assert contents == {b"tree\n", b"", b"other", b"5"}
    suffixes = {file.suffix for file in (root / "blobs").iterdir()}
    assert {".txt", ".bin"} <= suffixes


def test_info_is_read_without_the_state(tmp_path):
    write_artifact(TREE, tmp_path, info={"label": "y", "score": math.nan})
    for data in tmp_path.glob("data-*"):
        shutil.rmtree(data)
    info = read_info(tmp_path)
    assert info["label"] == "y"
    assert math.isnan(info["score"])


def test_second_save_replaces_the_first_and_leaves_nothing_of_it(tmp_path):
    write_artifact(TREE, tmp_path, info={})
    write_artifact(State(meta={"second": True}), tmp_path, info={"n": 2})
    assert read_artifact(tmp_path).meta == {"second": True}
    assert read_info(tmp_path) == {"n": 2}
    assert len(os.listdir(tmp_path)) == 2


@pytest.mark.parametrize("state", [State(meta={"a": {1}}), State(arrays={"x": np.array([{}])})])
def test_state_that_is_not_data_leaves_the_saved_one(tmp_path, state):
    write_artifact(TREE, tmp_path, info={})
    with pytest.raises(ArtifactError, match="must"):
        write_artifact(state, tmp_path, info={})
    assert_same(read_artifact(tmp_path), TREE)
    assert len(os.listdir(tmp_path)) == 2


def test_state_nested_too_deeply_is_refused_when_written(tmp_path):
    state = State()
    for _ in range(40):
        state = State(children={"part": state})
    with pytest.raises(ArtifactError, match="nested deeper than 32"):
        write_artifact(state, tmp_path, info={})


def test_full_disk_is_a_path_error_and_leaves_the_saved_one(tmp_path, monkeypatch):
    write_artifact(TREE, tmp_path, info={})

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage.os, "fsync", full)
    with pytest.raises(PathError, match="No space left on device"):
        write_artifact(State(), tmp_path, info={})
    assert_same(read_artifact(tmp_path), TREE)
    assert len(os.listdir(tmp_path)) == 2


@pytest.mark.parametrize("late", [False, True])
def test_an_interrupt_amid_the_replacement_leaves_one_of_both(tmp_path, monkeypatch, late):
    write_artifact(State(), tmp_path, info={})
    replace = os.replace

    def interrupted(source, target):
        if late:
            replace(source, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(storage.os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_artifact(TREE, tmp_path, info={})
    monkeypatch.undo()
    assert_same(read_artifact(tmp_path), TREE if late else State())
    write_artifact(TREE, tmp_path, info={})
    assert len(os.listdir(tmp_path)) == 2


def test_a_file_is_replaced_whole_or_left_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    replace_file(path, b"first")
    replace_file(path, b"second")
    assert path.read_bytes() == b"second"

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage.os, "fsync", full)
    with pytest.raises(PathError, match=r"model\.onnx' could not be written: .*No space left"):
        replace_file(path, b"third")
    assert path.read_bytes() == b"second"
    assert os.listdir(tmp_path) == ["model.onnx"]


def test_absent_path_and_other_folders_are_told_apart(tmp_path):
    with pytest.raises(PathError, match="there is no such folder"):
        read_artifact(tmp_path / "absent")
    (tmp_path / "photo.jpg").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"is not a saved predictor: manifest\.json is missing"):
        read_artifact(tmp_path)


@pytest.mark.parametrize("n_times", [1, 3])
def test_an_artifact_that_is_replaced_while_it_is_read_is_read_again(
    tmp_path, monkeypatch, n_times
):
    write_artifact(TREE, tmp_path, info={})
    check, left = storage._check_listing, [*range(n_times)]

    def replaced(folder, root, manifest):
        if left:
            write_artifact(State(meta={"n": left.pop()}), tmp_path, info={})
        check(folder, root, manifest)

    monkeypatch.setattr(storage, "_check_listing", replaced)
    assert read_artifact(tmp_path).meta == {"n": 0}


def test_an_artifact_that_is_replaced_all_the_time_is_given_up(tmp_path, monkeypatch):
    reads = []
    write_artifact(TREE, tmp_path, info={})
    check = storage._check_listing

    def replaced(folder, root, manifest):
        reads.append(root)
        write_artifact(TREE, tmp_path, info={})
        check(folder, root, manifest)

    monkeypatch.setattr(storage, "_check_listing", replaced)
    with pytest.raises(ArtifactError, match="is missing"):
        read_artifact(tmp_path)
    assert len(reads) == 4


def test_a_damaged_artifact_is_read_once(tmp_path, monkeypatch):
    reads = []
    write_artifact(TREE, tmp_path, info={})
    next(tmp_path.glob("data-*/arrays.npz")).unlink()
    check = storage._check_listing
    monkeypatch.setattr(storage, "_check_listing", lambda *a: (reads.append(a), check(*a)))
    with pytest.raises(ArtifactError, match="is missing"):
        read_artifact(tmp_path)
    assert len(reads) == 1


def test_every_save_has_a_name_of_its_own_that_is_read_with_it(tmp_path):
    first, second = (write_artifact(TREE, tmp_path, info={}) for _ in range(2))
    assert first != second
    assert read_save(tmp_path)[1] == second


@pytest.mark.parametrize("read", [read_artifact, read_info])
def test_a_folder_that_cannot_be_looked_into_is_told_in_a_sentence(tmp_path, read):
    with pytest.raises(PathError, match="could not be looked into: File name too long"):
        read(tmp_path / ("x" * 5_000))


def test_a_size_without_end_is_refused(tmp_path):
    write_artifact(TREE, tmp_path, info={})

    def edit(manifest):
        manifest["files"]["state.json"]["size"] = math.inf

    edit_manifest(tmp_path, edit)
    with pytest.raises(ArtifactError, match="is not a manifest of ours"):
        read_artifact(tmp_path)


def test_journal_and_files_of_file_browsers_do_not_disturb(tmp_path):
    write_artifact(TREE, tmp_path, info={})
    (tmp_path / "journal").mkdir()
    (tmp_path / ".DS_Store").write_bytes(b"finder")
    (next(tmp_path.glob("data-*")) / ".DS_Store").write_bytes(b"finder")
    assert_same(read_artifact(tmp_path), TREE)

"""Whatever happens to a saved artifact: the saved state, or one sentence of ArtifactError."""

import io
import json
import os
import subprocess
import sys
import zipfile

import numpy as np
import pandas as pd
import pytest

from tabular_automl import FitConfig, Predictor
from tabular_automl.artifacts.state import State
from tabular_automl.artifacts.storage import read_artifact, read_info, write_artifact
from tabular_automl.core.errors import ArtifactError, AutoMLError
from tests.faults.forging import edit_manifest, first_blob, forge, root_of

STATE = State(
    meta={"label": "y"},
    arrays={"x": np.arange(5.0)},
    blobs={"booster.txt": b"tree"},
    children={"part": State(arrays={"x": np.arange(3)})},
)


@pytest.fixture
def saved(tmp_path):
    write_artifact(STATE, tmp_path / "model", info={"label": "y"})
    return tmp_path / "model"


FILES = ["state.json", "arrays.npz", "blobs/00000-booster.txt"]


@pytest.mark.parametrize("name", FILES)
def test_missing_file_is_named(saved, name):
    (root_of(saved) / name).unlink()
    with pytest.raises(ArtifactError, match=f"{name} is missing"):
        read_artifact(saved)


@pytest.mark.parametrize("name", FILES)
def test_cut_file_is_named(saved, name):
    path = root_of(saved) / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ArtifactError, match=f"{name} has .* bytes instead of"):
        read_artifact(saved)


@pytest.mark.parametrize("name", FILES)
def test_changed_file_is_named(saved, name):
    path = root_of(saved) / name
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(ArtifactError, match=f"{name} was changed after saving"):
        read_artifact(saved)


@pytest.mark.parametrize("name", ["extra.py", "blobs/extra.txt", "../extra.txt"])
def test_added_file_is_named(saved, name):
    (root_of(saved) / name).write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"extra\.\w+ was added after saving"):
        read_artifact(saved)


def test_added_folder_is_refused(saved):
    (root_of(saved) / "more").mkdir()
    with pytest.raises(ArtifactError, match="more is not a plain file"):
        read_artifact(saved)


@pytest.mark.parametrize("name", FILES)
def test_link_is_refused(saved, name, tmp_path):
    path = root_of(saved) / name
    path.rename(tmp_path / "moved")
    path.symlink_to(tmp_path / "moved")
    with pytest.raises(ArtifactError, match="is a link"):
        read_artifact(saved)


@pytest.mark.parametrize("folder", ["", "blobs"])
def test_folder_that_is_a_link_is_refused(saved, folder, tmp_path):
    path = root_of(saved) / folder
    path.rename(tmp_path / "moved")
    path.symlink_to(tmp_path / "moved")
    with pytest.raises(ArtifactError, match="is a link"):
        read_artifact(saved)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_named_pipe_is_refused_without_waiting_for_it(saved):
    path = root_of(saved) / "state.json"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ArtifactError, match="is not a plain file"):
        read_artifact(saved)


def test_manifest_that_is_a_link_is_refused(saved, tmp_path):
    (saved / "manifest.json").rename(tmp_path / "moved")
    (saved / "manifest.json").symlink_to(tmp_path / "moved")
    with pytest.raises(ArtifactError, match=r"manifest\.json is missing"):
        read_artifact(saved)


@pytest.mark.parametrize("entry", ["library", "label", "digest"])
def test_changed_manifest_is_named(saved, entry):
    path = saved / "manifest.json"
    text = path.read_bytes()
    at = text.index(f'"{entry}":"'.encode()) + len(entry) + 4
    path.write_bytes(text[:at] + b"~" + text[at + 1 :])
    for read in (read_artifact, read_info):
        with pytest.raises(ArtifactError, match=r"manifest\.json was changed after saving"):
            read(saved)


def test_any_flipped_byte_of_the_manifest_is_refused_or_changes_nothing(saved):
    path, rng, n_refused = saved / "manifest.json", np.random.default_rng(0), 0
    text, info = path.read_bytes(), read_info(saved)
    for at in range(len(text)):
        flipped = bytes([text[at] ^ 1 << int(rng.integers(8))])
        path.write_bytes(text[:at] + flipped + text[at + 1 :])
        try:
            assert read_info(saved) == info
            assert read_artifact(saved).meta == STATE.meta
        except ArtifactError:
            n_refused += 1
    assert n_refused > 0.95 * len(text)


def test_manifest_of_an_older_library_has_no_digest_and_is_read(saved):
    path = saved / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["digest"]
    path.write_text(json.dumps(manifest))
    assert read_artifact(saved).meta == STATE.meta
    assert read_info(saved) == {"label": "y"}


def test_newer_format_says_upgrade(saved):
    edit_manifest(saved, lambda m: m.update(format=999, library="9.9", files="other"))
    with pytest.raises(ArtifactError, match=r"format 999 by tabular-automl 9\.9.*upgrade"):
        read_artifact(saved)


@pytest.mark.parametrize("version", [None, "1", True, 0, -3, 1.0])
def test_format_that_is_no_number_is_refused(saved, version):
    edit_manifest(saved, lambda m: m.update(format=version))
    with pytest.raises(ArtifactError, match="has no format number"):
        read_artifact(saved)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "null", '{"format": 1}', "[" * 99_999])
def test_bad_manifest_is_refused(saved, text):
    (saved / "manifest.json").write_text(text)
    with pytest.raises(ArtifactError, match=r"manifest\.json"):
        read_artifact(saved)


BAD_NAMES = ["../state.json", "/etc/passwd", "blobs/../../x", "a/b/c", "..", "", "a\\b", "a\n"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_path_traversal_in_the_manifest_is_refused(saved, name):
    edit_manifest(saved, lambda m: m["files"].update({name: m["files"]["state.json"]}))
    with pytest.raises(ArtifactError, match=r"names the file .* which we never write"):
        read_artifact(saved)


@pytest.mark.parametrize("name", ["../model", ".", "blobs", "data-1/x", 7, None])
def test_path_traversal_in_the_generation_is_refused(saved, name):
    edit_manifest(saved, lambda m: m.update(generation=name))
    with pytest.raises(ArtifactError, match="which we never write"):
        read_artifact(saved)


def leaf(**parts):
    return {"meta": {}, "arrays": [], "blobs": {}, "children": {}, **parts}


def deep(levels):
    node = leaf()
    for _ in range(levels):
        node = leaf(children={"c": node})
    return node


BAD_TREES = {
    "no tree": ([], "does not fit the other files"),
    "no arrays": ({"meta": {}}, "does not fit the other files"),
    "unknown array": (leaf(arrays=["z"]), "does not fit the other files"),
    "unknown blob": (leaf(arrays=["x"], blobs={"b": "/etc/passwd"}), "does not fit"),
    "blob with no place": (leaf(arrays=["x"], children={"part": leaf(arrays=["x"])}), "no place"),
    "array with no place": (leaf(arrays=["x"]), "no place for the array 'part/x'"),
    "too deep": (deep(40), "nested deeper than 32"),
    "much too deep": (deep(5000), "nested too deeply"),
}


@pytest.mark.parametrize("case", BAD_TREES)
def test_forged_tree_is_refused(saved, case):
    tree, words = BAD_TREES[case]
    sys.setrecursionlimit(20_000)
    try:
        content = json.dumps(tree).encode()
    finally:
        sys.setrecursionlimit(1000)
    forge(saved, "state.json", content)
    with pytest.raises(ArtifactError, match=words):
        read_artifact(saved)


def test_forged_compressed_arrays_are_refused(saved, tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(10**7))
    forge(saved, "arrays.npz", (tmp_path / "bomb.npz").read_bytes())
    with pytest.raises(ArtifactError, match="compressed or encrypted"):
        read_artifact(saved)


def test_forged_object_arrays_are_refused(saved, tmp_path):
    np.savez(tmp_path / "objects.npz", x=np.array([{}], dtype=object), allow_pickle=True)
    forge(saved, "arrays.npz", (tmp_path / "objects.npz").read_bytes())
    with pytest.raises(ArtifactError, match="got object"):
        read_artifact(saved)


KILLED = """
import os, sys
from tabular_automl.artifacts import storage
from tabular_automl.artifacts.state import State
calls, die_at = 0, int(sys.argv[2])
def counted(call):
    def wrapper(*args, **kwargs):
        global calls
        calls += 1
        if calls == die_at:
            os._exit(9)
        return call(*args, **kwargs)
    return wrapper
for name in ("fsync", "replace", "open"):
    setattr(os, name, counted(getattr(os, name)))
storage.shutil.rmtree = counted(storage.shutil.rmtree)
storage.write_artifact(State(meta={"label": "new"}, blobs={"b": b"1"}), sys.argv[1], info={})
"""


def test_kill_at_any_step_of_a_save_leaves_the_old_or_the_new(saved):
    seen = set()
    for die_at in range(1, 40):
        write_artifact(STATE, saved, info={})
        done = subprocess.run([sys.executable, "-c", KILLED, str(saved), str(die_at)], check=False)
        seen.add(read_artifact(saved).meta["label"])
        if done.returncode == 0:
            break
        assert done.returncode == 9
    else:
        pytest.fail("the save never came to its end")
    assert seen == {"y", "new"}
    assert len(os.listdir(saved)) == 2


N_MUTATED, N_FORGED, N_FUZZED = 5_000, 1_000, 100


def small_predictor(folder, *families):
    """Return a predictor of a number and a category, saved without a journal."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"x": rng.normal(size=80), "c": rng.choice(list("abc"), 80)})
    table["y"] = np.where(table["x"] + (table["c"] == "a") > 0.3, "yes", "no")
    config = FitConfig(max_specs=len(families), n_folds=2, families=families)
    fitted = Predictor("y", path=folder / "fit", verbosity=0).fit(table, config=config)
    return fitted.clone_for_deployment(folder / "model")


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    """Return a small predictor with trees, arrays and json."""
    return small_predictor(tmp_path_factory.mktemp("mutated"), "lightgbm", "linear", "neighbors")


def mutate(path, rng):
    """Flip, cut, lengthen, remove or add one file below ``path``; return what undoes it."""
    files = sorted(file for file in path.rglob("*") if file.is_file())
    file = files[rng.integers(len(files))]
    content = bytearray(file.read_bytes())
    how = rng.choice(["flip", "flip", "flip", "cut", "lengthen", "remove", "add"])
    if how == "flip":
        content[rng.integers(len(content))] ^= int(rng.integers(1, 256))
    elif how == "cut":
        del content[rng.integers(len(content)) :]
    elif how == "lengthen":
        content += rng.bytes(rng.integers(1, 50))
    elif how == "add":
        file = file.with_name(f"added{rng.integers(10**9)}")
    before = file.read_bytes() if file.exists() else None
    file.unlink() if how == "remove" else file.write_bytes(content)

    def undo():
        file.unlink(missing_ok=True) if before is None else file.write_bytes(before)

    return undo, f"{how} {file.name}"


@pytest.mark.slow
def test_five_thousand_mutated_artifacts_are_refused_or_load_as_they_were(predictor):
    rng = np.random.default_rng(1)
    rows = pd.DataFrame({"x": rng.normal(size=20), "c": rng.choice(list("abcd"), 20)})
    expected, wrong, n_refused = predictor.predict_proba(rows), [], 0
    for _ in range(N_MUTATED):
        undo, what = mutate(predictor.path, rng)
        try:
            found = Predictor.load(predictor.path, verbosity=0).predict_proba(rows)
            wrong += [] if found.equals(expected) else [what]
        except ArtifactError:
            n_refused += 1
        except Exception as error:
            wrong.append(f"{what}: {error!r}")
        finally:
            undo()
    print(f"{n_refused} of {N_MUTATED} refused, {len(wrong)} loaded wrongly")
    assert wrong == []
    assert n_refused > 0.9 * N_MUTATED


def forged_json(content, rng):
    """Return json text with one value anywhere in it replaced or removed."""
    tree = json.loads(content)
    places = list(places_of(tree))
    holder, key = places[rng.integers(len(places))]
    if rng.random() < 0.2:
        del holder[key]
    else:
        others = [None, -1, 10**9, 0.5, "x", "../../x", [], {}, [[1]], True, "9" * 400]
        holder[key] = others[rng.integers(len(others))]
    return json.dumps(tree).encode()


def places_of(node):
    """Yield (holder, key) of every value in a tree of dictionaries and lists."""
    for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
        yield node, key
        if isinstance(value, (dict, list)):
            yield from places_of(value)


def forged_arrays(content, rng):
    """Return arrays of which one has another dtype, shape or values."""
    arrays = dict(np.load(io.BytesIO(content)))
    name = sorted(arrays)[rng.integers(len(arrays))]
    array = arrays[name]
    changes = [
        array[:0], array.ravel()[:1], array.astype("U8"), array.astype(complex), np.zeros((2, 3)),
        np.full(array.shape, np.nan), np.full(array.shape, -7), np.full(array.shape, 2**40),
    ]  # fmt: skip
    arrays[name] = changes[rng.integers(len(changes))]
    target = io.BytesIO()
    np.savez(target, **arrays)
    return target.getvalue()


def forge_often(predictor, name, forged, n_forged):
    """Return how often a forged file was refused when loading and later, and what went wrong."""
    rng = np.random.default_rng(2)
    rows = pd.DataFrame({"x": rng.normal(size=20), "c": rng.choice(list("abcd"), 20)})
    manifest, file = predictor.path / "manifest.json", root_of(predictor.path) / name
    before = manifest.read_bytes(), file.read_bytes()
    wrong, n_refused, n_late = [], 0, 0
    for _ in range(n_forged):
        forge(predictor.path, name, forged(before[1], rng))
        loaded = None
        try:
            loaded = Predictor.load(predictor.path, verbosity=0)
            told = loaded.predict_proba(rows)
            wrong += [] if told.shape == (20, 2) and np.isfinite(told).all(axis=None) else [told]
        except AutoMLError:
            n_refused += loaded is None
            n_late += loaded is not None
        except Exception as error:
            wrong.append(repr(error))
        manifest.write_bytes(before[0])
        file.write_bytes(before[1])
    print(f"{n_refused} of {n_forged} refused, {n_late} when predicting, {len(wrong)} wrong")
    return n_refused, n_late, wrong


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_thousand_forged_trees_of_json_are_refused_or_predict(predictor):
    n_refused, _, wrong = forge_often(predictor, "state.json", forged_json, N_FORGED)
    assert wrong == []
    assert n_refused > 0.5 * N_FORGED


ARRAY_FAMILIES = ["linear", "neighbors", "extra_trees", "neural", "lightgbm"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("family", ARRAY_FAMILIES)
def test_a_thousand_forged_arrays_are_refused_or_predict(tmp_path, family):
    """The rest equals what was there, or is never read by a prediction, such as counts."""
    predictor, n_forged = small_predictor(tmp_path, family), N_FORGED // len(ARRAY_FAMILIES)
    n_refused, n_late, wrong = forge_often(predictor, "arrays.npz", forged_arrays, n_forged)
    assert wrong == []
    assert n_late == 0
    assert n_refused > 0.65 * n_forged


def fuzzed(content, rng):
    """Return bytes of which some are flipped, replaced, doubled or cut off."""
    changed = bytearray(content)
    at = int(rng.integers(len(changed)))
    how = rng.choice(["flip", "flip", "replace", "digit", "double", "cut"])
    if how == "flip":
        changed[at] ^= 1 << int(rng.integers(8))
    elif how == "replace":
        number = int(rng.choice([7, 1000, 2**31 - 1, 2**32 - 1]))
        changed[at : at + 4] = number.to_bytes(4, "big")
    elif how == "digit":  # the length stays, so that a text is read on
        digits = [at + i for i, byte in enumerate(changed[at : at + 1000]) if chr(byte).isdigit()]
        changed[digits[0] if digits else at] = ord("0") + int(rng.integers(10))
    elif how == "double":
        changed[at:at] = changed[at : at + 100]
    else:
        del changed[at:]
    return bytes(changed)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("family", ["lightgbm", "xgboost", "catboost"])
def test_fuzzed_boosters_with_right_sums_end_another_process(tmp_path, family):
    """A process that dies here takes the tests with it."""
    predictor, rng = small_predictor(tmp_path, family), np.random.default_rng(3)
    rows = pd.DataFrame({"x": rng.normal(size=20), "c": rng.choice(list("abcd"), 20)})
    path, manifest = predictor.path, (predictor.path / "manifest.json").read_bytes()
    name, content = first_blob(path)
    wrong, refusals = [], []
    for _ in range(N_FUZZED):
        forge(path, name, fuzzed(content, rng))
        try:
            told = Predictor.load(path, verbosity=0, untrusted=True).predict_proba(rows)
            wrong += [] if told.shape == (20, 2) and np.isfinite(told).all(axis=None) else [told]
        except AutoMLError as error:
            refusals.append(str(error))
        except Exception as error:
            wrong.append(repr(error))
        (path / "manifest.json").write_bytes(manifest)
    n_ended = sum("was ended by" in refusal for refusal in refusals)
    print(
        f"{family}: {len(refusals)} of {N_FUZZED} refused, of which {n_ended} had ended a process"
    )
    assert wrong == []
    assert n_ended > 0

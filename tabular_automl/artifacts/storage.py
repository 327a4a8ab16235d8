"""A saved predictor on disk: written whole or not at all, and read without trusting it.

    model/
      manifest.json          format, library version, info, sha256 + size of every file below, and a
                             digest of these
      data-1f0c.../          one generation of files; the manifest names the one that counts
        state.json           the tree: all meta, and the names of arrays and blobs
        arrays.npz           all arrays; names are paths in the tree
        blobs/               files in a library's own format

A save writes a new generation beside the old one and then replaces ``manifest.json``, which is the
one step that counts: a crash at any moment leaves the old predictor or the new one. Folders are not
renamed, so the path may be a mount point.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tabular_automl.artifacts.json_text import from_json, to_json
from tabular_automl.artifacts.migrations import FORMAT, migrate
from tabular_automl.artifacts.npz import AnyArray, read_arrays, write_arrays
from tabular_automl.artifacts.paths import (
    GENERATION_PREFIX,
    MANIFEST,
    OS_DROPPINGS,
    check_writable,
    disk_usage,
    is_generation,
    is_own_entry,
)
from tabular_automl.artifacts.state import State
from tabular_automl.artifacts.syncing import make_folder, sync_file, sync_folder, write_synced
from tabular_automl.core.errors import ArtifactError, PathError

__all__ = [
    "check_writable",
    "disk_usage",
    "library_version",
    "read_artifact",
    "read_info",
    "read_save",
    "replace_file",
    "write_artifact",
]

MAX_TREE_DEPTH = 32

_MOST_READS = 4  # of an artifact that is replaced while it is read
_STATE, _ARRAYS, _BLOBS = "state.json", "arrays.npz", "blobs"
_DIGEST = "digest"
_FILE_NAME = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,120}(/(?!\.)[A-Za-z0-9._-]{1,120})?")
_TreePath = tuple[str, ...]


@dataclass(frozen=True)
class _Manifest:
    """What ``manifest.json`` says; ``files`` maps names to their (sha256, size in bytes)."""

    version: int
    library: str
    generation: str
    info: dict[str, Any]
    files: dict[str, tuple[str, int]]


@dataclass
class _Parts:
    """A tree taken apart into what goes to each kind of file."""

    arrays: dict[str, AnyArray] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)


def write_artifact(state: State, path: str | os.PathLike[str], *, info: Mapping[str, Any]) -> str:
    """Save ``state`` at ``path``, replacing what was saved there before.

    Parameters
    ----------
    state : State
    path : path
        A folder, made when absent. Use `check_writable` first: this replaces without asking.
    info : mapping
        What `read_info` gives back without reading the state; anything json can hold.

    Returns
    -------
    str
        A name that no other save has.

    Raises
    ------
    ArtifactError
        When the state holds something that cannot be saved as data.
    PathError
        When the disk refuses (full, read-only); what was saved before is still there.
    """
    folder = Path(path)
    generation = GENERATION_PREFIX + secrets.token_hex(8)
    try:
        make_folder(folder)
        _remove_leftovers(folder)
        try:
            files = _write_generation(state, folder / generation)
            text = _manifest_text(generation, info, files)
            write_synced(folder / f"{generation}.json", text)
            os.replace(folder / f"{generation}.json", folder / MANIFEST)
        except BaseException:  # an interrupt as well: leave nothing half-written behind
            if not _is_named(folder, generation):  # one that came with the replacement is told late
                shutil.rmtree(folder / generation, ignore_errors=True)
            (folder / f"{generation}.json").unlink(missing_ok=True)
            raise
        sync_folder(folder)
        _remove_leftovers(folder)
    except OSError as error:
        raise PathError(
            f"The artifact could not be written to {str(folder)!r}: {error}."
        ) from error
    return generation


def read_artifact(path: str | os.PathLike[str]) -> State:
    """Read what `write_artifact` saved, after checking every file against the manifest.

    No code from the artifact runs: files are json, plain arrays, and bytes.

    Raises
    ------
    PathError
        When nothing is at ``path``, or it cannot be looked into.
    ArtifactError
        When it is not a finished artifact, when a file is missing, added, changed or cut short, or
        when it was saved in a newer format.
    """
    return read_save(path)[0]


def read_save(path: str | os.PathLike[str]) -> tuple[State, str]:
    """Return what `read_artifact` does, and the name that `write_artifact` gave the save.

    An artifact that another process replaces meanwhile is read again, three times at most.
    """
    folder, n_left = Path(path), _MOST_READS
    while True:
        manifest = _read_manifest(folder)
        n_left -= 1
        try:
            return _read_generation(folder, manifest), manifest.generation
        except ArtifactError:
            if not n_left or _is_named(folder, manifest.generation):
                raise


def name_of_save(path: str | os.PathLike[str]) -> str:
    """Return the name that `write_artifact` gave what lies at a path now.

    Raises
    ------
    PathError, ArtifactError
        As `read_artifact`, where the manifest shows it.
    """
    return _read_manifest(Path(path)).generation


def _read_generation(folder: Path, manifest: _Manifest) -> State:
    root = folder / manifest.generation
    try:
        _check_listing(folder, root, manifest)
        for name in (_STATE, _ARRAYS):
            if name not in manifest.files:
                raise ArtifactError(f"{folder / MANIFEST} does not list {name}.")
        blobs = {name: _read_checked(root, name, manifest) for name in manifest.files}
        tree = from_json(blobs.pop(_STATE) or b"", str(root / _STATE))
        blobs.pop(_ARRAYS)
        arrays = read_arrays(root / _ARRAYS)
    except OSError as error:
        raise ArtifactError(f"{folder} could not be read: {error}.") from error
    state = _join(tree, _Parts(arrays, {n: b for n, b in blobs.items() if b is not None}), root)
    return migrate(state, manifest.version)


def read_info(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the info saved with an artifact, reading the manifest only.

    Raises
    ------
    PathError
        When nothing is at ``path``.
    ArtifactError
        When it is not a finished artifact, or of a newer format.
    """
    return _read_manifest(Path(path)).info


# -- writing ---------------------------------------------------------------------------------------


def _manifest_text(
    generation: str, info: Mapping[str, Any], files: Mapping[str, tuple[str, int]]
) -> bytes:
    document = {
        "format": FORMAT,
        "library": library_version(),
        "generation": generation,
        "info": dict(info),
        "files": {n: {"sha256": h, "size": s} for n, (h, s) in files.items()},
    }
    return to_json(document | {_DIGEST: digest_of(document)}, "The artifact's info").encode()


def digest_of(document: Mapping[str, Any]) -> str:
    """Return the sum of a manifest's entries, its own aside."""
    others = {name: value for name, value in document.items() if name != _DIGEST}
    return hashlib.sha256(to_json(others, "The artifact's info").encode()).hexdigest()


def _write_generation(state: State, root: Path) -> dict[str, tuple[str, int]]:
    """Write all files of one generation and return their sums and sizes."""
    parts = _Parts()
    tree = _split(state, (), parts)
    text = to_json(tree, "The state")
    root.mkdir()
    (root / _BLOBS).mkdir()
    write_synced(root / _STATE, text.encode())
    write_arrays(root / _ARRAYS, parts.arrays)
    sync_file(root / _ARRAYS)
    for name, content in parts.blobs.items():
        write_synced(root / name, content)
    sync_folder(root / _BLOBS)
    sync_folder(root)
    names = [_STATE, _ARRAYS, *parts.blobs]
    return {name: (_sha256(root / name), (root / name).stat().st_size) for name in names}


def _split(state: State, at: _TreePath, parts: _Parts) -> dict[str, Any]:
    """Move a tree's arrays and blobs to ``parts``; return the json document of the rest."""
    if len(at) > MAX_TREE_DEPTH:
        raise ArtifactError(f"The state is nested deeper than {MAX_TREE_DEPTH} levels.")
    for name, array in state.arrays.items():
        parts.arrays[_array_key((*at, name))] = array
    blob_files = {}
    for name, content in state.blobs.items():
        blob_files[name] = _blob_file(len(parts.blobs), name)
        parts.blobs[blob_files[name]] = content
    return {
        "meta": dict(state.meta),
        "arrays": list(state.arrays),
        "blobs": blob_files,
        "children": {k: _split(child, (*at, k), parts) for k, child in state.children.items()},
    }


def _array_key(at: _TreePath) -> str:
    """Return a path in the tree as a name that is safe to unpack as a file anywhere."""
    # names may be column names: slashes are quoted, and so are names of dots only
    quoted = (quote(part, safe=" ", errors="surrogatepass") for part in at)
    return "/".join(q.replace(".", "%2E") if q.strip(".") == "" else q for q in quoted)


def _blob_file(index: int, name: str) -> str:
    """Return a file name that is unique, harmless, and keeps the suffix of ``name``."""
    return f"{_BLOBS}/{index:05d}-{re.sub(r'[^A-Za-z0-9._-]', '_', name)[-60:]}"


def replace_file(path: Path, content: bytes) -> None:
    """Write a file in one step: what was there before stays until all of it is on disk.

    Raises
    ------
    PathError
    """
    partial = path.with_name(f"{path.name}.{secrets.token_hex(8)}.partial")
    try:
        try:
            write_synced(partial, content)
            os.replace(partial, path)
        except BaseException:  # an interrupt as well: leave nothing half-written behind
            partial.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
    except OSError as error:
        raise PathError(f"{str(path)!r} could not be written: {error}.") from error


def _is_named(folder: Path, generation: str) -> bool:
    """Return whether the manifest that is there names a generation."""
    try:
        return _read_manifest(folder).generation == generation
    except (ArtifactError, PathError):
        return False


def _remove_leftovers(folder: Path) -> None:
    """Remove the generations that the manifest does not name: replaced, or left by a crash."""
    current = ""
    if (folder / MANIFEST).exists():
        try:
            current = _read_manifest(folder).generation
        except ArtifactError:  # damaged or of a newer format: keep all of it until it is replaced
            return
    for entry in folder.glob(f"{GENERATION_PREFIX}*"):
        if entry.name == current or entry.is_symlink() or not is_generation(entry.name):
            continue
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def library_version() -> str:
    """Return this library's version, as saved artifacts name it."""
    try:
        return importlib.metadata.version("tabular-automl")
    except importlib.metadata.PackageNotFoundError:  # run from a source tree
        return "unknown"


# -- reading ---------------------------------------------------------------------------------------


def _read_manifest(folder: Path) -> _Manifest:
    path = folder / MANIFEST
    try:
        exists, is_saved = folder.exists(), path.is_file() and not path.is_symlink()
    except OSError as error:
        raise PathError(
            f"{str(folder)!r} could not be looked into: {error.strerror}; check the path, and that "
            "you may read it."
        ) from error
    if not exists:
        raise PathError(f"No saved predictor at {str(folder)!r}: there is no such folder.")
    if not is_saved:
        raise ArtifactError(
            f"{str(folder)!r} is not a saved predictor: {MANIFEST} is missing "
            "(another folder, or a fit that did not finish)."
        )
    try:
        document = from_json(path.read_bytes(), str(path))
    except OSError as error:
        raise ArtifactError(f"{path} could not be read: {error}.") from error
    version = document.get("format") if isinstance(document, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ArtifactError(f"{path} has no format number, so it is not one of ours.")
    if version > FORMAT:
        raise ArtifactError(
            f"{str(folder)!r} was saved in format {version} by tabular-automl "
            f"{str(document.get('library'))[:40]}, and this version reads up to format {FORMAT}; "
            "upgrade tabular-automl."
        )
    if _DIGEST in document and document[_DIGEST] != digest_of(document):  # older ones have none
        raise ArtifactError(
            f"{path} was changed after saving: its digest is not that of its other entries."
        )
    return _parse_manifest(document, version, path)


def _parse_manifest(document: dict[str, Any], version: int, path: Path) -> _Manifest:
    try:
        files = {n: (str(f["sha256"]), int(f["size"])) for n, f in document["files"].items()}
        generation, info = document["generation"], dict(document["info"])
        library = str(document["library"])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ArtifactError(f"{path} is not a manifest of ours ({error!r}).") from error
    for name in (generation, *files):
        if not isinstance(name, str) or not _FILE_NAME.fullmatch(name):
            raise ArtifactError(f"{path} names the file {name!r:.100}, which we never write.")
    if not generation.startswith(GENERATION_PREFIX) or "/" in generation:
        raise ArtifactError(f"{path} names the folder {generation!r}, which we never write.")
    return _Manifest(version, library, generation, info, files)


def _check_listing(folder: Path, root: Path, manifest: _Manifest) -> None:
    """Refuse missing and added files, links, and anything that is not a plain file."""
    for entry in folder.iterdir():
        if not is_own_entry(entry.name):
            raise ArtifactError(f"{entry} was added after saving; remove it to load the predictor.")
    if root.is_symlink() or not root.is_dir():
        raise ArtifactError(f"{root} is missing or is a link, so the artifact is incomplete.")
    found = _list_files(root)
    missing, added = sorted(manifest.files.keys() - found), sorted(found - manifest.files.keys())
    if missing:
        raise ArtifactError(f"{root / missing[0]} is missing, so the artifact is incomplete.")
    if added:
        raise ArtifactError(
            f"{root / added[0]} was added after saving; remove it to load the predictor."
        )


def _list_files(root: Path, prefix: str = "") -> set[str]:
    found: set[str] = set()
    for entry in os.scandir(root / prefix):
        name = f"{prefix}{entry.name}"
        if entry.is_symlink():
            raise ArtifactError(f"{root / name} is a link; artifacts hold plain files only.")
        if entry.is_dir() and prefix == "" and entry.name == _BLOBS:
            found |= _list_files(root, f"{_BLOBS}/")
        elif not entry.is_file():
            raise ArtifactError(f"{root / name} is not a plain file.")
        elif entry.name not in OS_DROPPINGS:
            found.add(name)
    return found


def _read_checked(root: Path, name: str, manifest: _Manifest) -> bytes | None:
    """Compare a file with the manifest; return its bytes, or None for the large array file."""
    path = root / name
    expected_sum, expected_size = manifest.files[name]
    size = path.stat().st_size
    if size != expected_size:
        raise ArtifactError(
            f"{path} has {size} bytes instead of {expected_size}: it was cut short or changed."
        )
    content = None if name == _ARRAYS else path.read_bytes()
    found = _sha256(path) if content is None else hashlib.sha256(content).hexdigest()
    if found != expected_sum:
        raise ArtifactError(f"{path} was changed after saving: its sha256 is not the manifest's.")
    return content


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _join(tree: object, parts: _Parts, root: Path) -> State:
    """Put a tree together again, and see to it that every array and blob has its place."""
    try:
        state = _join_node(tree, (), parts)
    except (KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{root / _STATE} does not fit the other files ({error!r}).") from error
    for kind, rest in (("array", parts.arrays), ("blob", parts.blobs)):
        if rest:
            raise ArtifactError(
                f"{root / _STATE} has no place for the {kind} {next(iter(rest))!r}."
            )
    return state


def _join_node(node: Any, at: _TreePath, parts: _Parts) -> State:
    if len(at) > MAX_TREE_DEPTH:
        raise ArtifactError(f"The saved state is nested deeper than {MAX_TREE_DEPTH} levels.")
    return State(
        meta=dict(node["meta"].items()),
        arrays={name: parts.arrays.pop(_array_key((*at, name))) for name in node["arrays"]},
        blobs={name: parts.blobs.pop(file) for name, file in node["blobs"].items()},
        children={k: _join_node(n, (*at, k), parts) for k, n in node["children"].items()},
        where="/".join(at),
    )

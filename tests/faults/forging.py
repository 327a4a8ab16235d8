"""Files of an artifact replaced, and their sums with them, as by somebody with bad intentions."""

import hashlib
import json

from tabular_automl.artifacts.json_text import from_json, to_json
from tabular_automl.artifacts.storage import digest_of


def root_of(saved):
    return saved / json.loads((saved / "manifest.json").read_text())["generation"]


def edit_manifest(saved, edit):
    """Change the manifest, and its digest with it."""
    manifest = from_json((saved / "manifest.json").read_text(), "The manifest")
    edit(manifest)
    manifest |= {"digest": digest_of(manifest)}
    (saved / "manifest.json").write_text(to_json(manifest, "The manifest"))


def forge(saved, name, content):
    """Replace a file and its sum in the manifest."""
    (root_of(saved) / name).write_bytes(content)

    def edit(manifest):
        sums = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        manifest["files"][name] = sums

    edit_manifest(saved, edit)


def forge_state(saved, edit):
    """Change the tree of names and plain values."""
    tree = json.loads((root_of(saved) / "state.json").read_bytes())
    edit(tree)
    forge(saved, "state.json", json.dumps(tree).encode())


def blobs_of(saved):
    """Return the files in a library's own format, by their name in the manifest."""
    root = root_of(saved)
    return {f"blobs/{path.name}": path.read_bytes() for path in sorted(root.glob("blobs/*"))}


def first_blob(saved):
    """Return the name and the content of the first of those files."""
    return next(iter(blobs_of(saved).items()))

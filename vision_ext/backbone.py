"""Pretrained image models of transformers as frozen embeddings; torch is imported when used."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as StillWaiting
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from tabular_automl.extend import (
    AutoMLError,
    Budget,
    OutOfTimeError,
    choose_device,
    import_optional,
)
from vision_ext.pixels import Recent, key_of, read_pictures

Matrix = npt.NDArray[np.float32]

_CHUNK = 32
_MAX_BYTES = 256_000_000  # of embeddings that stay in memory for whoever asks next
_PATIENCE = 0.3  # part of the time that may go by before a backbone has come from the hub
_DEFAULT_SIDE = 224
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CONFIG = "preprocessor_config.json"


@dataclass(frozen=True)
class Backbone:
    """A loaded model with the images it was trained on.

    Attributes
    ----------
    name : str
        Folder, or name on the hub.
    side : int
        Size of its square images.
    center, scale : tuple of float
        Mean and standard deviation of each colour, from 0 to 1.
    model : Any
        A `transformers` model without a head.
    """

    name: str
    side: int
    center: tuple[float, ...]
    scale: tuple[float, ...]
    model: Any

    def embed(self, values: Sequence[Any], n_threads: int, budget: Budget) -> Matrix:
        """Return the embeddings of images, NaN where there is none, shape (n, n_embedding).

        Raises
        ------
        OutOfTimeError
            When the budget would end before the last image is embedded.
        """
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(n_threads)
        found: dict[object, Matrix] = {}
        keys = [key_of(value, self.side) for value in values]
        full = [None if key is None else (self.name, id(self.model), key) for key in keys]
        try:
            for key in dict.fromkeys(full):
                kept = None if key is None else _RECENT.get(key)
                if kept is not None:
                    found[key] = kept
            self._embed_new(values, full, found, n_threads, budget)
        finally:
            torch.set_num_threads(before)
        blank = np.full(self.n_embedding, np.nan, dtype=np.float32)
        rows = [found.get(key, blank) for key in full]
        return np.stack(rows) if rows else np.empty((0, self.n_embedding), np.float32)

    @property
    def n_embedding(self) -> int:
        """Numbers that describe one image."""
        return int(self._run(np.zeros((1, self.side, self.side, 3), np.uint8)).shape[1])

    def _embed_new(
        self,
        values: Sequence[Any],
        keys: Sequence[object],
        found: dict[object, Matrix],
        n_threads: int,
        budget: Budget,
    ) -> None:
        """Embed each image that was not found, once."""
        first = {key: i for i, key in enumerate(keys) if key is not None and key not in found}
        new = list(first.items())
        for start in range(0, len(new), _CHUNK):
            left = budget.remaining()
            if left <= 0:
                raise OutOfTimeError(
                    f"The time was over after {start} of {len(new)} images were embedded by "
                    f"{self.name!r}; raise the time limit or use a smaller backbone."
                )
            part = new[start : start + _CHUNK]
            pictures = read_pictures(
                [values[i] for _, i in part], self.side, n_threads=n_threads, keep=False
            )
            there = [(key, p.pixels) for (key, _), p in zip(part, pictures, strict=True) if p]
            if there:
                outputs = self._run(np.stack([pixels for _, pixels in there]))
                for (key, _), row in zip(there, outputs, strict=True):
                    found[key] = row
                    _RECENT.put(key, row, row.nbytes)

    def _run(self, pixels: npt.NDArray[np.uint8]) -> Matrix:
        import torch

        device = next(self.model.parameters()).device
        images = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float() / 255.0
        center, scale = (
            torch.tensor(c, device=device).reshape(3, 1, 1) for c in (self.center, self.scale)
        )
        with torch.no_grad():
            hidden = self.model(pixel_values=(images - center) / scale).last_hidden_state
        if hidden.ndim == 4:  # maps of a convolutional network
            pooled = hidden.mean(dim=(2, 3))
        else:  # one vector for the image, then one for each patch
            pooled = torch.cat([hidden[:, 0], hidden[:, 1:].mean(dim=1)], dim=1)
        return np.asarray(pooled.float().cpu().numpy())


_RECENT = Recent(_MAX_BYTES)


class _Loaded:
    """Backbones in memory: folds and predictors share one."""

    lock = threading.Lock()
    backbones: ClassVar[dict[object, Backbone]] = {}
    changes: ClassVar[dict[str, int]] = {}


def load_backbone(
    name: str, side: int | None, device: str, budget: Budget, *, from_hub: bool = True
) -> Backbone:
    """Return the backbone of a folder or of a name on the hub, loaded once.

    A folder is read again when its files have changed.

    Only safetensors are read, and no code that comes with a model is run.

    Parameters
    ----------
    name : str
    side : int or None
        Size of the images; None: that of the backbone.
    device : {"auto", "cpu", "cuda"}
    budget : Budget
    from_hub : bool
        Whether what is neither a folder nor in the cache may be asked of the hub.

    Raises
    ------
    MissingDependencyError
        When torch or transformers is not installed.
    AutoMLError
        When there is no such backbone, or no hub to get it from.
    """
    with _Loaded.lock:
        key = (name, side, device, _newest(name))
        if key not in _Loaded.backbones:
            _Loaded.backbones[key] = _load(name, side, device, budget, from_hub)
        return _Loaded.backbones[key]


def _newest(name: str) -> int:
    """Return when a folder's files last changed, or were seen to; 0 for what is no folder."""
    folder = Path(name)
    if folder.is_dir():
        with contextlib.suppress(OSError):  # a file that is just being replaced
            times = [path.stat().st_mtime_ns for path in folder.iterdir()]
            _Loaded.changes[name] = max(times, default=0)
    return _Loaded.changes.get(name, 0)


def unpacked_backbone(files: Mapping[str, bytes], side: int | None, device: str) -> Backbone:
    """Return the backbone that `packed_files` packed."""
    key = (tuple(sorted((name, hash(content)) for name, content in files.items())), side, device)
    with _Loaded.lock:
        if key not in _Loaded.backbones:
            with tempfile.TemporaryDirectory() as folder:
                for name, content in files.items():
                    # an artifact's names may be anybody's: none of them leads out of the folder
                    (Path(folder) / Path(name).name).write_bytes(content)
                _Loaded.backbones[key] = _load(
                    folder, side, device, Budget.unlimited(), from_hub=False
                )
        return _Loaded.backbones[key]


def packed_files(backbone: Backbone) -> dict[str, bytes]:
    """Return the files that a backbone can be loaded from without its folder or the hub."""
    import json

    with tempfile.TemporaryDirectory() as folder:
        backbone.model.save_pretrained(folder)
        files = {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}
    seen = {
        "image_mean": backbone.center,
        "image_std": backbone.scale,
        "size": {"height": backbone.side, "width": backbone.side},
    }
    return files | {_CONFIG: json.dumps(seen).encode()}


def _load(name: str, side: int | None, device: str, budget: Budget, from_hub: bool) -> Backbone:
    import_optional("torch", extra="vision", purpose="A pretrained image model")
    import_optional("transformers", extra="vision", purpose="A pretrained image model")
    device = str(choose_device(device))
    model = _from_disk_or_hub(name, budget, from_hub)
    seen = _seen(name)
    expected = seen.get("size") or {}
    if isinstance(expected, int):
        expected = {"height": expected}
    own = expected.get("height") or expected.get("shortest_edge")
    own = own or getattr(model.config, "image_size", None) or _DEFAULT_SIDE
    return Backbone(
        name,
        side or int(own if isinstance(own, int) else own[0]),
        tuple(seen.get("image_mean") or _IMAGENET[0]),
        tuple(seen.get("image_std") or _IMAGENET[1]),
        model.to(device).train(False),
    )


def _from_disk_or_hub(name: str, budget: Budget, from_hub: bool) -> Any:
    """Return the model, from the hub only when it is neither a folder nor in the hub's cache."""
    from safetensors import SafetensorError
    from transformers import AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    unreadable = (OSError, ValueError, ImportError, RuntimeError, KeyError, SafetensorError)

    def load(local: bool) -> Any:
        return AutoModel.from_pretrained(
            name, local_files_only=local, use_safetensors=True, trust_remote_code=False
        )

    try:
        return load(True)
    except unreadable as error:
        if os.path.isdir(name):
            raise AutoMLError(_no_backbone(name, error)) from error
        if not from_hub:
            raise AutoMLError(_not_at_hand(name, error)) from error
    seconds = _PATIENCE * budget.remaining() if budget.limited else None
    try:
        return _within(seconds, lambda: load(False))
    except StillWaiting as error:
        within = "" if seconds is None else f" in {seconds:.0f} s"
        raise AutoMLError(_no_backbone(name, f"no answer{within}")) from error
    except unreadable as error:
        raise AutoMLError(_no_backbone(name, error)) from error


def _within(seconds: float | None, call: Callable[[], Any]) -> Any:
    """Return what a call returns, or give up waiting: the hub's own retries know no deadline."""
    future: Future[Any] = Future()

    def work() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # whatever is not told is waited for forever
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return future.result(seconds)


def _no_backbone(name: str, cause: object) -> str:
    said = " ".join(str(cause).split())[:150]
    return (
        f"The backbone must be a folder that save_pretrained wrote, or a name on a hub that can be "
        f"reached, got {name!r} ({said}); download it once and give its folder."
    )


def _not_at_hand(name: str, cause: object) -> str:
    said = " ".join(str(cause).split())[:150]
    return (
        f"The backbone of a saved predictor must be on this machine, got {name!r} ({said}); "
        "download it once, or fit with copy_backbone=True to save it with the predictor."
    )


def _seen(name: str) -> dict[str, Any]:
    """Return what the backbone's files say about its images; nothing where they do not."""
    from transformers.image_processing_base import ImageProcessingMixin

    try:
        seen, _ = ImageProcessingMixin.get_image_processor_dict(name, local_files_only=True)
    except OSError:
        return {}
    return dict(seen)

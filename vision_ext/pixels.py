"""Images read once: paths or bytes in, small squares of pixels out; needs pillow, no torch."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tabular_automl.extend import Budget, FeatureTable, Kind, OutOfTimeError, import_optional

SIDE = 64
_MAX_BYTES = 256_000_000  # of pixels that stay in memory for whoever asks next
_CHUNK = 256
_ORIENTATION, _SIDEWAYS = 0x0112, (5, 6, 7, 8)  # an entry of EXIF, and its quarter turns
_WHITES = (1.0, 255.0, 65_535.0)  # the brightest that deep greys can be, by how they are written
# what decoders raise for the bytes of a damaged file
_UNREADABLE = (
    *(OSError, ValueError, TypeError, SyntaxError, EOFError, KeyError, IndexError, OverflowError),
    struct.error,
)

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Picture:
    """One image, scaled to a square.

    Attributes
    ----------
    pixels : ndarray of shape (side, side, 3), uint8
    width, height : int
        The image's own size, in pixels.
    """

    pixels: Pixels
    width: int
    height: int


@dataclass(frozen=True)
class Pictures:
    """The image columns of a table.

    Attributes
    ----------
    pixels : ndarray of shape (n_samples, n_columns, side, side, 3), uint8
        Zeros where there is no image.
    present : ndarray of shape (n_samples, n_columns), bool
        False where an image is missing or cannot be read.
    extent : ndarray of shape (n_samples, n_columns), int32
        The longer side of the image itself, 0 where there is none.
    """

    pixels: Pixels
    present: npt.NDArray[np.bool_]
    extent: npt.NDArray[np.int32]

    def take(self, rows: npt.ArrayLike) -> Pictures:
        """Return the given rows."""
        positions = np.asarray(rows, dtype=np.intp)
        return Pictures(self.pixels[positions], self.present[positions], self.extent[positions])


def read_pictures(
    values: Sequence[Any],
    side: int = SIDE,
    *,
    n_threads: int | None = None,
    budget: Budget | None = None,
    keep: bool = True,
) -> list[Picture | None]:
    """Read images side by side; None where there is none or where it cannot be read.

    What was read lately is not read again, as long as the file is the same.

    Parameters
    ----------
    values : sequence
        Paths, or the bytes of files; anything else counts as missing.
    side : int
        Of the square that each image is scaled to.
    n_threads : int, optional
        By default, one for each core that this process may use.
    budget : Budget, optional
    keep : bool
        Whether they stay in memory for whoever asks next.

    Raises
    ------
    MissingDependencyError
        When pillow is not installed.
    OutOfTimeError
        When the budget ends before the last image is read.
    """
    import_optional("PIL.Image", extra="vision", purpose="Reading image columns")
    budget = budget or Budget.unlimited()
    if len(values) < 4:
        return [read_picture(value, side, keep=keep) for value in values]
    import joblib  # knows affinity and the limits of a container

    pictures: list[Picture | None] = []
    with ThreadPoolExecutor(n_threads or joblib.cpu_count()) as pool:
        for start in range(0, len(values), _CHUNK):
            if budget.expired():
                raise OutOfTimeError(
                    f"The time was over after {start} of {len(values)} images were read; "
                    "raise the time limit, or store the images in a smaller size."
                )
            chunk = values[start : start + _CHUNK]
            pictures += pool.map(lambda value: read_picture(value, side, keep=keep), chunk)
    return pictures


def read_picture(value: object, side: int = SIDE, *, keep: bool = True) -> Picture | None:
    """Return one image, or None where there is none or where it cannot be read."""
    key = key_of(value, side)
    if key is None:
        return None
    picture: Picture | None = _RECENT.get(key)
    if picture is None:
        picture = _decoded(value, side)
        if picture is not None and keep:
            _RECENT.put(key, picture, picture.pixels.nbytes)
    return picture


def pictures_of(table: FeatureTable, side: int, n_threads: int, budget: Budget) -> Pictures:
    """Return the image columns of a table; folds and models share what is read."""
    root = table.root
    whole: Pictures = root.derived(
        ("pictures", side), lambda view: _read_table(view, side, n_threads, budget)
    )
    return whole if table.rows is None else whole.take(table.rows)


def read_table(table: FeatureTable, side: int, n_threads: int) -> Pictures:
    """Return the image columns of a table, kept nowhere: for parts of a large one."""
    return _read_table(table, side, n_threads, Budget.unlimited())


def _read_table(table: FeatureTable, side: int, n_threads: int, budget: Budget) -> Pictures:
    columns = list(table.raw_of(Kind.IMAGE).values())
    shape = (len(table), len(columns))
    pixels = np.zeros((*shape, side, side, 3), dtype=np.uint8)
    extent = np.zeros(shape, dtype=np.int32)
    for column, values in enumerate(columns):
        read = read_pictures(values.tolist(), side, n_threads=n_threads, budget=budget)
        for row, picture in enumerate(read):
            if picture is not None:
                pixels[row, column] = picture.pixels
                extent[row, column] = max(picture.width, picture.height)
    return Pictures(pixels, extent > 0, extent)


class Recent:
    """What was made last of images, up to some memory; safe to use from several threads."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[object, tuple[Any, int]] = OrderedDict()
        self._n_bytes = 0

    def get(self, key: object) -> Any:
        """Return what is kept under a key, or None."""
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def put(self, key: object, value: Any, n_bytes: int) -> None:
        """Keep a value; what was asked for the longest time ago makes room."""
        with self._lock:
            if key in self._kept:
                return
            self._kept[key] = value, n_bytes
            self._n_bytes += n_bytes
            while self._n_bytes > self.max_bytes:
                self._n_bytes -= self._kept.popitem(last=False)[1][1]


_RECENT = Recent(_MAX_BYTES)


def key_of(value: object, side: int) -> object | None:
    """Return what tells an image from all others; None for what is no image at all."""
    if isinstance(value, (bytes, bytearray)):
        return hashlib.blake2b(value, digest_size=16).digest(), side
    if not isinstance(value, (str, os.PathLike)):
        return None
    path = os.path.abspath(str(value).strip())
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return path, found.st_mtime_ns, found.st_size, side


def _decoded(value: Any, side: int) -> Picture | None:
    from PIL import Image, ImageOps

    unreadable = (*_UNREADABLE, Image.DecompressionBombError)
    is_content = isinstance(value, (bytes, bytearray))
    source = io.BytesIO(value) if is_content else str(value).strip()
    try:
        with Image.open(source) as image:
            width, height = image.size
            if image.getexif().get(_ORIENTATION) in _SIDEWAYS:
                width, height = height, width
            # large JPEGs are decoded smaller, many times faster
            image.draft("RGB", (2 * side, 2 * side))
            upright = ImageOps.exif_transpose(image)
            square = _in_colours(upright).resize((side, side), Image.Resampling.BILINEAR)
    except unreadable:
        return None
    return Picture(np.asarray(square, dtype=np.uint8), width, height)


def _in_colours(image: Any) -> Any:
    """Return the image in red, green and blue; what is see-through becomes white."""
    from PIL import Image

    if image.mode.startswith(("I", "F")):  # deep greys, which convert() would cut at 255
        image = Image.fromarray(_shallow(np.asarray(image, dtype=np.float64), image.mode))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        seen = image.convert("RGBA")
        ground = Image.new("RGBA", seen.size, "white")
        image = Image.alpha_composite(ground, seen)
    return image.convert("RGB")


def _shallow(greys: npt.NDArray[np.float64], mode: str) -> Pixels:
    """Return deep greys from 0 to 255, as bright as they are; stretched where that is unknown."""
    low, high = float(greys.min()), float(greys.max())
    whites = _WHITES[-1:] if mode.startswith("I;16") else _WHITES
    white = next((white for white in whites if low >= 0.0 and high <= white), None)
    if white is None:
        greys, white = greys - low, max(high - low, 1e-9)
    return (greys * 255.0 / white).astype(np.uint8)

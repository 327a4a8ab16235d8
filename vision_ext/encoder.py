"""Image columns as numbers that any tabular model reads; needs pillow, no torch."""

from __future__ import annotations

import os
import re
import warnings
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from tabular_automl.extend import (
    MODELS,
    ColumnEncoder,
    FeatureTable,
    Kind,
    State,
    is_installed,
)
from vision_ext.pixels import key_of, read_pictures

SIDE = 32
_N_CELLS, _N_ANGLES, _N_SHADES = 4, 8, 4
_N_SAMPLED, _NEARLY_ALL, _N_NAMED = 200, 0.95, 3
_CHUNK = 256  # decoded at a time
_FEW_ROWS = 1_000  # in which hundreds of features drown what other columns say
_PATH = re.compile(r"\.(?:jpe?g|png|webp|bmp|gif|tiff?)$", re.IGNORECASE)
_FIRST_BYTES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"BM", b"II*\x00", b"MM\x00*")

Floats = npt.NDArray[np.float32]


class ImageEncoder(ColumnEncoder):
    """Size, colours and edges of images given as paths or as the bytes of a file.

    Each image is scaled to 32 x 32 pixels. Its features are the aspect ratio and the size, mean
    and spread of each colour, a joint histogram of 4 x 4 x 4 colours, and for 4 x 4 cells a
    histogram of 8 edge directions weighted by edge strength, each cell of length 1 [1]_. An image
    that is missing or cannot be read gives missing features, and a warning names its rows.

    In tables of fewer than 1,000 rows with other columns, images are left to the models that read
    them untouched: hundreds of features would drown what those columns say.

    References
    ----------
    .. [1] Dalal and Triggs, "Histograms of Oriented Gradients for Human Detection", CVPR 2005.
    """

    kind: ClassVar[Kind] = Kind.IMAGE
    keeps_raw: ClassVar[bool] = True

    @classmethod
    def claims(cls, sample: pd.Series) -> str | None:
        """Return why these are images, or None; None too where pillow is not installed.

        Paths of which none leads to a file (addresses of the web, another folder's names) are not
        claimed: there would be nothing to learn from them.
        """
        values = sample.iloc[:_N_SAMPLED].tolist()
        if not values or not is_installed("PIL"):
            return None
        images = [value for value in values if _looks_like_image(value)]
        if len(images) < _NEARLY_ALL * len(values):
            return None
        is_there = any(key_of(value, SIDE) is not None for value in images)
        return "image files" if is_there else None

    def fit(self, column: pd.Series) -> Self:
        """Return the encoder: nothing is learned."""
        return self

    def transform(self, column: pd.Series) -> FeatureTable:
        """Return the features of each image, missing where there is none.

        Raises
        ------
        MissingDependencyError
            When pillow is not installed.
        """
        names = tuple(f"{column.name}:{feature}" for feature in _FEATURES)
        numeric = np.full((len(column), len(names)), np.nan, dtype=np.float32)
        missing = column.isna().to_numpy(dtype=bool)
        broken: list[int] = []
        values = column.tolist()
        # All at once, 80,000 would take 1 GB. Without rows too, it is said that pillow is missing.
        for start in range(0, len(values) or 1, _CHUNK):
            pictures = read_pictures(values[start : start + _CHUNK])
            for row, picture in enumerate(pictures, start):
                if picture is not None:
                    small = _shrunk(picture.pixels)
                    numeric[row] = describe(small, picture.width, picture.height)
                elif not missing[row]:
                    broken.append(row)
        if broken:
            _warn(column, broken)
        return FeatureTable(numeric, np.empty((len(column), 0), dtype=np.int32), names)

    def is_crowding(self, n_samples: int) -> bool:
        """Return whether to leave images to the network, where one can be trained."""
        return n_samples < _FEW_ROWS and is_installed("torch") and "image_network" in MODELS

    def state(self) -> State:
        """Return nothing: nothing was learned."""
        return State()

    def restore(self, state: State) -> None:
        """Do nothing: nothing was learned."""


def describe(pixels: Floats, width: int, height: int) -> Floats:
    """Return an image's features.

    Parameters
    ----------
    pixels : ndarray of shape (SIDE, SIDE, 3)
        Red, green and blue from 0 to 1.
    width, height : int
        The image's own size, in pixels.
    """
    flat = pixels.reshape(-1, 3)
    shape = [width / height, np.log(width * height)]
    parts = [shape, flat.mean(axis=0), flat.std(axis=0), _colours(flat), _edges(pixels)]
    return np.concatenate(parts).astype(np.float32)


def _colours(flat: Floats) -> Floats:
    """Return the share of pixels of each of 4 x 4 x 4 colours."""
    shades = np.minimum((flat * _N_SHADES).astype(np.intp), _N_SHADES - 1)
    codes = shades @ np.array([_N_SHADES**2, _N_SHADES, 1])
    counts = np.bincount(codes, minlength=_N_SHADES**3)
    return (counts / len(flat)).astype(np.float32)


def _edges(pixels: Floats) -> Floats:
    """Return how strong edges of each direction are in each cell, on a scale of length 1."""
    down, right = np.gradient(pixels.mean(axis=2))
    strength = np.hypot(down, right)
    angle = np.minimum(((np.arctan2(down, right) / np.pi) % 1.0) * _N_ANGLES, _N_ANGLES - 1)
    cell = np.arange(SIDE) * _N_CELLS // SIDE
    codes = (cell[:, None] * _N_CELLS + cell) * _N_ANGLES + angle.astype(np.intp)
    n_bins = _N_CELLS**2 * _N_ANGLES
    bins = np.bincount(codes.ravel(), weights=strength.ravel(), minlength=n_bins)
    cells = bins.reshape(_N_CELLS**2, _N_ANGLES)
    # the small term keeps the noise of even areas small
    return (cells / (np.linalg.norm(cells, axis=1, keepdims=True) + 0.1)).ravel()


_FEATURES = (
    "aspect",
    "size",
    *(f"mean {colour}" for colour in ("red", "green", "blue")),
    *(f"spread {colour}" for colour in ("red", "green", "blue")),
    *(f"colour {i}" for i in range(_N_SHADES**3)),
    *(f"edge {i // _N_ANGLES}.{i % _N_ANGLES}" for i in range(_N_CELLS**2 * _N_ANGLES)),
)


def _shrunk(pixels: npt.NDArray[np.uint8]) -> Floats:
    """Return the means of squares of pixels, from 0 to 1."""
    step = pixels.shape[0] // SIDE
    squares = pixels.reshape(SIDE, step, SIDE, step, 3).astype(np.float32)
    return np.asarray(squares.mean(axis=(1, 3)) / 255.0, dtype=np.float32)


def _looks_like_image(value: object) -> bool:
    if isinstance(value, (bytes, bytearray)):
        return bytes(value[:4]).startswith(_FIRST_BYTES)
    return isinstance(value, (str, os.PathLike)) and bool(_PATH.search(str(value).strip()))


def _warn(column: pd.Series, broken: list[int]) -> None:
    rows, values = column.index.tolist(), column.tolist()
    shown = ", ".join(f"row {rows[row]!r}: {_brief(values[row])}" for row in broken[:_N_NAMED])
    more = f" and {len(broken) - _N_NAMED} more" if len(broken) > _N_NAMED else ""
    warnings.warn(
        f"Column {column.name!r}: {len(broken)} of {len(column)} images could not be read and "
        f"count as missing ({shown}{more}); paths are relative to the working directory.",
        stacklevel=3,
    )


def _brief(value: object) -> str:
    return f"{len(value)} bytes" if isinstance(value, (bytes, bytearray)) else repr(value)[:80]

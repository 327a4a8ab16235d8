from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest

from tabular_automl.extend import register_model
from tabular_automl.models.base import MODELS

Image = pytest.importorskip("PIL.Image")


def as_png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def blob(
    rng: np.random.Generator, *, x: float = 0.5, colour: int | None = None, light: float = 1.0
) -> bytes:
    """Return a picture of a disc on a noisy ground: where it is, its colour, how light it is."""
    side = 24
    row, column = np.mgrid[:side, :side] / (side - 1)
    disc = (row - 0.5) ** 2 + (column - x) ** 2 < 0.04
    pixels = rng.uniform(20, 70, size=(side, side, 3))
    shown = slice(None) if colour is None else slice(colour, colour + 1)
    pixels[disc, shown] = 60 + 190 * light
    return as_png(pixels.astype(np.uint8))


@pytest.fixture
def registered() -> Iterator[None]:
    """Register the family where the installed package does not declare it."""
    from vision_ext.network import ImageNetwork

    absent = "image_network" not in MODELS
    if absent:
        register_model("image_network")(ImageNetwork)
    yield
    if absent:
        MODELS.unregister("image_network")

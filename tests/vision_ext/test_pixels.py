from __future__ import annotations

import io
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from tabular_automl.extend import Budget, FeatureTable, Kind, OutOfTimeError
from vision_ext import pixels
from vision_ext.pixels import pictures_of, read_picture, read_pictures

Image = pytest.importorskip("PIL.Image")


def plain(colour: tuple[int, ...], mode: str = "RGB", size: tuple[int, int] = (20, 10)) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, colour).save(file, format="PNG")
    return file.getvalue()


def test_an_image_becomes_a_square_and_keeps_its_own_size():
    picture = read_picture(plain((10, 20, 30)), 16)
    assert picture.pixels.shape == (16, 16, 3)
    assert picture.pixels.reshape(-1, 3).tolist() == [[10, 20, 30]] * 256
    assert (picture.width, picture.height) == (20, 10)


@pytest.mark.parametrize("value", [None, np.nan, 3, "nowhere.png", b"", b"\x89PNG no more", "a\0b"])
def test_what_is_no_image_is_none(value):
    assert read_picture(value) is None


@pytest.mark.parametrize("error", [EOFError, KeyError, IndexError, OverflowError, struct.error])
def test_whatever_a_decoder_raises_for_a_damaged_file_it_is_no_image(error, monkeypatch):
    def fail(*_: object) -> None:
        raise error("damaged")

    monkeypatch.setattr(Image, "open", fail)
    assert read_picture(b"\x89PNG of some kind", keep=False) is None


def test_see_through_pixels_become_white():
    assert read_picture(plain((9, 9, 9, 0), "RGBA")).pixels.min() == 255


def test_deep_grey_keeps_its_shades():
    file = io.BytesIO()
    ramp = np.tile(np.linspace(0, 65_535, 64).astype(np.uint16), (64, 1))
    Image.fromarray(ramp).save(file, format="PNG")
    read = read_picture(file.getvalue()).pixels
    assert read[0, 0, 0] < 5 < 250 < read[0, -1, 0]
    assert len(np.unique(read)) > 50


@pytest.mark.parametrize(
    ("greys", "expected"),
    [
        (np.array([257, 1285], np.uint16), [1, 5]),
        (np.array([0, 65_535], np.int32), [0, 255]),
        (np.array([300, 655], np.int32), [1, 2]),
        (np.array([10, 20], np.int32), [10, 20]),
        (np.array([0.2, 0.4], np.float32), [51, 102]),
        (np.array([0.0, 1.0], np.float32), [0, 255]),
        (np.array([10.0, 20.0], np.float32), [10, 20]),
        (np.array([-1.0, 3.0], np.float32), [0, 255]),  # white is not known
        (np.array([70_000, 170_000], np.int32), [0, 255]),
    ],
    ids=str,
)
def test_deep_grey_is_as_bright_as_it_was(greys, expected):
    file = io.BytesIO()
    plane = np.repeat(np.repeat(greys[None], 16, axis=0), 8, axis=1)
    Image.fromarray(plane).save(file, format="TIFF")
    read = read_picture(file.getvalue(), 16).pixels
    assert np.abs(read[0, [0, -1], 0].astype(int) - expected).max() <= 1


def test_photos_taken_sideways_are_turned_upright():
    file = io.BytesIO()
    image = Image.fromarray(np.repeat([[[0] * 3], [[255] * 3]], 8, axis=0).astype(np.uint8))
    tags = Image.Exif()
    tags[0x0112] = 3  # upside down
    image.save(file, format="PNG", exif=tags)
    read = read_picture(file.getvalue()).pixels
    assert read[0].mean() > 200 > 50 > read[-1].mean()


@pytest.mark.parametrize(("orientation", "size"), [(1, (60, 20)), (3, (60, 20)), (6, (20, 60))])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_the_size_is_that_of_the_upright_photo(kind, orientation, size):
    file = io.BytesIO()
    tags = Image.Exif()
    tags[0x0112] = orientation
    Image.new("RGB", (60, 20)).save(file, format=kind, exif=tags)
    picture = read_picture(file.getvalue(), 16)
    assert (picture.width, picture.height) == size


def test_threads_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch):
    asked: list[int] = []
    pool = pixels.ThreadPoolExecutor
    monkeypatch.setattr(pixels, "ThreadPoolExecutor", lambda n: asked.append(n) or pool(n))
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    read_pictures([None] * 4)
    read_pictures([None] * 4, n_threads=3)
    assert asked == [1, 3]


def test_a_file_is_decoded_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "one.png"
    path.write_bytes(plain((1, 1, 1)))
    decoded = []
    decode = pixels._decoded
    monkeypatch.setattr(
        pixels, "_decoded", lambda value, side: decoded.append(value) or decode(value, side)
    )
    for _ in range(3):
        read_picture(str(path))
    assert len(decoded) == 1
    path.write_bytes(plain((200, 1, 1)))
    os.utime(path, ns=(1, 1))
    assert read_picture(str(path)).pixels[0, 0, 0] == 200
    assert len(decoded) == 2


def test_what_is_kept_in_memory_stays_below_its_limit():
    recent = pixels.Recent(max_bytes=40)
    for key in range(10):
        recent.put(key, f"value {key}", 10)
        recent.get(0)
    assert [key for key in range(10) if recent.get(key)] == [0, 7, 8, 9]


def test_order_is_kept_and_threads_change_nothing():
    values = [plain((i, 0, 0)) if i % 3 else None for i in range(40)]
    shades = [p.pixels[0, 0, 0] if p else None for p in read_pictures(values, n_threads=3)]
    assert shades == [i if i % 3 else None for i in range(40)]


def test_reading_stops_at_the_deadline():
    with pytest.raises(OutOfTimeError, match="after 0 of 4 images"):
        read_pictures([plain((1, 2, 3))] * 4, budget=Budget.start(0.0))


def test_views_of_a_table_share_what_was_read(monkeypatch: pytest.MonkeyPatch):
    values = np.array([plain((i, 0, 0)) for i in range(5)] + [None], dtype=object)
    empty = FeatureTable.empty(6)
    table = FeatureTable(
        empty.numeric, empty.codes, raw={"photo": values}, raw_kinds={"photo": Kind.IMAGE}
    )
    first = pictures_of(table.take([5, 1]), 16, 1, Budget.unlimited())
    monkeypatch.setattr(pixels, "read_pictures", lambda *_, **__: pytest.fail("read again"))
    second = pictures_of(table.take([1]), 16, 1, Budget.unlimited())
    assert first.present.tolist() == [[False], [True]]
    assert first.extent.tolist() == [[0], [20]]
    np.testing.assert_array_equal(second.pixels[0], first.pixels[1])

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tabular_automl.core.contract import Check
from tabular_automl.encoders.contract import Specimen, iter_checks
from tabular_automl.encoders.featurizer import Featurizer
from tabular_automl.encoders.inference import infer_schema
from tabular_automl.extend import Kind, MissingDependencyError
from vision_ext.encoder import ImageEncoder, describe
from vision_ext.pixels import Picture, read_pictures

Image = pytest.importorskip("PIL.Image")


def stripes(seed: int, *, upright: bool) -> Image.Image:
    rng = np.random.default_rng(seed)
    waves = np.sin(np.arange(48) / 2 + rng.uniform(0, 6))
    plane = np.tile(waves, (36, 1)) if upright else np.tile(waves[:36, None], (1, 48))
    pixels = 127 + 80 * plane[..., None] + rng.normal(scale=10, size=(36, 48, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def as_bytes(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, format="PNG")
    return file.getvalue()


@pytest.fixture
def photos(tmp_path: Path) -> pd.Series:
    paths = []
    for i in range(6):
        paths.append(str(tmp_path / f"{i}.png"))
        stripes(i, upright=i % 2 == 0).save(paths[-1])
    return pd.Series([*paths, None], name="photo")


@pytest.mark.parametrize("check", iter_checks(), ids=str)
@pytest.mark.filterwarnings("ignore:Column 'photo'")
def test_the_encoder_keeps_the_contract(check: Check[Specimen], photos: pd.Series) -> None:
    check(Specimen(ImageEncoder, photos))


def test_edges_tell_upright_from_level_stripes(photos: pd.Series) -> None:
    numeric = ImageEncoder().fit(photos).transform(photos.iloc[:6]).numeric
    edges = numeric[:, -128:]
    apart = np.linalg.norm(edges[:, None] - edges[None], axis=2)
    same = np.arange(6) % 2 == np.arange(6)[:, None] % 2
    assert apart[same].max() < apart[~same].min()


def test_bytes_and_paths_give_the_same_features(photos: pd.Series) -> None:
    content = pd.Series([Path(p).read_bytes() for p in photos.iloc[:6]], name="photo")
    assert ImageEncoder.claims(content) == "image files"
    by_path = ImageEncoder().transform(photos.iloc[:6])
    by_bytes = ImageEncoder().transform(content)
    np.testing.assert_array_equal(by_path.numeric, by_bytes.numeric)


def test_features_say_size_and_colour() -> None:
    pixels = np.zeros((32, 32, 3), dtype=np.float32)
    pixels[..., 0] = 1.0  # red
    features = describe(pixels, width=200, height=100)
    assert features[0] == 2.0
    assert features[1] == pytest.approx(np.log(20_000))
    np.testing.assert_allclose(features[2:8], [1, 0, 0, 0, 0, 0])
    assert features[8:72].argmax() == 3 * 16
    assert features[8:72].sum() == pytest.approx(1.0)
    assert not features[72:].any()


def test_unreadable_images_count_as_missing_and_are_named(photos: pd.Series) -> None:
    column = pd.Series(
        ["nowhere.png", photos[0], b"\x89PNG but no more"], index=[7, 8, 9], name="photo"
    )
    with pytest.warns(UserWarning, match=r"2 of 3 .* \(row 7: 'nowhere.png', row 9: 16 bytes\)"):
        numeric = ImageEncoder().transform(column).numeric
    assert np.isnan(numeric).all(axis=1).tolist() == [True, False, True]


def test_missing_images_are_no_reason_to_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        numeric = ImageEncoder().transform(pd.Series([None, np.nan], name="photo")).numeric
    assert np.isnan(numeric).all()


def features_of(frame: pd.DataFrame, *read: frozenset[Kind]) -> list[str]:
    return list(Featurizer(infer_schema(frame, {}), *read).fit_transform(frame).names)


@pytest.mark.usefixtures("registered")
def test_few_rows_leave_images_to_the_network_where_other_columns_say_something(
    photos: pd.Series, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = pd.DataFrame({"photo": photos.iloc[:6].tolist() * 5, "size": np.arange(30.0) % 7})
    assert features_of(few) == ["size"]
    assert len(features_of(few[["photo"]])) > 50
    assert len(features_of(few, frozenset({Kind.TEXT}))) > 50
    monkeypatch.setattr("vision_ext.encoder.is_installed", lambda module: module != "torch")
    assert len(features_of(few)) > 50
    monkeypatch.undo()
    monkeypatch.setattr("vision_ext.encoder._FEW_ROWS", 20)
    assert len(features_of(few)) > 50


def test_pictures_are_described_in_parts(
    photos: pd.Series, monkeypatch: pytest.MonkeyPatch
) -> None:
    column = pd.Series([*photos, "nowhere.png", b"\x89PNG"], index=range(10, 19), name="photo")
    with pytest.warns(UserWarning, match="row 17.*row 18"):
        whole = ImageEncoder().transform(column).numeric
    n_read: list[int] = []

    def counted(values: list[object]) -> list[Picture | None]:
        n_read.append(len(values))
        return read_pictures(values)

    monkeypatch.setattr("vision_ext.encoder._CHUNK", 4)
    monkeypatch.setattr("vision_ext.encoder.read_pictures", counted)
    with pytest.warns(UserWarning, match="row 17.*row 18"):
        parts = ImageEncoder().transform(column).numeric
    np.testing.assert_array_equal(parts, whole)
    assert n_read == [4, 4, 1]


def test_other_text_is_not_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.tif").write_bytes(b"")
    assert ImageEncoder.claims(pd.Series(["c.tif", "b.txt", "c.csv"])) is None
    assert ImageEncoder.claims(pd.Series(["a.png", "b.JPEG", " c.tif "])) == "image files"


def test_paths_are_claimed_where_one_of_them_leads_to_a_file(photos: pd.Series) -> None:
    addresses = [f"https://example.org/{i}.png" for i in range(19)]
    assert ImageEncoder.claims(pd.Series([*addresses, photos[0]])) == "image files"
    assert ImageEncoder.claims(pd.Series(addresses)) is None
    assert ImageEncoder.claims(pd.Series([*addresses, " "])) is None  # the folder is no image


def test_without_pillow_nothing_is_claimed_and_transform_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, photos: pd.Series
) -> None:
    monkeypatch.setattr("vision_ext.encoder.is_installed", lambda module: False)
    monkeypatch.setitem(__import__("sys").modules, "PIL.Image", None)
    assert ImageEncoder.claims(photos) is None
    with pytest.raises(MissingDependencyError, match=r"pip install 'tabular-automl\[vision\]'"):
        ImageEncoder().transform(photos)

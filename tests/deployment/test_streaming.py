"""Files are predicted batch by batch, as if they had been read at once."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tabular_automl import FitConfig, Predictor
from tabular_automl.core.errors import (
    DataError,
    InvalidOptionError,
    MismatchWarning,
    MissingColumnsError,
    PathError,
)
from tabular_automl.deployment import streaming
from tabular_automl.deployment.streaming import StreamOptions, predict_stream
from tabular_automl.fitted import read_as_text


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    rng = np.random.default_rng(0)
    size, code = rng.normal(size=200), rng.choice(["01", "2", "x7"], 200)
    label = np.where(size + (code == "2") > 0.2, "yes", "no")
    table = pd.DataFrame({"size": size, "code": code, "id": range(200), "y": label})
    config = FitConfig(max_specs=1, n_folds=2, families=("lightgbm",))
    path = tmp_path_factory.mktemp("streamed") / "p"
    columns = {"id": "ignored"}
    return Predictor("y", path=path, verbosity=0).fit(table, config=config, columns=columns)


@pytest.fixture
def rows():
    """Rows whose first 40 codes look like numbers."""
    rng = np.random.default_rng(1)
    code = np.concatenate([rng.choice(["01", "2"], 40), rng.choice(["01", "2", "x7"], 57)])
    return pd.DataFrame({"size": rng.normal(size=97), "code": code, "id": range(97)})


def write(table, path):
    table.to_parquet(path) if path.suffix == ".parquet" else table.to_csv(path, index=False)
    return path


def read(path):
    return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)


@pytest.mark.parametrize("source", ["in.csv", "in.csv.gz", "in.parquet"])
@pytest.mark.parametrize("out", ["out.csv", "out.csv.gz", "out.parquet"])
def test_batches_give_what_the_whole_table_gives_in_its_order(
    source, out, predictor, rows, tmp_path
):
    path = write(rows, tmp_path / source)
    n_rows = predictor.predict_file(path, tmp_path / out, keep=["id"], batch_rows=20)
    written = read(tmp_path / out)
    assert n_rows == 97
    assert written["id"].astype(int).tolist() == list(range(97))
    assert written["y"].tolist() == predictor.predict(rows).tolist()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted([source, out])


def test_probabilities_are_those_of_predict_proba(predictor, rows, tmp_path):
    path = write(rows, tmp_path / "in.parquet")
    predictor.predict_file(path, tmp_path / "out.parquet", proba=True, batch_rows=30)
    written = read(tmp_path / "out.parquet")
    assert list(written) == ["no", "yes"]
    np.testing.assert_allclose(written, predictor.predict_proba(rows), rtol=1e-9)


def test_a_folder_is_read_in_the_order_of_its_files(predictor, rows, tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    write(rows.head(50), folder / "a.parquet")
    write(rows.tail(47), folder / "b.parquet")
    predictor.predict_file(folder, tmp_path / "out.csv", batch_rows=20)
    assert read(tmp_path / "out.csv")["y"].tolist() == predictor.predict(rows).tolist()


@pytest.mark.parametrize("source", ["in.csv", "in.parquet"])
def test_a_bad_cell_is_named_by_its_row_in_the_file(source, predictor, rows, tmp_path):
    broken = rows.astype({"size": str})
    broken.loc[45, "size"] = "huge"  # in the third batch
    path = write(broken, tmp_path / source)
    with pytest.raises(DataError, match=r"'size'.*'huge' in row 45;"):
        predictor.predict_file(path, tmp_path / "out.csv", batch_rows=20)


def test_a_bad_cell_is_missing_by_choice(predictor, rows, tmp_path):
    broken = rows.astype({"size": object})
    broken.loc[45, "size"] = "huge"
    path, out = write(broken, tmp_path / "in.csv"), tmp_path / "out.csv"
    with pytest.raises(DataError, match="'huge'"):
        predictor.predict_file(path, out, batch_rows=20)
    assert predictor.predict_file(path, out, batch_rows=20, on_mismatch="coerce") == 97
    rows.loc[45, "size"] = np.nan
    assert read(out)["y"].tolist() == predictor.predict(rows).tolist()
    with pytest.warns(MismatchWarning, match="'huge'"):
        predictor.predict_file(path, out, proba=True, batch_rows=20, on_mismatch="warn")
    np.testing.assert_allclose(read(out), predictor.predict_proba(rows), rtol=1e-9)


def test_an_unknown_policy_is_refused_before_anything_is_written(predictor, rows, tmp_path):
    path = write(rows, tmp_path / "in.csv")
    with pytest.raises(InvalidOptionError, match="'raise', 'warn' or 'coerce', got 'ignore'"):
        predictor.predict_file(path, tmp_path / "out.csv", on_mismatch="ignore")
    assert [entry.name for entry in tmp_path.iterdir()] == ["in.csv"]


def test_a_file_without_rows_gives_a_file_without_rows(predictor, rows, tmp_path):
    path = write(rows.head(0), tmp_path / "in.parquet")
    assert predictor.predict_file(path, tmp_path / "out.parquet") == 0
    assert list(read(tmp_path / "out.parquet")) == ["y"]


OPTIONS = StreamOptions(batch_rows=20, made_by="one")


class Scorer:
    """Counts the batches it is given, and fails at one of them."""

    def __init__(self, fails_at=None):
        self.calls, self.fails_at = 0, fails_at

    def __call__(self, batch):
        self.calls += 1
        if self.calls == self.fails_at:
            raise KeyboardInterrupt
        return pd.DataFrame({"sum": batch["size"] + batch["id"]})


def interrupted_run(rows, tmp_path):
    """Return the source and the output of a run that ended with three of five parts."""
    path, out = write(rows, tmp_path / "in.csv"), tmp_path / "out.csv"
    with pytest.raises(KeyboardInterrupt):
        predict_stream(path, out, Scorer(fails_at=4), OPTIONS)
    return path, out


def test_an_interrupted_run_goes_on_behind_the_last_part(rows, tmp_path):
    path, out = interrupted_run(rows, tmp_path)
    assert not out.exists()
    again = Scorer()
    assert predict_stream(path, out, again, OPTIONS) == 97
    assert again.calls == 2  # of five batches, three were done
    np.testing.assert_allclose(read(out)["sum"], rows["size"] + rows["id"])


@pytest.mark.parametrize("damage", ["cut", "emptied", "zeroed"])
def test_a_damaged_part_and_those_behind_it_are_done_again(damage, rows, tmp_path):
    path, out = interrupted_run(rows, tmp_path)
    part = tmp_path / ".parts-out.csv" / "000001.arrow"
    content = part.read_bytes()
    left = {"cut": content[:-50], "emptied": b"", "zeroed": bytes(len(content))}
    part.write_bytes(left[damage])
    again = Scorer()
    assert predict_stream(path, out, again, OPTIONS) == 97
    assert again.calls == 4
    np.testing.assert_allclose(read(out)["sum"], rows["size"] + rows["id"])


def test_parts_and_the_output_are_on_disk_before_they_have_their_names(rows, tmp_path, monkeypatch):
    done, replace = [], Path.replace
    monkeypatch.setattr(streaming, "sync_file", lambda path: done.append(("sync", path)))
    monkeypatch.setattr(
        Path, "replace", lambda path, to: (done.append(("replace", path)), replace(path, to))
    )
    path = write(rows, tmp_path / "in.csv")
    predict_stream(path, tmp_path / "out.csv", Scorer(), OPTIONS)
    assert len(done) == 12  # five parts and the output
    assert [kind for kind, _ in done] == ["sync", "replace"] * 6
    assert [path for _, path in done[::2]] == [path for _, path in done[1::2]]


def test_a_damaged_source_is_named_and_not_the_output(rows, tmp_path):
    path, out = tmp_path / "in.csv.gz", tmp_path / "out.csv"
    write(rows, path).write_bytes(path.read_bytes()[:-200])
    with pytest.raises(PathError, match=r"^The file .*in\.csv\.gz' could not be read as a table"):
        predict_stream(path, out, Scorer(), OPTIONS)


def test_an_output_that_the_disk_refuses_is_named(rows, tmp_path, monkeypatch):
    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(streaming, "sync_file", full)
    path = write(rows, tmp_path / "in.csv")
    with pytest.raises(PathError, match=r"out\.csv' could not be written: .*No space left"):
        predict_stream(path, tmp_path / "out.csv", Scorer(), OPTIONS)


def test_a_batch_is_scored_before_the_next_is_read(rows, tmp_path, monkeypatch):
    done, read_batches = [], streaming.read_batches

    def told(*arguments, **options):
        for batch in read_batches(*arguments, **options):
            done.append("read")
            yield batch

    def score(batch):
        done.append("score")
        return batch[["size"]]

    monkeypatch.setattr(streaming, "read_batches", told)
    for source in ("in.csv", "in.parquet"):
        done.clear()
        predict_stream(write(rows, tmp_path / source), tmp_path / "out.csv", score, OPTIONS)
        assert done == ["read", "score"] * 5


@pytest.mark.parametrize("change", ["source", "predictor"])
def test_parts_of_another_source_or_predictor_are_not_used(change, rows, tmp_path):
    path, out = interrupted_run(rows, tmp_path)
    if change == "source":
        write(rows.assign(id=rows["id"] + 1_000), path)
    name = "one" if change == "source" else "two"
    again = Scorer()
    predict_stream(path, out, again, StreamOptions(batch_rows=20, made_by=name))
    assert again.calls == 5
    np.testing.assert_allclose(read(out)["sum"], read(path)["size"] + read(path)["id"])


def test_a_kept_column_that_is_empty_or_text_in_one_batch_only_is_kept_whole(rows, tmp_path):
    note = [1.0] * 20 + [None] * 20 + ["late"] * 57
    path = write(rows.assign(note=note), tmp_path / "in.csv")
    options = StreamOptions(keep=("note",), batch_rows=20)
    predict_stream(path, tmp_path / "out.parquet", Scorer(), options)
    kept = read(tmp_path / "out.parquet")["note"]
    assert kept[20:40].isna().all()
    assert kept[40:].tolist() == ["late"] * 57


def test_numbers_with_a_decimal_comma_are_read_as_written_in_every_batch(tmp_path):
    price = np.random.default_rng(2).uniform(1_000, 9_000, 120)
    written = [f"{value:,.1f}".translate(str.maketrans(",.", ".,")) for value in price]
    table = pd.DataFrame({"price": written, "y": np.where(price > 5_000, "high", "low")})
    config = FitConfig(max_specs=1, n_folds=2, families=("lightgbm",))
    predictor = Predictor("y", path=tmp_path / "p", verbosity=0).fit(table, config=config)
    whole = [f"{value:,}".replace(",", ".") for value in range(1_000, 9_000, 200)]  # "1.000"
    rows = pd.DataFrame({"price": [*whole, *written[:20]]})
    assert read_as_text(predictor._pipeline.featurizer) == ("price",)
    path = write(rows, tmp_path / "in.csv")
    predictor.predict_file(path, tmp_path / "out.csv", batch_rows=20)
    found = read(tmp_path / "out.csv")["y"].tolist()
    assert found == predictor.predict(rows).tolist()


@pytest.mark.parametrize("out", ["out.csv", "out.parquet"])
def test_kept_columns_that_are_no_features_stay_as_they_are_written(out, predictor, rows, tmp_path):
    numbers = [f"{number:05d}" for number in range(97)]
    marks = [*range(40), *["3e5", "1e3", "7", None] * 14, "x"]
    path = write(rows.assign(id=numbers, mark=marks), tmp_path / "in.csv")
    predictor.predict_file(path, tmp_path / out, keep=["id", "mark", "size"], batch_rows=20)
    options = {} if out == "out.parquet" else {"dtype": {"id": str, "mark": str}}
    written = (pd.read_parquet if out == "out.parquet" else pd.read_csv)(tmp_path / out, **options)
    assert written["id"].tolist() == numbers
    assert written["mark"].dropna().tolist() == [str(mark) for mark in marks if mark is not None]
    np.testing.assert_allclose(written["size"], rows["size"])
    assert written["y"].tolist() == predictor.predict(rows).tolist()


def test_kept_whole_numbers_of_a_text_file_are_numbers_of_a_parquet_file(predictor, rows, tmp_path):
    numbers = [2**60 + number for number in range(97)]
    numbers[50] = None  # in the third batch
    path = write(rows.assign(id=pd.array(numbers, dtype="Int64")), tmp_path / "in.csv")
    predictor.predict_file(path, tmp_path / "out.parquet", keep=["id"], batch_rows=20)
    written = pq.read_table(tmp_path / "out.parquet").column("id")
    assert written.type == "int64"
    assert written.to_pylist() == numbers


def test_kept_texts_of_a_parquet_file_stay_texts(predictor, rows, tmp_path):
    path = write(rows.astype({"id": str}), tmp_path / "in.parquet")
    predictor.predict_file(path, tmp_path / "out.parquet", keep=["id"])
    assert read(tmp_path / "out.parquet")["id"].tolist() == [str(number) for number in range(97)]


def test_classes_of_mixed_types_are_texts_in_files(tmp_path):
    x = np.arange(240.0)
    labels = np.array([0, 1, "unknown"], dtype=object)[(x // 80).astype(int)]
    table = pd.DataFrame({"x": x, "y": labels})
    predictor = Predictor("y", path=tmp_path / "p", verbosity=0).fit(
        table, config=FitConfig(families=("lightgbm",), max_specs=1, n_folds=2)
    )
    table.to_csv(tmp_path / "t.csv", index=False)
    predictor.predict_file(tmp_path / "t.csv", tmp_path / "out.parquet")
    written = pd.read_parquet(tmp_path / "out.parquet")["y"]
    assert written.tolist() == predictor.predict(table).map(str).tolist()
    assert predictor.evaluate(tmp_path / "t.csv") == predictor.evaluate(table)


def test_a_kept_label_is_read_as_that_of_training(predictor, rows, tmp_path):
    path = write(rows.assign(y="007"), tmp_path / "in.csv")
    predictor.predict_file(path, tmp_path / "out.parquet", keep=["y"])
    written = read(tmp_path / "out.parquet")
    assert set(written["y"]) == {"007"}
    assert written["y predicted"].tolist() == predictor.predict(rows).tolist()


@pytest.mark.parametrize("out", ["out.csv", "out.parquet"])
def test_kept_whole_numbers_beside_a_missing_one_stay_whole(out, predictor, rows, tmp_path):
    numbers = pd.array([*range(97)], dtype="Int64")
    numbers[50] = None
    path = tmp_path / "in.parquet"
    # as other programs write it, without a word on what pandas is to make of it
    table = pa.Table.from_pandas(rows.assign(id=numbers)).replace_schema_metadata(None)
    pq.write_table(table, path)
    predictor.predict_file(path, tmp_path / out, keep=["id"], batch_rows=20)
    if out == "out.parquet":
        kept = pq.read_table(tmp_path / out).column("id").to_pylist()
        assert kept == [*range(50), None, *range(51, 97)]
    else:
        kept = pd.read_csv(tmp_path / out, dtype=str)["id"]
        assert kept.dropna().tolist() == [str(number) for number in range(97) if number != 50]


def test_numbers_that_no_float_equals_are_refused_in_a_sentence(predictor, rows, tmp_path):
    size = [2**53 + 1] * 20 + [0.5] * 77
    lines = ["size,code", *(f"{value},01" for value in size)]
    (tmp_path / "in.csv").write_text("\n".join(lines))
    sentence = r"out\.csv' could not be put together: .*9007199254740993.*leave the column out"
    with pytest.raises(PathError, match=sentence):
        predictor.predict_file(
            tmp_path / "in.csv", tmp_path / "out.csv", keep=["size"], batch_rows=20
        )


def test_a_column_named_twice_is_kept_once(predictor, rows, tmp_path):
    path = write(rows, tmp_path / "in.csv")
    predictor.predict_file(path, tmp_path / "out.csv", keep=["id", "size", "id"])
    assert list(read(tmp_path / "out.csv")) == ["id", "size", "y"]


@pytest.mark.parametrize(
    "index", [pd.RangeIndex(5, 102, name="no"), pd.Index(range(97), name="no")]
)
def test_the_index_of_a_parquet_file_is_kept_by_its_name(index, predictor, rows, tmp_path):
    path = write(rows.set_index(index), tmp_path / "in.parquet")
    predictor.predict_file(path, tmp_path / "out.csv", keep=["no"], batch_rows=20)
    written = read(tmp_path / "out.csv")
    assert written["no"].tolist() == index.tolist()
    assert written["y"].tolist() == predictor.predict(rows).tolist()


def test_a_broken_link_in_the_folder_is_refused_in_a_sentence(predictor, rows, tmp_path):
    (tmp_path / "many").mkdir()
    write(rows, tmp_path / "many" / "a.csv")
    (tmp_path / "many" / "b.csv").symlink_to("nowhere.csv")
    with pytest.raises(PathError, match=r"must hold files of one kind and nothing else.*'b\.csv'"):
        predictor.predict_file(tmp_path / "many", tmp_path / "out.csv")


def test_parts_are_of_the_model_in_memory_and_not_of_the_one_on_disk(predictor, rows, tmp_path):
    saved = predictor.clone_for_deployment(tmp_path / "p").path
    old = Predictor.load(saved, verbosity=0)
    path, out = write(rows, tmp_path / "in.csv"), tmp_path / "out.csv"

    def scored_by(model):
        calls = []

        def predict(data, **options):
            calls.append(len(data))
            if model is old and len(calls) == 4:
                raise KeyboardInterrupt
            return Predictor.predict(model, data, **options)

        model.predict = predict
        return calls

    predictor.refit(pd.concat([rows, rows]).assign(y=["yes", "no"] * 97)).save(
        saved, overwrite=True
    )  # while the other one is in use
    scored_by(old)
    with pytest.raises(KeyboardInterrupt):
        old.predict_file(path, out, batch_rows=20)
    new = Predictor.load(saved, verbosity=0)
    calls = scored_by(new)
    new.predict_file(path, out, batch_rows=20)
    assert len(calls) == 5


def test_columns_to_keep_must_be_there(predictor, rows, tmp_path):
    path = write(rows, tmp_path / "in.csv")
    with pytest.raises(MissingColumnsError, match=r"Unknown column to keep 'z'\."):
        predictor.predict_file(path, tmp_path / "out.csv", keep=["z"])


def test_the_output_must_be_a_table_elsewhere(predictor, rows, tmp_path):
    path = write(rows, tmp_path / "in.csv")
    with pytest.raises(PathError, match=r"out must be a path that ends in .csv"):
        predictor.predict_file(path, tmp_path / "out.txt")
    with pytest.raises(PathError, match="another place than the source"):
        predictor.predict_file(path, path)
    with pytest.raises(PathError, match="make it first"):
        predictor.predict_file(path, tmp_path / "nowhere" / "out.csv")
    with pytest.raises(InvalidOptionError, match="batch_rows must be a positive whole number"):
        predictor.predict_file(path, tmp_path / "out.csv", batch_rows=0)


def test_a_source_that_is_not_there_is_named(predictor, tmp_path):
    with pytest.raises(PathError, match=r"must exist, got .*absent\.parquet"):
        predictor.predict_file(tmp_path / "absent.parquet", tmp_path / "out.csv")


def test_a_path_that_is_too_long_is_refused_in_a_sentence(predictor, tmp_path):
    with pytest.raises(PathError, match="xxx"):
        predictor.predict_file(tmp_path / ("x" * 5_000), out=tmp_path / "out.csv")


@pytest.mark.skipif(os.name != "posix", reason="folders have no locks there")
def test_two_calls_do_not_write_to_the_same_output(rows, tmp_path):
    path, out = write(rows, tmp_path / "in.parquet"), tmp_path / "out.parquet"
    refused = []

    def score(batch):
        with pytest.raises(PathError, match=r"Another call is writing to .*out\.parquet") as error:
            predict_stream(path, out, score, StreamOptions(made_by="another"))
        refused.append(error)
        return batch[["size"]]

    assert predict_stream(path, out, score, StreamOptions(batch_rows=50)) == 97
    assert len(refused) == 2
    assert read(out)["size"].tolist() == rows["size"].tolist()
    assert predict_stream(path, out, lambda batch: batch[["code"]], StreamOptions()) == 97


def test_what_is_refused_leaves_nothing_behind(predictor, rows, tmp_path):
    path = write(rows.astype({"size": str}), tmp_path / "in.csv")
    path.write_text(path.read_text().replace("\n", "\noops,01,0\n", 3))
    with pytest.raises(DataError, match="oops"):
        predictor.predict_file(path, tmp_path / "out.csv")
    with pytest.raises(MissingColumnsError):
        predictor.predict_file(path, tmp_path / "out.csv", keep=["nowhere"])
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(PathError, match="is a folder; choose the path of a file"):
        predictor.predict_file(path, tmp_path / "folder.csv")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["folder.csv", "in.csv"]


def test_one_column_to_keep_may_be_named_alone(predictor, rows, tmp_path):
    path = write(rows, tmp_path / "in.csv")
    predictor.predict_file(path, tmp_path / "out.csv", keep="id")
    assert list(read(tmp_path / "out.csv")) == ["id", "y"]


def test_a_prediction_takes_no_name_of_a_kept_column(predictor, rows, tmp_path):
    scored = rows.assign(**{"y": "no", "y predicted": "yes"})
    path = write(scored, tmp_path / "in.csv")
    predictor.predict_file(path, tmp_path / "out.csv", keep=["y", "y predicted"])
    written = read(tmp_path / "out.csv")
    assert list(written) == ["y", "y predicted", "y predicted predicted"]
    assert written["y predicted predicted"].tolist() == predictor.predict(rows).tolist()

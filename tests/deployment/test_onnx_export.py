"""A predictor is exported whole, compared before it is written, or not written at all."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest

from tabular_automl import FitConfig, Predictor
from tabular_automl.cli import main
from tabular_automl.core.errors import DataError, ExportError, InvalidOptionError, PathError
from tabular_automl.deployment import onnx_parity
from tabular_automl.deployment.onnx_export import export_pipeline
from tests.conftest import make_table

FAMILIES = ("lightgbm", "linear")


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    table = make_table("binary")
    config = FitConfig(max_specs=2, n_folds=2, n_layers=1, families=FAMILIES)
    path = tmp_path_factory.mktemp("onnx") / "predictor"
    return Predictor("y", path=path, verbosity=0).fit(table, config=config), table


def test_onnxruntime_answers_as_the_predictor_does(fitted, tmp_path):
    predictor, table = fitted
    exported = predictor.export_onnx(tmp_path / "m.onnx", data=table)
    session = onnxruntime.InferenceSession(exported.path, providers=["CPUExecutionProvider"])
    since = (table["sold"] - pd.Timestamp("1970-01-01")).dt.total_seconds()
    feeds = {
        "size": table["size"].to_numpy(),
        "rooms": table["rooms"].to_numpy(float),
        "city": table["city"].fillna("").to_numpy(object),
        "sold": since.to_numpy(),
        "garden": table["garden"].astype(str).to_numpy(object),
    }
    assert set(feeds) == set(exported.inputs)
    label, probabilities = session.run(["prediction", "probabilities"], feeds)
    np.testing.assert_allclose(probabilities, predictor.predict_proba(table), atol=1e-6)
    assert label.tolist() == predictor.predict(table).tolist()
    assert exported.classes == list(predictor.classes)


def test_the_parity_file_tells_what_was_compared(fitted, tmp_path):
    predictor, table = fitted
    exported = predictor.export_onnx(tmp_path / "m.onnx", data=table.head(50))
    told = json.loads((tmp_path / "m.onnx.parity.json").read_text())
    assert told["n_rows"] == 50
    assert told["rows_from"] == "data"
    assert 0 <= told["largest_difference"] == exported.parity.largest_difference < 1e-5
    assert told["n_other_labels"] == 0
    assert set(told["versions"]) == {"tabular_automl", "onnx", "onnxruntime"}
    assert told["models"] == list(predictor._fitted().stack.weights)
    content = exported.path.read_bytes()
    assert told["model_sha256"] == hashlib.sha256(content).hexdigest()


def test_the_model_knows_its_inputs_and_classes(fitted, tmp_path):
    exported = fitted[0].export_onnx(tmp_path / "m.onnx")
    known = {p.key: p.value for p in onnx.load(exported.path).metadata_props}
    assert json.loads(known["classes"]) == ["no", "yes"]
    assert json.loads(known["inputs"]) == exported.inputs


def test_without_data_a_thousand_rows_are_drawn(fitted, tmp_path):
    parity = fitted[0].export_onnx(tmp_path / "m.onnx").parity
    assert parity.n_rows == 1000
    assert parity.rows_from == "drawn like the columns of training"


def test_of_long_tables_a_thousand_rows_are_compared(fitted, tmp_path):
    predictor, table = fitted
    parity = predictor.export_onnx(tmp_path / "m.onnx", data=pd.concat([table] * 6)).parity
    assert parity.n_rows == 1000


def test_values_beside_a_split_go_the_same_way(fitted, tmp_path):
    predictor, table = fitted
    text = predictor._fitted().stack.bags[0].models[0].model.state().blobs["booster.txt"].decode()
    lines = [line[10:].split() for line in text.splitlines() if line.startswith("threshold=")]
    borders = np.unique([float(word) for words in lines for word in words])
    sizes = np.concatenate([np.nextafter(borders, side) for side in (-np.inf, borders, np.inf)])
    rows = pd.concat([table] * 9, ignore_index=True).head(len(sizes)).assign(size=sizes)
    assert predictor.export_onnx(tmp_path / "m.onnx", data=rows).parity.largest_difference < 1e-6


def test_a_model_that_answers_otherwise_is_not_written(fitted, tmp_path, monkeypatch):
    run = onnx_parity.run_model

    def off(*arguments):
        answer = run(*arguments)
        answer.numbers[7] += 0.01
        return answer

    monkeypatch.setattr("tabular_automl.deployment.onnx_export.run_model", off)
    with pytest.raises(ExportError, match=r"difference of 0\.01 in row 7"):
        fitted[0].export_onnx(tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_models_can_be_left_out(pipelines, tmp_path):
    columns = ("size", "city")
    pipeline = pipelines("binary", families=("linear", "neighbors"), columns=columns)
    with pytest.raises(ExportError, match="'neighbors'"):
        export_pipeline(pipeline, tmp_path / "m.onnx")
    exported = export_pipeline(pipeline, tmp_path / "m.onnx", without=["neighbors"])
    told = json.loads(exported.parity_path.read_text())
    assert (told["models"], told["left_out"]) == (["linear"], ["neighbors"])


def test_models_that_read_one_that_is_left_out_go_with_it(pipelines, tmp_path):
    families = ("linear", "neighbors")
    pipeline = pipelines("binary", n_layers=2, families=families, columns=("size", "city"))
    both = replace(pipeline.stack, weights={"linear": 0.5, "top": 0.5})
    with pytest.raises(ExportError, match=r"without=\['neighbors'\]"):
        export_pipeline(replace(pipeline, stack=both), tmp_path / "m.onnx")
    exported = export_pipeline(
        replace(pipeline, stack=both), tmp_path / "m.onnx", without=["neighbors"]
    )
    told = json.loads(exported.parity_path.read_text())
    assert (told["models"], told["left_out"]) == (["linear"], ["neighbors", "top"])
    with pytest.raises(InvalidOptionError, match="must leave a model"):  # "top" alone has weight
        export_pipeline(pipeline, tmp_path / "m.onnx", without=["neighbors"])


def test_models_to_leave_out_must_be_there_and_not_all(fitted, tmp_path):
    with pytest.raises(InvalidOptionError, match="Unknown model 'nope'"):
        fitted[0].export_onnx(tmp_path / "m.onnx", without=["nope"])
    with pytest.raises(InvalidOptionError, match="must be a list of models, got 'lightgbm'"):
        fitted[0].export_onnx(tmp_path / "m.onnx", without="lightgbm")
    everything = list(fitted[0]._fitted().stack.weights)
    with pytest.raises(InvalidOptionError, match="must leave a model"):
        fitted[0].export_onnx(tmp_path / "m.onnx", without=everything)


def test_a_table_without_rows_is_no_comparison(fitted, tmp_path):
    predictor, table = fitted
    with pytest.raises(DataError, match="must have rows to compare on"):
        predictor.export_onnx(tmp_path / "m.onnx", data=table.head(0))


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("m.bin", InvalidOptionError, "ending in .onnx"),
        ("nowhere/m.onnx", PathError, "folder of .* must exist"),
        ("taken.onnx", PathError, "is a folder"),
    ],
)
def test_a_path_that_cannot_be_written_is_refused(fitted, tmp_path, name, error, message):
    (tmp_path / "taken.onnx").mkdir()
    with pytest.raises(error, match=message):
        fitted[0].export_onnx(tmp_path / name)


def test_the_command_line_exports_and_tells_how_near_it_is(fitted, tmp_path, capsys):
    predictor, table = fitted
    data, out = tmp_path / "new.csv", tmp_path / "m.onnx"
    table.drop(columns="y").to_csv(data, index=False)
    assert main(["export", str(predictor.path), "--out", str(out), "--data", str(data)]) == 0
    assert "of the predictor on 240 rows; see" in capsys.readouterr().out
    assert out.stat().st_size > 1000
    assert main(["export", str(predictor.path), "--out", str(out), "--without", "nope"]) == 1
    assert "Unknown model 'nope'" in capsys.readouterr().err

"""A fitted predictor as an ONNX model, checked against the predictor before it is written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tabular_automl.artifacts.storage import library_version, replace_file
from tabular_automl.core.errors import (
    DataError,
    InvalidOptionError,
    PathError,
    must_be,
    unknown_name,
)
from tabular_automl.data.reading import path_of
from tabular_automl.deployment.onnx_bags import check_bag
from tabular_automl.deployment.onnx_columns import add_features
from tabular_automl.deployment.onnx_ensemble import add_answer, add_ensemble, label_array
from tabular_automl.deployment.onnx_graph import Graph
from tabular_automl.deployment.onnx_inputs import exported_parts, input_kinds, input_values
from tabular_automl.deployment.onnx_parity import (
    MAX_ROWS,
    Answer,
    Parity,
    compare,
    drawn_rows,
    run_model,
)
from tabular_automl.deployment.pruning import without_bag
from tabular_automl.encoders.feature_parts import FeaturePart
from tabular_automl.fitted import FittedPipeline

_SUFFIX, _PARITY_SUFFIX = ".onnx", ".parity.json"


@dataclass(frozen=True)
class ExportedModel:
    """What `Predictor.export_onnx` has written.

    Attributes
    ----------
    path, parity_path : Path
        The model, and the json file that tells how it was compared.
    inputs : dict of str to str
        What each input takes, by its name, the column's: "number", "seconds since 1970" or "text".
    outputs : dict of str to str
        Name of each output, by what it is: "prediction", and "probabilities" of a classification.
    classes : list or None
        The class labels in the order of the probabilities; None for a regression.
    parity : Parity
    """

    path: Path
    parity_path: Path
    inputs: dict[str, str]
    outputs: dict[str, str]
    classes: list[Any] | None
    parity: Parity


def export_pipeline(
    pipeline: FittedPipeline,
    path: str | PathLike[str],
    data: pd.DataFrame | None = None,
    without: Sequence[str] = (),
) -> ExportedModel:
    """Write a pipeline as an ONNX model with its parity file; see `Predictor.export_onnx`."""
    target = _target(path)
    all_keys = [bag.key for bag in pipeline.stack.bags]
    pipeline = _reduced(pipeline, without)
    kept = {bag.key for bag in pipeline.stack.bags}
    parts = exported_parts(pipeline.featurizer)
    content, outputs = _converted(pipeline, parts)
    parity = _parity(pipeline, parts, data, content, outputs)
    parity_path = target.with_name(target.name + _PARITY_SUFFIX)
    classes = _classes(pipeline)
    exported = ExportedModel(target, parity_path, input_kinds(parts), outputs, classes, parity)
    described = {
        "model_sha256": hashlib.sha256(content).hexdigest(),
        **parity.to_dict(),
        "inputs": exported.inputs,
        "outputs": outputs,
        "classes": classes,
        "models": list(pipeline.stack.weights),
        "left_out": [key for key in all_keys if key not in kept],
    }
    replace_file(parity_path, (json.dumps(described, indent=2) + "\n").encode())
    replace_file(target, content)
    return exported


def _target(path: str | PathLike[str]) -> Path:
    """Return where to write, after checking that it can be a file."""
    target = path_of(path)
    if target.suffix != _SUFFIX:
        raise InvalidOptionError(must_be("path", f"a file name ending in {_SUFFIX}", str(path)))
    if target.is_dir():
        raise PathError(f"{str(target)!r} is a folder; choose the path of a file.")
    if not target.parent.is_dir():
        raise PathError(f"The folder of {str(target)!r} must exist; make it first.")
    return target


def _reduced(pipeline: FittedPipeline, without: Sequence[str]) -> FittedPipeline:
    """Return the pipeline without some of its models, and without those that read them."""
    if isinstance(without, str):
        raise InvalidOptionError(must_be("without", "a list of models", without))
    stack = pipeline.stack
    known = [bag.key for bag in stack.bags]
    for key in without:
        if key not in known:
            raise InvalidOptionError(unknown_name("model", key, known))
    gone = set(without)
    for layer, keys in sorted(stack.feeds.items()):
        if gone.intersection(keys):
            gone |= {bag.key for bag in stack.bags if bag.layer == layer}
    if gone.issuperset(stack.weights):
        raise InvalidOptionError(f"without must leave a model to export, got {without!r}.")
    for key in stack.weights:
        if key in gone:
            pipeline = without_bag(pipeline, key)
    return pipeline


def _converted(
    pipeline: FittedPipeline, parts: Sequence[FeaturePart]
) -> tuple[bytes, dict[str, str]]:
    """Return the model as a file that knows its inputs and classes, and its outputs' names."""
    for bag in pipeline.stack.bags:  # all at once, before any of them takes time
        check_bag(bag)
    graph = Graph()
    prediction = add_ensemble(graph, pipeline, add_features(graph, parts, pipeline.featurizer))
    outputs = add_answer(graph, pipeline, prediction)
    known = {"inputs": input_kinds(parts), "outputs": outputs, "classes": _classes(pipeline)}
    texts = {name: json.dumps(value) for name, value in known.items()}
    return graph.to_bytes({"library_version": library_version(), **texts}), outputs


def _classes(pipeline: FittedPipeline) -> list[Any] | None:
    return label_array(pipeline).tolist() if pipeline.task.is_classification else None


def _parity(
    pipeline: FittedPipeline,
    parts: Sequence[FeaturePart],
    data: pd.DataFrame | None,
    content: bytes,
    outputs: Mapping[str, str],
) -> Parity:
    """Compare the model with the pipeline on given rows, or on drawn ones."""
    names = [part.name for part in parts]
    rows = drawn_rows(pipeline, names) if data is None else _some_of(data)
    prediction = pipeline.predict(rows)
    decided = pipeline.decide(prediction)
    labels = label_array(pipeline)[decided] if pipeline.task.is_classification else decided
    actual = run_model(content, input_values(parts, rows), outputs)
    largest, n_other = compare(pipeline, Answer(prediction, labels), actual)
    return Parity(
        n_rows=len(rows),
        largest_difference=largest,
        n_other_labels=n_other,
        rows_from="drawn like the columns of training" if data is None else "data",
        versions=_versions(),
    )


def _some_of(data: pd.DataFrame) -> pd.DataFrame:
    """Return the rows to compare on, spread over the table."""
    if not len(data):
        raise DataError("data must have rows to compare on, got 0; leave it out to draw some.")
    rows = np.linspace(0, len(data) - 1, min(len(data), MAX_ROWS)).astype(np.intp)
    return data.take(rows)


def _versions() -> dict[str, str]:
    return {
        "tabular_automl": library_version(),
        "onnx": version("onnx"),
        "onnxruntime": version("onnxruntime"),
    }

"""An ONNX graph under construction: values are known by their names, constants are kept once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tabular_automl.core.imports import import_optional

Value = str  # the name under which the graph knows a tensor
Array = npt.NDArray[Any]
Operand = Value | Array | np.generic

TREES = "ai.onnx.ml"
# Old enough for every runtime of the last years, new enough for trees in double precision.
_OPSETS = {"": 17, TREES: 3}
_IR_VERSION = 8


class Graph:
    """Nodes, constants, inputs and outputs; operations are added in the order they are run.

    Attributes
    ----------
    n_rows : Value
        Number of rows, shape (1,); there once there is an input.
    n_tree_nodes, n_tree_values : int
        Of all trees so far: the nodes, and what the leaves add to an output.
    """

    def __init__(self) -> None:
        self._onnx: Any = import_optional("onnx", extra="onnx", purpose="Exporting to ONNX")
        self._nodes: list[Any] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], Value] = {}
        self._initializers: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._taken: set[str] = set()
        self.n_rows: Value = ""
        self.n_tree_nodes = self.n_tree_values = 0

    def input(self, name: str, dtype: Any) -> Value:
        """Return a new input with one value for each row; all inputs come before any operation."""
        self._taken.add(name)
        self._inputs.append(self._described(name, dtype, ["n_rows"]))
        return name

    def output(self, name: str, value: Value, dtype: Any, shape: Sequence[int | str]) -> str:
        """Make a value an output; return its name, which differs where an input has it."""
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        self._nodes.append(self._onnx.helper.make_node("Identity", [value], [name]))
        self._outputs.append(self._described(name, dtype, shape))
        return name

    def add(self, op: str, *inputs: Operand, domain: str = "", **attributes: Any) -> Value:
        """Return the output of a new operation; arrays and numbers among them become constants."""
        names = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        output = self._name(op)
        node = self._onnx.helper.make_node(op, names, [output], domain=domain)
        node.attribute.extend(self._attribute(*item) for item in attributes.items())
        self._nodes.append(node)
        return output

    def constant(self, operand: Array | np.generic) -> Value:
        """Return the value of a number, or of an array of numbers or texts."""
        array = np.asarray(operand)
        content = repr(array.tolist()).encode() if array.dtype == object else array.tobytes()
        key = (str(array.dtype), array.shape, content)
        if key not in self._constants:
            self._constants[key] = self._name("constant")
            tensor = self._onnx.numpy_helper.from_array(array, self._constants[key])
            self._initializers.append(tensor)
        return self._constants[key]

    def cast(self, value: Value, dtype: Any) -> Value:
        """Return a value in another dtype."""
        return self.add("Cast", value, to=self._type(dtype))

    def side_by_side(self, values: Sequence[Value]) -> Value:
        """Return values of shape (n_rows, width) as one."""
        return values[0] if len(values) == 1 else self.add("Concat", *values, axis=1)

    def columns(self, value: Value, columns: npt.ArrayLike) -> Value:
        """Return some columns of a value of shape (n_rows, width)."""
        return self.add("Gather", value, np.asarray(columns, dtype=np.int64), axis=1)

    def column(self, value: Value, column: int) -> Value:
        """Return one column of a value of shape (n_rows, width), shape (n_rows,)."""
        return self.add("Gather", value, np.int64(column), axis=1)

    def for_each_row(self, array: Array) -> Value:
        """Return an array of shape (width,) repeated, shape (n_rows, width)."""
        width = np.array([len(array)], dtype=np.int64)
        shape = self.add("Concat", self.n_rows, width, axis=0)
        return self.add("Expand", array, shape)

    def count_rows(self, value: Value) -> None:
        """Take the number of rows from a value."""
        shape = self.add("Shape", value)
        self.n_rows = self.add("Gather", shape, np.array([0], dtype=np.int64))

    def to_bytes(self, metadata: Mapping[str, str]) -> bytes:
        """Return everything as an ONNX file, checked."""
        helper = self._onnx.helper
        graph = helper.make_graph(
            self._nodes, "tabular_automl", self._inputs, self._outputs, self._initializers
        )
        opsets = [helper.make_opsetid(domain, version) for domain, version in _OPSETS.items()]
        model = helper.make_model(
            graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="tabular_automl"
        )
        helper.set_model_props(model, dict(metadata))
        content: bytes = model.SerializeToString()
        self._onnx.checker.check_model(content)
        return content

    def _name(self, op: str) -> str:
        name = f"{op}_{len(self._nodes) + len(self._initializers)}"
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name

    def _attribute(self, name: str, value: Any) -> Any:
        """Return an attribute; long arrays of numbers go the short way."""
        if isinstance(value, np.ndarray) and value.dtype.kind in "iu":
            ints = self._onnx.AttributeProto(name=name, type=self._onnx.AttributeProto.INTS)
            ints.ints.extend(value.tolist())
            return ints
        if isinstance(value, np.ndarray):
            value = self._onnx.numpy_helper.from_array(value, name)
        return self._onnx.helper.make_attribute(name, value)

    def _described(self, name: str, dtype: Any, shape: Sequence[int | str]) -> Any:
        return self._onnx.helper.make_tensor_value_info(name, self._type(dtype), shape)

    def _type(self, dtype: Any) -> int:
        return int(self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

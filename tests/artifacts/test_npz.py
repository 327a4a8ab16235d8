import io
import zipfile

import numpy as np
import pytest

from tabular_automl.artifacts.npz import read_arrays, write_arrays
from tabular_automl.core.errors import ArtifactError

ARRAYS = {
    "float32": np.arange(6, dtype=np.float32).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(24.0).reshape(2, 3, 4)),
    "strided": np.arange(20)[::3],
    "big_endian": np.arange(5, dtype=">i4"),
    "scalar": np.array(3.5),
    "empty": np.empty((0, 7), dtype=np.int8),
    "nothing": np.empty(0),
    "text": np.array(["a", "żółw", ""]),
    "bytes": np.array([b"a", b"bc"]),
    "flags": np.array([True, False]),
    "complex": np.array([1 + 2j]),
    "dates": np.array(["2020-01-01", "NaT"], dtype="datetime64[ns]"),
    "spans": np.array([5], dtype="timedelta64[s]"),
    "nan": np.array([np.nan, np.inf, -0.0]),
    "half": np.array([1.5], dtype=np.float16),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_array_comes_back_with_dtype_and_shape_and_is_writable(tmp_path, name):
    write_arrays(tmp_path / "a.npz", {name: ARRAYS[name]})
    back = read_arrays(tmp_path / "a.npz")[name]
    assert back.dtype == ARRAYS[name].dtype
    assert back.shape == ARRAYS[name].shape
    assert back.tobytes() == ARRAYS[name].tobytes()
    assert back.flags.writeable
    assert back.flags.aligned


def test_numpy_reads_the_file_too(tmp_path):
    write_arrays(tmp_path / "a.npz", {"part/x": ARRAYS["float32"]})
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["part/x"], ARRAYS["float32"])


@pytest.mark.parametrize(
    "array", [np.array([{}]), np.array(["a"], dtype=object), np.zeros(2, dtype=[("a", "f4")])]
)
def test_objects_and_records_are_not_written(tmp_path, array):
    with pytest.raises(ArtifactError, match="The array 'x' must be of a numeric"):
        write_arrays(tmp_path / "a.npz", {"x": array})


def npy(header: str, data: bytes = b"") -> bytes:
    """An npy file of version 1.0 with any header text."""
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


def archive(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members:
            file.writestr(name, content)
    return path


PROMISES = [
    "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,)}",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (3,)}",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (-2, -1)}",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (17,)}",
]


@pytest.mark.parametrize("header", PROMISES)
def test_header_that_promises_other_than_the_bytes_there_is_refused(tmp_path, header):
    path = archive(tmp_path / "a.npz", [("x.npy", npy(header, b"0" * 16))])
    with pytest.raises(ArtifactError, match=r"x\.npy\) promises .* but holds 16 bytes"):
        read_arrays(path)


@pytest.mark.parametrize("descr", ["|O", "<U0", "|S0", "|V8"])
def test_other_dtypes_in_the_file_are_refused(tmp_path, descr):
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': (1000000000,)}}"
    path = archive(tmp_path / "a.npz", [("x.npy", npy(header))])
    with pytest.raises(ArtifactError, match="must be of a numeric"):
        read_arrays(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not an array",
        npy("__import__('os').system('false')"),
        npy("(" * 5000),
        npy("{'descr': '<f8', 'shape': (1,)}"),
        npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1,)}" + " " * 60_000),
    ],
)
def test_unreadable_headers_are_refused(tmp_path, content):
    path = archive(tmp_path / "a.npz", [("x.npy", content)])
    with pytest.raises(ArtifactError, match=r"x\.npy\) has an unreadable array header"):
        read_arrays(path)


def test_pickled_objects_are_refused(tmp_path):
    buffer = io.BytesIO()
    np.save(buffer, np.array([{}], dtype=object), allow_pickle=True)
    path = archive(tmp_path / "a.npz", [("x.npy", buffer.getvalue())])
    with pytest.raises(ArtifactError, match="got object"):
        read_arrays(path)


def test_compressed_members_are_refused(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros(1_000_000))
    with pytest.raises(ArtifactError, match="compressed or encrypted"):
        read_arrays(tmp_path / "a.npz")


def test_two_members_of_one_name_are_refused(tmp_path):
    good = npy("{'descr': '|u1', 'fortran_order': False, 'shape': (1,)}", b"0")
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = archive(tmp_path / "a.npz", [("x.npy", good), ("x.npy", good)])
    with pytest.raises(ArtifactError, match="two arrays of the same name"):
        read_arrays(path)


def test_members_that_are_no_arrays_are_refused(tmp_path):
    path = archive(tmp_path / "a.npz", [("run.py", b"print()")])
    with pytest.raises(ArtifactError, match=r"'run\.py', which is not an array"):
        read_arrays(path)


def test_every_cut_of_the_file_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    write_arrays(path, {"x": np.arange(50.0), "y": np.arange(3)})
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(ArtifactError, match=r"a\.npz"):
            read_arrays(path)


def test_flipped_bytes_are_refused_or_do_no_harm(tmp_path):
    path = tmp_path / "a.npz"
    write_arrays(path, {"x": np.arange(10.0)})
    whole = path.read_bytes()
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
        try:
            read_arrays(path)
        except ArtifactError:
            continue  # refused; any other error fails the test

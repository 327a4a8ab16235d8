"""Arrays in one uncompressed npz file, read without trusting what the file says about itself."""

from __future__ import annotations

import math
import tokenize
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from tabular_automl.core.errors import ArtifactError

AnyArray = npt.NDArray[Any]

_SUFFIX = ".npy"
_PLAIN_KINDS = "biufcSUmM"  # numbers, booleans, fixed-width text, dates; no objects, no records
_ENCRYPTED = 0x1
# numpy parses the header as a Python literal, and hands on what its parser says to nonsense
_HEADER_ERRORS = (
    ValueError,
    SyntaxError,
    TypeError,
    MemoryError,
    RecursionError,
    tokenize.TokenError,
)


def write_arrays(path: Path, arrays: Mapping[str, AnyArray]) -> None:
    """Write ``arrays`` to an npz file that `numpy.load` can read as well.

    Raises
    ------
    ArtifactError
        When an array is not of a plain dtype.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, values in arrays.items():
            array = np.asanyarray(values)
            _check_dtype(array.dtype, f"The array {name!r}")
            with archive.open(name + _SUFFIX, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def read_arrays(path: Path) -> dict[str, AnyArray]:
    """Read every array of an npz file.

    No byte is allocated before the file is seen to hold it: compressed members, headers that
    promise more than is there, and overlapping members are refused.

    Raises
    ------
    ArtifactError
        When the file is damaged, or is not one that `write_arrays` could have written.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _check_members(members, path)
            return {
                member.filename.removesuffix(_SUFFIX): _read_member(archive, member, path)
                for member in members
            }
    except (zipfile.BadZipFile, EOFError, NotImplementedError, OSError, ValueError) as error:
        raise ArtifactError(f"{path} is damaged: {error}.") from error


def _check_members(members: list[zipfile.ZipInfo], path: Path) -> None:
    """Refuse what could unfold to more than the file's own bytes."""
    names = [member.filename for member in members]
    if len(names) != len(set(names)):
        raise ArtifactError(f"{path} holds two arrays of the same name.")
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & _ENCRYPTED:
            raise ArtifactError(
                f"{path} holds {member.filename!r} compressed or encrypted, which we never write."
            )
        if member.file_size != member.compress_size or not member.filename.endswith(_SUFFIX):
            raise ArtifactError(f"{path} holds {member.filename!r}, which is not an array of ours.")
    if sum(member.file_size for member in members) > path.stat().st_size:
        raise ArtifactError(f"{path} promises more bytes than it has.")


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> AnyArray:
    where = f"{path} ({member.filename})"
    with archive.open(member) as stream:
        shape, fortran_order, dtype = _read_header(stream, where)
        _check_dtype(dtype, where)
        n_items = math.prod(shape)
        n_bytes = member.file_size - stream.tell()
        if min(shape, default=0) < 0 or n_items * dtype.itemsize != n_bytes:
            raise ArtifactError(
                f"{where} promises {dtype} of shape {shape}, but holds {n_bytes} bytes."
            )
        flat = np.empty(n_items, dtype=dtype)
        # a copy into writable memory, since some libraries refuse read-only arrays; the read to
        # the end also makes zipfile compare the checksum
        n_read = stream.readinto(flat.view(np.uint8))  # type: ignore[attr-defined]
        if n_read != n_bytes or stream.read(1):
            raise ArtifactError(f"{where} is cut short.")
    return flat.reshape(shape[::-1]).T if fortran_order else flat.reshape(shape)


def _read_header(stream: IO[bytes], where: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read an array's header; numpy caps its length and reads it as a literal only."""
    try:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            return np.lib.format.read_array_header_1_0(stream)
        return np.lib.format.read_array_header_2_0(stream)
    except _HEADER_ERRORS as error:
        raise ArtifactError(f"{where} has an unreadable array header.") from error


def _check_dtype(dtype: np.dtype[Any], where: str) -> None:
    if dtype.kind not in _PLAIN_KINDS or dtype.itemsize == 0:
        raise ArtifactError(
            f"{where} must be of a numeric, boolean, fixed-width text or date dtype, got {dtype}."
        )

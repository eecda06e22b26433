"""Reading npz files that hold pickled dictionaries, without letting them run code.

The Human3.6M and MPI-INF-3DHP files in circulation are dictionaries inside 0-d object arrays. numpy would unpickle
whatever they hold; here a pickle may build numpy arrays and Python's plain containers, and nothing else.
"""

from __future__ import annotations

import codecs
import io
import pickle
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy


def _text_to_bytes(text: str, encoding: str) -> bytes:
    """What protocols below 3 use to write bytes; any other codec is refused."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"it asks for the codec {encoding!r}")
    return codecs.encode(text, "latin1")


# The functions a pickled array or number names, taken from one, for their modules move from numpy to numpy.
_RECONSTRUCT: Any = np.zeros(1).__reduce__()[0]
_SCALAR: Any = np.float32(0).__reduce__()[0]
_FROM_BUFFER: Any = np.zeros(1).__reduce_ex__(5)[0]


def _array(_: object, shape: Any, dtype: Any) -> Any:
    """An array to be filled, always a plain one."""
    return _RECONSTRUCT(np.ndarray, shape, dtype)


def _scalar(dtype: np.dtype[Any], data: bytes) -> Any:
    if dtype.hasobject:
        raise pickle.UnpicklingError("it makes an object out of bytes")
    return _SCALAR(dtype, data)


def _allowed() -> dict[tuple[str, str], Any]:
    """Every name a pickle may use; numpy 1 and 2 call the same functions by different modules."""
    allowed: dict[tuple[str, str], Any] = {
        ("numpy", "ndarray"): "ndarray",  # _reconstruct's first argument; nothing to call
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): _text_to_bytes,
    }
    for core in ("numpy.core", "numpy._core"):
        allowed[f"{core}.multiarray", "_reconstruct"] = _array
        allowed[f"{core}.multiarray", "scalar"] = _scalar
        allowed[f"{core}.numeric", "_frombuffer"] = _FROM_BUFFER
    return allowed


class _PlainUnpickler(pickle.Unpickler):
    """Builds arrays, dicts, lists, tuples, strings and numbers; refuses every other name."""

    _allowed = _allowed()

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._allowed:
            raise pickle.UnpicklingError(
                f"it asks for {module}.{name}, which data does not need: do not trust this file"
            )
        return self._allowed[module, name]


# Whatever a broken archive, array header or pickle may raise.
_BROKEN = (
    *(zipfile.BadZipFile, pickle.UnpicklingError, EOFError, OSError, ValueError, KeyError, IndexError, TypeError),
    *(AttributeError, struct.error, zlib.error, MemoryError),
)


def load_dictionary(path: Path, field: str) -> dict[str, Any]:
    """The dictionary that field ``field`` of an npz file holds. ValueError says what is wrong with the file."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [n.removesuffix(".npy") for n in archive.namelist()]
            if field not in names:
                raise ValueError(f"it has no field {field!r}, only {', '.join(names) or 'none'}")
            value = _read_array(io.BytesIO(archive.read(f"{field}.npy")))
    except _BROKEN as e:
        raise ValueError(f"{str(path)!r} cannot be read: {e or type(e).__name__}") from None
    value = value.item() if value.shape == () else value
    if not isinstance(value, dict):
        raise ValueError(f"{str(path)!r}: field {field!r} holds {type(value).__name__}; expected a dictionary")
    return value


def _read_array(file: io.BytesIO) -> Any:
    version = npy.read_magic(file)
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    start = file.tell()
    _, _, dtype = read_header(file)
    if dtype.hasobject:
        return _PlainUnpickler(file, encoding="latin1").load()
    file.seek(start - npy.MAGIC_LEN)
    return npy.read_array(file, allow_pickle=False)

"""Read and write pickles of plain containers and NumPy arrays, and nothing else.

A pickle may run any code while it is read. The reader here builds only what masks and lists of coordinates
need: containers, numbers, text, bytes, NumPy arrays, scalars and dtypes. Anything else is refused by name
before it runs.
"""

import io
import os
import pickle
from pathlib import Path
from typing import Any

from mil_heatmaps.errors import HeatmapError
from mil_heatmaps.files.atomic import atomic_path
from mil_heatmaps.words import said_by

_NUMPY_MODULES = (
    "numpy",
    "numpy.core.multiarray",  # NumPy 1
    "numpy._core.multiarray",  # NumPy 2
    "numpy.core.numeric",
    "numpy._core.numeric",
)
_NUMPY_NAMES = frozenset({"_reconstruct", "_frombuffer", "scalar", "ndarray", "dtype"})
_OTHERS = {
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("builtins", "complex"): complex,
}


class UnsafePickleError(HeatmapError, pickle.UnpicklingError):
    """A pickle asks for something that is not plain data, or is damaged."""


def _encode_latin1(text: str, encoding: str = "latin1") -> bytes:
    """Stand in for `codecs.encode`, by which Python 2 protocols store bytes; any other codec is refused."""
    if encoding != "latin1":
        raise UnsafePickleError(f"the pickle asks for the codec {encoding!r}")
    return text.encode("latin1")


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return the few globals plain data need."""
        module = {"__builtin__": "builtins"}.get(module, module)
        if module in _NUMPY_MODULES and name in _NUMPY_NAMES:
            return numpy_global(name)
        if (module, name) == ("_codecs", "encode"):
            return _encode_latin1
        if (module, name) in _OTHERS:
            return _OTHERS[module, name]
        raise UnsafePickleError(
            f"the pickle asks for {module}.{name}; only plain containers and NumPy arrays are read"
        )

    def persistent_load(self, pid: Any) -> Any:
        raise UnsafePickleError("the pickle refers to an object outside itself; only plain data are read")


def numpy_global(name: str) -> Any:
    """Return NumPy's own rebuilding function of that name, wherever this version keeps it.

    That of arrays is guarded: NumPy writes every array as one of shape (0,), which its content then fills. Any other
    shape would take memory before a byte of it is read.
    """
    import numpy as np

    if name in ("ndarray", "dtype"):
        return getattr(np, name)
    if name == "_frombuffer":
        return np.zeros(1).__reduce_ex__(5)[0]
    if name == "scalar":
        return np.float64(0).__reduce__()[0]
    reconstruct = np.zeros(1).__reduce__()[0]

    def rebuild(kind: Any, shape: Any, code: Any) -> Any:
        if kind is not np.ndarray or shape != (0,):
            raise UnsafePickleError(f"the pickle asks for an array of type {kind!r} and shape {shape!r}")
        return reconstruct(kind, shape, code)  # type: ignore[operator]

    return rebuild


def _holds_objects(value: Any) -> bool:
    """Whether an array of Python objects hides anywhere in `value`."""
    import numpy as np

    waiting, seen = [value], set()
    while waiting:
        item = waiting.pop()
        if isinstance(item, np.ndarray):
            if item.dtype.hasobject:
                return True
        elif isinstance(item, dict | list | tuple | set | frozenset) and id(item) not in seen:
            seen.add(id(item))
            waiting.extend(item)
            if isinstance(item, dict):
                waiting.extend(item.values())
    return False


def loads_pickle(data: bytes, source: str = "the pickle") -> Any:
    """Return what pickled bytes hold; `UnsafePickleError` naming `source` when that is not plain data."""
    try:
        value = _PlainUnpickler(io.BytesIO(data)).load()
    except UnsafePickleError as error:
        raise UnsafePickleError(f"{source} was not read: {error}") from None
    except Exception as error:  # a damaged pickle fails in as many ways as there are opcodes
        raise UnsafePickleError(f"{source} is not a readable pickle: {said_by(error)}") from error
    if _holds_objects(value):
        raise UnsafePickleError(f"{source} was not read: it holds an array of Python objects")
    return value


def load_pickle(path: str | os.PathLike[str]) -> Any:
    """Return what a pickle file holds; `UnsafePickleError` naming the file when that is not plain data."""
    return loads_pickle(Path(path).read_bytes(), str(path))


def dump_pickle(value: Any, path: str | os.PathLike[str]) -> None:
    """Write `value` as a pickle, whole or not at all; refuses what `load_pickle` would refuse."""
    data = pickle.dumps(value, protocol=4)  # what CLAM's Python writes, readable since 3.4
    loads_pickle(data, "the value")
    with atomic_path(path) as partial:
        partial.write_bytes(data)

"""Read files of `torch.save` that hold objects besides tensors; every object becomes an inert record.

The unpickler knows torch's tensor builders, NumPy's array builders and plain containers. Every other name, whatever it
is, becomes a `Record`: a note of the name, the arguments and the state, made by this module. No module is imported for
a file, and nothing that a file names is called.
"""

import os
import pickle
import pickletools
import tarfile
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from mil_heatmaps.files.safe_pickle import UnsafePickleError, numpy_global
from mil_heatmaps.words import said_by, whole_number

_EXTENSIONS = frozenset({"EXT1", "EXT2", "EXT4"})
"""Opcodes that look names up in a registry of this process instead of naming them."""
_FORCED = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
"""torch's environment variable that forbids any other unpickler, even an inert one."""
_PLAIN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "defaultdict"): defaultdict,
    **{("builtins", kind.__name__): kind
       for kind in (dict, list, tuple, set, frozenset, complex)},
}  # fmt: skip
_TENSOR_BUILDERS = ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter")
_NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray")


class Record:
    """An object in a file, as the file describes it and nothing more.

    Attributes
    ----------
    record_name : str
        ``module.Class``, or the function that was to be called.
    record_arguments : tuple
    record_state : Any
        The state that the object was to get, usually a dict of its attributes.
    record_items : list
        Items of a list or set; pairs of a dict.
    """

    record_name = ""
    dump_patches = False  # torch asks it of classes whose source an old file holds
    record_arguments: tuple[Any, ...]
    record_state: Any
    record_items: list[Any]

    def __new__(cls, *arguments: Any, **more: Any) -> "Record":
        """Keep the arguments; nothing is called with them."""
        made = super().__new__(cls)
        made.record_arguments = (*arguments, *more.items())
        made.record_state, made.record_items = None, []
        return made

    def __init__(self, *arguments: Any, **more: Any) -> None:
        """Take what `__new__` has kept."""

    def __setstate__(self, state: Any) -> None:
        """Keep the state."""
        self.record_state = state

    def __call__(self, *arguments: Any, **more: Any) -> "Record":
        """Return another record: what a file would have called is not called."""
        return _record_type(f"{self.record_name}(…)", "")(*arguments, **more)

    def append(self, item: Any) -> None:
        """Keep an item of a list."""
        self.record_items.append(item)

    add = append

    def extend(self, items: Any) -> None:
        """Keep items of a list."""
        self.record_items.extend(items)

    def __setitem__(self, key: Any, value: Any) -> None:
        """Keep an item of a dict."""
        self.record_items.append((key, value))

    def __repr__(self) -> str:
        return f"Record({self.record_name})"

    @property
    def attributes(self) -> dict[str, Any]:
        """What the object holds by name: its attributes, and its items where it is a dict."""
        states = self.record_state if isinstance(self.record_state, tuple) else (self.record_state,)
        found = {str(key): value for state in states if isinstance(state, Mapping) for key, value in state.items()}
        pairs = (item for item in self.record_items if isinstance(item, tuple) and len(item) == 2)
        return found | {str(key): value for key, value in pairs if isinstance(key, str)}


def release_of(value: Any) -> tuple[int, ...] | None:
    """Return the release (2, 5, 0) of a version: a text, or the record of a `packaging.version.Version`.

    packaging before 26 pickles ``{"_version": _Version(epoch, release, …)}``, since 26 the tuple (epoch, release, …).
    """
    if isinstance(value, str):
        numbers = value.strip().lstrip("v").split("+")[0].split(".")
        found = [number for part in numbers[:4] if (number := whole_number(part)) is not None]
        return tuple(found) or None
    if not isinstance(value, Record):
        return None
    parts: Any = value.record_state
    inner = parts.get("_version") if isinstance(parts, Mapping) else None
    if isinstance(inner, Record):
        parts = inner.record_arguments
    while isinstance(parts, tuple) and parts and isinstance(parts[0], tuple | Mapping) and len(parts) < 3:
        parts = parts[-1] if isinstance(parts[0], Mapping) else parts[0]
    if isinstance(parts, Mapping):
        parts = (0, parts.get("release", parts.get("_release")))
    release = parts[1] if isinstance(parts, tuple) and len(parts) > 1 else None
    if isinstance(release, tuple | list) and all(isinstance(number, int) for number in release):
        return tuple(release) or None
    return None


def _record_type(module: str, name: str) -> type[Record]:
    """Return a class of records for one name; each file gets its own, so that none can spoil another's."""
    title = ".".join(part for part in (str(module), str(name)) if part)
    return type(str(name).rpartition(".")[2] or "Record", (Record,), {"record_name": title})


def _fresh(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a wrapper of `function`: a file may change the wrapper that it names, never torch's own function."""

    def build(*arguments: Any, **more: Any) -> Any:
        return function(*arguments, **more)

    return build


class InertUnpickler(pickle.Unpickler):
    """Makes tensors, arrays, plain containers, and records of everything else."""

    def __init__(self, file: Any, **settings: Any) -> None:
        _refuse_extensions(file)
        super().__init__(file, **settings)

    def find_class(self, module: str, name: str) -> Any:
        """Return torch's own builder, a plain container, or a class of records. Never imports what a file names."""
        module = {"__builtin__": "builtins"}.get(module, module)
        if (module, name) in _PLAIN:
            return _PLAIN[module, name]
        if module == "torch._utils" and name in _TENSOR_BUILDERS:
            import torch._utils

            return _fresh(getattr(torch._utils, name))
        if (module, name) == ("torch", "Size"):
            import torch

            return torch.Size
        if module in _NUMPY and name in ("scalar", "_reconstruct"):
            return _fresh(numpy_global(name))
        if module == "numpy" and name in ("ndarray", "dtype"):
            return numpy_global(name)
        if (module, name) == ("_codecs", "encode"):
            return _latin1
        return _record_type(module, name)


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    if encoding != "latin1":
        raise UnsafePickleError(f"the pickle asks for the codec {encoding!r}")
    return text.encode("latin1")


def _refuse_extensions(file: Any) -> None:
    """Refuse opcodes that name what this process has registered; the position in the file is kept."""
    start = file.tell()
    for opcode, _, _ in pickletools.genops(file):
        if opcode.name in _EXTENSIONS:
            raise UnsafePickleError("the pickle asks for an object registered in the program that reads it")
    file.seek(start)


def _inert_pickle() -> Any:
    """Return what torch needs of a pickle module: `Unpickler` and `load`, both of them inert."""
    module: Any = ModuleType("inert_pickle")
    module.Unpickler = InertUnpickler
    module.load = lambda file, **settings: InertUnpickler(file, **settings).load()
    module.UnpicklingError = pickle.UnpicklingError
    return module


def load_inert(path: Path) -> Any:
    """Return what a file of `torch.save` holds: tensors on the CPU, plain values, and records of all else.

    Raises
    ------
    UnsafePickleError
        No such file, an archive in tar (torch before 0.1.10) or a damaged one; names the file.
    """
    import torch

    with path.open("rb") as stream:
        start = stream.read(2)
        if start not in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05") or (
            start != b"PK" and tarfile.is_tarfile(path)
        ):
            raise UnsafePickleError(f"{path} was not written by torch.save as it is today: save the weights again")
        if os.environ.get(_FORCED, "0").lower() in ("1", "y", "yes", "true"):
            raise UnsafePickleError(f"{path} holds objects beside its weights, which {_FORCED} forbids: unset it")
        stream.seek(0)
        try:
            return torch.load(stream, map_location="cpu", pickle_module=_inert_pickle(), weights_only=False)
        except UnsafePickleError as error:
            raise UnsafePickleError(f"{path} was not read: {error}") from None
        except Exception as error:  # a damaged file fails in as many ways as there are opcodes
            raise UnsafePickleError(f"{path} is a damaged or foreign checkpoint ({said_by(error)})") from error


def is_module(record: Record) -> bool:
    """Whether a record is a whole pickled `torch.nn.Module`."""
    return {"_parameters", "_modules"} <= set(record.attributes)


def names_of_records(content: Any, most: int = 2000) -> list[str]:
    """Return the names of the objects in `content`, each once, in the order found; looks at up to `most` places."""
    waiting, seen, names = [content], set[int](), dict[str, None]()
    while waiting and len(seen) < most:
        item = waiting.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, Record):
            names[item.record_name] = None
            waiting += [item.record_state, item.record_items]
        elif isinstance(item, Mapping):
            waiting += list(item.values())
        elif isinstance(item, list | tuple | set | frozenset):
            waiting += list(item)
        elif isinstance(item, type) and issubclass(item, Record):
            names[item.record_name] = None
    return list(names)

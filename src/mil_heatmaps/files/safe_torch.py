"""Load files of `torch.save` without ever running code from them.

torch is imported by the functions that need it, so that this module costs nothing to import.
"""

import argparse
import pathlib
import re
import warnings
import zipfile
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

from mil_heatmaps.files.safe_pickle import UnsafePickleError, numpy_global

_REFUSED = re.compile(r"asks for an array of type .* and shape [^\n]*")


def load_torch(path: Path) -> Any:
    """Return what a file holds: tensors on the CPU, NumPy values, and plain values and containers.

    Raises
    ------
    UnsafePickleError
        An archive that grows when unpacked, or an array that only takes memory; names the file.
    Exception
        Anything else that is wrong, as torch raises it: nearly any kind for a damaged file, `pickle.UnpicklingError`
        for a file that holds more.
    """
    import torch

    _refuse_inflating(path)
    try:
        with (
            torch.serialization.safe_globals(_harmless_globals()),
            warnings.catch_warnings(),
            path.open("rb") as stream,  # given a path, torch goes by its name
        ):
            warnings.simplefilter("ignore")  # the message of a refusal also says what torch warns of
            return torch.load(stream, map_location="cpu", weights_only=True)
    except Exception as error:
        if refused := _REFUSED.search(str(error)):
            raise UnsafePickleError(f"{path} was not read: it {refused[0]}") from None
        raise


def _refuse_inflating(path: Path) -> None:
    """Refuse an archive that grows when unpacked: torch.save never compresses."""
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return  # torch's own message says more
    size = path.stat().st_size
    if unpacked > 4 * size + 2**20:
        raise UnsafePickleError(
            f"{path} ({size:,} bytes) would unpack to {unpacked:,} bytes: it was not written by torch.save "
            "and was not unpacked"
        )


def _harmless_globals() -> list[Any]:
    """Return harmless types that are stored beside tensors: NumPy values, options of a training, paths."""
    import numpy as np

    multiarray = ("numpy.core.multiarray", "numpy._core.multiarray")  # before and since NumPy 2
    return [
        *((numpy_global(name), f"{module}.{name}") for name in ("scalar", "_reconstruct") for module in multiarray),
        np.ndarray,
        np.dtype,
        *(getattr(np.dtypes, name) for name in np.dtypes.__all__ if name != "ObjectDType"),
        argparse.Namespace,
        OrderedDict,
        defaultdict,
        dict,
        list,
        *(
            (kind, f"{module}.{name}")
            for kind in (pathlib.PurePosixPath, pathlib.PureWindowsPath)
            for name in (kind.__name__, kind.__name__.removeprefix("Pure"))
            for module in ("pathlib", "pathlib._local")  # the second one where Python 3.13 wrote the file
        ),
    ]

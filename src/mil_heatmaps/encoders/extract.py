"""Extract the features of a slide's patches: threads read, the encoder encodes, batches are kept as they come.

A run that is killed goes on at the batch it was killed in; a run of what is already there does nothing.
"""

import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from mil_heatmaps.encoders.encoding_progress import EncodingProgress
from mil_heatmaps.encoders.feature_cache import FeatureCache
from mil_heatmaps.encoders.feature_log import FeatureLog, remove_log
from mil_heatmaps.encoders.lanes import in_lanes, lanes_for, share_out
from mil_heatmaps.errors import FeatureError, SlideError
from mil_heatmaps.features.write_features import count_rows, read_key, trident_attributes, write_features
from mil_heatmaps.files.atomic import atomic_path
from mil_heatmaps.files.digests import sha256_ends
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.patch_reader import PatchReader, default_threads
from mil_heatmaps.slides.read_plan import PatchReading, reading_for_grid
from mil_heatmaps.slides.reader import Slide

if TYPE_CHECKING:
    from mil_heatmaps.encoders.base import PatchEncoder

logger = logging.getLogger(__name__)

_VERSION = 1
"""Of the way patches are read and ordered; raise it when features would differ."""
_READ_AHEAD = 64
"""Patches at least that are read before they are asked for: where a new row of tiles begins, reading is slow."""


@dataclass(frozen=True)
class Extraction:
    """What an extraction did.

    Attributes
    ----------
    path : Path
        The feature file.
    n, width : int
        Patches asked for, and features of each.
    encoded, resumed : int
        Patches encoded by this call, and taken over from a killed one; both 0 when the file was there already.
    batch_size : int
        Patches the encoder was handed at a time, at the end; 0 when nothing was encoded.
    seconds : float
    copied_from : Path or None
        The file that held these features already.
    unreadable : int
        Patches left out of the file, since they lie on tiles of the slide that cannot be read.
    """

    path: Path
    n: int
    width: int
    encoded: int
    resumed: int
    batch_size: int
    seconds: float
    copied_from: Path | None = None
    unreadable: int = 0


def extract_features(
    slide: Slide,
    grid: PatchGrid,
    encoder: "PatchEncoder",
    out_path: str | os.PathLike[str],
    *,
    reading: PatchReading | None = None,
    batch_size: int | Literal["auto"] = "auto",
    threads: int | None = None,
    code: str | None = None,
    others: Iterable[Path] = (),
    cache: FeatureCache | None = None,
    progress: Callable[[EncodingProgress], None] | None = None,
) -> Extraction:
    """Write the features of every patch of `grid` to `out_path`, in TRIDENT's layout and the grid's order.

    Patches on tiles of the slide that cannot be read are left out.

    Parameters
    ----------
    reading
        Level and pixels of the patches; by default level-0 pixels, as many as the grid's patches have.
    batch_size
        Patches at work at once; ``auto`` finds one that fits. Cores of the processor, or two lanes of a GPU, share it:
        see `lanes.share_out`. Parts are halved when memory runs out.
    threads
        Threads that read, and parts of a batch encoded at once on the processor: the cores this process may use. The
        features are the same with any number. None: all cores.
    code
        Of the encoder's own code, anything that changes with it; see `extraction_key`.
    others
        Feature files that may hold these very features under another name: one with the same key is copied.
    cache
        Features of other runs: taken from there when it has these, else put there.
    progress
        Called after every batch.

    Raises
    ------
    FeatureError
        No patches; the file cannot be written; another process is writing it.
    ModelError
        Out of memory at batch size 1; an encoder that returns other shapes, NaN or infinities.
    SlideError
        The slide cannot be read, or none of its patches; what was encoded until then is kept for the next run.
    """
    out = Path(out_path)
    if not len(grid):
        raise FeatureError(f"{slide.path.name}: there are no patches to encode")
    if batch_size != "auto" and batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    begun = time.monotonic()
    reading = reading or reading_for_grid(slide, grid)
    threads = threads or default_threads()
    key = extraction_key(slide, grid, encoder, reading, code)
    log_path = out.with_name(out.name + ".encoding")
    found = read_key(out)
    # A file that lacks patches is made again: the slide may have been repaired since.
    if found == key and count_rows(out) == len(grid):
        remove_log(log_path)
        return Extraction(out, len(grid), encoder.width, 0, 0, 0, time.monotonic() - begun)
    if found is None and out.exists():
        raise FeatureError(f"{out} exists and was not written by this program: move it away, or write elsewhere")
    for other in others:
        if read_key(other) == key and count_rows(other) == len(grid):
            with atomic_path(out) as partial:
                shutil.copyfile(other, partial)
            remove_log(log_path)
            return Extraction(out, len(grid), encoder.width, 0, 0, 0, time.monotonic() - begun, copied_from=other)
    if cache is not None and (shared := cache.take(key, len(grid), out)) is not None:
        remove_log(log_path)
        return Extraction(out, len(grid), encoder.width, 0, 0, 0, time.monotonic() - begun, copied_from=shared)
    reader = PatchReader(slide, grid, reading, threads=threads)
    with FeatureLog(log_path, key, len(grid), encoder.width) as log:
        resumed = log.rows
        if resumed:
            logger.info("%s: %d of %d patches were encoded before", slide.slide_id, resumed, len(grid))
        size = 0
        if resumed < len(grid):
            size = _encode_rest(reader, encoder, log, batch_size, threads, progress)
        place = np.empty(len(grid), np.int64)
        place[reader.order] = np.arange(len(grid))
        # Sorted out of the log, not of what was read just now: a run before may have met bad tiles, too.
        kept = np.flatnonzero(~log.missing()[place])
        if not len(kept):
            log.remove()
            slide.unreadable.check()
            raise SlideError(f"no patch of {slide.path} can be read: every one lies on a tile that cannot be decoded")
        attributes = trident_attributes(slide, grid, reading)
        write_features(
            out, grid.coords_l0[kept], lambda rows: log.read(place[kept[rows]]), encoder.width,
            encoder=encoder.name, attributes=attributes, key=key,
        )  # fmt: skip
        log.remove()
    seconds = time.monotonic() - begun
    left_out = len(grid) - len(kept)
    if cache is not None and not left_out:
        cache.put(key, out)
    return Extraction(out, len(grid), encoder.width, len(grid) - resumed, resumed, size, seconds, None, left_out)


def extraction_key(
    slide: Slide, grid: PatchGrid, encoder: "PatchEncoder", reading: PatchReading, code: str | None = None
) -> str:
    """Return the SHA-256 of everything the features depend on: slide, patches, reading, encoder and its own `code`.

    It is in the feature file, so a file can be reused exactly when its key is this one. Device, batch size and
    number of threads are no part of it.
    """
    describe = getattr(encoder, "identity", None)
    parts: Mapping[str, Any] = {
        "version": _VERSION,
        "slide": _slide_fingerprint(slide),
        "coords": hashlib.sha256(np.ascontiguousarray(grid.coords_l0, "<i8").tobytes()).hexdigest(),
        "size_l0": grid.size_l0,
        "step_l0": grid.step_l0,
        "reading": reading.identity(),
        "encoder": describe() if callable(describe) else {"name": encoder.name, "width": encoder.width},
        **({} if code is None else {"code": code}),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _slide_fingerprint(slide: Slide) -> dict[str, Any]:
    """Tell a slide by its size and both ends of its file: copying it does not change it, scanning again does."""
    levels = [list(level) for level in slide.level_dimensions]
    path = slide.data_path
    return {"name": path.stem, "bytes": path.stat().st_size, "ends": sha256_ends(path), "levels": levels}


def _encode_rest(
    reader: PatchReader,
    encoder: "PatchEncoder",
    log: FeatureLog,
    batch_size: int | Literal["auto"],
    threads: int,
    progress: Callable[[EncodingProgress], None] | None,
) -> int:
    """Encode what the log lacks; return the batch size at the end."""
    import torch

    from mil_heatmaps.encoders.batch_size import BatchEncoder, find_batch_size

    place = torch.device(getattr(encoder, "device", None) or "cpu")
    # Half of the work, in uint8, for encoders that do the other half on the device.
    shrink = getattr(encoder, "shrink", None)
    prepare = shrink if callable(shrink) else _numpy_from(encoder)
    lanes = lanes_for(encoder, place, threads)
    if batch_size == "auto" and log.batch_size:
        # The same parts as before the kill: in another one a feature may differ in its last bit.
        size = log.batch_size
    else:
        if batch_size == "auto":
            batch_size = find_batch_size(encoder, _example(reader, prepare), place, lanes)
        size, lanes = share_out(batch_size, lanes, place)
    batches = BatchEncoder(encoder, place, size)
    begun, before, total = time.monotonic(), log.rows, len(reader.order)
    read = reader.batches(
        size,
        start=before,
        prepare=prepare,
        allocate=_pinned if place.type == "cuda" else np.empty,
        ahead=max(2, -(-_READ_AHEAD // size)),
    )
    with closing(read), closing(in_lanes(batches.encode, (batch for _, batch in read), lanes)) as encoded:
        for features in encoded:
            bad = reader.unreadable(reader.order[log.rows : log.rows + len(features)])
            if bad.any():
                # Encoded with the others, whose batches and so whose last bits stay what they are without bad tiles.
                features = features.copy()
                features[bad] = np.nan
            log.append(features)
            if progress is not None:
                rate = (log.rows - before) / max(time.monotonic() - begun, 1e-9)
                progress(EncodingProgress(log.rows, total, rate, (total - log.rows) / rate))
    return batches.size


def _numpy_from(encoder: "PatchEncoder") -> Callable[[npt.NDArray[np.uint8]], npt.NDArray[Any]]:
    def prepare(batch: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        return encoder.preprocess(batch).cpu().numpy()

    return prepare


def _example(reader: PatchReader, prepare: Callable[[npt.NDArray[np.uint8]], npt.NDArray[Any]]) -> npt.NDArray[Any]:
    width, height = reader.reading.patch_px
    return prepare(np.full((1, height, width, 3), 255, np.uint8))


def _pinned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Page-locked memory: the GPU fetches from it while the CPU goes on."""
    import torch

    kind = {np.dtype(np.uint8): torch.uint8, np.dtype(np.float32): torch.float32}.get(dtype)
    return np.empty(shape, dtype) if kind is None else torch.empty(shape, dtype=kind, pin_memory=True).numpy()

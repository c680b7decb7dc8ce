"""Extract the features of a slide's patches: threads read, the encoder encodes, and finished batches are stored.

After a kill, the next run resumes at the batch that was lost. A run whose features are already there does nothing.
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
"""Version of the way patches are read and ordered; raise it when features would differ."""
_READ_AHEAD = 64
"""Least number of patches that are read ahead: reading is slow where a new row of tiles begins."""


@dataclass(frozen=True)
class Extraction:
    """The result of an extraction.

    Attributes
    ----------
    path : Path
        The feature file.
    n, width : int
        Number of patches requested, and number of features of each.
    encoded, resumed : int
        Patches encoded by this call, and taken over from a killed one; both 0 if the file was there already.
    batch_size : int
        Patches that the encoder took at a time, at the end; 0 if nothing was encoded.
    seconds : float
    copied_from : Path or None
        The file that held these features already.
    unreadable : int
        Patches left out of the file because they lie on tiles of the slide that cannot be read.
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
        Patches encoded at once; ``auto`` finds a size that fits. The CPU's cores, or two lanes of a GPU, share it:
        see `lanes.share_out`. Parts are halved when memory runs out.
    threads
        Cores that this process may use: as many threads read, and as many parts of a batch are encoded at once on the
        CPU. The features are the same with any number. None: all cores.
    code
        Any text that changes with the encoder's own code, such as a digest; see `extraction_key`.
    others
        Feature files that may hold the same features under another name: a file with the same key is copied.
    cache
        Features of other runs: they are taken from it if it has them, else added to it.
    progress
        Called after every batch.

    Raises
    ------
    FeatureError
        There are no patches, the file cannot be written, or another process is writing it.
    ModelError
        Memory runs out at batch size 1, or the encoder returns other shapes, NaN or infinities.
    SlideError
        The slide, or every patch of it, cannot be read; patches encoded so far are kept for the next run.
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
    # A file that lacks patches is written again: the slide may have been repaired since.
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
        # Found in the log rather than in this run's reads, because an earlier run may have met bad tiles too.
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

    The feature file holds it, so a file can be reused exactly when its key is the same. Device, batch size and
    number of threads are not part of it.
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
    """Identify a slide by the size and both ends of its file: a copy has the same fingerprint, a new scan another."""
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
    # Only the uint8 half of preprocessing, for encoders that do the other half on the device.
    shrink = getattr(encoder, "shrink", None)
    prepare = shrink if callable(shrink) else _numpy_from(encoder)
    lanes = lanes_for(encoder, place, threads)
    if batch_size == "auto" and log.batch_size:
        # The same parts as before the kill: with other parts a feature may differ in its last bit.
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
                # Bad patches are encoded too, so that batches, and the last bits of features, do not depend on them.
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
    """Return page-locked memory, which the GPU reads while the CPU goes on."""
    import torch

    kind = {np.dtype(np.uint8): torch.uint8, np.dtype(np.float32): torch.float32}.get(dtype)
    return np.empty(shape, dtype) if kind is None else torch.empty(shape, dtype=kind, pin_memory=True).numpy()

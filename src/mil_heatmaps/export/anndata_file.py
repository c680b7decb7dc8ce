"""Scores as AnnData, for scanpy and squidpy: one observation per patch, and a cohort as one file.

``obs``: slide_id and every score and percentile. ``obsm``: ``spatial``, the centres of the patches in level-0 pixels,
because squidpy draws spots around them; ``spatial_um``, the same in micrometres if the resolution is known;
``corners_l0``, the top-left corners. ``uns["spatial"][slide]``: thumbnail and scale factors.
``uns["mil_heatmaps"][slide]``: all other facts. ``X`` holds the features if they are given, else it is empty.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.errors import ScoreError
from mil_heatmaps.export.tables import percentile_columns, score_columns
from mil_heatmaps.files.atomic import atomic_path
from mil_heatmaps.notices import Notice
from mil_heatmaps.scores.score_file import ScoreFile
from mil_heatmaps.slides.pixels import UInt8Array
from mil_heatmaps.words import install_line, lacking, said_by

_LOWRES_PX = 256


def anndata_module() -> Any:
    """Return the package, or raise MissingDependencyError with the command that installs it."""
    try:
        import anndata
    except ImportError as error:
        raise lacking("export_arguments.anndata", "anndata", install_line("interop"), error) from error
    return anndata


def to_anndata(
    scores: ScoreFile,
    *,
    features: npt.NDArray[Any] | None = None,
    thumbnail: UInt8Array | None = None,
    slide_id: str | None = None,
    slide_size_l0: tuple[int, int] | None = None,
    mpp: float | None = None,
    notices: Sequence[Notice] = (),
    faithfulness: Mapping[str, Any] | None = None,
) -> Any:
    """Return the scores of a slide as an `anndata.AnnData`.

    Parameters
    ----------
    features : (N, D), optional
        Features of the same patches in the same order; they become X.
    thumbnail : (h, w, 3) uint8, optional
        Picture of the whole slide, for ``uns["spatial"]``. It needs the slide's size.
    slide_id, slide_size_l0, mpp : optional
        Override the values of the score file.

    Raises
    ------
    MissingDependencyError
        If anndata is not installed.
    ScoreError
        If the number of features differs from the number of patches, or a thumbnail comes without the slide's size.
    """
    import pandas as pd

    anndata = anndata_module()
    name = (slide_id or scores.slide_id or "slide").replace("/", "_")
    size_l0, mpp = slide_size_l0 or scores.slide_size_l0, mpp or scores.level0_mpp
    grid = scores.grid
    if features is not None and len(features) != len(grid):
        raise ScoreError(f"{len(grid)} patches have scores, but there are {len(features)} rows of features")
    columns: dict[str, Any] = {
        "slide_id": pd.Categorical.from_codes(np.zeros(len(grid), np.int8), _names([name]))
    }
    for column, values in (score_columns(scores) | percentile_columns(scores)).items():
        columns[_key(column, columns)] = values
    obs = pd.DataFrame(columns, index=_names(f"{name}-{row}" for row in range(len(grid))))
    centres = grid.coords_l0 + np.asarray(grid.size_l0, np.float64) / 2
    obsm = {"spatial": centres, "corners_l0": grid.coords_l0}
    if mpp is not None:
        obsm["spatial_um"] = centres * mpp
    uns = {
        "spatial": {name: _spatial(grid.size_l0[0], thumbnail, size_l0)},
        "mil_heatmaps": {name: _told(scores, size_l0, mpp, notices, faithfulness)},
    }
    width = 0 if features is None else features.shape[1]
    var = pd.DataFrame(index=_names(f"feature_{i}" for i in range(width)))
    x = np.empty((len(grid), 0), np.float32) if features is None else np.asarray(features, np.float32)
    return anndata.AnnData(X=x, obs=obs, var=var, obsm=obsm, uns=uns)


def _names(names: Iterable[str]) -> Any:
    """Return strings as an index of objects, because not every version of anndata reads pandas' string type."""
    import pandas as pd

    return pd.Index(list(names), dtype=object)


def _key(name: str, taken: Mapping[str, Any]) -> str:
    """Return a unique name for HDF5, without slashes, which would make groups."""
    plain = name.replace("/", "_")
    while plain in taken:
        plain += "_"
    return plain


def _spatial(
    width_l0: int, thumbnail: UInt8Array | None, size_l0: tuple[int, int] | None
) -> dict[str, Any]:
    """Return what squidpy and scanpy expect for a slide."""
    factors: dict[str, float] = {"spot_diameter_fullres": float(width_l0)}
    images: dict[str, Any] = {}
    if thumbnail is not None:
        if size_l0 is None:
            raise ScoreError("the slide's size is not known, so a thumbnail has no scale: give slide_size_l0")
        images["hires"] = thumbnail
        factors["tissue_hires_scalef"] = thumbnail.shape[1] / size_l0[0]
        every = max(1, -(-max(thumbnail.shape[:2]) // _LOWRES_PX))
        images["lowres"] = np.ascontiguousarray(thumbnail[::every, ::every])
        factors["tissue_lowres_scalef"] = images["lowres"].shape[1] / size_l0[0]
    return {"images": images, "scalefactors": factors}


def _told(
    scores: ScoreFile,
    size_l0: tuple[int, int] | None,
    mpp: float | None,
    notices: Sequence[Notice],
    faithfulness: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return all other facts as values that HDF5 can store: numbers, strings and arrays of them."""
    told: dict[str, Any] = {
        "patch_size_l0": np.asarray(scores.grid.size_l0),
        "step_l0": np.asarray(scores.grid.step_l0),
        "kinds": {_key(name, {}): one.kind for name, one in scores.all_scores.items()},
        "notices": json.dumps([notice.plain() for notice in notices or scores.notices], ensure_ascii=False),
    }
    if size_l0 is not None:
        told["slide_size_l0"] = np.asarray(size_l0)
    if mpp is not None:
        told["level0_mpp"] = float(mpp)
    if faithfulness is not None:
        told["faithfulness"] = json.dumps(dict(faithfulness), ensure_ascii=False)
    if scores.prediction is not None:
        told["prediction"] = {
            "task": scores.prediction.task,
            "classes": np.asarray(scores.prediction.classes, dtype=object),
            "probabilities": scores.prediction.probabilities,
            "summary": scores.prediction.summary,
        }
    return told


def write_h5ad(path: str | os.PathLike[str], scores: ScoreFile, **options: Any) -> None:
    """Write the scores of a slide; `options` and errors are those of `to_anndata`."""
    data = to_anndata(scores, **options)
    with atomic_path(path) as partial:
        data.write_h5ad(partial, compression="gzip")


def join_h5ad(path: str | os.PathLike[str], parts: Sequence[Path]) -> None:
    """Join the files of the slides into one, in their order, with one slide in memory at a time.

    Raises
    ------
    ScoreError
        If the files cannot be joined, for example because of features from different encoders.
    """
    anndata = anndata_module()
    try:
        # pandas 3.0 and later stores the patches' names in its own string type, which anndata 0.11 and later reads.
        with anndata.settings.override(allow_write_nullable_strings=True), atomic_path(path) as partial:
            anndata.experimental.concat_on_disk(parts, partial, join="outer")
            _join_uns(partial, parts)
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ScoreError(f"{path}: {len(parts)} slides cannot be joined: {said_by(error)}") from error


def _join_uns(path: Path, parts: Sequence[Path]) -> None:
    """Copy each slide's entries in ``uns``, which anndata leaves out."""
    import h5py

    with h5py.File(path, "a") as joined:
        homes = {}
        for name in ("uns", "uns/spatial", "uns/mil_heatmaps"):
            homes[name] = joined.require_group(name)
            homes[name].attrs.update({"encoding-type": "dict", "encoding-version": "0.1.0"})
        for part in parts:
            with h5py.File(part, "r") as source:
                for name in ("uns/spatial", "uns/mil_heatmaps"):
                    for slide in source[name]:
                        if slide not in homes[name]:  # anndata copies a single file with its entries
                            source.copy(f"{name}/{slide}", homes[name], slide)

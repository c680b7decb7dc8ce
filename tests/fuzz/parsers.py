"""Every parser of files and addresses from elsewhere, as a function of bytes: it reads, or says why not.

`PARSERS` gives each a seed, a good file that mutations start from. A parser may raise what it promises, `HeatmapError`
alone; anything else is a finding.
"""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.helpers import features


@dataclass(frozen=True)
class Parser:
    """One parser: the name of the file it reads, what reads it, and a good content."""

    file_name: str
    read: Callable[[Path], Any]
    seed: Callable[[], bytes]


def _config(path: Path) -> Any:
    from mil_heatmaps.config.config import load_config

    return load_config(path, check_files=False)


def _process_list(path: Path) -> Any:
    from mil_heatmaps.cohort.process_list import read_process_list
    from mil_heatmaps.config.config import make_config

    sections = {"data_arguments": {"data_dir": ".", "h5_dir": "."}, "model_arguments": {"ckpt_path": "m.pt"}}
    config = make_config(sections, check_files=False)
    return read_process_list(path, config)


def _scores(path: Path) -> Any:
    from mil_heatmaps.scores.external_scores import read_external_scores

    return read_external_scores(path, patch_size_l0=64)


def _features(path: Path) -> Any:
    from mil_heatmaps.features.read import read_features

    return read_features(path)


def _mask(path: Path) -> Any:
    from mil_heatmaps.slides.tissue_files import read_mask

    return read_mask(path)


def _checkpoint(path: Path) -> Any:
    from mil_heatmaps.weights.checkpoint_files import read_stored

    return read_stored(path)


def _headers(path: Path) -> Any:
    from mil_heatmaps.slides.header_checks import headers_pass, refuse_large_tiles

    refuse_large_tiles(path)
    return headers_pass(path)


def _jpeg(path: Path) -> Any:
    from mil_heatmaps.slides.jpeg_header import jpeg_size

    return jpeg_size(path.read_bytes())


def _pt_features(path: Path) -> Any:
    from mil_heatmaps.features.torch_files import features_from_pt

    return features_from_pt(path)


def _h5() -> bytes:
    import h5py

    held = io.BytesIO()
    with h5py.File(held, "w") as file:
        file["features"], file["scores"] = np.ones((12, 4), np.float32), np.ones((12, 1), np.float32)
        file["coords"] = features.grid_coords(4, 3, 64)
        file["coords"].attrs["patch_size_level0"], file["scores"].attrs["kind"] = 64, "external"
    return held.getvalue()


def _tiff() -> bytes:
    import tifffile

    held = io.BytesIO()
    pixels = np.zeros((128, 128, 3), np.uint8)
    tifffile.imwrite(held, pixels, tile=(64, 64), photometric="rgb", compression="jpeg")
    return held.getvalue()


def _jpeg_bytes() -> bytes:
    from PIL import Image

    held = io.BytesIO()
    Image.new("RGB", (64, 64)).save(held, "jpeg")
    return held.getvalue()


def _torch_bytes() -> bytes:
    import torch

    held = io.BytesIO()
    torch.save({"features": torch.ones(4, 3), "coords": torch.zeros(4, 2)}, held)
    return held.getvalue()


def _safetensors() -> bytes:
    import torch
    from safetensors.torch import save

    return save({"w": torch.ones(3, 2)})


CONFIG = b"""data_arguments: {data_dir: slides, h5_dir: h5, label_dict: {a: 0, b: 1}}
model_arguments: {ckpt_path: m.pt}
exp_arguments: &exp {save_exp_code: E}
heatmap_arguments: {alpha: 0.4, cmap: jet}
"""
RING = {"type": "Polygon", "coordinates": [[[0, 0], [90, 0], [90, 90], [0, 0]]]}
MASK = {"tissue": [np.zeros((4, 1, 2), np.int32)], "holes": [[]]}

PARSERS: dict[str, Parser] = {
    "config": Parser("c.yaml", _config, lambda: CONFIG),
    "process_list": Parser("l.csv", _process_list, lambda: b"slide_id,label,process,x1\ns1.svs,a,1,3\n's2,b,0,\n"),
    "score_table": Parser("s.csv", _scores, lambda: b"x,y,score\n0,0,0.5\n64,0,0.1\n"),
    "score_file": Parser("s.h5", _scores, _h5),
    "features_h5": Parser("f.h5", _features, _h5),
    "features_pt": Parser("f.pt", _pt_features, _torch_bytes),
    "geojson": Parser("m.geojson", _mask, lambda: json.dumps({"type": "FeatureCollection", "features": [
        {"type": "Feature", "properties": {"classification": {"name": "T"}}, "geometry": RING}]}).encode()),
    "mask_pkl": Parser("m.pkl", _mask, lambda: pickle.dumps(MASK)),
    "checkpoint": Parser("w.pt", _checkpoint, _torch_bytes),
    "safetensors": Parser("w.safetensors", _checkpoint, _safetensors),
    "slide_headers": Parser("s.tif", _headers, _tiff),
    "jpeg_header": Parser("s.jpg", _jpeg, _jpeg_bytes),
}  # fmt: skip

"""Every parser of files and addresses from elsewhere, as a function of bytes: it reads, or says why not.

`PARSERS` gives each a seed, a good file that mutations start from. A parser may raise what it promises, `HeatmapError`
alone; anything else is a finding.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz.viewer_requests import answered
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


def _annotations(path: Path) -> Any:
    from mil_heatmaps.insight.annotations import read_annotations
    from mil_heatmaps.slides.slide_space import SlideSpace

    return read_annotations(path, SlideSpace((1000, 1000)))


def _label_mask(path: Path) -> Any:
    from mil_heatmaps.insight.label_masks import read_label_mask
    from mil_heatmaps.slides.slide_space import SlideSpace

    return read_label_mask(path, SlideSpace((128, 128)))


def _spots(path: Path) -> Any:
    from mil_heatmaps.insight.spots import read_spots

    return read_spots(path)


def _concepts(path: Path) -> Any:
    from mil_heatmaps.scores.concepts import read_concepts

    return read_concepts(path)


def _head(path: Path) -> Any:
    from mil_heatmaps.weights.slide_head import read_head

    return read_head(path)


def _marks(path: Path) -> Any:
    from mil_heatmaps.viewer.mark_features import as_text, read_features

    return as_text(read_features(path))


def _review(path: Path) -> Any:
    from mil_heatmaps.viewer.reader_notes import ReaderNotes

    notes = ReaderNotes(path.parent)
    return notes.review("r"), notes.agreement(), notes.save_review("r", "s1", {"seconds": 1}, ["s1", "s2"])


def _dicom(path: Path) -> Any:
    from mil_heatmaps.slides.dicom_series import read_header

    return read_header(path)


def _record(path: Path) -> Any:
    from mil_heatmaps.records.slide_record import SlideRecord

    return SlideRecord.load(path, "s1").notices()


def _run_config(path: Path) -> Any:
    from mil_heatmaps.viewer.run_folder import catalog_of_runs

    (path.parent / "s1_blockmap.h5").write_bytes(_h5())
    return catalog_of_runs([path.parent]).slides


def _score_attributes(path: Path) -> Any:
    import h5py

    from mil_heatmaps.scores.score_schema import read_scores

    told = path.with_suffix(".h5")
    told.write_bytes(_h5())
    with h5py.File(told, "a") as file:
        for name in ("case", "notices", "features_fingerprint"):
            file["scores"].attrs[name] = np.bytes_(path.read_bytes()[:60_000])
    return read_scores(told)


def _asap() -> bytes:
    places = enumerate([(0, 0), (9, 0), (9, 9)])
    corners = "".join(f'<Coordinate Order="{k}" X="{x}" Y="{y}"/>' for k, (x, y) in places)
    return (
        '<ASAP_Annotations><Annotations><Annotation Name="a" Type="Polygon" PartOfGroup="T"><Coordinates>'
        f"{corners}</Coordinates></Annotation></Annotations></ASAP_Annotations>"
    ).encode()


def _h5ad() -> bytes:
    import h5py

    held = io.BytesIO()
    with h5py.File(held, "w") as file:
        file["obsm/spatial"] = np.ones((3, 2))
        file.create_group("var").attrs["_index"] = "i"
        file["var/i"] = np.array(["a", "b"], h5py.string_dtype())
        rows = file.create_group("X")
        rows.attrs["encoding-type"], rows.attrs["shape"] = "csr_matrix", (3, 2)
        rows["data"], rows["indices"], rows["indptr"] = np.ones(2, "f4"), [0, 1], [0, 1, 2, 2]
    return held.getvalue()


def _arrays(**arrays: Any) -> bytes:
    held = io.BytesIO()
    np.savez(held, **arrays)
    return held.getvalue()


def _label_png() -> bytes:
    from PIL import Image

    held = io.BytesIO()
    Image.fromarray(np.ones((64, 64), np.uint8)).save(held, "png")
    return held.getvalue()


def _label_tiff() -> bytes:
    import tifffile

    held = io.BytesIO()
    tifffile.imwrite(held, np.ones((128, 128), np.uint8), tile=(64, 64), compression="zlib")
    return held.getvalue()


def _dicom_bytes() -> bytes:
    def element(tag: int, kind: bytes, value: bytes) -> bytes:
        return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, kind, len(value)) + value

    sequence = struct.pack("<HH2sHI", 8, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    sequence += element(0x00080016, b"UI", b"1.2\0") + struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
    return (
        bytes(128) + b"DICM" + element(0x00020010, b"UI", b"1.2.840.10008.1.2.1\0")
        + element(0x00080008, b"CS", b"ORIGINAL\\PRIMARY\\VOLUME ") + sequence + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
        + element(0x0020000E, b"UI", b"1.2.3\0") + element(0x00280010, b"US", struct.pack("<H", 256))
        + element(0x00280011, b"US", struct.pack("<H", 256)) + element(0x00480006, b"UL", struct.pack("<I", 1000))
    )  # fmt: skip


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

QUPATH = json.dumps({"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": {
    "type": "Polygon", "coordinates": [[[0, 0], [64, 0], [64, 64], [0, 64], [0, 0]]]},
    "properties": {"objectType": "tile", "measurements": {"p": 0.5}}}]}).encode()  # fmt: skip

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
    "dicom_header": Parser("s.dcm", _dicom, _dicom_bytes),
    "annotations": Parser("s.geojson", _annotations, lambda: json.dumps(RING).encode()),
    "asap_xml": Parser("s.xml", _annotations, _asap),
    "label_png": Parser("s.png", _label_mask, _label_png),
    "label_tiff": Parser("s.tif", _label_mask, _label_tiff),
    "spots_csv": Parser("s.csv", _spots, lambda: b"x,y,cell_type,g1\n1,2,T,0.5\n64,0,B,1\n"),
    "spots_h5ad": Parser("s.h5ad", _spots, _h5ad),
    "cells": Parser("s.geojson", _spots, lambda: b'[{"geometry":{"type":"Point","coordinates":[1,2]}}]'),
    "qupath_scores": Parser("s.geojson", _scores, lambda: QUPATH),
    "concepts": Parser("c.npz", _concepts, lambda: _arrays(T=np.ones(4), B=np.arange(4))),
    "concepts_csv": Parser("c.csv", _concepts, lambda: b"name,0,1\nT,1,2\nB,0.5,1\n"),
    "slide_head": Parser("h.npz", _head, lambda: _arrays(W=np.ones((1, 4), np.float32), b=np.zeros(1))),
    "marks": Parser("s1.geojson", _marks, lambda: json.dumps(
        [{"type": "Feature", "properties": {"name": "a"}, "geometry": RING}]).encode()),
    "review": Parser("review_r.csv", _review, lambda: b"slide_id,reader,order,verdict,comment,seconds,finished\n"
                     b"s1,r,1,,'=x,3.5,2026\n"),
    "record": Parser("record.json", _record, lambda: json.dumps(
        {"status": "processed", "failed_stage": None, "error": None, "seconds": 1.5, "summary": {}, "files": {},
         "stages": {"coords": {"inputs": {}, "fingerprint": "f", "outputs": {}, "seconds": 1,
                               "notes": [{"code": "c", "words": "w", "counts": {"n": 1}}]}}}).encode()),
    "run_config": Parser("config.yaml", _run_config, lambda: CONFIG),
    "score_attributes": Parser("told.json", _score_attributes, lambda: json.dumps(
        {"case_id": "P", "number": 1, "slides": [{"slide_id": "s1", "patches": 12, "share": 1.0}]}).encode()),
    "viewer_routes": Parser("request", answered, lambda: b"GET /api/slides/0.json?v=1\nrange: bytes=0-\n\n{}"),
    "viewer_tiles": Parser("request", answered, lambda: b"GET /data/slides/0/0/0/0?v=\naccept-encoding: gzip\n\n"),
    "viewer_scores": Parser("request", answered, lambda: b"GET /data/scores/0/0/patches/3?v=\n\n"),
    "viewer_marks": Parser("request", answered, lambda: b"PUT /api/notes/marks/0.json\norigin: http://127.0.0.1:7\n\n"
                           + json.dumps({"stamp": "", "features": [{"type": "Feature", "geometry": RING}]}).encode()),
    "viewer_review": Parser("request", answered, lambda: b"PUT /api/notes/review/r.json\norigin: http://127.0.0.1:7"
                            b'\n\n{"slide": 0, "verdict": "", "comment": "=x", "seconds": 1}'),
}  # fmt: skip

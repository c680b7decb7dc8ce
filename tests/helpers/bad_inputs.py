"""Faulty inputs, one fault in each: features, scores, outlines, slides, lists, configs, checkpoints, models."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mil_heatmaps.scores.score_schema import FORMAT
from tests.helpers import features
from tests.helpers.slides import make_blank, make_single_level

SIZE = (512, 384)
WIDTH = 4
Make = Callable[[Path], None]
COORDS = features.grid_coords(8, 6, 64)
VALUES = features.numbers(len(COORDS), WIDTH)
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"


def h5(datasets: dict[str, Any], **attributes: Any) -> Make:
    """Return a function that writes an HDF5 file of these datasets, with attributes on the file."""

    def make(path: Path) -> None:
        with h5py.File(path, "w") as file:
            for name, value in datasets.items():
                file[name] = value
            file.attrs.update(attributes)

    return make


def text(content: str | bytes) -> Make:
    """Return a function that writes this content."""
    return lambda path: void(path.write_bytes(content.encode() if isinstance(content, str) else content))


def void(_: object) -> None:
    """Accept and ignore the result of a call."""


def holes(values: Any, row: int = 3, value: float = np.nan) -> Any:
    """Return a copy with one row overwritten by `value`."""
    spoilt = np.array(values, np.float64)
    spoilt[row] = value
    return spoilt


def half(path: Path) -> None:
    """Write features and cut the file in half."""
    h5({"features": VALUES, "coords": COORDS})(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


FEATURES: dict[str, Make] = {
    "empty": text(""),
    "cut": half,
    "no_hdf5": text("slide,x,y\n"),
    "pointer": text(POINTER),
    "page": text("<!DOCTYPE html><html></html>"),
    "a_folder": lambda path: path.mkdir(),
    "nothing": h5({}),
    "only_coords": h5({"coords": COORDS}),
    "only_feats": h5({"feats": VALUES}),
    "other_names": h5({"embeddings": VALUES, "coords": COORDS}),
    "two_kinds": h5({"features": VALUES, "feats": VALUES[:7], "coords": COORDS}),
    "no_coords": h5({"features": VALUES}),
    "no_rows": h5({"features": VALUES[:0], "coords": COORDS[:0]}),
    "one_vector": h5({"features": VALUES[0], "coords": COORDS}),
    "no_width": h5({"features": VALUES[:, :0], "coords": COORDS}),
    "four_axes": h5({"features": VALUES[None, None], "coords": COORDS}),
    "whole_numbers": h5({"features": VALUES.astype(np.int64), "coords": COORDS}),
    "text": h5({"features": np.full((48, 4), b"a"), "coords": COORDS}),
    "text_coords": h5({"features": VALUES, "coords": np.full((48, 2), b"a")}),
    "nan": h5({"features": holes(VALUES), "coords": COORDS}),
    "nan_coords": h5({"features": VALUES, "coords": holes(COORDS)}),
    "broken_coords": h5({"features": VALUES, "coords": COORDS + 0.25}),
    "three_coords": h5({"features": VALUES, "coords": np.c_[COORDS, COORDS[:, :1]]}),
    "far": h5({"features": VALUES, "coords": COORDS + 2**40}),
    "outside": h5({"features": VALUES, "coords": COORDS + 90_000}, patch_size_level0=64),
    "negative": h5({"features": VALUES, "coords": COORDS - 300}, patch_size_level0=64),
    "fewer": h5({"features": VALUES[:40], "coords": COORDS}),
    "wider": h5({"features": np.c_[VALUES, VALUES], "coords": COORDS}),
    "grid_numbers": h5({"features": VALUES, "coords": COORDS // 64}, patch_size_level0=64),
    "strange_unit": h5({"features": VALUES, "coords": COORDS}, unit="furlong"),
    "other_slide_size": h5({"features": VALUES, "coords": COORDS}, level0_width=90_000, level0_height=80_000),
    "slide_vector": h5({"features": VALUES, "coords": COORDS}, feat_type="slide"),
    "augmented_words": h5({"feats": VALUES, "coords": COORDS, "augmented": np.full(48, b"no")}),
    "group": h5({"features/inside": VALUES, "coords": COORDS}),
    "no_size": h5({"features": VALUES[:1], "coords": COORDS[:1]}),
}

SCORES: dict[str, Make] = {
    "empty.csv": text(""),
    "header.csv": text("x,y,score\n"),
    "no_header.csv": text("0,0,0.5\n64,0,0.6\n"),
    "no_y.csv": text("x,score\n0,0.5\n"),
    "no_scores.csv": text("x,y\n0,0\n64,0\n"),
    "only_words.csv": text("x,y,name\n0,0,a\n64,0,b\n"),
    "words.csv": text("x,y,score\n0,0,0.5\n64,0,high\n"),
    "word_corner.csv": text("x,y,score\n0,left,0.5\n64,0,0.1\n"),
    "twice.csv": text("x,y,score,score\n0,0,0.5,1\n"),
    "sizes.csv": text("x,y,patch_size,score\n0,0,64,0.5\n64,0,32,0.5\n"),
    "latin.csv": text("x,y,größe\n0,0,1\n".encode("latin-1")),
    "ragged.csv": text('x,y,score\n0,0,0.5,7,8\n"1,2\n'),
    "outside.csv": text("x,y,patch_size,score\n90000,0,64,0.5\n90064,0,64,0.6\n"),
    "pointer.csv": text(POINTER),
    "no_table.parquet": text("PAR1"),
    "no_hdf5.h5": text("x"),
    "nothing.h5": h5({}),
    "no_scores.h5": h5({"coords": COORDS}),
    "no_coords.h5": h5({"attention_scores": VALUES[:, :1]}),
    "fewer.h5": h5({"attention_scores": VALUES[:40, :1], "coords": COORDS}),
    "words.h5": h5({"scores": np.full((48, 1), b"a"), "coords": COORDS}),
    "newer.h5": h5({"scores": VALUES, "coords": COORDS}, format=FORMAT, format_version=99),
}

OUTLINES: dict[str, Make] = {
    "empty.geojson": text(""),
    "words.geojson": text("outline"),
    "cut.geojson": text('{"type": "FeatureCollection", "features": ['),
    "nothing.geojson": text('{"type": "FeatureCollection", "features": []}'),
    "list.geojson": text("[1, 2]"),
    "null.geojson": text("null"),
    "no_type.geojson": text("{}"),
    "no_list.geojson": text('{"type": "Polygon", "coordinates": 3}'),
    "short.geojson": text('{"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}'),
    "letters.geojson": text('{"type": "Polygon", "coordinates": [[["a", "b"], ["c", "d"], ["e", "f"]]]}'),
    "far.geojson": text('{"type": "Polygon", "coordinates": [[[0, 0], [1e30, 0], [0, 5]]]}'),
    "bytes.geojson": text(b"\xff\xfe\x00"),
    "deep.geojson": text("[" * 100_000),
    "no_gzip.geojson.gz": text("{}"),
    "cut_gzip.geojson.gz": text(b"\x1f\x8b\x08\x00"),
    "empty.pkl": text(""),
    "words.pkl": text("tissue"),
    "code.pkl": text(b"cos\nsystem\n(S'true'\ntR."),
    "number.pkl": text(pickle.dumps(3)),
    "no_holes.pkl": text(pickle.dumps({"tissue": [1]})),
    "fewer_holes.pkl": text(pickle.dumps({"tissue": [np.zeros((4, 1, 2), np.int32)], "holes": []})),
}

SLIDES: dict[str, Make] = {
    "empty.svs": text(""),
    "words.svs": text("slide"),
    "pointer.svs": text(POINTER),
    "page.tif": text("<html>"),
    "header.tif": text(b"II*\x00\x08\x00\x00\x00\x00\x00"),
    "zeros.ndpi": text(bytes(5000)),
    "no_folder.mrxs": text("x"),
    "words.scn": text("x"),
    "words.dcm": text("x"),
    "blank.tif": lambda path: void(make_blank(path, SIZE)),
    "cut.tif": lambda path: void(path.write_bytes(make_single_level(path, SIZE).read_bytes()[:3000])),
}

LISTS: dict[str, str | bytes] = {
    "empty": "",
    "header": "slide_id\n",
    "other_header": "name\nS\n",
    "no_header": "S\n",
    "twice": "slide_id,slide_id\nS,S\n",
    "latin": "slide_id\nä\n".encode("latin-1"),
    "nul": b"slide_id\nS\x00\n",
    "path": "slide_id\n../S\n",
    "dot": "slide_id\n.\n",
    "blank": 'slide_id,label\n"",a\n',
    "other": "slide_id\nT\n",
    "more_cells": "slide_id\nS,1,2,3\n",
    "process": "slide_id,process\nS,maybe\n",
    "label": "slide_id,label\nS,zebra\n",
    "box": "slide_id,x1,y1,x2,y2\nS,1,2,,\n",
    "box_words": "slide_id,x1,y1,x2,y2\nS,a,b,c,d\n",
    "box_empty": "slide_id,x1,y1,x2,y2\nS,5,5,5,5\n",
    "box_outside": "slide_id,x1,y1,x2,y2\nS,50000,50000,60000,60000\n",
    "mpp": "slide_id,mpp\nS,minus\n",
    "mpp_far": "slide_id,mpp\nS,500\n",
    "sthresh": "slide_id,sthresh\nS,900\n",
    "mthresh": "slide_id,mthresh\nS,4\n",
    "keep_ids": "slide_id,keep_ids\nS,77\n",
    "level": "slide_id,seg_level\nS,seven\n",
    "quote": 'slide_id\n"S\n',
}

CONFIGS: dict[str, str | bytes] = {
    "empty": "",
    "list": "- a\n",
    "word": "word",
    "tab": "data_arguments:\n\tdata_dir: x\n",
    "bracket": "data_arguments: {data_dir: [x\n",
    "date": "data_arguments: {data_dir: 2024-13-45}\n",
    "bytes": b"\xff\xfe\x00\x01",
    "latin": "data_arguments: {data_dir: ä}\n".encode("latin-1"),
    "twice": "data_arguments: {}\ndata_arguments: {}\n",
    "section": "data_argument: {}\n",
    "null": "data_arguments:\n",
    "anchor": "a: &a [*a]\n",
    "tag": "a: !!python/object:os.system x\n",
}

KEYS: dict[str, dict[str, Any]] = {
    "unknown": {"heatmap_arguments": {"alfa": 1}},
    "number": {"heatmap_arguments": {"alpha": "much"}},
    "beyond": {"heatmap_arguments": {"alpha": 7}},
    "colours": {"heatmap_arguments": {"cmap": "jett"}},
    "switch": {"heatmap_arguments": {"cmap": True}},
    "limits": {"heatmap_arguments": {"vmin": 2, "vmax": 1}},
    "two": {"heatmap_arguments": {"downsample": 2, "mpp": 1}},
    "classes": {"heatmap_arguments": {"classes": []}},
    "score": {"heatmap_arguments": {"score": "nothing"}},
    "empty_text": {"heatmap_arguments": {"cmap": ""}},
    "null_folder": {"data_arguments": {"data_dir": None}},
    "no_folders": {"data_arguments": {"data_dir": []}},
    "no_sources": {"data_arguments": {"data_dir": {}}},
    "empty_folder_name": {"data_arguments": {"data_dir": ""}},
    "absent": {"data_arguments": {"h5_dir": "absent"}},
    "a_file": {"data_arguments": {"h5_dir": "model.pt"}},
    "labels": {"data_arguments": {"label_dict": {}}},
    "labels_from_one": {"data_arguments": {"label_dict": {"a": 1, "b": 2}}},
    "labels_of_words": {"data_arguments": {"label_dict": {"a": "b"}}},
    "checkpoint": {"model_arguments": {"ckpt_path": "absent.pt"}},
    "hub": {"model_arguments": {"ckpt_path": "hf://"}},
    "device": {"model_arguments": {"device": "gpu"}},
    "model": {"model_arguments": {"model_name": "abmill"}},
    "model_class": {"model_arguments": {"model_class": "Model"}},
    "no_file": {"model_arguments": {"model_class": "absent.py:Model"}},
    "names": {"model_arguments": {"output_names": ["a", "a"]}},
    "code": {"exp_arguments": {"save_exp_code": "../x"}},
    "samples": {"sample_arguments": {"samples": [{"name": "x"}, {"name": "x"}]}},
    "workers": {"run_arguments": {"workers": 0}},
    "export": {"export_arguments": {"tiff": 3}},
    "overlap": {"patching_arguments": {"overlap": 1}},
    "preset": {"data_arguments": {"preset": "absent"}},
}


def state(**tensors: Any) -> Make:
    """Return a function that writes a checkpoint with these entries."""

    def make(path: Path) -> None:
        import torch

        torch.save(tensors, path)

    return make


def whole_model(path: Path) -> None:
    """Save a module itself, which would run code when loaded."""
    import torch

    torch.save(torch.nn.Linear(2, 2), path)


CHECKPOINTS: dict[str, Make] = {
    "empty.pt": text(""),
    "words.pt": text("weights"),
    "pointer.pt": text(POINTER),
    "zip.pt": text(b"PK\x03\x04"),
    "pickle.pt": text(b"\x80\x04."),
    "code.pt": text(b"cos\nsystem\n(S'true'\ntR."),
    "module.pt": whole_model,
    "nothing.pt": state(),
    "number.pt": state(epoch=3),
    "other.pt": state(**{"a.weight": np.zeros(3)}),
    "words.safetensors": text("weights"),
    "empty.safetensors": text(""),
    "header.safetensors": text((8).to_bytes(8, "little") + b"{}      "),
    "index.json": text('{"weight_map": {}}'),
    "shards.safetensors.index.json": text(json.dumps({"weight_map": {"a": "absent.safetensors"}})),
    "features.pt": h5({"features": VALUES, "coords": COORDS}),
    "folder": lambda path: path.mkdir(),
}

SILENT = ("MemoryError()", "RuntimeError()", "ValueError('')", "KeyError('a')", "AssertionError()", "StopIteration()")
"""Errors without a message, or with a bare name, as users' code raises them."""

OWN_MODELS: dict[str, str] = {
    **{f"import_{n}": f"raise {error}" for n, error in enumerate(SILENT)},
    **{
        f"{where}_{n}": "import torch\nclass Model(torch.nn.Module):\n"
        + f"    def {where}(self, *h):\n        raise {error}\n"
        for n, error in enumerate(SILENT)
        for where in ("__init__", "forward")
    },
    "syntax": "class Model(",
    "no_class": "x = 1",
    "no_forward": "import torch\nclass Model(torch.nn.Module):\n    pass",
    "none": "import torch\nclass Model(torch.nn.Module):\n    def forward(self, h):\n        return None",
    "leaves": "raise SystemExit",
}

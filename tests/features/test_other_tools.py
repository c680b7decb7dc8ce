"""Feature files of STAMP, slideflow and PathForge lie where their tools put them; other tools' are refused by name."""

from __future__ import annotations

import json
import os
import re
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from mil_heatmaps.cohort.make_process_list import list_from_slides
from mil_heatmaps.cohort.matching import match
from mil_heatmaps.errors import ConfigError, FeatureError, ProcessListError
from mil_heatmaps.features.find import FeatureIndex
from mil_heatmaps.features.foreign import foreign_tool
from mil_heatmaps.features.read import feature_info, patch_attributes, place_coords, read_features
from mil_heatmaps.slides.reader import open_slide
from mil_heatmaps.slides.slide_space import SlideSpace
from tests.helpers.features import numbers

DATA = Path(os.environ.get("HEATMAP_TEST_DATA", Path(__file__).parents[3] / "shared"))
GOLDEN = DATA / "golden/others/features"
MANIFEST: dict[str, Any] = json.loads((GOLDEN / "manifest.json").read_text()) if GOLDEN.is_dir() else {}
DOCUMENT = Path(__file__).parents[2] / "docs/reference/feature_files.md"
SPACE = SlideSpace((1024, 768), mpp=0.5, name="S1", downsamples=(1.0, 4.0))


@pytest.mark.parametrize("case", sorted(MANIFEST))
def test_every_golden_file_is_placed_or_refused(case: str) -> None:
    said = MANIFEST[case]
    file = FeatureIndex([GOLDEN / said["features"]]).find("S1")
    with open_slide(next((GOLDEN / said["slide"]).iterdir())) as slide:
        space = slide.space()
    if said.get("refused"):
        words = "|".join(map(re.escape, said["message_must_contain_one_of"]))
        with pytest.raises(FeatureError, match=words):
            read_features(file, space=space)
        return
    got = read_features(file, space=space)
    with np.load(GOLDEN / said["expected"]) as expected:
        np.testing.assert_array_equal(got.grid.coords_l0, expected["coords_l0"])
        assert abs(np.array(got.grid.size_l0) - expected["patch_size_l0"]).max() <= 1


CENTRES = np.stack(np.meshgrid(np.arange(4), np.arange(3)), axis=-1).reshape(-1, 2) * 128 + 64


def bag(folder: Path, config: dict[str, Any] | None = None, centres: Any = CENTRES, end: str = "npz") -> Path:
    torch.save(torch.from_numpy(numbers(len(CENTRES))), folder / "S1.pt")
    if end == "npz":
        np.savez(folder / "S1.index.npz", centres)
    else:
        np.save(folder / "S1.index.npy", centres)
    if config is not None:
        (folder / "bags_config.json").write_text(json.dumps(config))
    return folder / "S1.pt"


@pytest.mark.parametrize(
    ("config", "space", "side"),
    [
        ({"tile_um": 64, "tile_px": 96}, SPACE, 128),
        ({"tile_um": 64.3, "tile_px": 96}, SPACE, 128),
        ({"tile_um": "20x", "tile_px": 128}, SPACE, 128),
        ({"tile_um": "5x", "tile_px": 33}, SPACE, 132),
        (None, SPACE, 100),
        ({"tile_um": 64, "tile_px": 96}, SlideSpace((1024, 768)), 100),
    ],
)
@pytest.mark.parametrize("end", ["npz", "npy"])
def test_slideflows_centres_become_corners(
    tmp_path: Path, config: dict[str, Any] | None, space: SlideSpace, side: int, end: str
) -> None:
    path = bag(tmp_path, config, end=end)
    got = read_features(path, space=space, patch_size_l0=100)
    np.testing.assert_array_equal(got.grid.coords_l0, CENTRES - side // 2)
    assert got.grid.size_l0 == (side, side)
    assert f"centres of tiles of {side} px, as slideflow counts" in got.notes[0]
    assert patch_attributes(path).get("tile_size_px") == (config or {}).get("tile_px")


@pytest.mark.parametrize(
    ("config", "space", "words"),
    [
        (None, SPACE, r"no bags_config\.json with tile_um.*patch_size_level0"),
        ({"tile_um": 64, "tile_px": 96}, SlideSpace((1024, 768)), r"tile_um 64, and the slide's resolution \(mpp\)"),
        ({"tile_um": "20x", "tile_px": float("inf")}, SPACE, r"of which no size of a tile follows"),
        ({"tile_um": "nanx", "tile_px": 96}, SPACE, r"of which no size of a tile follows"),
        ({"tile_um": "20x", "tile_px": "9" * 400}, SPACE, r"of which no size of a tile follows"),
        ({"tile_um": "40x", "tile_px": 96}, SPACE, r"cut at 40x, and the slide's levels are 20x, 5x: none"),
        ({"tile_um": "wide", "tile_px": 96}, SPACE, "tile_um 'wide'"),
        ({"tile_um": -3, "tile_px": 96}, SPACE, "tile_um -3"),
    ],
)
def test_a_slideflow_bag_whose_tiles_have_no_size_is_refused_with_the_way_on(
    tmp_path: Path, config: dict[str, Any] | None, space: SlideSpace, words: str
) -> None:
    with pytest.raises(FeatureError, match=words):
        read_features(bag(tmp_path, config), space=space)


def test_a_slideflow_index_of_another_length_or_with_objects_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match=r"12 rows of features but 9 coordinates in .*S1\.index\.npz"):
        read_features(bag(tmp_path, {"tile_um": 64, "tile_px": 96}, CENTRES[:9]), space=SPACE)
    with pytest.raises(FeatureError, match=r"S1\.index\.npz: damaged, or holds more than arrays of numbers"):
        read_features(bag(tmp_path, {"tile_um": 64}, np.array([{}, {}], object)), space=SPACE)


def pathforge(path: Path, bags: dict[str, Any], extractors: tuple[str, ...] = ("uni",)) -> Path:
    with h5py.File(path, "w") as file:
        for name, rows in bags.items():
            file[f"bags/{name}/coords"] = np.asarray(rows, np.int32)
            for extractor in extractors:
                file[f"bags/{name}/features/{extractor}"] = numbers(len(rows))
    return path


def rows_of(side: int = 32, level: int = 1) -> Any:
    return np.concatenate([CENTRES - 64, np.tile([side, side, level], (len(CENTRES), 1))], axis=1)


def test_pathforge_bags_are_found_by_slide_and_their_sizes_are_of_the_level_read(tmp_path: Path) -> None:
    path = pathforge(tmp_path / "cohort.h5", {"S1": rows_of(), "S2": rows_of()[:6]})
    index = FeatureIndex([tmp_path])
    assert index.find("S2") == path
    assert set(index.by_stem) == {"S1", "S2"}
    for name, n in (("S1", 12), ("S2", 6)):
        space = SlideSpace((1024, 768), name=name, downsamples=(1.0, 4.0))
        got = read_features(path, space=space)
        np.testing.assert_array_equal(got.grid.coords_l0, (CENTRES - 64)[:n])
        assert (got.grid.size_l0, got.encoder) == ((128, 128), "uni")
        assert place_coords(path, space)[0].size_l0 == (128, 128)
    both = pathforge(tmp_path / "both.h5", {"S1": rows_of()}, ("uni", "conch"))
    chosen = read_features(both, space=replace(SPACE, extractor="conch"))
    assert (chosen.encoder, len(chosen)) == ("conch", 12)
    with pytest.raises(FeatureError, match=r"none of 'gigapath': name one of conch, uni in .*feature_extractor"):
        read_features(both, space=replace(SPACE, extractor="gigapath"))
    assert place_coords(both, SPACE)[0].size_l0 == (128, 128)
    odd = pathforge(tmp_path / "odd.h5", {"S1.svs": rows_of(), "S9": rows_of()[:4]})
    assert len(read_features(odd, space=SPACE)) == 12
    alone = read_features(pathforge(tmp_path / "alone.h5", {"S7": rows_of()}), space=SPACE)
    assert any("says it is of the slide S7, and is drawn on S1" in note for note in alone.notes)
    info = feature_info(path)
    assert (info.width, info.encoder, info.has_coords) == (8, "uni", True)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: pathforge(p, {"A": rows_of(), "B": rows_of()}), "holds no bag of the slide 'S1'; it holds A, B"),
        (lambda p: pathforge(p, {"S1": rows_of()}, ("uni", "conch")), "several encoders: name one of conch, uni in "),
        (lambda p: pathforge(p, {"S1": rows_of(level=3)}), r"read at level 3.*levels 0 to 1.*patch_size_level0"),
        (lambda p: pathforge(p, {"S1": np.concatenate([rows_of(), rows_of(64)])}), "patches of 2 kinds"),
        (lambda p: pathforge(p, {"S1": rows_of()[:, :2]}), r"whole numbers \(N, 5\)"),
        (lambda p: pathforge(p, {"S1": rows_of()}, ()), "bag 'S1' holds no features"),
    ],
)
def test_pathforge_bags_that_cannot_be_told_are_refused(
    tmp_path: Path, make: Callable[[Path], Path], words: str
) -> None:
    with pytest.raises(FeatureError, match=words):
        read_features(make(tmp_path / "x.h5"), space=SPACE)


BOXES = np.concatenate([CENTRES - 64, CENTRES + 64], axis=1) / 2


def tiatoolbox(folder: Path) -> None:
    np.save(folder / "0.position.npy", BOXES)
    np.save(folder / "0.features.0.npy", numbers(12))
    (folder / "file_map.dat").write_bytes(b"")


def zarr_store(*inside: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        for name in inside:
            (folder / "S1.zarr" / name).mkdir(parents=True)

    return make


def histoencoder(folder: Path) -> None:
    (folder / "S1").mkdir()
    (folder / "S1/features.parquet").write_bytes(b"PAR1")


FOREIGN = {
    "tiatoolbox": (tiatoolbox, "TIAToolbox's, before version 2: its positions are pixels at the resolution"),
    "tiatoolbox2": (zarr_store("coordinates", "probabilities"), "TIAToolbox's, version 2"),
    "histoencoder": (histoencoder, "HistoEncoder's"),
    "lazyslide": (zarr_store("tables", "shapes"), r"LazySlide's \(SpatialData\)"),
}


@pytest.mark.parametrize("tool", sorted(FOREIGN))
def test_files_of_other_tools_are_refused_by_name_wherever_they_are_met(tmp_path: Path, tool: str) -> None:
    make, words = FOREIGN[tool]
    features, slides = tmp_path / "features", tmp_path / "slides"
    features.mkdir()
    slides.mkdir()
    make(features)
    (slides / "S1.svs").write_bytes(b"x")
    with pytest.raises(FeatureError, match=words + r".*docs/reference/feature_files\.md"):
        FeatureIndex([features]).find("S1")
    with pytest.raises(ProcessListError, match=words):
        list_from_slides([slides], h5_dirs=[features])
    with pytest.raises(ConfigError, match=words):
        match([slides], [features], (".svs",))
    path = next(path for path in sorted(features.rglob("*")) if foreign_tool(path))
    with pytest.raises(FeatureError, match=words):
        read_features(path)


@pytest.mark.parametrize("tool", sorted(FOREIGN))
def test_the_documented_lines_convert_what_is_refused(
    tmp_path: Path, tool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    block = next(block for block in blocks if f'"{tool}/' in block)
    assert len([line for line in block.splitlines() if not line.startswith("import")]) <= 6
    for name in (tool, "features"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    if tool == "tiatoolbox":
        tiatoolbox(tmp_path / tool)
    corners = pd.DataFrame(CENTRES - 64, columns=["x", "y"]).astype("int64")
    named = pd.DataFrame(numbers(12), columns=[f"feat{i + 1}" for i in range(8)])
    table = pd.concat([named, corners.assign(w=128, h=128)], axis=1)
    bounds = pd.DataFrame(CENTRES - 64.0, columns=["minx", "miny"])
    spec = types.SimpleNamespace(base_width=128)
    wsi = types.SimpleNamespace(  # the packages are not installed here: what they hand out is
        shapes={"tiles": types.SimpleNamespace(bounds=bounds)},
        tables={"uni_tiles": types.SimpleNamespace(X=numbers(12))},
        tile_spec=lambda key: spec,
    )
    stores = {"coordinates": BOXES, "probabilities": numbers(12)}
    monkeypatch.setitem(sys.modules, "zarr", types.SimpleNamespace(open=lambda path, mode: stores))  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "wsidata", types.SimpleNamespace(open_wsi=lambda path, store: wsi))  # type: ignore[arg-type]
    monkeypatch.setattr(pd, "read_parquet", lambda path: table)
    exec(block, {})
    got = read_features(tmp_path / "features/S1.h5", space=SPACE)
    np.testing.assert_array_equal(got.features, numbers(12))
    np.testing.assert_array_equal(got.grid.coords_l0, CENTRES - 64)
    assert got.grid.size_l0 == (128, 128)

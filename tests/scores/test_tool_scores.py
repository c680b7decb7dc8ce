"""Scores that QuPath, slideflow, STAMP and TIAToolbox wrote, in their own units."""

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mil_heatmaps.errors import MissingDependencyError, ScoreError
from mil_heatmaps.scores.external_scores import read_external_scores
from mil_heatmaps.scores.score_file import ScoreFile
from mil_heatmaps.slides.slide_space import SlideSpace

CORNERS = np.array([[0, 0], [256, 0], [0, 256], [256, 256]])
SCORES = [0.5, 1.5, -2.0, 3.25]
SPACE = SlideSpace((2048, 1024), mpp=0.5, name="s1", downsamples=(1.0, 4.0))


def check(got: ScoreFile, size: int = 256) -> None:
    np.testing.assert_array_equal(got.grid.coords_l0, CORNERS)
    assert got.scores.values[:, 0].tolist() == SCORES
    assert got.grid.size_l0 == (size, size)


# -- QuPath ------------------------------------------------------------------------------------------------------------


def qupath_table(unit: str, factor: float, sep: str = ",", extra: str = "") -> str:
    names = ["Image", "Object ID", "Object type", "Classification", f"Centroid X {unit}", f"Centroid Y {unit}",
             "Tumour: probability", f"Area {unit}^2", "Circularity"]  # fmt: skip
    rows = [names]
    for number, ((x, y), score) in enumerate(zip(CORNERS, SCORES, strict=True)):
        cells = ("s1.svs", f"a-{number}", "Tile", "", (x + 128) * factor, (y + 128) * factor, score, 65536, 0.785)
        rows.append([str(cell) for cell in cells])
    return "\n".join(sep.join(row) for row in rows) + "\n" + extra


@pytest.mark.parametrize("sep", [",", "\t", ";"])
@pytest.mark.parametrize(("unit", "factor"), [("px", 1.0), ("µm", 0.5), ("\u03bcm", 0.5), ("um", 0.5)])
def test_measurements_of_qupath_are_placed_by_their_centroids(
    tmp_path: Path, unit: str, factor: float, sep: str
) -> None:
    (tmp_path / "s1.tsv").write_text(qupath_table(unit, factor, sep), encoding="utf-8")
    got = read_external_scores(tmp_path / "s1.tsv", space=SPACE, slide_id="s1")
    check(got)
    assert got.scores.names == ("Tumour: probability",)
    assert [note.code for note in got.notes] == (["patch_size"] if unit == "px" else ["units", "patch_size"])
    check(read_external_scores(tmp_path / "s1.tsv", space=SPACE, slide_id="s1", patch_size_l0=256))


def test_annotations_in_a_table_of_qupath_are_left_out_and_said(tmp_path: Path) -> None:
    line = "s1.svs,z,Annotation,Tumour,1000,1000,,5,1\n"
    (tmp_path / "s1.csv").write_text(qupath_table("px", 1, extra=line), encoding="utf-8")
    got = read_external_scores(tmp_path / "s1.csv", space=SPACE, slide_id="s1")
    check(got)
    (note,) = (note for note in got.notes if note.code == "other_objects")
    assert note.counts == {"objects": 1}


def test_micrometres_of_qupath_need_a_resolution(tmp_path: Path) -> None:
    (tmp_path / "s1.csv").write_text(qupath_table("µm", 0.5), encoding="utf-8")
    with pytest.raises(ScoreError, match=r"resolution \(mpp\) is not known"):
        read_external_scores(tmp_path / "s1.csv", slide_id="s1")


def test_one_centroid_alone_does_not_tell_the_size_of_its_tile(tmp_path: Path) -> None:
    text = "".join(qupath_table("px", 1).splitlines(keepends=True)[:2])
    (tmp_path / "s1.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ScoreError, match=r"not how large they are.*patch_size_level0"):
        read_external_scores(tmp_path / "s1.csv", space=SPACE)


def geojson(kind: str = "tile", measurements: Any = None, size: int = 256) -> dict[str, Any]:
    features = []
    for (x, y), score in zip(CORNERS.tolist(), SCORES, strict=True):
        ring = [[x, y], [x + size, y], [x + size, y + size], [x, y + size], [x, y]]
        told = {"tumour": score, "tumour percentile": 5.0} if measurements is None else measurements(score)
        features.append({
            "type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]},
            "properties": {"objectType": kind, "measurements": told},
        })  # fmt: skip
    return {"type": "FeatureCollection", "features": features}


@pytest.mark.parametrize("kind", ["tile", "detection", "PathDetectionObject"])
@pytest.mark.parametrize("name", ["s1.geojson", "s1.geojson.gz", "s1.json"])
def test_objects_of_qupath_are_patches_with_their_measurements(tmp_path: Path, kind: str, name: str) -> None:
    data = json.dumps(geojson(kind)).encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    got = read_external_scores(tmp_path / name, space=SPACE)
    check(got)
    assert got.scores.names == ("tumour",)


def test_measurements_as_a_list_and_nan_are_read(tmp_path: Path) -> None:
    held = geojson(measurements=lambda score: [{"name": "a", "value": score}, {"name": "b", "value": float("nan")}])
    held["features"].append({"type": "Feature", "properties": {"objectType": "annotation"}, "geometry": None})
    (tmp_path / "s1.geojson").write_text(json.dumps(held))
    got = read_external_scores(tmp_path / "s1.geojson", space=SPACE)
    check(got)
    assert got.scores.names == ("a", "b")
    assert np.isnan(got.scores.values[:, 1]).all()
    assert "other_objects" in {note.code for note in got.notes}
    assert read_external_scores(tmp_path / "s1.geojson", columns=["b"]).scores.names == ("b",)


def _trimmed(held: dict[str, Any]) -> None:
    held["features"][1]["geometry"]["coordinates"][0] = [[0, 0], [9, 0], [9, 9], [0, 0]]


def _no_number(held: dict[str, Any]) -> None:
    held["features"][1]["properties"]["measurements"]["tumour"] = "high"


def _point(held: dict[str, Any]) -> None:
    held["features"][1]["geometry"] = {"type": "Point", "coordinates": [1, 2]}


def _annotations(held: dict[str, Any]) -> None:
    for feature in held["features"]:
        feature["properties"]["objectType"] = "annotation"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_trimmed, "different size.*without trimming"),
        (_no_number, "object 2, measurement 'tumour': 'high' is not a number"),
        (_point, "object 2 is not a rectangle.*Point"),
        (_annotations, "no tiles, detections or cells among its 4 objects"),
        (lambda held: held.pop("features"), "neither GeoJSON with 'features'"),
    ],
)
def test_what_is_wrong_with_objects_is_named(tmp_path: Path, change: Any, message: str) -> None:
    held = geojson()
    change(held)
    (tmp_path / "s1.geojson").write_text(json.dumps(held))
    with pytest.raises(ScoreError, match=message):
        read_external_scores(tmp_path / "s1.geojson", space=SPACE)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000])
def test_damaged_json_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "s1.geojson").write_text(text, encoding="utf-8")
    with pytest.raises(ScoreError, match="is not JSON"):
        read_external_scores(tmp_path / "s1.geojson")


# -- slideflow ---------------------------------------------------------------------------------------------------------


def _bags_config(folder: Path, **told: Any) -> None:
    (folder / "bags_config.json").write_text(json.dumps({"tile_px": 256, "tile_um": 128, **told}))


def test_tile_predictions_of_slideflow_are_placed_by_their_centres(tmp_path: Path) -> None:
    _bags_config(tmp_path)
    header = "slide,loc_x,loc_y,cohort-y_true0,cohort-y_true1,cohort-y_pred0,cohort-y_pred1"
    rows = [f"s1,{x + 128},{y + 128},1,0,{score},{-score}" for (x, y), score in zip(CORNERS, SCORES, strict=True)]
    (tmp_path / "tiles.csv").write_text("\n".join([header, *rows, "s2,128,128,1,0,7,8"]) + "\n")
    got = read_external_scores(tmp_path / "tiles.csv", space=SPACE, slide_id="s1")
    check(got)
    assert got.scores.names == ("cohort-y_pred0", "cohort-y_pred1")
    assert got.notes[0].code == "units"


def test_tile_predictions_of_slideflow_are_parquet_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "pyarrow", None)
        (tmp_path / "tiles.parquet.gzip").write_bytes(b"PAR1")
        with pytest.raises(MissingDependencyError, match=r"a parquet table needs .*: pip install pyarrow"):
            read_external_scores(tmp_path / "tiles.parquet.gzip", space=SPACE)
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    with pytest.raises(ScoreError, match=r"cannot read .*tiles\.parquet\.gzip"):
        read_external_scores(tmp_path / "tiles.parquet.gzip", space=SPACE)
    import pandas as pd

    _bags_config(tmp_path)
    x, y = (CORNERS + 128).T
    table = pd.DataFrame({"slide": "s1", "loc_x": x, "loc_y": y, "cohort-y_true0": 1, "cohort-y_pred0": SCORES})
    other = pd.DataFrame({"slide": "s2", "loc_x": [128], "loc_y": [128], "cohort-y_true0": 1, "cohort-y_pred0": 7.0})
    pd.concat([table, other]).to_parquet(tmp_path / "tiles.parquet.gzip", compression="gzip")  # with an index
    got = read_external_scores(tmp_path / "tiles.parquet.gzip", space=SPACE, slide_id="s1")
    check(got)
    assert got.scores.names == ("cohort-y_pred0",)


def test_an_archive_of_scores_and_coords_is_not_called_slideflows(tmp_path: Path) -> None:
    np.savez(tmp_path / "s1.npz", scores=np.ones(4), coords=CORNERS)
    with pytest.raises(ScoreError, match=r"an archive of 2 arrays \(scores, coords\).* as HDF5 or CSV"):
        read_external_scores(tmp_path / "s1.npz", space=SPACE)


def test_attention_of_slideflow_lies_beside_its_index(tmp_path: Path) -> None:
    np.savez(tmp_path / "s1_att.npz", np.array(SCORES, np.float32))
    with pytest.raises(ScoreError, match=r"put the index of the bag, s1\.index\.npz"):
        read_external_scores(tmp_path / "s1_att.npz", space=SPACE)
    np.savez(tmp_path / "s1.index.npz", CORNERS + 128)
    with pytest.raises(ScoreError, match=r"bags_config\.json"):
        read_external_scores(tmp_path / "s1_att.npz", space=SPACE)
    check(read_external_scores(tmp_path / "s1_att.npz", space=SPACE, patch_size_l0=256))
    _bags_config(tmp_path)
    check(read_external_scores(tmp_path / "s1_att.npz", space=SPACE))
    np.savez(tmp_path / "s1_att.npz", np.zeros(3, np.float32))
    with pytest.raises(ScoreError, match=r"4 tiles in s1\.index\.npz but attention float32 of shape \(3, 1\)"):
        read_external_scores(tmp_path / "s1_att.npz", space=SPACE)
    np.savez(tmp_path / "s1_att.npz", np.array([object()], dtype=object))
    with pytest.raises(ScoreError, match="holds more than arrays of numbers"):
        read_external_scores(tmp_path / "s1_att.npz", space=SPACE)


def test_a_zarr_with_links_or_of_any_size_is_refused(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr", reason="needs zarr")
    folder = tmp_path / "s1.zarr"
    group = zarr.open_group(str(folder), mode="w", zarr_format=2)
    group.create_array("coordinates", shape=(10**9, 4), chunks=(10**8, 4), dtype="f8")
    with pytest.raises(ScoreError, match=r"coordinates: shape \(1000000000, 4\) .* takes over"):
        read_external_scores(folder, space=SPACE)
    (folder / "coordinates" / "0.0").symlink_to("/etc/passwd")
    with pytest.raises(ScoreError, match=r"coordinates/0\.0 is a link, which could lead to any file"):
        read_external_scores(folder, space=SPACE)


# -- STAMP -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["scores", "attention", "probabilities"])
def test_scores_with_coordinates_of_stamp_are_micrometres(tmp_path: Path, name: str) -> None:
    with h5py.File(tmp_path / "s1.h5", "w") as file:
        file["coords"] = (CORNERS * 0.5).astype(np.float32)
        file[name] = np.array(SCORES, np.float32)
        file.attrs.update({"tile_size_um": 128.0, "tile_size_px": 224, "unit": "um"})
    got = read_external_scores(tmp_path / "s1.h5", space=SPACE)
    check(got)
    assert got.scores.kind == "external"


def test_a_table_with_the_tiles_of_stamp_is_in_micrometres(tmp_path: Path) -> None:
    rows = [f"{x / 2},{y / 2},{score},128" for (x, y), score in zip(CORNERS, SCORES, strict=True)]
    (tmp_path / "s1.csv").write_text("\n".join(["x,y,score,tile_size_um", *rows]) + "\n")
    check(read_external_scores(tmp_path / "s1.csv", space=SPACE))


# -- TIAToolbox --------------------------------------------------------------------------------------------------------


def tiatoolbox(scale: float, **told: Any) -> dict[str, Any]:
    boxes = np.concatenate([CORNERS, CORNERS + 256], axis=1) / scale
    values = [[score, 1 - score] for score in SCORES]
    return {"coordinates": boxes.tolist(), "predictions": [0, 0, 1, 0], "probabilities": values, **told}


@pytest.mark.parametrize(
    ("scale", "told", "size"),
    [
        (4.0, {"resolution": 2.0, "units": "mpp"}, None),
        (2.0, {"resolution": 0.5, "units": "baseline"}, None),
        (4.0, {"resolution": 1, "units": "level"}, None),
        (2.0, {"resolution": 10, "units": "power"}, 256),
        (2.0, {}, 256),
    ],
)
def test_predictions_of_tiatoolbox_are_placed_by_their_resolution(
    tmp_path: Path, scale: float, told: dict[str, Any], size: int | None
) -> None:
    (tmp_path / "s1.json").write_text(json.dumps(tiatoolbox(scale, **told)))
    got = read_external_scores(tmp_path / "s1.json", space=SPACE, patch_size_l0=size)
    check(got)
    assert got.scores.names == ("class 0", "class 1")


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({}, "the file says no resolution.*patch_size_level0"),
        ({"resolution": 10, "units": "power"}, "resolution 10 in 'power'"),
        ({"resolution": 2.0, "units": "mpp"}, r"the slide's resolution \(mpp\) is not known"),
    ],
)
def test_a_resolution_that_nobody_tells_is_asked_for(tmp_path: Path, told: dict[str, Any], message: str) -> None:
    (tmp_path / "s1.json").write_text(json.dumps(tiatoolbox(2, **told)))
    with pytest.raises(ScoreError, match=message):
        read_external_scores(tmp_path / "s1.json", space=SlideSpace((2048, 1024)))


def test_class_names_and_the_zarr_of_tiatoolbox_2_are_read(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    held = tiatoolbox(2, label_dict={"tumour": 0, "stroma": 1})
    (tmp_path / "s1.json").write_text(json.dumps(held))
    got = read_external_scores(tmp_path / "s1.json", patch_size_l0=256)
    assert got.scores.names == ("tumour", "stroma")
    group = zarr.open_group(str(tmp_path / "s1.zarr"), mode="w")
    for name in ("coordinates", "probabilities"):
        group.create_array(name, data=np.array(held[name]))
    check(read_external_scores(tmp_path / "s1.zarr", patch_size_l0=256))
    with pytest.raises(ScoreError, match="no resolution"):
        read_external_scores(tmp_path / "s1.zarr")


def test_lengths_that_differ_are_refused(tmp_path: Path) -> None:
    held = tiatoolbox(1) | {"probabilities": [[1.0]]}
    (tmp_path / "s1.json").write_text(json.dumps(held))
    with pytest.raises(ScoreError, match=r"coordinates of shape \(4, 4\), values of shape \(1, 1\)"):
        read_external_scores(tmp_path / "s1.json", patch_size_l0=256)

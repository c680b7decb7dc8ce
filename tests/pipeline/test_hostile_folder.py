"""A folder of files from strangers: one failed row each, with what is wrong with the file, and memory stays small."""

from __future__ import annotations

import gzip
import json
import shutil
import struct
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from tests.helpers.cohort import SmallCohort, grid_coords, make_small_cohort, write_features
from tests.helpers.warm import WarmProgram

MOST_KB = 700_000

def _large_tile(path: Path) -> None:
    tifffile.imwrite(path, np.zeros((256, 256, 3), np.uint8), tile=(64, 64), photometric="rgb", compression="jpeg")
    with tifffile.TiffFile(path) as file:
        places = [file.pages.first.tags[code].valueoffset for code in (322, 323)]
    data = bytearray(path.read_bytes())
    for place in places:
        struct.pack_into("<I", data, place, 65_520)
    path.write_bytes(data)


def _h5(path: Path, **options: object) -> None:
    with h5py.File(path, "w") as file:
        file["coords"] = grid_coords()
        file.create_dataset("features", **options)


def _zip_bomb(path: Path) -> None:
    from zipfile import ZIP_DEFLATED, ZipFile

    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * (1 << 26))


def _fill(cohort: SmallCohort) -> dict[str, str]:
    """Write hostile files, and return what the row of each slide must say."""
    slide = cohort.slides / "s3.tif"
    told = {
        "passwd": "keeps its numbers in another file",
        "absurd": "measurements never compress that far",
        "bomb": "measurements never compress that far",
        "circle": "leads in a circle",
        "empty": "is an empty dataset",
        "pt": "would unpack to",
        "tile": "declares tiles of 65520 x 65520",
        "words": "s not a slide that can be read",
        "mask": "text never compresses that far",
    }
    for name in told:
        shutil.copy(slide, cohort.slides / f"{name}.tif")
    _h5(cohort.features / "passwd.h5", shape=(48, 16), dtype="f2", external=[("/etc/passwd", 0, 1536)])
    _h5(cohort.features / "absurd.h5", shape=(10**12, 16), dtype="f4", chunks=(1024, 16))
    _h5(cohort.features / "bomb.h5", shape=(48, 2**23), dtype="f4", compression="gzip")
    _h5(cohort.features / "empty.h5", data=h5py.Empty("f4"))
    with h5py.File(cohort.features / "circle.h5", "w") as file:
        file["coords"], file["features"] = grid_coords(), h5py.SoftLink("/features")
    _zip_bomb(cohort.features / "pt.pt")
    for name in ("tile", "words", "mask"):
        write_features(cohort.features / f"{name}.h5", 1)
    _large_tile(cohort.slides / "tile.tif")
    (cohort.slides / "words.tif").write_bytes(b"no slide")
    outlines = cohort.root / "tissue"
    outlines.mkdir()
    (outlines / "mask.geojson.gz").write_bytes(gzip.compress(b" " * (1 << 27)))
    square = {"type": "Polygon", "coordinates": [[[0, 0], [900, 0], [900, 700], [0, 700], [0, 0]]]}
    for name in (*told, "s1"):
        if name != "mask":
            (outlines / f"{name}.geojson").write_text(json.dumps(square))
    cohort.config["data_arguments"]["tissue_dir"] = str(outlines)
    cohort.rows = [{"slide_id": name, "label": "a"} for name in (*told, "s1")]
    return told


@pytest.mark.slow
def test_every_hostile_file_is_one_failed_row_with_its_reason_and_memory_stays_small(
    tmp_path: Path, warm: WarmProgram
) -> None:
    cohort = make_small_cohort(tmp_path, {"run_arguments": {"workers": 1}})
    told = _fill(cohort)
    config = cohort.write()
    for _ in range(2):  # the command that follows does not die of it either
        run = warm.start("create_heatmaps.py", ["--config", config], tmp_path, tmp_path / "said.txt")
        ended = run.wait()
        assert ended.code == 1, run.said()
        rows = cohort.process_list()
        assert rows.pop("s1")["status"] == "processed"
        for name, row in rows.items():
            assert row["status"] == "failed"
            assert told[name] in row["error"], (name, row["error"])
            assert "Error" not in row["error"]
        assert ended.most_kb < MOST_KB

"""A pointer of Git LFS or a web page in the place of a file is called that, whatever was to be read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mil_heatmaps.config.yaml_lines import read_yaml
from mil_heatmaps.errors import HeatmapError
from mil_heatmaps.features.read import read_features
from mil_heatmaps.files.csv_tables import read_table
from mil_heatmaps.files.stand_ins import stand_in
from mil_heatmaps.scores.external_scores import read_external_scores
from mil_heatmaps.slides.reader import open_slide
from mil_heatmaps.slides.roi import read_roi
from mil_heatmaps.slides.tissue_files import read_mask
from mil_heatmaps.weights.checkpoint_files import read_stored

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
PAGE = b"\n<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>\n"

READERS: dict[str, Callable[[Path], Any]] = {
    "s.h5": read_features,
    "s.pt": read_features,
    "scores.h5": lambda path: read_external_scores(path),
    "scores.csv": lambda path: read_external_scores(path, patch_size_l0=256),
    "list.csv": read_table,
    "config.yaml": read_yaml,
    "model.pt": read_stored,
    "model.safetensors": read_stored,
    "s.svs": open_slide,
    "s.tiff": open_slide,
    "s.geojson": read_mask,
    "s_mask.pkl": read_mask,
    "region.geojson": lambda path: read_roi(path, (1024, 768)),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(("content", "said"), [(POINTER, "pointer of Git LFS"), (PAGE, "a web page")])
def test_whatever_is_read_the_message_says_what_the_file_is(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(HeatmapError, match=said) as caught:
        READERS[name](tmp_path / name)
    assert name in str(caught.value)


def test_other_files_are_no_stand_ins(tmp_path: Path) -> None:
    for content in (b"", b"PK\x03\x04", b"slide_id\nversion\n", b"\x89HDF\r\n"):
        (tmp_path / "f").write_bytes(content)
        assert stand_in(tmp_path / "f") is None
    assert stand_in(tmp_path) is None

"""Pictures equal CLAM's, bit for bit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mil_heatmaps.visualization.heatmap_utils import draw_heatmap
from mil_heatmaps.visualization.overlay import draw_to_file
from tests.helpers.drawings import planned
from tests.helpers.golden_drawing import case_ids, cases, digest, inputs, segmented

pytestmark = pytest.mark.usefixtures("golden")

_ENLARGING = {"B_l1_cd3_max1400"}
_NUMBERS_WITHOUT_OFFSET = {"B_l1_roi"}


def _arguments(case: dict[str, Any]) -> dict[str, Any]:
    compat = {"compat": "clam"} if case["kwargs"].get("blur") else {}
    return {"cmap": "coolwarm", **case["kwargs"], **compat}


@pytest.mark.parametrize("case", cases("heatmap"), ids=case_ids("heatmap"))
def test_heatmap_has_the_pixels_of_clam(case: dict[str, Any]) -> None:
    scores, coords = inputs(case)
    before = scores.copy(), coords.copy()
    with segmented("B.tif", case["seg"]) as wsi:
        if "exception" in case:
            with pytest.raises(ValueError, match="no tissue"):
                draw_heatmap(scores, coords, wsi_object=wsi, **_arguments(case))
            return
        picture = draw_heatmap(scores, coords, wsi_object=wsi, **_arguments(case))
    assert list(picture.size) == case["size"]
    assert digest(picture) == case.get("sha256_right", case["sha256"])
    np.testing.assert_array_equal(scores, before[0])
    np.testing.assert_array_equal(coords, before[1])


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_file_holds_the_pixels_of_clam(tmp_path: Path, suffix: str) -> None:
    from PIL import Image

    case = next(case for case in cases("heatmap") if case["name"] == "B_l1_ov05_def")
    scores, coords = inputs(case)
    with segmented("B.tif", case["seg"]) as wsi:
        draw_to_file(tmp_path / f"map{suffix}", planned(scores, coords, wsi, **_arguments(case)))
    assert digest(Image.open(tmp_path / f"map{suffix}")) == case["sha256_right"]


@pytest.mark.parametrize("case", cases("vis"), ids=case_ids("vis"))
def test_outlines_have_the_pixels_of_clam(case: dict[str, Any]) -> None:
    with segmented("B.tif", case["seg"]) as wsi:
        picture = wsi.visWSI(**case["kwargs"])
    if case["name"] in _ENLARGING:
        assert picture.size == (500, 416)  # CLAM enlarges to max_size what custom_downsample made smaller
        return
    assert list(picture.size) == case["size"]
    same = digest(picture) == case["sha256"]
    assert same == (case["name"] not in _NUMBERS_WITHOUT_OFFSET)


def test_outlines_of_a_region_are_those_of_the_whole_slide(golden: Path) -> None:
    # CLAM forgets to move the holes; here they lie as on the slide.
    corners = {"top_left": (800, 2800), "bot_right": (2400, 4400)}
    with segmented("B.tif", "B_fine_l1") as wsi:
        whole = np.asarray(wsi.visWSI(vis_level=0, line_thickness=1))
        region = np.asarray(wsi.visWSI(vis_level=0, line_thickness=1, **corners))
    np.testing.assert_array_equal(region, whole[2800:4400, 800:2400])
    assert (region == (0, 0, 255)).all(axis=2).any()

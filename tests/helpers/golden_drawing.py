"""The golden drawing cases: CLAM's inputs, tissue and pictures."""

import hashlib
import json
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from mil_heatmaps.visualization.wsi_object import WholeSlideImage
from tests.helpers.places import SHARED

CLAM = SHARED / "golden" / "clam"


def cases(kind: str) -> list[dict[str, Any]]:
    """Return the cases of a folder of golden/clam, none where there is no golden data."""
    path = CLAM / kind / "cases.json"
    return list(json.loads(path.read_text())) if path.is_file() else []


def case_ids(kind: str) -> list[str]:
    """Return the names of the cases."""
    return [case["name"] for case in cases(kind)]


def inputs(case: dict[str, Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return (scores, coords) of a case."""
    with np.load(CLAM / case["inputs"]) as data:
        return data["scores"], data["coords"]


def segmented(slide: str, name: str) -> WholeSlideImage:
    """Return slide B with the tissue of a golden segmentation; ``none`` is a slide without tissue."""
    wsi = WholeSlideImage(CLAM / "slides" / slide)
    wsi.contours_tissue, wsi.holes_tissue = [], []
    if name != "none":
        with np.load(CLAM / "seg" / f"{name}.npz") as data:
            wsi.contours_tissue = [data[f"tissue_{i}"] for i in range(int(data["n"]))]
            wsi.holes_tissue = [
                [data[f"hole_{i}_{j}"] for j in range(int(count))] for i, count in enumerate(data["n_holes"])
            ]
    return wsi


def digest(picture: Image.Image | npt.NDArray[np.uint8]) -> str:
    """Return the SHA-256 of the RGB bytes."""
    return hashlib.sha256(np.ascontiguousarray(np.asarray(picture)).tobytes()).hexdigest()

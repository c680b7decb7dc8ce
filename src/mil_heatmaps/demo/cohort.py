"""Make the demo cohort: slides, features, labels, checkpoint and process list in one folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mil_heatmaps.demo.features import FEATURE_WIDTH, patch_statistics
from mil_heatmaps.demo.texture import PaintedSlide, paint_slide
from mil_heatmaps.demo.training import PATCH, train_abmil
from mil_heatmaps.files.atomic import atomic_path, remove_abandoned, write_json, write_text

MPP = 0.5
ENCODER = "demo_patch_statistics"


@dataclass(frozen=True)
class DemoSlide:
    """What to paint on a slide."""

    slide_id: str
    form: Literal["pyramid", "svs", "single"]
    width: int
    height: int
    pieces: int
    lesions: int
    seed: int

    @property
    def file_name(self) -> str:
        return self.slide_id + (".svs" if self.form == "svs" else ".tiff")


SLIDES = (
    DemoSlide("demo_01_pyramid", "pyramid", 6144, 4608, pieces=2, lesions=1, seed=11),
    DemoSlide("demo_02_svs", "svs", 7680, 4096, pieces=3, lesions=2, seed=12),
    DemoSlide("demo_03_single_level", "single", 3584, 3072, pieces=1, lesions=1, seed=13),
    DemoSlide("demo_04_no_lesion", "pyramid", 5120, 4096, pieces=2, lesions=0, seed=14),
)


def make_cohort(folder: Path, say: Callable[[str], None]) -> None:
    """Create the cohort in `folder` unless it is already complete; `say` receives progress messages."""
    done = folder / "complete.json"
    recipe = {"version": 3, "slides": [vars(slide) for slide in SLIDES], "features": FEATURE_WIDTH}
    if done.is_file() and json.loads(done.read_text()) == json.loads(json.dumps(recipe)):
        say(f"the demo cohort is in {folder}")
        return
    remove_abandoned(folder)
    for slide in SLIDES:
        say(f"painting {slide.file_name} ({slide.width} x {slide.height})")
        painted = paint_slide(slide.width, slide.height, pieces=slide.pieces, lesions=slide.lesions, seed=slide.seed)
        _write_slide(folder / "slides" / slide.file_name, slide, painted)
        _write_features(folder, slide)
        _write_truth(folder / "truth" / f"{slide.slide_id}.npz", painted)
    say("training a small ABMIL on other slides")
    loss = train_abmil(folder / "checkpoints" / "abmil_demo.pt")
    say(f"trained, last mean loss {loss:.3f}")
    rows = [f"{slide.slide_id},{'lesion' if slide.lesions else 'normal'},1" for slide in SLIDES]
    write_text(folder / "process_list.csv", "slide_id,label,process\n" + "\n".join(rows) + "\n")
    write_json(done, recipe)


def _write_slide(path: Path, slide: DemoSlide, painted: PaintedSlide) -> None:
    from mil_heatmaps.slides.write_pyramid import write_pyramid

    levels = {"pyramid": (1, 2, 4, 8, 16), "svs": (1, 4, 16), "single": (1,)}[slide.form]
    svs = slide.form == "svs"
    write_pyramid(path, painted.pixels, downsamples=levels, mpp=MPP, svs=svs, magnification=20 if svs else None)


def _write_features(folder: Path, slide: DemoSlide) -> None:
    """Compute features from the pixels of the slide file, on its tissue, and write them in TRIDENT's layout."""
    from mil_heatmaps.files.hdf5_writing import write_h5
    from mil_heatmaps.slides.contour_grid import grid_from_contours
    from mil_heatmaps.slides.reader import open_slide
    from mil_heatmaps.slides.segmentation_params import SegmentationParams
    from mil_heatmaps.slides.tissue import segment_tissue

    with open_slide(folder / "slides" / slide.file_name) as opened:
        mask = segment_tissue(opened, SegmentationParams(a_t=1, a_h=1))
        grid = grid_from_contours(mask, opened, patch_size=PATCH, contour_fn="four_pt_hard")
        rows = [patch_statistics(opened.read_region((int(x), int(y)), 0, (PATCH, PATCH))) for x, y in grid.coords_l0]
    attributes: dict[str, Any] = {
        "name": slide.slide_id,
        "patch_size": PATCH,
        "patch_size_level0": PATCH,
        "level0_magnification": 20,
        "target_magnification": 20,
        "overlap": 0,
        "level0_width": slide.width,
        "level0_height": slide.height,
    }
    with write_h5(folder / "h5_files" / f"{slide.slide_id}.h5") as file:
        file.create_dataset("coords", data=grid.coords_l0).attrs.update(attributes)
        features = file.create_dataset("features", data=np.stack(rows))
        features.attrs.update({"name": slide.slide_id, "encoder": ENCODER})


def _write_truth(path: Path, painted: PaintedSlide) -> None:
    with atomic_path(path) as partial:
        np.savez_compressed(partial, lesion=np.packbits(painted.lesion, axis=1), width=painted.lesion.shape[1])


def lesion_share(
    truth: Path, coords_l0: npt.NDArray[np.int64], size_l0: tuple[int, int]
) -> npt.NDArray[np.float64]:
    """Return the share of each patch that is painted lesion, (N,) in [0, 1]."""
    with np.load(truth) as data:
        lesion = np.unpackbits(data["lesion"], axis=1, count=int(data["width"])).astype(np.int64)
    total = np.pad(lesion.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    limits = np.array([lesion.shape[1], lesion.shape[0]])
    x0, y0 = np.clip(coords_l0, 0, limits).T
    x1, y1 = np.clip(coords_l0 + np.array(size_l0), 0, limits).T
    inside = total[y1, x1] - total[y0, x1] - total[y1, x0] + total[y0, x0]
    share: npt.NDArray[np.float64] = inside / (size_l0[0] * size_l0[1])
    return share


def roc_auc(scores: npt.NDArray[Any], positive: npt.NDArray[np.bool_]) -> float:
    """Area under the ROC curve by rank sum (Mann-Whitney U), ties count half; NaN with only one class."""
    from scipy.stats import rankdata

    positives = int(positive.sum())
    negatives = positive.size - positives
    if not positives or not negatives:
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))

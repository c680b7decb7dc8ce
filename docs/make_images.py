"""Make the pictures of the documents from the demo cohort: `make docs-images`.

Scores come from a run of the demo's own config in a temporary folder; nothing of an earlier run is touched. The demo
slides are painted from a texture that scikit-image ships, so no patient's slide is in the documents.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from matplotlib.axes import Axes

    from mil_heatmaps.cohort.jobs import Cohort
    from mil_heatmaps.scores.score_file import ScoreFile
    from mil_heatmaps.slides.patch_grid import PatchGrid
    from mil_heatmaps.stages.base import SlideJob

logger = logging.getLogger("make_images")

IMAGES = ROOT / "docs" / "images"
CONFIG = ROOT / "heatmaps" / "configs" / "config_demo.yaml"
MOST_BYTES = 300_000
DPI = 110
INK, GREY = "#191c21", "#6e747d"
SIGNED = "BrBG_r"
"""The program's own colours of scores for (brown) and against (blue-green) a class."""


def main() -> None:
    """Run the demo's config once, then draw every picture."""
    import matplotlib as mpl

    from mil_heatmaps.demo.cohort import make_cohort

    logging.basicConfig(level=logging.WARNING)
    logger.setLevel(logging.INFO)
    mpl.use("Agg")
    mpl.rcParams.update({"font.size": 9, "axes.titlesize": 10, "text.color": INK, "axes.titlecolor": INK})
    make_cohort(ROOT / "heatmaps" / "demo", logger.info)
    with tempfile.TemporaryDirectory() as folder:
        cohort = run_demo(Path(folder), "demo")
        main_figure(cohort)
        faithfulness(cohort)
        tissue_and_patches(cohort)
        colour_scales(cohort)
        one_scale_for_all(cohort)
        scores_by_class(cohort)
        wrong_maps(cohort)
        attention_is_not_explanation()
        viewer(Path(folder))
        two_models(Path(folder))


def run_demo(folder: Path, name: str, **changes: Any) -> Cohort:
    """Run the demo's config, with `changes` to its model, into `folder`; return its slides."""
    from mil_heatmaps.config.config import load_config
    from mil_heatmaps.pipeline.runner import Runner

    keys = ("raw_save_dir", "production_save_dir", "results_dir")
    places = {f"exp_arguments.{key}": str(folder / key) for key in keys}
    others = {f"model_arguments.{key}": value for key, value in changes.items()}
    others["faithfulness_arguments.scores"] = ["attention", "class_contribution", "leave_one_out"]
    runner = Runner(load_config(CONFIG, {"exp_arguments.save_exp_code": name, **places, **others}))
    summary = runner.run()
    if summary.failed:
        raise SystemExit(f"the demo failed: {summary.failed}")
    return runner.cohort


def heatmap(
    job: SlideJob,
    values: npt.NDArray[np.float32] | None = None,
    *,
    grid: PatchGrid | None = None,
    downsample: float = 10,
    **options: Any,
) -> npt.NDArray[np.uint8]:
    """Return the picture of one slide, (H, W, 3), with its tissue and patches as the run found them."""
    import numpy as np

    from mil_heatmaps.scores.score_schema import read_scores
    from mil_heatmaps.slides.tissue_files import read_mask
    from mil_heatmaps.visualization.heatmap_utils import draw_heatmap
    from mil_heatmaps.visualization.wsi_object import WholeSlideImage

    scores = read_scores(job.paths.blockmap_h5)
    with WholeSlideImage(job.slide_path) as slide:
        slide.tissue = read_mask(job.paths.mask_pkl)
        drawn = scores.attention if values is None else values
        picture = draw_heatmap(drawn, grid or scores.grid, wsi_object=slide, downsample=downsample, **options)
    return np.asarray(picture)


def main_figure(cohort: Cohort) -> None:
    """Shrink the figure that the run wrote of a slide: the picture of the README."""
    save_smaller(cohort.jobs["demo_02_svs"].paths.figure(""), "figure.jpg", 1500)


def faithfulness(cohort: Cohort) -> None:
    """Shrink the curves of three maps that the run measured."""
    save_smaller(cohort.jobs["demo_02_svs"].paths.faithfulness_png, "faithfulness.jpg", 1500)


def viewer(folder: Path) -> None:
    """Photograph the viewer with the run."""
    sys.path.insert(0, str(ROOT / "docs"))
    from viewer_image import photograph

    photograph(folder / "raw_save_dir" / "demo", folder / "viewer.png")
    save_smaller(folder / "viewer.png", "viewer.jpg", 1440)


def two_models(folder: Path) -> None:
    """Train a second model on other slides, run it, and shrink the comparison of both runs."""
    from mil_heatmaps.demo.training import train_abmil
    from mil_heatmaps.pipeline.compare_runs import compare_runs

    train_abmil(folder / "second.pt", seed=8)
    run_demo(folder, "second", ckpt_path=str(folder / "second.pt"))
    runs = folder / "raw_save_dir"
    (picture,) = (
        slide.picture
        for slide in compare_runs(runs / "demo", runs / "second", folder / "compared")
        if slide.slide_id == "demo_02_svs"
    )
    assert picture is not None
    save_smaller(picture, "two_models.jpg", 1700)


def tissue_and_patches(cohort: Cohort) -> None:
    """Shrink the outlines and the contact sheet that the run wrote."""
    from PIL import Image

    job = cohort.jobs["demo_02_svs"]
    outlines = Image.open(job.paths.mask_jpg).convert("RGB")
    save_image(outlines, "tissue_outlines.jpg")
    sheet = next(job.paths.sampled_patches.glob(f"*/topk*/{job.slide_id}_contact_sheet.png"))
    save_smaller(sheet, "top_patches.jpg", 900)


def colour_scales(cohort: Cohort) -> None:
    """Draw one slide's scores in four ways."""
    from matplotlib import pyplot as plt

    job = cohort.jobs["demo_01_pyramid"]
    ways: dict[str, dict[str, Any]] = {
        "normalize: percentile": {},
        "normalize: minmax": {"normalize": "minmax"},
        "normalize: softmax": {"normalize": "softmax"},
        "threshold: 0.9": {"threshold": 0.9},
    }
    figure, axes = plt.subplots(1, 4, figsize=(9.6, 2.15), layout="constrained")
    for axis, (title, options) in zip(axes, ways.items(), strict=True):
        show(axis, heatmap(job, downsample=14, **options), title)
    save(figure, "colour_scales.jpg")


def one_scale_for_all(cohort: Cohort) -> None:
    """Draw a slide with and one without a lesion, each on its own scale and both on one."""
    from matplotlib import pyplot as plt

    from mil_heatmaps.scores.scale import CohortScale, summarize_scores

    jobs = [cohort.jobs[name] for name in ("demo_01_pyramid", "demo_04_no_lesion")]
    both = CohortScale([summarize_scores(scores_of(job).attention) for job in cohort.jobs.values()])
    figure, axes = plt.subplots(1, 4, figsize=(9.6, 2.25), layout="constrained")
    for column, (job, name) in enumerate(zip(jobs, ("with a lesion", "without"), strict=True)):
        for place, scale, word in ((column, None, "slide"), (column + 2, both, "cohort")):
            picture = heatmap(job, downsample=14, normalize="minmax", scale=scale)
            show(axes[place], picture, f"scale: {word} ({name})")
    save(figure, "one_scale_for_all.jpg")


def scores_by_class(cohort: Cohort) -> None:
    """Draw what speaks for each class: a signed score, so zero lies in the middle of the colours."""
    from matplotlib import pyplot as plt

    job = cohort.jobs["demo_02_svs"]
    scores = next(extra for extra in scores_of(job).extra if extra.score == "class_contribution")
    figure, axes = plt.subplots(1, 2, figsize=(9.2, 2.75), layout="constrained")
    for axis, name in zip(axes, scores.names, strict=True):
        values = scores.values[:, scores.names.index(name)]
        picture = heatmap(job, values, normalize="robust", center=0.0, cmap=SIGNED, alpha=0.6)
        show(axis, picture, f"score: class_contribution, class {name}")
    bar(axes[1], SIGNED, "speaks against or for the class", (-1, 1), ticks=([-1, 0, 1], ["against", "0", "for"]))
    save(figure, "scores_by_class.jpg")


def wrong_maps(cohort: Cohort) -> None:
    """Draw one slide as it should be, and with what readers take for a mistake, or what is one."""
    import numpy as np
    from matplotlib import pyplot as plt

    from mil_heatmaps.slides.patch_grid import PatchGrid

    job = cohort.jobs["demo_02_svs"]
    scores = scores_of(job)
    size, step = scores.grid.size_l0, scores.grid.step_l0
    moved = PatchGrid(scores.grid.coords_l0 + 900, size, step)
    small = PatchGrid(scores.grid.coords_l0, (size[0] // 2, size[1] // 2), step)
    away = PatchGrid(scores.grid.coords_l0 + 20_000, size, step)
    lifted = scores.attention - scores.attention.min() + 1
    part = {"top_left": (2560, 1024), "bot_right": (5120, 3072), "downsample": 6}
    ways: dict[str, dict[str, Any]] = {
        "as it should be": {},
        "one colour: all scores are equal": {"values": np.ones_like(scores.attention)},
        "shifted: coordinates count from elsewhere": {"grid": moved},
        "gaps: patch size half of the true one": {"grid": small},
        "all red: normalize: none, scores above 1": {"values": lifted, "normalize": "none"},
        "nearly all blue: normalize: softmax": {"normalize": "softmax"},
        "blank: no patch lies on the tissue": {"grid": away},
        "blocky: a patch is a square (a part of the slide)": part,
        "the same part with smooth: bilinear": {**part, "smooth": "bilinear"},
    }
    figure, axes = plt.subplots(3, 3, figsize=(9.6, 6.3), layout="constrained")
    for axis, (title, options) in zip(axes.flat, ways.items(), strict=True):
        show(axis, heatmap(job, options.pop("values", None), **{"downsample": 14, **options}), title)
    save(figure, "wrong_maps.jpg")


def attention_is_not_explanation() -> None:
    """Draw a bag whose answer is known: what speaks for and against, where the model looks, what it would lose."""
    import numpy as np
    from matplotlib import pyplot as plt
    from matplotlib.colors import ListedColormap

    sys.path.insert(0, str(ROOT / "docs"))
    import planted_evidence as planted

    features, _, kind = planted.bag(1000)
    asked = planted.abmil().explain(features, ["attention", "leave_one_out"], ["0", "1"], targets=1).scores
    order = [planted.NEUTRAL, planted.FOR, planted.AGAINST, planted.ATTENDED]
    shown = np.array([order.index(value) for value in kind])
    figure, axes = plt.subplots(1, 3, figsize=(9.6, 3.0), layout="constrained")
    for axis, values, title, cmap in (
        (axes[0], shown, "known: for (brown), against (blue-green), distracting (yellow)",
         ListedColormap(["#e9e9e9", "#9c6644", "#2a9d8f", "#e9c46a"])),
        (axes[1], asked["attention"].values[:, 0], "attention: finds the distracting patches", "viridis"),
        (axes[2], asked["leave_one_out"].values[:, 0], "leave_one_out: finds both", SIGNED),
    ):  # fmt: skip
        most = np.abs(values).max()
        limits = {"vmin": -most, "vmax": most} if cmap == SIGNED else {}
        axis.imshow(values.reshape(planted.ROWS, planted.COLUMNS), cmap=cmap, **limits)
        axis.set_title(title, fontsize=8)
        axis.set_axis_off()
    save(figure, "attention_is_not_explanation.jpg")


def scores_of(job: SlideJob) -> ScoreFile:
    """Return the slide's score file."""
    from mil_heatmaps.scores.score_schema import read_scores

    return read_scores(job.paths.blockmap_h5)


def show(axis: Axes, picture: npt.NDArray[np.uint8], title: str) -> None:
    """Show a picture without axes."""
    axis.imshow(picture, interpolation="lanczos")
    axis.set_title(title)
    axis.set_axis_off()


def bar(
    axis: Axes,
    cmap: str,
    label: str,
    ends: tuple[float, float],
    ticks: tuple[list[float], list[str]] | None = None,
) -> None:
    """Put a colour bar beside `axis`."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    figure = axis.get_figure()
    assert figure is not None
    drawn = figure.colorbar(ScalarMappable(Normalize(*ends), cmap), ax=axis, label=label, shrink=0.85)
    if ticks is not None:
        drawn.set_ticks(ticks[0], labels=ticks[1])
    drawn.outline.set_edgecolor(GREY)


def save(figure: Any, name: str) -> None:
    """Write a figure as a JPEG."""
    import io

    from matplotlib import pyplot as plt
    from PIL import Image

    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DPI, bbox_inches="tight", pad_inches=0.06)
    plt.close(figure)
    save_image(Image.open(stream).convert("RGB"), name)


def save_smaller(path: Path, name: str, longest_px: int) -> None:
    """Write a picture of a run with its longer side shrunk to `longest_px`."""
    from PIL import Image

    picture = Image.open(path).convert("RGB")
    picture.thumbnail((longest_px, longest_px), Image.Resampling.LANCZOS)
    save_image(picture, name)


def save_image(picture: Any, name: str) -> None:
    """Write a picture small enough for a repository."""
    from mil_heatmaps.files.atomic import atomic_path

    with atomic_path(IMAGES / name) as partial:
        picture.save(partial, format="JPEG", quality=88, optimize=True)
    size = (IMAGES / name).stat().st_size
    if size > MOST_BYTES:
        raise SystemExit(f"{name} has {size} bytes; at most {MOST_BYTES} will do")
    logger.info("%s %d x %d, %d kB", name, *picture.size, size // 1000)


if __name__ == "__main__":
    main()

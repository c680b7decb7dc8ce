"""The font of the figures, for pictures that Pillow writes on."""

from functools import lru_cache
from pathlib import Path

from PIL import ImageFont


@lru_cache(maxsize=24)
def figure_font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Return the font that comes with Matplotlib, so that pictures look the same on every machine."""
    from matplotlib import get_data_path

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(get_data_path(), "fonts", "ttf", name)), size)

"""The colormaps the page offers, as tables."""

import base64
from collections.abc import Sequence
from typing import Any

from mil_heatmaps.errors import HeatmapError

OFFERED = (
    "jet", "turbo", "viridis", "inferno", "magma", "cividis", "Reds", "gray", "BrBG_r", "coolwarm", "RdBu_r", "PuOr_r",
)  # fmt: skip


def is_known(name: str) -> bool:
    """Return whether there is a colormap of this name."""
    from mil_heatmaps.visualization.palette import colour_table

    try:
        colour_table(name)
    except (HeatmapError, ValueError, LookupError):
        return False
    return True


def palettes(extra: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return each colormap, `extra` first: its name, whether it has a middle, names of its ends, RGB table (base64)."""
    from mil_heatmaps.visualization.colour_words import end_colours
    from mil_heatmaps.visualization.palette import colour_table, is_diverging

    return [
        {
            "name": name,
            "diverging": is_diverging(name),
            "ends": end_colours(name),
            "table": base64.b64encode(colour_table(name).tobytes()).decode("ascii"),
        }
        for name in dict.fromkeys((*extra, *OFFERED))
    ]

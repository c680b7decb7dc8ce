"""How a run's own pictures are coloured, read from its config: the viewer starts with these colours."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mil_heatmaps.choices import METHODS
from mil_heatmaps.config.fine_map import makes_fine_map
from mil_heatmaps.records.layout import SlideLayout
from mil_heatmaps.viewer.catalog import Defaults
from mil_heatmaps.visualization.palette import chosen_cmap

COHORT = "cohort_median"
MOST = 1e300
"""Ends of a range and thresholds are smaller; NaN is not."""


_PLACES = ("data_dir", "h5_dir", "coords_dir", "scores_dir", "roi_dir", "slide_ext")
_NAMES = ("data_dir_key", "save_exp_code", "raw_save_dir", "model_name", "results_dir")


def sound(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's config without values that no run can have: the folder may come from anywhere, or be edited."""
    return {
        name: {key: value for key, value in found.items() if _is_sound(key, value)}
        for name in config
        if (found := section(config, name))
    }


def _is_sound(key: object, value: object) -> bool:
    if value is None:
        return True
    if key in _PLACES:
        parts = list(value.values()) if isinstance(value, dict) else [value]
        return all(_is_place(one) for part in parts for one in (part if isinstance(part, list) else [part]))
    if key in _NAMES:
        return _is_place(value)
    if key == "label_dict":
        return isinstance(value, dict) and all(type(number) is int for number in value.values())
    if key == "overlap":
        return isinstance(value, int | float) and 0 <= value < 1
    return True


def _is_place(value: object) -> bool:
    """Whether a value is a text that a path can be."""
    return isinstance(value, str) and "\0" not in value and all(len(part) < 256 for part in value[:4096].split("/"))


def section(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a section of a config, empty when it is missing."""
    found = config.get(name)
    return found if isinstance(found, dict) else {}


def bags_of(config: Mapping[str, Any]) -> list[str]:
    """Return the names of the bags of a run whose model takes several, in order; none for any other run."""
    data = section(config, "data_arguments")
    several = isinstance(data.get("h5_dir"), dict) and not isinstance(data.get("data_dir"), dict)
    names = [str(name) for name in data["h5_dir"]] if several else []
    return names if len(names) > 1 else []


def fine_map_of(config: Mapping[str, Any], slide: SlideLayout, source: str) -> Path | None:
    """Return the scores of a slide's fine map; None when the run makes no fine map.

    Parameters
    ----------
    source : the cell of the process list that tells which of several data folders the slide is in
    """
    drawn, own = section(config, "heatmap_arguments"), section(config, "data_arguments").get("scores_dir")
    path = slide.fine_scores_h5(section(config, "patching_arguments").get("overlap", 0), bool(drawn.get("use_roi")))
    wanted = makes_fine_map(
        calc_heatmap=drawn.get("calc_heatmap"),
        encoder=section(config, "encoder_arguments").get("model_name"),
        own_scores=own.get(source) if isinstance(own, dict) else own,
    )
    return path if wanted and path.is_file() else None


def fine_map_words(config: Mapping[str, Any]) -> str:
    """Return what the viewer calls a fine map."""
    region = ", region of interest" if section(config, "heatmap_arguments").get("use_roi") else ""
    return f"fine map, overlap {section(config, 'patching_arguments').get('overlap', 0)}{region}"


def defaults_of(config: Mapping[str, Any]) -> Defaults:
    """Return colours, range and threshold of the run's pictures; missing or odd values are left to the page."""
    drawn = section(config, "heatmap_arguments")
    alpha, threshold = drawn.get("alpha"), _number(drawn.get("threshold"))
    method, as_clam = drawn.get("normalize"), drawn.get("compat") == "clam"
    ends = _number(drawn.get("vmin")), _number(drawn.get("vmax"))
    if None not in ends and ends[0] >= ends[1]:  # type: ignore[operator]
        ends = None, None
    cmap, signed = (drawn.get(key) if isinstance(drawn.get(key), str) else None for key in ("cmap", "cmap_signed"))
    center = drawn.get("center")
    return Defaults(
        cmap=chosen_cmap(cmap, signed=False) if cmap or as_clam else None,
        cmap_signed=None if as_clam else chosen_cmap(cmap, signed, signed=True),
        center=COHORT if center == COHORT else number if (number := _number(center)) is not None else "auto",
        alpha=float(alpha) if isinstance(alpha, int | float) and 0 < alpha <= 1 else None,
        normalize=method if method in METHODS else None,
        ends=ends,
        threshold=threshold if threshold is not None and 0 <= threshold <= 1 else 0.0,
        inside=drawn.get("segment") is True,
        smooth=drawn.get("smooth") in ("bilinear", "gaussian") or drawn.get("blur") is True,
        by_rank=as_clam,
        among_bag=drawn.get("use_ref_scores") is not False,
        evidence=drawn.get("evidence") == "outline",
    )


def _number(value: Any) -> float | None:
    usable = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MOST
    return float(value) if usable else None

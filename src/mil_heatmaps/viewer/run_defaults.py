"""How a run's own pictures are coloured, read from the config it left: where the viewer begins."""

from collections.abc import Mapping
from typing import Any

from mil_heatmaps.viewer.catalog import Defaults
from mil_heatmaps.visualization.palette import DEFAULT_CMAP

METHODS = ("percentile", "percentile_ref", "minmax", "robust", "softmax", "none")


def section(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a section of a config, empty when it is not there."""
    found = config.get(name)
    return found if isinstance(found, dict) else {}


def has_fine_map(config: Mapping[str, Any]) -> bool:
    """Whether the run makes fine maps."""
    encoder = section(config, "encoder_arguments").get("model_name")
    return bool(encoder and section(config, "heatmap_arguments").get("calc_heatmap"))


def defaults_of(config: Mapping[str, Any]) -> Defaults:
    """Return colours, range and threshold of the run's pictures; what is missing or odd is left to the page."""
    drawn = section(config, "heatmap_arguments")
    alpha, threshold = drawn.get("alpha"), _number(drawn.get("threshold"))
    method, as_clam = drawn.get("normalize"), drawn.get("compat") == "clam"
    ends = _number(drawn.get("vmin")), _number(drawn.get("vmax"))
    if None not in ends and ends[0] >= ends[1]:  # type: ignore[operator]
        ends = None, None
    return Defaults(
        cmap=drawn.get("cmap") if isinstance(drawn.get("cmap"), str) else DEFAULT_CMAP if as_clam else None,
        alpha=float(alpha) if isinstance(alpha, int | float) and 0 < alpha <= 1 else None,
        normalize=method if method in METHODS else None,
        ends=ends,
        threshold=threshold if threshold is not None and 0 <= threshold <= 1 else 0.0,
        inside=drawn.get("segment") is True,
        smooth=drawn.get("smooth") in ("bilinear", "gaussian") or drawn.get("blur") is True,
        by_rank=as_clam,
        among_bag=drawn.get("use_ref_scores") is not False,
    )


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

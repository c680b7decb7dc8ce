"""How a run's own pictures are coloured, read from the config it left: where the viewer begins."""

from collections.abc import Mapping
from typing import Any

from src.viewer.catalog import Defaults

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
    low, high = _number(drawn.get("vmin")), _number(drawn.get("vmax"))
    percent = method in (None, "percentile", "percentile_ref")  # the unit of vmin and vmax
    fixed = None if percent or low is None or high is None or low >= high else (low, high)
    ends = (0.0, 1.0)
    if percent:
        ends = (0.0 if low is None else low / 100, 1.0 if high is None else high / 100)
    return Defaults(
        cmap=drawn.get("cmap") if isinstance(drawn.get("cmap"), str) else "jet" if as_clam else None,
        alpha=float(alpha) if isinstance(alpha, int | float) and 0 < alpha <= 1 else None,
        normalize=method if method in METHODS else None,
        low=ends[0] if 0 <= ends[0] < ends[1] <= 1 else 0.0,
        high=ends[1] if 0 <= ends[0] < ends[1] <= 1 else 1.0,
        fixed=fixed,
        threshold=threshold if threshold is not None and 0 <= threshold <= 1 else 0.0,
        inside=drawn.get("segment") is True,
        smooth=drawn.get("smooth") in ("bilinear", "gaussian") or drawn.get("blur") is True,
        by_rank=as_clam,
        among_bag=drawn.get("use_ref_scores") is not False,
    )


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

"""The faithfulness document where nothing, or not every map, could be measured: the reason in words, no numbers."""

from collections.abc import Iterable
from typing import Any

from mil_heatmaps.explain.faithfulness_plan import Plan
from mil_heatmaps.words import one_line


def unmeasured(
    names: Iterable[str], drawn: str, plan: Plan, *, task: str, num_patches: int, reason: str, error: str | None = None
) -> dict[str, Any]:
    """Return a document whose maps are all ``not measured`` for a reason, or ``failed`` with an error."""
    entry = failed_entry(error) if error is not None else not_measured_entry(reason)
    steps, orders = plan.size
    maps = {name: entry | {"drawn": name == drawn} for name in names}
    return {
        "format": "mil-heatmaps faithfulness",
        "format_version": 1,
        "num_patches": num_patches,
        "task": task,
        "target": {"index": None, "name": None},
        "output": None,
        "full": {},
        "level": plan.level,
        "seed": plan.seed,
        "steps": steps,
        "random_orders": orders,
        "removed": [],
        "fractions": [],
        "maps": maps,
        "random": {},
        "foot": entry["foot"],
        "forwards": 0,
        "seconds": 0.0,
    }


def failed_entry(error: str) -> dict[str, Any]:
    """Return a map's entry where measuring it failed."""
    said = f"Faithfulness not measured: {one_line(error)}"
    return {"drawn": False, "status": "failed", "error": one_line(error), "foot": said, "method": ""}


def not_measured_entry(reason: str) -> dict[str, Any]:
    """Return a map's entry where it cannot be measured."""
    said = f"Faithfulness not measured: {one_line(reason)}."
    return {"drawn": False, "status": "not measured", "verdict": "not measured", "foot": said, "method": ""}

"""Write the table of docs/explanation/scores.md that says which score finds planted evidence.

Run `.venv/bin/python docs/make_scores_table.py`; it takes about a minute. Every score is asked of 20 bags whose answer
is known (of 5 by TransMIL, which takes a forward for each part of a bag), see planted_evidence.py, and measured by the
program's own faithfulness.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(Path(__file__).resolve().parent))

PAGE = ROOT / "docs" / "explanation" / "scores.md"
BEGIN, END = "<!-- table of planted evidence: docs/make_scores_table.py -->", "<!-- end of the table -->"
ABMIL_SEEDS, TRANSMIL_SEEDS = range(1000, 1020), range(1000, 1005)


@dataclass(frozen=True)
class Found:
    """How well one score finds the evidence.

    Attributes
    ----------
    mean, least : float
        Of `planted_evidence.found_evidence` over the bags.
    better, bags : int
        On how many the map is better than random.
    """

    mean: float
    least: float
    better: int
    bags: int


def measure(model: Any, names: Sequence[str], seeds: Sequence[int]) -> dict[str, Found]:
    """Return what each score of class 1 finds on the bags of some seeds."""
    from planted_evidence import STEP_L0, bag, found_evidence

    hits: dict[str, list[float]] = {name: [] for name in names}
    better = dict.fromkeys(names, 0)
    for seed in seeds:
        x, coords_l0, kind = bag(seed)
        scores = model.explain(x, names, targets=1, coords_l0=coords_l0, step_l0=STEP_L0).scores
        maps = {name: scores[name].values[:, -1] for name in names}
        measured = model.faithfulness(x, maps, target=1).as_dict()["maps"]
        for name in names:
            hits[name].append(found_evidence(maps[name], kind))
            better[name] += measured[name].get("verdict") == "better than random"
    return {
        name: Found(float(np.mean(each)), min(each), better[name], len(each)) for name, each in hits.items()
    }


def table(abmil: dict[str, Found], transmil: dict[str, Found]) -> str:
    """Return the table in Markdown."""
    lines = [
        "| score | ABMIL: mean, least | better than random | TransMIL: mean, least | better than random |",
        "|---|---|---|---|---|",
    ]
    for name in abmil:
        cells = [cell for found in (abmil.get(name), transmil.get(name)) for cell in _cells(found)]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cells(found: Found | None) -> tuple[str, str]:
    if found is None:
        return "refused", ""
    return f"{found.mean:.3f}, {found.least:.3f}", f"{found.better} of {found.bags}"


def written(page: str, rows: str) -> str:
    """Return the page with the table in its place."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{rows}\n\n{END}{after}"


def main() -> None:
    """Measure, and write the page."""
    from planted_evidence import abmil, transmil

    from mil_heatmaps.explain.settings import EXPLANATIONS
    from mil_heatmaps.files.atomic import write_text

    first = measure(abmil(), ["attention", "class_contribution", *EXPLANATIONS], ABMIL_SEEDS)
    second = measure(transmil(), ["attention", *EXPLANATIONS], TRANSMIL_SEEDS)
    write_text(PAGE, written(PAGE.read_text(encoding="utf-8"), table(first, second)))


if __name__ == "__main__":
    main()

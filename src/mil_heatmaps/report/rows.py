"""A slide as plain values for the templates: its row of the table, and its page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mil_heatmaps.report.slides import ReportedSlide
from mil_heatmaps.words import number_words, numbers_apart, percentage, printable

_BAR = 120
"""Width of a probability bar, in pixels."""


def row_of(
    slide: ReportedSlide, part: Mapping[str, Any] | None, number: int, href: str, measures: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the row of a slide: texts to show and values to sort by.

    Parameters
    ----------
    number : int
        Place in the list, counted from 1.
    href : str
        Address of its page; empty without a page.
    measures : names
        Columns of measures of the scores.
    """
    outcome = slide.outcome
    told = dict(outcome.measures)
    chances = dict(zip(outcome.classes, outcome.probabilities, strict=True))
    best = max(chances, key=lambda name: chances[name], default="")
    chance = chances.get(best)
    faithfulness = outcome.faithfulness or ("", "", "")
    numbers = [f"{name.removeprefix('predicted_')} {number_words(value)}" for name, value in outcome.numbers]
    prediction = best or "; ".join(numbers)
    if not prediction and part is not None:
        prediction = str(part.get("prediction") or "")
    return {
        "number": number,
        "slide_id": printable(slide.slide_id),
        "href": href,
        "label": printable(slide.label),
        "status": slide.status,
        "failure": slide.failure,
        "prediction": printable(prediction),
        "group": outcome.group,
        "chance": chance,
        "chance_words": "" if chance is None or math.isnan(chance) else percentage(chance),
        "bar": 0 if chance is None or math.isnan(chance) else round(_BAR * chance, 1),
        "verdict": printable(faithfulness[0]),
        "srg": faithfulness[1] if len(faithfulness) > 1 else "",
        "srg_words": number_words(float(faithfulness[1]), 3) if len(faithfulness) > 1 and faithfulness[1] else "",
        "measures": [(value, "" if value is None else number_words(value, 3)) for value in map(told.get, measures)],
        "notices": len(slide.notices),
        "thumbnail": None if part is None else _picture(part["pictures"], "thumbnail"),
        "alt": "" if part is None else f"{printable(slide.slide_id)}, small",
    }


def page_of(
    slide: ReportedSlide, part: Mapping[str, Any], number: int, folder: Path, viewer: str
) -> dict[str, Any]:
    """Return the content of a slide's page; `folder` is the folder of the page, `viewer` the viewer's command."""
    files, gone = slide.files(folder)
    outcome = slide.outcome
    classes = sorted(zip(outcome.classes, outcome.probabilities, strict=True), key=lambda pair: -pair[1])
    width, height = part["pictures"]["size_px"]
    return {
        "number": number,
        "slide_id": printable(slide.slide_id),
        "label": printable(slide.label or str(part.get("label") or "")),
        "prediction": printable(str(part.get("prediction") or "")),
        "classes": [(printable(name), percentage(chance), round(_BAR * chance, 1)) for name, chance in classes],
        "numbers": [(printable(name.removeprefix("predicted_")), number_words(value))
                    for name, value in outcome.numbers],
        "group": outcome.group,
        "failure": slide.failure,
        "notices": [printable(notice) for notice in slide.notices],
        "gone": [printable(sentence) for sentence in gone],
        "files": files,
        "viewer": viewer,
        "title": printable(str(part["title"])),
        "facts": _facts(part),
        "scale": {"ground": "#ffffff", **part["scale"], "gradient": f"bar-{number}"},
        "cut": _cut(part["scale"]),
        "width": width,
        "height": height,
        "slide": _picture(part["pictures"], "slide"),
        "map": f"data:image/webp;base64,{part['pictures']['map']}",
        "opacity": round(100 * float(part["alpha"])),
        "patches": {of: _patches(part, of) for of in ("highest", "lowest")},
        "curves": part.get("curves") or "",
        "verdict": printable(outcome.faithfulness[0]) if outcome.faithfulness else "",
        "sentence": printable(str(part.get("sentence") or "")),
        "method": printable(str(part.get("method") or "")),
    }  # fmt: skip


def _facts(part: Mapping[str, Any]) -> str:
    checkpoint = str(part.get("checkpoint_sha256") or "")[:12]
    told = [
        f"model {part['model']}" if part.get("model") else "",
        f"checkpoint {checkpoint}" if checkpoint else "",
        f"encoder {part['encoder']}" if part.get("encoder") else "",
        f"{part['patches_drawn']} patches",
        "pictures {} × {} pixels".format(*part["pictures"]["size_px"]),
    ]
    return printable(" · ".join(filter(None, told)))


def _cut(scale: Mapping[str, Any]) -> float | None:
    cut = scale.get("cut")
    return float(cut) if cut is not None and 0 < cut <= 1 else None


def _patches(part: Mapping[str, Any], of: str) -> list[dict[str, Any]]:
    """Return the highest or the lowest patches, with as many digits of the scores as tell them apart."""
    patches = [patch for patch in part["patches"] if patch["of"] == of]
    scores = numbers_apart([float(patch["score"]) for patch in patches])
    return [_patch(patch, score, part, of) for patch, score in zip(patches, scores, strict=True)]


def _patch(patch: Mapping[str, Any], score: str, part: Mapping[str, Any], of: str) -> dict[str, Any]:
    left, top, width, height = (100 * float(share) for share in patch["place"])
    x, y = patch["coords_l0"]
    kind = part["pictures"]["type"]
    return {
        "rank": patch["rank"],
        "count": part.get("patches_ranked"),
        "score": score,
        "coords": f"{x}, {y}",
        "place": f"{left:.3f} {top:.3f} {width:.3f} {height:.3f}",
        "src": f"data:{kind};base64,{patch['picture']}",
        "alt": f"{of} patch, rank {patch['rank']}",
    }


def _picture(pictures: Mapping[str, Any], name: str) -> str:
    return f"data:{pictures['type']};base64,{pictures[name]}"

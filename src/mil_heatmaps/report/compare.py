"""A report that compares two runs; the differences come first."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mil_heatmaps.errors import HeatmapError
from mil_heatmaps.files.atomic import binary_writer
from mil_heatmaps.pipeline.compare_runs import SENTENCE, ComparedSlide
from mil_heatmaps.records.finished_run import FinishedRun
from mil_heatmaps.records.outcome_tables import SlideOutcome
from mil_heatmaps.report.pages import rendered
from mil_heatmaps.words import counted, number_words, percentage, printable

NAME = "comparison.html"
PICTURE_PX, QUALITY, LEAST_QUALITY = 1600, 72, 30
MOST_BYTES = 45_000_000
"""Maximum bytes of all pictures together; base64 makes them a third larger."""
_ALIKE = "spearman"


@dataclass(frozen=True)
class _Pair:
    """A slide with the predictions of both runs."""

    slide: ComparedSlide
    outcomes: tuple[SlideOutcome, SlideOutcome]

    @property
    def same(self) -> str:
        """Whether both predict the same class, empty where one of them predicts none."""
        first, second = (outcome.classes[:1] for outcome in self.outcomes)
        if not first or not second:
            return ""
        return "same" if first == second else "differs"

    @property
    def alike(self) -> float:
        """Rank correlation of the maps; infinite where there is none."""
        value = self.slide.row.get(_ALIKE)
        return math.inf if value is None or math.isnan(float(value)) else float(value)

    @property
    def moved(self) -> float:
        """Largest change in the probability of a class."""
        first, second = (dict(zip(o.classes, o.probabilities, strict=True)) for o in self.outcomes)
        return max((abs(first[name] - second[name]) for name in first if name in second), default=0.0)


def write_comparison_report(
    folder_a: Path, folder_b: Path, slides: Sequence[ComparedSlide], out: Path
) -> Path:
    """Write ``comparison.html`` into `out`, beside its pictures; return its path.

    Slides whose predicted class differs come first, then those with the least similar maps. Slides that could not be
    compared come last, with the reason.

    Raises
    ------
    HeatmapError
        No slide could be compared.
    """
    if not any(slide.picture for slide in slides):
        reasons = "; ".join(f"{slide.slide_id}: {slide.error}" for slide in slides[:3])
        raise HeatmapError(f"there is nothing to report: no slide of the two runs could be compared ({reasons})")
    runs = FinishedRun(folder_a), FinishedRun(folder_b)
    pairs = [_Pair(slide, (runs[0].outcome(slide.slide_id), runs[1].outcome(slide.slide_id))) for slide in slides]
    pairs.sort(key=lambda pair: (pair.slide.error is not None, pair.same != "differs", pair.alike, -pair.moved))
    names = folder_a.resolve().name, folder_b.resolve().name
    keys = [key for key in dict.fromkeys(key for slide in slides for key in slide.row) if not key.startswith(SENTENCE)]
    differ = sum(pair.same == "differs" for pair in pairs)
    compared = sum(slide.error is None for slide in slides)
    path = out / NAME
    values = {
        "names": list(map(printable, names)),
        "summary": f"{counted(compared, 'slide')} compared, the prediction of {differ} differs; "
        f"{len(slides) - compared} could not be compared",
        "facts": _facts(runs),
        "columns": ["No.", "Slide", *(f"Prediction of {printable(name)}" for name in names), "Prediction",
                    "Not compared", *map(_heading, keys)],
        "rows": (_row(number, pair, keys) for number, pair in enumerate(pairs, 1)),
        "pages": _pages(pairs, names, MOST_BYTES // max(1, compared)),
    }  # fmt: skip
    with binary_writer(path) as file:
        for piece in rendered("compare.html", values):
            file.write(piece)
    return path


def _facts(runs: Sequence[FinishedRun]) -> list[tuple[str, list[str]]]:
    """Return the facts in the runs' configs that differ or name the model."""
    from mil_heatmaps.config.config import load_config

    found: list[dict[str, str]] = []
    for run in runs:
        plain: Mapping[str, Any] = {}
        for config in run.configs[:1]:
            plain = load_config(config, check_files=False).model_dump(mode="json")
        found.append({f"{section}.{key}": "" if value is None else str(value)
                      for section, keys in plain.items() for key, value in keys.items()})  # fmt: skip
    first, second = found
    named = ("model_arguments.model_name", "model_arguments.ckpt_path", "heatmap_arguments.score")
    keys = dict.fromkeys((*named, *(key for key in first | second if first.get(key) != second.get(key))))
    return [(key, [printable(told.get(key, "")) for told in found]) for key in keys]


def _row(number: int, pair: _Pair, keys: Sequence[str]) -> dict[str, Any]:
    values = [pair.slide.row.get(key) for key in keys]
    return {
        "number": number,
        "slide_id": printable(pair.slide.slide_id),
        "has_picture": pair.slide.picture is not None,
        "predictions": [_prediction(outcome) for outcome in pair.outcomes],
        "same": pair.same,
        "numbers": [("" if value is None else str(value), _words(value)) for value in values],
        "error": printable(pair.slide.error or ""),
    }


def _words(value: Any) -> str:
    if value is None:
        return ""
    return number_words(float(value), 3) if isinstance(value, float) else printable(str(value))


def _prediction(outcome: SlideOutcome) -> str:
    if outcome.classes:
        return printable(f"{outcome.classes[0]} ({percentage(outcome.probabilities[0])})")
    return printable("; ".join(f"{name.removeprefix('predicted_')} {number_words(v)}" for name, v in outcome.numbers))


def _pages(pairs: Sequence[_Pair], names: tuple[str, str], most_bytes: int) -> Iterator[dict[str, Any]]:
    for number, pair in enumerate(pairs, 1):
        picture = pair.slide.picture
        if picture is None:
            continue
        told = zip(names, ("a", "b"), strict=True)
        said = [(name, pair.slide.row.get(f"{SENTENCE}_{side}")) for name, side in told]
        sentences = [printable(f"{name}: {sentence}") for name, sentence in said if sentence]
        yield {
            "number": number,
            "slide_id": printable(pair.slide.slide_id),
            "predictions": [_prediction(outcome) for outcome in pair.outcomes],
            "picture": _small(picture, most_bytes),
            "sentences": sentences,
            "href": quote(picture.name),
            "file": printable(picture.name),
        }


def _small(path: Path, most_bytes: int) -> str:
    """Return a picture as WebP in a ``data:`` address, within the limits of size and bytes."""
    from PIL import Image

    with Image.open(path) as picture:
        image = picture.convert("RGB")
    side, quality = PICTURE_PX, QUALITY
    while True:
        image.thumbnail((side, side))
        file = io.BytesIO()
        image.save(file, "WEBP", quality=quality)
        if file.tell() <= most_bytes or side < 200:
            return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
        side, quality = int(side * 0.8), max(LEAST_QUALITY, quality - 10)


def _heading(key: str) -> str:
    words = key.replace("_", " ")
    return f"{words[:1].upper()}{words[1:]}"

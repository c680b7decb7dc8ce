"""Numbers and sheets over the finished slides of a run; each is made again only if its inputs have changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mil_heatmaps.cohort.jobs import layout_of
from mil_heatmaps.config.config import Config
from mil_heatmaps.config.insight_section import InsightArguments
from mil_heatmaps.errors import ConfigError, HeatmapError
from mil_heatmaps.files.atomic import write_text
from mil_heatmaps.files.digests import fingerprint
from mil_heatmaps.insight.runs import StudyRun
from mil_heatmaps.pipeline import insight_parts as parts
from mil_heatmaps.pipeline.insight_study import Study, asked_folder
from mil_heatmaps.words import reason_of

_DONE = ".done.json"
_VERSION = 2


@dataclass
class InsightRun:
    """What was made.

    Attributes
    ----------
    folder : Path
    paths : list of Path
        Written now, or up to date.
    failed : part -> why
    """

    folder: Path
    paths: list[Path] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def make_insight(
    config: Config, folder: Path, *, say: Callable[[str], None] = lambda _: None
) -> InsightRun:
    """Make everything that `insight_arguments` asks for from the run in `folder`; a part that fails stops no other.

    If nothing is asked for, the overview and the concentration of scores are made.
    """
    wanted = config.insight_arguments
    run = StudyRun(folder)
    layout = layout_of(config)
    done = InsightRun(layout.insight)
    study = Study(config, run, wanted, layout.insight, say)
    layout.insight.mkdir(parents=True, exist_ok=True)
    layout.clear_beside_slides()
    state = _read_state(layout.insight / _DONE)
    slides = _slides(run)
    for name, part in _parts(wanted).items():
        key = fingerprint({"part": name, "version": _VERSION, "slides": slides, **_settings(config, name)})
        known = state.get(name, {})
        paths = [layout.insight / path for path in known.get("paths", ())]
        if known.get("key") == key and paths and all(path.is_file() for path in paths):
            done.paths += paths
            continue
        try:
            paths = part(study)
        except (HeatmapError, OSError) as error:
            done.failed[name] = reason_of(error)
            say(f"{name}: {done.failed[name]}")
            continue
        done.paths += paths
        state[name] = {"key": key, "paths": [str(path.relative_to(layout.insight)) for path in paths]}
        write_text(layout.insight / _DONE, json.dumps(state))
    return done


Part = Callable[[Study], list[Path]]


def _parts(asked: InsightArguments) -> dict[str, Part]:
    chosen: dict[str, Part] = {"concentration": parts.concentration}
    if asked.overview or not asked.asks:
        chosen["overview"] = parts.overview
    if asked.annotations:
        chosen["annotations"] = parts.drawn
    if asked.phenotypes:
        chosen["phenotypes"] = parts.phenotypes
    if asked.spots:
        chosen["spots"] = parts.spots
    return chosen


_SETTINGS = {
    "annotations": ("annotation_classes", "mask_labels", "mask_downsample", "top"),
    "phenotypes": ("phenotypes",),
    "spots": ("spots_unit",),
}
"""Keys of `insight_arguments` that a part depends on, besides the folder it reads."""

_FOLDERS = ("annotations", "spots")
_BY_LABEL = ("overview", "phenotypes")


def _settings(config: Config, part: str) -> dict[str, Any]:
    """Return what a part depends on besides the slides; no other setting changes it."""
    data, asked = config.data_arguments, config.insight_arguments.model_dump(mode="json")
    found: dict[str, Any] = {"asked": {key: asked[key] for key in _SETTINGS.get(part, ())}}
    if part in _BY_LABEL:
        found["label_dict"] = data.label_dict
    if part in _FOLDERS:
        found |= {"folder": _folder_state(config, part), "frame": data.coords_frame}
    return found


def _slides(run: StudyRun) -> dict[str, Any]:
    """Return what every part depends on: the score files, and what the list says of the slides."""
    files = {}
    for slide_id, slide in run.slides.items():
        stat = slide.scores.stat()
        told = {key: value for key, value in slide.cells.items() if key not in ("seconds", "status", "notes")}
        files[slide_id] = [stat.st_size, stat.st_mtime_ns, told]
    return files


def _folder_state(config: Config, part: str) -> list[Any]:
    """Return the folder that a part reads besides the run's own files, with names, sizes and times of its files."""
    try:
        folder = asked_folder(config, part)
    except ConfigError:
        return []  # the part itself reports it
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    stats = [(path, path.stat()) for path in found]
    return [str(folder), *([str(path.relative_to(folder)), stat.st_size, stat.st_mtime_ns] for path, stat in stats)]


def _read_state(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}

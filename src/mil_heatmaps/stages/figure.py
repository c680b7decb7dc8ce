"""Write the figure of one finished map: words from the record, size and format from the config."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mil_heatmaps.files.digests import fingerprint
from mil_heatmaps.notices import Notice, distinct, total
from mil_heatmaps.records.rows import UNSPECIFIED
from mil_heatmaps.records.slide_record import relative
from mil_heatmaps.scores.concentration import concentration
from mil_heatmaps.stages.base import SlideWork
from mil_heatmaps.stages.case_figure import case_foot, case_words, small_maps, small_title
from mil_heatmaps.stages.concept_scores import concept_foot
from mil_heatmaps.stages.figure_foot import evidence_of, foot_of
from mil_heatmaps.stages.second_slide import NO_SECOND_SLIDE, second_slide
from mil_heatmaps.words import PROGRAM, printable

if TYPE_CHECKING:
    from mil_heatmaps.stages.planned_map import DrawnColumn, PlannedMap
    from mil_heatmaps.visualization.figure_words import Artefact, FigureText



def write_slide_figure(work: SlideWork, planned: PlannedMap, notices: Iterable[Notice]) -> Path:
    """Write ``S_figure.<format>``: slide and map side by side, with what the colours mean; return its path."""
    from mil_heatmaps.visualization.figure import write_figure

    heatmap = work.config.heatmap_arguments
    style = heatmap.figure_style
    assert style is not None  # asked only where a figure is wanted
    path = work.job.paths.figure(planned.column.suffix, style.format)
    drawing = replace(planned.drawing, color_profile=heatmap.for_people)
    told = tuple(notices)
    lacking = any(notice.code == NO_SECOND_SLIDE for notice in told)
    with nullcontext() if lacking else second_slide(work) as beside:
        text = replace(figure_text(work, planned, told), beside=beside)
        write_figure(path, drawing, planned.drawn_scores, text, legend=heatmap.legend, style=style)
    return path


def figure_text(work: SlideWork, planned: PlannedMap, notices: tuple[Notice, ...] = ()) -> FigureText:
    """Return the words of the figure of a map; `notices` are those of its drawing."""
    from mil_heatmaps.visualization.faithfulness_words import EvidenceOutline, Faithfulness
    from mil_heatmaps.visualization.figure_words import FigureText

    score_file, column, config = work.score_file, planned.column, work.config
    foot, evidence = foot_of(work, column.bag), None if column.bag else evidence_of(work)
    foot = None if foot is None else foot.of(column.name)
    scores = score_file.scores
    told = distinct((*work.record.notices(before="heatmap"), *notices))
    spread = None if column.bag else concentration(score_file.attention, score_file.scores.kind)
    run = config.run_name
    return FigureText(
        score_name=scores.score,
        of=column.of,
        class_name=column.name if len(scores.names) > 1 or scores.explained is not None else None,
        slide_id=work.job.slide_id,
        label=shown_label(work),
        model=score_file.model,
        prediction=score_file.prediction,
        group=": ".join(group_words(work, column) or ()),
        method=method_words(work, column),
        notices=tuple(notice for notice in told if notice.code != "fine_map"),
        kind=column.kind,
        checkpoint=score_file.checkpoint_sha256,
        encoder=score_file.encoder,
        run=run,
        date=_date_of_scores(work),
        version=PROGRAM,
        case=case_words(work),
        others=small_maps(work, column),
        others_title=small_title(work),
        foot=(*case_foot(work), *concept_foot(work), *_foot(work), *((spread.words,) if spread is not None else ())),
        even=spread is not None and spread.nearly_even,
        faithfulness=None if foot is None else Faithfulness(
            foot.sentence_at(column.name) if len(work.maps or ()) > 1 else foot.sentence, foot.method, foot.verdict
        ),
        evidence=None if evidence is None else EvidenceOutline(evidence.words, evidence.outlines),
        curves=None if foot is None else foot.document,
        map_name="" if foot is None else foot.name,
        unreadable=total(told, "tiles"),
        artefacts=_artefacts(work),
        region_names=() if work.roi is None else work.roi.names,
        facts={
            "Software": PROGRAM,
            "Title": printable(work.job.slide_id),
            "Run": run or "",
            "Config SHA-256": fingerprint(config.model_dump(mode="json")),
            "Checkpoint SHA-256": score_file.checkpoint_sha256 or "none",
        },
    )


def _artefacts(work: SlideWork) -> tuple[Artefact, ...]:
    """Return how much attention lies on artefacts, from the numbers that the attention stage recorded."""
    from mil_heatmaps.visualization.figure_words import Artefact

    told = work.record.summary.get("measures", {})
    names = [name[3:-7] for name in told if name.startswith("qc_") and name.endswith("_tissue")]
    return tuple(
        Artefact(name, *(told.get(f"qc_{name}_{what}", 0.0) for what in ("attention", "top", "tissue")))
        for name in names
    )


def shown_label(work: SlideWork) -> str | None:
    """Return the slide's class or group; for regression and survival, its value if it has no group."""
    row = work.job.row
    label = row.group
    if label == UNSPECIFIED and work.config.model_arguments.task != "classification":
        label = row.label
    return None if label == UNSPECIFIED else label


def group_words(work: SlideWork, column: DrawnColumn) -> tuple[str, str] | None:
    """Return whether the slide's risk or value is high or low, and compared with what."""
    from mil_heatmaps.visualization.colour_words import group_of

    bag, medians = work.score_file, work.settings.cohort_medians or {}
    asked = work.config.heatmap_arguments.center
    return group_of(bag.scores, column.name, asked, bag.prediction, medians.get(column.name))


def method_words(work: SlideWork, column: DrawnColumn) -> str | None:
    """Return how a fine map was made, None for a map of the bag."""
    if not work.wants_fine_map:
        return None
    asked, how = float(work.config.patching_arguments.overlap), work.fine_file.scored_as
    other = f" ({asked:.0%} was asked)" if abs(column.grid.overlap - asked) > 0.01 else ""
    return f"fine map: patches overlap by {column.grid.overlap:.0%}{other}" + (f", {how}" if how else "")


def _foot(work: SlideWork) -> Iterable[str]:
    """Yield remarks on how the map was drawn."""
    if work.roi is not None and work.roi.polygons is None and work.config.heatmap_arguments.compat == "clam":
        yield "as in CLAM, only patches that begin inside the box are drawn: others that reach into it have no colour"


def _date_of_scores(work: SlideWork) -> str | None:
    """Return the day the scores were written, from the record, so that a figure drawn again has the same date."""
    stage, path = work.record.stages.get("attention"), work.job.paths.blockmap_h5
    written = None if stage is None else stage.outputs.get(relative(path, work.job.paths.raw))
    if written is None:
        return None
    day = datetime.fromtimestamp(written.mtime_ns / 1e9, UTC)
    return f"{day.day} {day:%B %Y}"

"""The text a run ends with: what was done, what failed and why, where things are."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from mil_heatmaps.cohort.run_options import FaithfulnessReport
from mil_heatmaps.explain.faithfulness_cohort import recommendation
from mil_heatmaps.notices import UNCLASSIFIED, Notice
from mil_heatmaps.pipeline.runner import RunSummary
from mil_heatmaps.records.flat_layout import FlatLayout
from mil_heatmaps.records.layout import ExperimentLayout
from mil_heatmaps.words import alike, counted, duration

SHOWN = 10


def summary_text(summary: RunSummary, *, only_failed: str | None = None) -> str:
    """Return the summary of a run, for people. `only_failed` is the command line's flag for the failed slides alone."""
    layout = summary.cohort.layout
    lines = [
        "",
        f"{len(summary.processed)} processed, {len(summary.reused)} reused, {len(summary.failed)} failed"
        f" in {duration(summary.seconds)}",
    ]
    if summary.failed and not summary.processed and not summary.reused:
        lines.append("no slide could be processed")
    if summary.asked_for is not None and not summary.processed and not summary.reused and not summary.failed:
        lines.append(f"no slide has the status {summary.asked_for!r}")
    if summary.stopped is not None and summary.left:
        left = counted(summary.left, "slide")
        lines.append(f"stopped before the end ({summary.stopped}), {left} left: the same command continues")
    if summary.stage_seconds:
        spent = sorted(summary.stage_seconds.items(), key=lambda item: -item[1])
        lines.append("time: " + ", ".join(f"{name} {duration(seconds)}" for name, seconds in spent))
    lines += _failures(summary.failed)
    lines += _notes(summary.notes)
    lines += [f"note: {note}" for note in summary.cohort.notes]
    if summary.cohort.rows.dropped:
        off = counted(summary.cohort.rows.dropped, "row")
        lines.append(f"{off} of the process list switched off (process is not 1)")
    places = _places(layout)
    if not summary.processed and not summary.reused:
        del places["pictures"]
    lines += [f"{what:<14}{where}" for what, where in places.items() if where.exists()]
    lines += [f"{'export':<14}{path}" for path in summary.exports]
    lines += [f"note: {refused}" for refused in summary.refused_exports]
    lines += _faithfulness(summary.faithfulness)
    if summary.failed:
        alone = f"; with {only_failed} only those" if only_failed else ""
        lines.append(f"the same command tries the failed slides again{alone}")
    return "\n".join(lines)


def _places(layout: ExperimentLayout) -> dict[str, Path]:
    """Return where the outputs are."""
    places = {"pictures": layout.production_root, "scores, masks": layout.raw_root}
    if isinstance(layout, FlatLayout):
        return places | {"table": layout.results_csv, "all settings": layout.config_yaml}
    return places | {"process list": layout.process_list, "predictions": layout.results_csv}


def _faithfulness(report: FaithfulnessReport | None) -> list[str]:
    """Say how far each map can be believed, and which one to draw."""
    if report is None:
        return []
    lines = [f"faithfulness  {report.table}" + (f" and {report.picture.name}" if report.picture else "")]
    for one in report.maps:
        apart = [f"{number} {status}" for status, number in one.apart.items()]
        parts = [f"better than random on {one.better} of {counted(one.measured, one.noun)}"] if one.measured else []
        if one.mean is not None and one.low is not None and one.high is not None and one.median is not None:
            numbers = alike(one.mean, one.low, one.high, one.median, small=0.1)
            parts.insert(0, "mean SRG {} [{}, {}], median {}".format(*numbers))
        if one.evidence_patches is not None:
            parts.append(f"evidence set {one.evidence_patches:g} patches (median)")
        drawn = " (drawn)" if one.drawn else ""
        lines.append(f"  {one.score}{drawn}: {', '.join([*parts, *apart])}")
    advice = recommendation(report.maps, drawable=report.drawable)
    return lines if advice is None else [*lines, f"  {advice}"]


def _failures(failed: dict[str, str]) -> list[str]:
    """Name the failed slides; many with one reason become one line."""
    if len(failed) <= SHOWN:
        return [f"  failed  {slide_id}: {reason}" for slide_id, reason in failed.items()]
    lines = []
    for reason, count in Counter(failed.values()).most_common(SHOWN):
        first = next(slide_id for slide_id, other in failed.items() if other == reason)
        more = f" and {count - 1} more" if count > 1 else ""
        lines.append(f"  failed  {first}{more}: {reason}")
    rest = len(set(failed.values())) - SHOWN
    return [*lines, f"  … and {rest} other reasons, all in the process list"] if rest > 0 else lines


def _notes(notes: dict[str, tuple[Notice, ...]]) -> list[str]:
    """Say each note once, with how many slides it is about; where many differ only in their numbers, one of a kind."""
    by_words: dict[str, list[tuple[str, Notice]]] = {}
    by_kind: dict[str, list[tuple[str, Notice]]] = {}
    for slide_id, slide_notes in notes.items():
        for note in slide_notes:
            by_words.setdefault(note, []).append((slide_id, note))
            by_kind.setdefault(note if note.code == UNCLASSIFIED else note.code, []).append((slide_id, note))
    groups = by_words if len(by_words) <= SHOWN else by_kind
    shown = []
    for group in sorted(groups.values(), key=len, reverse=True)[:SHOWN]:
        (slide_id, note), slides = group[0], len({slide_id for slide_id, _ in group})
        more = f" and {slides - 1} more" if slides > 1 else ""
        alike = "" if len({words for _, words in group}) == 1 else " (or similar; see the column notes)"
        shown.append(f"  note    {slide_id}{more}: {note}{alike}")
    return [*shown, f"  … and {len(groups) - SHOWN} other notes, see run.log"] if len(groups) > SHOWN else shown

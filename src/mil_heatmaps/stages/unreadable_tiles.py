"""Unreadable tiles in a slide's record: which ones each stage met, and one notice for all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mil_heatmaps.choices import STAGE_NAMES
from mil_heatmaps.notices import Notice
from mil_heatmaps.words import counted

if TYPE_CHECKING:
    from mil_heatmaps.records.slide_record import SlideRecord

CODE = "unreadable"
_TILES = "unreadable_tiles"


def known_tiles(record: SlideRecord) -> dict[str, list[Any]]:
    """Return the bad tiles that stages met, each as [level, column, row], by stage."""
    return dict(record.summary.get(_TILES, {}))


def count_unreadable(record: SlideRecord, failing: list[tuple[int, int, int]]) -> None:
    """Record how many tiles are bad for a slide that fails: those that earlier stages met and those of the last."""
    if failing:
        known = {tuple(tile) for tiles in known_tiles(record).values() for tile in tiles}
        record.summary[CODE] = len(known | set(failing))


def note_unreadable(record: SlideRecord, met: dict[str, list[Any]]) -> None:
    """Record the bad tiles that stages met, each as [level, column, row], in the summary and as a notice.

    The notice counts each tile once over all stages and belongs to the first stage that met one. Stages that are no
    longer in the record are dropped.
    """
    known = {name: tiles for name, tiles in met.items() if tiles and name in record.stages}
    told = record.summary.pop(_TILES, None)
    tiles = {tuple(tile) for found in known.values() for tile in found}
    record.summary[CODE] = len(tiles)
    if known:
        record.summary[_TILES] = known
    elif not told:
        return
    first = next((name for name in STAGE_NAMES if name in known), None)
    for name, stage in record.stages.items():
        notes = tuple(note for note in stage.notes if note.code != CODE)
        if name == first:
            words = f"{counted(len(tiles), 'tile')} of the slide cannot be read: painted grey"
            notes = Notice("unreadable", words, tiles=len(tiles)), *notes
        record.stages[name] = stage._replace(notes=notes)

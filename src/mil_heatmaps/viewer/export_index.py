"""Several slides as pages that need no server, and one page that lists them."""

import html
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from mil_heatmaps.errors import ConfigError, HeatmapError
from mil_heatmaps.files.atomic import write_text
from mil_heatmaps.records.layout import safe_name
from mil_heatmaps.viewer.catalog import Catalog, SlideEntry
from mil_heatmaps.viewer.export_html import export_html
from mil_heatmaps.words import counted, number_words, one_line

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 70em; padding: 0 1em; color-scheme: light
dark }
table { border-collapse: collapse; width: 100% } th, td { text-align: left; padding: .45em .8em;
border-bottom: 1px solid #8886; overflow-wrap: anywhere } .wrong { color: #b3261e; font-weight: 600 }
"""


def export_slides(
    catalog: Catalog, path: str | os.PathLike[str], slide_ids: Sequence[str], *, longest_px: int = 4096
) -> str:
    """Write the slides named, or all that have maps for ``["all"]``; return what was written, in words.

    `path` is the list; the pages go into a folder beside it, ``<name>_slides``. A slide that cannot be shown is listed
    with the reason.

    Raises
    ------
    ConfigError
        No such slide, or no slide has anything to show.
    """
    target = Path(path)
    entries = _chosen(catalog, slide_ids)
    folder = target.with_name(f"{target.stem}_slides")
    rows, written = [], 0
    taken: set[str] = set()
    for entry in entries:
        name = safe_name(entry.slide_id)
        name = name if name not in taken else f"{name}_{len(taken)}"
        taken.add(name)
        try:
            export_html(catalog, folder / f"{name}.html", longest_px=longest_px, slide_id=entry.slide_id)
        except HeatmapError as error:
            rows.append(_row(catalog, entry, None, one_line(error)))
        else:
            written += 1
            rows.append(_row(catalog, entry, f"{quote(folder.name)}/{quote(name)}.html", ""))
    title = html.escape(catalog.title)
    write_text(
        target,
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<meta name="viewport" '
        f'content="width=device-width">\n<title>{title}</title>\n<style>{_STYLE}</style>\n<h1>{title}</h1>\n'
        "<table>\n<tr><th>Slide<th>Label<th>Prediction<th>\n" + "\n".join(rows) + "\n</table>\n</html>\n",
    )
    return f"{counted(written, 'slide')} in {folder}, listed in {target.name}"


def _chosen(catalog: Catalog, slide_ids: Sequence[str]) -> list[SlideEntry]:
    if list(slide_ids) == ["all"]:
        entries = [entry for entry in catalog.slides if entry.slide_path and (entry.scores or entry.pictures)]
        if not entries:
            raise ConfigError(f"{catalog.title}: no slide has anything to show")
        return entries
    by_id = {entry.slide_id: entry for entry in catalog.slides}
    if missing := [slide_id for slide_id in slide_ids if slide_id not in by_id]:
        raise ConfigError(f"there is no slide {missing[0]!r} among the {len(by_id)} of {catalog.title}")
    return [by_id[slide_id] for slide_id in dict.fromkeys(slide_ids)]


def _row(catalog: Catalog, entry: SlideEntry, link: str | None, problem: str) -> str:
    name = html.escape(entry.slide_id)
    first = f'<a href="{link}">{name}</a>' if link else name
    if catalog.blind:
        return f"<tr><td>{first}<td><td><td>{html.escape(problem)}"
    certain = "" if entry.probability is None else f" {number_words(entry.probability, 3)}"
    verdict = {True: '<span class="wrong">✗ wrong</span>', False: "✓ right", None: ""}[entry.is_wrong]
    said = html.escape(entry.prediction + certain)
    return f"<tr><td>{first}<td>{html.escape(entry.label)}<td>{said} {verdict}<td>{html.escape(problem)}"

"""The viewer as one file: a slide with its maps that opens anywhere, without server, network or installation.

It uses the same page and scripts; tiles, scores and outlines are embedded as text. It is meant for papers and mail,
so the slide is limited to a chosen size.
"""

import base64
import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from mil_heatmaps.errors import ConfigError, HeatmapError, SlideError
from mil_heatmaps.files.atomic import write_text
from mil_heatmaps.viewer.assets import LIBRARY, check_library, page_dir, page_files
from mil_heatmaps.viewer.catalog import Catalog, SlideEntry
from mil_heatmaps.viewer.content import Content
from mil_heatmaps.viewer.jpeg_tiles import encode_jpeg
from mil_heatmaps.viewer.tile_slide import TileSlide
from mil_heatmaps.words import counted

QUALITY = 80
PATCHES_EACH = 12
"""Number of highest and of lowest patches of every column whose images are embedded, as many as the page shows."""

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'unsafe-inline' data:",
        "style-src 'unsafe-inline'",
        "img-src data: blob:",
        "base-uri 'none'",
        "form-action 'none'",
    )
)
_IMPORT = re.compile(r'(\b(?:from\s+|import\()")\./([\w-]+\.js")')


def export_html(
    catalog: Catalog, path: str | os.PathLike[str], *, longest_px: int = 4096, slide_id: str | None = None
) -> str:
    """Write one slide of `catalog` as a self-contained page; return what is in it, in words.

    Parameters
    ----------
    longest_px : int
        The finest level embedded is the finest whose longer side is at most this.
    slide_id : str, optional
        By default the first slide that has something to show.

    Raises
    ------
    ConfigError
        No such slide.
    SlideError, ScoreError
        A part of the slide or its scores cannot be read.
    """
    check_library()
    number = _choose(catalog, slide_id)
    content = Content(catalog)
    try:
        inside = _collect(content, number, longest_px)
    finally:
        content.close()
    page = _page(json.dumps(inside, separators=(",", ":"), ensure_ascii=False, allow_nan=False))
    write_text(path, page)
    width, height = inside["slide"]["slide"]["levels"][-1]["size"]
    maps = len(inside["slide"]["layers"])
    return (
        f"{inside['slide']['name']} at {width} x {height} pixels with {counted(maps, 'map')}, "
        f"{len(page.encode()) / 1e6:.1f} MB"
    )


def _choose(catalog: Catalog, slide_id: str | None) -> int:
    def has_maps(entry: SlideEntry) -> bool:
        return bool(entry.slide_path and (entry.scores or entry.pictures))

    if slide_id is None:
        return next((i for i, entry in enumerate(catalog.slides) if has_maps(entry)), 0)
    for i, entry in enumerate(catalog.slides):
        if entry.slide_id == slide_id:
            return i
    raise ConfigError(f"there is no slide {slide_id!r} among the {len(catalog.slides)} of {catalog.title}")


def _collect(content: Content, number: int, longest_px: int) -> dict[str, Any]:
    """Return everything the page requests, as JSON values."""
    entry = content.entry(number)
    about = content.describe(number)
    if about["slide"] is None:
        raise SlideError(f"{entry.slide_id}: {'; '.join(about['problems']) or 'there is no slide'}")
    kinds = ("pictures", "coords", "columns", "patches", "inside")
    inside: dict[str, Any] = {"slide": about, "tissue": [], **{kind: {} for kind in kinds}}
    index = content.index("")
    inside["index"] = {**index, "slides": [index["slides"][number]], "columns": [], "beside": None}
    about["index"] = 0
    assert entry.slide_path is not None
    with TileSlide(entry.slide_path) as opened:
        kept = _keep_levels(about["slide"], longest_px)
        inside["tiles"] = dict(_tiles(opened, kept))
    for layer, description in enumerate(about["layers"]):
        if description["type"] == "picture":
            with TileSlide(entry.pictures[description["picture"]].path, lossless=True) as picture:
                kept = _keep_levels(description, longest_px)
                tiles = _tiles(picture, kept)
                inside["pictures"].update((f"{description['picture']}/{key}", data) for key, data in tiles)
        else:
            _add_scores(inside, content, number, layer)
    if about["tissue"]:
        inside["tissue"] = json.loads(content.tissue(number))
    return inside


def _keep_levels(pyramid: dict[str, Any], longest_px: int) -> int:
    """Cut the description to the levels that are embedded; return their number."""
    levels: list[dict[str, Any]] = pyramid["levels"]
    kept = max(1, sum(int(max(level["size"]) <= longest_px) for level in levels))
    pyramid["levels"] = levels[:kept]
    return kept


def _tiles(opened: TileSlide, levels: int) -> Iterator[tuple[str, str]]:
    """Yield ``level/column/row`` and the tile as a data address."""
    for number, level in enumerate(opened.levels[:levels]):
        for column in range(level.tiles[0]):
            for row in range(level.tiles[1]):
                if opened.lossless:
                    data = opened.tile(number, column, row) or b""
                else:
                    data = encode_jpeg(opened.pixels(number, level.box_px(column, row)), QUALITY)
                yield f"{number}/{column}/{row}", _address(data, opened.media_type)


def _add_scores(inside: dict[str, Any], content: Content, number: int, layer: int) -> None:
    found = content.layer(number, layer)
    inside["coords"][str(layer)] = _text(found.coords())
    if found.named.region is not None:
        with suppress(HeatmapError):  # reported among the problems of the slide
            inside["inside"][str(layer)] = _text(content.inside(number, layer))
    for column in range(len(found.scores.names)):
        inside["columns"][f"{layer}/{column}"] = _text(found.column(column))
        for patch in _extremes(found.scores.values[:, column]):
            key = f"{layer}/{patch}"
            if key not in inside["patches"]:
                inside["patches"][key] = _address(content.patch(number, layer, patch), "image/jpeg")


def _extremes(values: "np.ndarray[Any, np.dtype[np.float32]]") -> list[int]:
    """Return the patches shown as highest and lowest, by the page's rule: ties keep patch order."""
    finite = np.flatnonzero(np.isfinite(values))
    ranking = finite[np.argsort(-values[finite], kind="stable")]
    each = min(PATCHES_EACH, -(-len(ranking) // 2))
    return [int(patch) for patch in (*ranking[:each], *ranking[max(each, len(ranking) - each) :])]


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _address(data: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{_text(data)}"


def _page(data: str) -> str:
    """Return the page with styles, library, scripts and data inside."""
    files = page_files()
    read = {name: path.read_text(encoding="utf-8") for name, path in files.items() if path.suffix in (".css", ".js")}
    modules = {
        f"viewer/{name.removeprefix('js/')}": _address(_IMPORT.sub(r"\1viewer/\2", text).encode(), "text/javascript")
        for name, text in read.items()
        if name.startswith("js/")
    }
    licence = (page_dir() / "vendor" / "openseadragon.LICENSE.txt").read_text(encoding="utf-8")
    safe_data = data.replace("<", "\\u003c")  # a name with markup in it must not end the element
    html = files["index.html"].read_text(encoding="utf-8")
    replacements = {
        '<meta charset="utf-8">': (
            f'<meta charset="utf-8">\n<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        ),
        '<link rel="stylesheet" href="page/style.css">': f"<style>{read['style.css']}</style>",
        '<script src="page/vendor/openseadragon.min.js" defer></script>': (
            f"<!-- OpenSeadragon\n{licence.replace('--', '- -')}-->\n<script>{_in_script(read[LIBRARY])}</script>\n"
            f'<script type="importmap">{_in_script(json.dumps({"imports": modules}))}</script>'
        ),
        '<script type="module" src="page/js/main.js"></script>': (
            f'<script type="application/json" id="embedded">{safe_data}</script>\n'
            '<script type="module">import "viewer/main.js";</script>'
        ),
    }
    for old, new in replacements.items():
        if old not in html:
            raise RuntimeError(f"index.html has changed: {old} is not in it")
        html = html.replace(old, new)
    return html


def _in_script(text: str) -> str:
    """Return a script that cannot end its own element."""
    return re.sub(r"</(?=script)", r"<\\/", text, flags=re.IGNORECASE)

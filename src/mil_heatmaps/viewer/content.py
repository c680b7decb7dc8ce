"""What the addresses of the application mean: slides, tiles, scores and patches of a catalog.

Every method takes numbers; LookupError says there is no such thing, a `HeatmapError` what is wrong with a
file.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mil_heatmaps.errors import HeatmapError
from mil_heatmaps.files.names import slide_id_of
from mil_heatmaps.notices import Notice
from mil_heatmaps.viewer.catalog import Catalog, NamedFile, SlideEntry
from mil_heatmaps.viewer.changed import Changed
from mil_heatmaps.viewer.cohort_middle import middles_of
from mil_heatmaps.viewer.described import describe_levels, describe_slide, say_what_is_usual, slide_notices
from mil_heatmaps.viewer.evidence import evidence_outlines
from mil_heatmaps.viewer.explanations import read_faithfulness
from mil_heatmaps.viewer.fit import (
    described_region,
    drawn_patches,
    outline_notes,
    picture_notes,
    region_of,
    score_notes,
)
from mil_heatmaps.viewer.jpeg_tiles import encode_jpeg
from mil_heatmaps.viewer.layers import ScoreFiles, ScoreLayer, layers_of
from mil_heatmaps.viewer.like import Likes, features_path
from mil_heatmaps.viewer.live import LiveCatalog
from mil_heatmaps.viewer.open_slides import OpenSlides
from mil_heatmaps.viewer.palettes import is_known, palettes
from mil_heatmaps.viewer.patch_lists import list_files, patch_lists
from mil_heatmaps.viewer.stamps import stamp_of, stamp_of_all
from mil_heatmaps.viewer.tile_slide import TileSlide
from mil_heatmaps.visualization.palette import CATEGORICAL_CMAP, DEFAULT_CMAP
from mil_heatmaps.words import one_line

if TYPE_CHECKING:
    from mil_heatmaps.slides.slide_space import SlideSpace
    from mil_heatmaps.slides.tissue import TissueMask

THUMBNAIL_PX = 192
PATCH_PX = 160
_LARGEST_BOX_PX = 8192


class Content:
    """Opens what the catalog names, when it is asked for."""

    def __init__(self, catalog: Catalog | LiveCatalog) -> None:
        self.live = catalog if isinstance(catalog, LiveCatalog) else LiveCatalog(catalog)
        self._slides = OpenSlides()
        self._small = OpenSlides(2)  # thumbnails of the list must not close the slide that is looked at
        self._scores = ScoreFiles()
        self._likes = Likes()

    @property
    def catalog(self) -> Catalog:
        """What there is to look at."""
        return self.live.catalog

    def close(self) -> None:
        """Close the slides."""
        self._slides.close()
        self._small.close()

    def index(self, nonce: str) -> dict[str, Any]:
        """Return the list of slides and what the page needs to begin; addresses are relative to the page's."""
        catalog = self.live.refresh()
        defaults, notes = catalog.defaults, list(catalog.notes)
        cmap = defaults.cmap
        if cmap and not is_known(cmap):
            notes.append(f"the run's colour map {cmap!r} is not known here; the page chooses one")
            cmap = None
        signed = defaults.cmap_signed
        if signed and not is_known(signed):
            signed = None
        return {
            "title": catalog.title,
            "version": self.live.version,
            "data": f"data/{nonce}",
            "columns": [] if catalog.blind else list(catalog.columns),
            "notes": notes,
            "blind": catalog.blind,
            "defaults": replace(defaults, cmap=cmap).as_view(),
            "palettes": palettes([name for name in (cmap or DEFAULT_CMAP, signed, CATEGORICAL_CMAP) if name]),
            "beside": None if catalog.beside is None else {
                "slide": len(catalog.slides),
                "affine": catalog.beside.affine,
                "name": slide_id_of(catalog.beside.slide_path),
            },
            "slides": [entry.summary(blind=catalog.blind) for entry in catalog.slides],
            "lists": not catalog.blind and bool(list_files(catalog.lists)),
        }

    def lists(self) -> list[dict[str, Any]]:
        """Return the lists of patches over the cohort; none where readers are not to know anything."""
        catalog = self.live.refresh()
        return [] if catalog.blind else patch_lists(catalog.lists, catalog.slides)

    def changes(self, slide: int) -> dict[str, Any]:
        """Return what tells the page that there is something new: of the list, and of the slide it shows."""
        self.live.refresh()
        return {"version": self.live.version, "stamp": stamp_of_all(self.entry(slide).files)}

    def describe(self, slide: int) -> dict[str, Any]:
        """Return one slide: its size, levels and layers. What cannot be read is said in `problems`."""
        entry, blind = self.entry(slide), self.catalog.blind
        problems = [entry.problem] if entry.problem else []
        out: dict[str, Any] = {
            "index": slide,
            "name": entry.slide_id,
            "stamp": stamp_of_all(entry.files),
            "layers": [],
            "problems": problems,
            "notices": [] if blind else slide_notices(entry),
            "slide": None,
            "faithfulness": {},
        }
        space = None
        if entry.slide_path is not None:
            try:
                with self._slides.use(entry.slide_path) as opened:
                    out["slide"], space = describe_slide(opened, entry), opened.slide.space()
            except HeatmapError as error:
                problems.append(one_line(error))
        elif not problems:
            problems.append(f"the slide {entry.slide_id} was not found")
        size = None if space is None else space.size_l0
        for found in self._score_layers(entry):
            if isinstance(found, Exception):
                problems.append(one_line(found))
                continue
            source, named, defaults = found[0].source, found[0].named, self.catalog.defaults
            medians, missing = middles_of(found, defaults)
            about_file = {"hasFeatures": features_path(found[0], entry.slide_id) is not None}
            described = [
                layer.describe() | about_file | layer.colours(defaults, medians) | self._evidence(layer)
                for layer in found
            ]
            placed = _placed(found[0])
            notes = [*(str(note) for note in placed if note.code == "pairing"), *score_notes(source, size), *missing]
            if space is not None:
                region, why = described_region(named, source, space)
                notes += [why] if why else []
                for about in described if region else ():
                    about["region"] = region
            for about in described:
                about["notes"] = notes
                if blind:
                    about["prediction"] = None
                    # A middle that is not zero may be the answer itself.
                    about["centers"] = [at if at and not at[0] else None for at in about["centers"]]
            problems += [f"{named.title}: {note}" for note in (*notes, *(n for n in placed if n.code != "pairing"))]
            out["layers"] += described
            out["notices"] += [] if blind else [notice for layer in found for notice in layer.source.notices]
            try:
                measured = None if blind else read_faithfulness(named.faithfulness)
                if measured:
                    out["faithfulness"][str(found[0].file)] = measured
            except HeatmapError as error:
                problems.append(one_line(error))
        for number, named in enumerate(entry.pictures):
            try:
                with self._slides.use(named.path, lossless=True) as picture:
                    notes = picture_notes(picture.slide.dimensions_l0, size)
                    out["layers"].append(
                        {
                            "type": "picture",
                            "title": named.title,
                            "run": named.run,
                            "stamp": stamp_of(named.path),
                            "notes": notes,
                            "picture": number,
                            **describe_levels(picture),
                        }
                    )
                    problems += [f"{named.title}: {note}" for note in notes]
            except HeatmapError as error:
                problems.append(one_line(error))
        out["notices"] = list(dict.fromkeys(out["notices"]))
        say_what_is_usual(out["layers"], self.catalog.defaults)
        out["tissue"] = entry.tissue is not None
        if entry.tissue is not None:
            with suppress(HeatmapError, OSError):  # the page asks for the outlines, and is told then
                mask, placed = self._outlines(entry)
                problems += [*placed, *outline_notes(list(mask.contours_l0), size)]
        out["problems"] = list(dict.fromkeys(map(str, problems)))
        return out

    def _evidence(self, layer: ScoreLayer) -> dict[str, Any]:
        """Return the outline of a map's evidence set, where the run asked for it."""
        wanted = self.catalog.defaults.evidence and not self.catalog.blind
        rings = evidence_outlines(layer) if wanted else []
        return {"evidence": rings} if rings else {}

    def slide_tile(self, slide: int, level: int, column: int, row: int) -> tuple[bytes, str]:
        """Return a tile of the slide and its media type."""
        with self._slides.use(_needed(self.entry(slide))) as opened:
            return _tile(opened, level, column, row)

    def picture_tile(self, slide: int, picture: int, level: int, column: int, row: int) -> tuple[bytes, str]:
        """Return a tile of a picture and its media type."""
        named: NamedFile = _at(self.entry(slide).pictures, picture)
        with self._slides.use(named.path, lossless=True) as opened:
            return _tile(opened, level, column, row)

    def thumbnail(self, slide: int) -> bytes:
        """Return the slide as a small JPEG."""
        with self._small.use(_needed(self.entry(slide))) as opened:
            return encode_jpeg(opened.thumbnail(THUMBNAIL_PX))

    def layer(self, slide: int, number: int, stamp: str = "") -> ScoreLayer:
        """Return a score layer by its place among those of the slide's score files.

        Changed when its file is not the one of this stamp, if one is given.
        """
        layers: list[ScoreLayer] = []
        for found in self._score_layers(self.entry(slide)):
            layers += [] if isinstance(found, Exception) else found
            if number < len(layers):
                break
        layer: ScoreLayer = _at(layers, number)
        if stamp and stamp != layer.stamp:
            raise Changed(f"{layer.named.path.name} was rewritten; load the slide again")
        return layer

    def inside(self, slide: int, number: int, stamp: str = "") -> bytes:
        """Return one byte a patch: whether the run's picture of its region shows it."""
        layer, entry = self.layer(slide, number, stamp), self.entry(slide)
        if layer.named.region is None:
            raise LookupError("no region")
        with self._slides.use(_needed(entry)) as opened:
            roi = region_of(layer.named.region, opened.slide.space())
        shown = drawn_patches(roi, layer.source.grid, reaching=layer.named.region.reaching)
        return np.asarray(shown, np.uint8).tobytes()

    def _score_layers(self, entry: SlideEntry) -> Iterator[list[ScoreLayer] | Exception]:
        """Yield the layers of each score file, or why it cannot be read; such a file has none."""
        for file, named in enumerate(entry.scores):
            try:
                stamp, read = self._scores.read(named.path, entry.slide_id, self._space(entry))
                yield layers_of(read, named, file, stamp)
            except (HeatmapError, OSError) as error:
                yield error

    def _space(self, entry: SlideEntry) -> "SlideSpace | None":
        """Return what coordinates in the user's own files mean; None for those of a run, which are as they are."""
        if not entry.own_files or entry.slide_path is None:
            return None
        try:
            with self._slides.use(entry.slide_path) as opened:
                return replace(opened.slide.space(), size_l0=None)  # files of another slide are shown as well
        except HeatmapError:
            return None

    def patch(self, slide: int, number: int, patch: int) -> bytes:
        """Return one patch as a small JPEG."""
        layer = self.layer(slide, number)
        grid = layer.source.grid
        x, y = _at(grid.coords_l0, patch).tolist()
        with self._slides.use(_needed(self.entry(slide))) as opened:
            return encode_jpeg(opened.region((x, y), grid.size_l0, PATCH_PX))

    def box(self, slide: int, corner_l0: tuple[int, int], size_l0: tuple[int, int]) -> bytes:
        """Return a part of a slide, no larger than a patch may be, as a small JPEG."""
        if not 0 < min(size_l0) <= max(size_l0) <= _LARGEST_BOX_PX:
            raise LookupError(size_l0)
        with self._slides.use(_needed(self.entry(slide))) as opened:
            return encode_jpeg(opened.region(corner_l0, size_l0, PATCH_PX))

    def like(self, slide: int, number: int, of_slide: int, of_number: int, patch: int) -> ScoreLayer:
        """Return how alike every patch of a layer is to one patch of a layer, of this slide or another."""
        layer, of = self.layer(slide, number), self.layer(of_slide, of_number)
        return self._likes.layer(layer, self.entry(slide).slide_id, of, self.entry(of_slide).slide_id, patch)

    def tissue(self, slide: int) -> bytes:
        """Return the outlines as JSON: pieces, each with its holes, as flat x, y lists."""
        mask, _ = self._outlines(self.entry(slide))
        pieces = [
            {"outline": contour.reshape(-1).tolist(), "holes": [hole.reshape(-1).tolist() for hole in holes]}
            for contour, holes in zip(mask.contours_l0, mask.holes_l0, strict=True)
        ]
        return json.dumps(pieces, separators=(",", ":")).encode()

    def _outlines(self, entry: SlideEntry) -> "tuple[TissueMask, list[Notice]]":
        """Return the outlines in the slide's frame, and a notice if they were moved; LookupError without any."""
        from mil_heatmaps.slides.frames import place_mask
        from mil_heatmaps.slides.tissue_files import read_mask

        if entry.tissue is None:
            raise LookupError("no outlines")
        mask, space = read_mask(entry.tissue), self._space(entry)
        return (mask, []) if space is None else place_mask(mask, space)

    def tile_owner(self, slide: int, picture: int | None = None) -> tuple[Any, ...]:
        """Return what tiles of a slide, or of a picture over it, are kept by: another file has another one."""
        entry = self.entry(slide)
        path: Path = _needed(entry) if picture is None else _at(entry.pictures, picture).path
        return slide, picture, stamp_of(path)

    def entry(self, slide: int) -> SlideEntry:
        """Return a slide of the catalog; the one after the last is the one beside."""
        if slide == len(self.catalog.slides) and (beside := self.catalog.beside) is not None:
            return SlideEntry(slide_id_of(beside.slide_path), beside.slide_path)
        entry: SlideEntry = _at(self.catalog.slides, slide)
        return entry


def _placed(layer: ScoreLayer) -> list[Notice]:
    """Return what was decided of where the scores belong, which for scores of a run it was when they were made."""
    return [note for note in layer.source.notes if note.code in ("frame", "units", "pairing")]


def _at(items: Any, index: int) -> Any:
    """Return `items[index]`; unlike Python's own rule, a negative index is nowhere."""
    if not 0 <= index < len(items):
        raise LookupError(index)
    return items[index]


def _needed(entry: SlideEntry) -> Any:
    if entry.slide_path is None:
        raise LookupError(entry.slide_id)
    return entry.slide_path


def _tile(opened: TileSlide, level: int, column: int, row: int) -> tuple[bytes, str]:
    data = opened.tile(level, column, row)
    if data is None:
        raise LookupError((level, column, row))
    return data, opened.media_type

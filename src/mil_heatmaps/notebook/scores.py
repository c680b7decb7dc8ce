"""A slide's scores in a notebook: they display themselves, and convert to a table, AnnData or a plot."""

from __future__ import annotations

import base64
import html
import io
import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.errors import ScoreError
from mil_heatmaps.export.tables import percentile_columns, score_columns
from mil_heatmaps.scores.external_scores import read_external_scores
from mil_heatmaps.scores.score_file import ScoreFile
from mil_heatmaps.slides.slide_space import SlideSpace
from mil_heatmaps.words import counted, first_of, grouped, number_words

if TYPE_CHECKING:
    import pandas as pd

    from mil_heatmaps.visualization.colour_rule import ColourRule, ColourScale
    from mil_heatmaps.visualization.frame import Frame

Shades = npt.NDArray[np.floating]

_THUMBNAIL_PX = 256
_PLOT_PX = 1024
_SHOWN_NOTICES = 5


def read_scores(
    path: str | os.PathLike[str],
    *,
    slide: str | os.PathLike[str] | None = None,
    slide_id: str | None = None,
    patch_size_l0: float | tuple[float, float] | None = None,
    mpp: float | None = None,
) -> SlideScores:
    """Return the scores of one slide from a score file (``S_blockmap.h5``), a table, or a file of another tool.

    Parameters
    ----------
    slide : path, optional
        The slide file, for its thumbnail, and for coordinates in micrometres or from the scanned area.
    slide_id : str, optional
        Selects the rows of one slide in a table of several.
    patch_size_l0 : float or (width, height), optional
        Used where the file does not state the patch size.
    mpp : float, optional
        Micrometres per level-0 pixel, where neither file nor slide states it.

    Raises
    ------
    ScoreError
        Says what is missing or wrong in the file, and where.

    Examples
    --------
    >>> import numpy as np, pathlib, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = pathlib.Path(folder.name, "s1.csv")
    >>> _ = path.write_text("x,y,tumour\\n0,0,0.25\\n256,0,0.75\\n512,0,0.5\\n")
    >>> scores = read_scores(path)
    >>> scores
    SlideScores('s1', 3 patches of 256 x 256 px, tumour, 0.25 to 0.75, 1 notice)
    >>> scores.to_pandas()[["x", "tumour"]].iloc[1].tolist()
    [256.0, 0.75]
    >>> folder.cleanup()
    """
    path = Path(path)
    space, slide_path = SlideSpace(mpp=mpp), None if slide is None else Path(slide)
    if slide_path is not None:
        from mil_heatmaps.slides.reader import open_slide

        with open_slide(slide_path, default_mpp=mpp) as opened:
            space = opened.space()
    file = read_external_scores(path, patch_size_l0=patch_size_l0, space=space, slide_id=slide_id)
    return SlideScores(file, path, slide_path, space)


class SlideScores:
    """The scores of one slide.

    Attributes
    ----------
    file : ScoreFile
        The whole content of the file.
    path : Path
    slide_path : Path or None
    """

    def __init__(
        self, file: ScoreFile, path: Path, slide_path: Path | None = None, space: SlideSpace | None = None
    ) -> None:
        self.file = file
        self.path = path
        self.slide_path = slide_path
        self._space = space or SlideSpace()

    @property
    def slide_id(self) -> str:
        """The slide's name: as stored in the file, else the file's name."""
        stem = self.path.name.removesuffix(".gz").rpartition(".")[0] or self.path.name
        return self.file.slide_id or stem.removesuffix("_blockmap").removesuffix("_att")

    @property
    def names(self) -> tuple[str, ...]:
        """Column names of the drawn score."""
        return self.file.scores.names

    @property
    def values(self) -> npt.NDArray[np.float32]:
        """The drawn score, (N, K)."""
        return self.file.scores.values

    @property
    def coords_l0(self) -> npt.NDArray[np.int64]:
        """Top-left corners of the patches, (N, 2), level-0 pixels."""
        return self.file.grid.coords_l0

    @property
    def mpp(self) -> float | None:
        """Micrometres per level-0 pixel."""
        return self.file.level0_mpp or self._space.mpp

    @property
    def size_l0(self) -> tuple[int, int]:
        """(width, height) of the slide, or the extent of the patches where the size is unknown."""
        if (size := self._space.size_l0 or self.file.slide_size_l0) is not None:
            return size
        reach = (self.coords_l0 + self.file.grid.size_l0).max(axis=0) if len(self) else np.array([1, 1])
        return int(reach[0]), int(reach[1])

    def __len__(self) -> int:
        return len(self.file)

    def __repr__(self) -> str:
        return f"SlideScores({self.slide_id!r}, {', '.join(self._said)})"

    @property
    def _said(self) -> list[str]:
        width, height = self.file.grid.size_l0
        names = first_of(self.names, 4)
        parts = [f"{counted(len(self), 'patch', 'patches')} of {width} x {height} px", self._named(names)]
        finite = self.values[np.isfinite(self.values)]
        if len(finite):
            parts.append(f"{number_words(float(finite.min()))} to {number_words(float(finite.max()))}")
        if self.file.prediction is not None:
            parts.append(f"predicted {self.file.prediction.summary}")
        if self.file.notes:
            parts.append(counted(len(self.file.notes), "notice"))
        return parts

    def _named(self, names: str) -> str:
        main = self.file.scores
        return names if main.score in ("external", names) else f"{main.score} ({names})"

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per patch: x, y, width, height in level-0 pixels, all scores, percentiles of the drawn one."""
        import pandas as pd

        width, height = self.file.grid.size_l0
        places = {"x": self.coords_l0[:, 0], "y": self.coords_l0[:, 1], "width": width, "height": height}
        columns = score_columns(self.file) | percentile_columns(self.file)
        return pd.DataFrame(places | {self._own(name): values for name, values in columns.items()})

    def _own(self, column: str) -> str:
        """Return the name of a column in the file, if another program wrote it."""
        if not column.startswith("external"):
            return column
        only = self.names[0] if len(self.names) == 1 else ""
        return f"{only} {column.removeprefix('external').strip()}".strip()

    def to_anndata(self, features: npt.NDArray[Any] | None = None) -> Any:
        """Return an `anndata.AnnData` like the export's, with a thumbnail where the slide is known."""
        from mil_heatmaps.export.anndata_file import to_anndata

        thumbnail = self._slide_pixels(_PLOT_PX)
        return to_anndata(
            self.file,
            features=features,
            thumbnail=thumbnail,
            slide_id=self.slide_id,
            slide_size_l0=self._space.size_l0,
            mpp=self.mpp,
        )

    def plot(self, column: str | int = 0, *, ax: Any = None, cmap: str | None = None, alpha: float = 0.6) -> Any:
        """Draw one column over the slide, or on white without a slide, and return the matplotlib axes.

        Axes are in micrometres where the resolution is known, else in level-0 pixels.

        Parameters
        ----------
        column : name or number
        cmap : str, optional
            A colormap of matplotlib; by default, the pipeline's colormap for the kind of score.
        alpha : float
            Opacity of the colours over a slide.
        """
        import matplotlib.pyplot as plt
        from matplotlib.cm import ScalarMappable

        number = self._number(column)
        rule, shades, scale = self._shades(number, cmap)
        pixels, frame = self._map(shades, _PLOT_PX)
        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        factor = self.mpp or 1.0
        extent = (0.0, self.size_l0[0] * factor, self.size_l0[1] * factor, 0.0)
        slide = self._slide_pixels(max(frame.size_px))
        if slide is not None:
            ax.imshow(slide, extent=extent)
        ax.imshow(
            np.ma.masked_invalid(pixels), extent=extent, cmap=rule.cmap, vmin=0, vmax=1, interpolation="nearest",
            alpha=1.0 if slide is None else alpha,
        )  # fmt: skip
        bar = ax.figure.colorbar(ScalarMappable(cmap=rule.cmap), ax=ax, shrink=0.8)
        bar.set_ticks([0, 1], labels=[number_words(scale.vmin), number_words(scale.vmax)])
        bar.set_label(f"{self.names[number]}: {scale.label}", parse_math=False)  # a name may hold dollar signs
        unit = "level-0 pixels" if self.mpp is None else "µm"
        ax.set(xlabel=unit, ylabel=unit)
        ax.set_title(self.slide_id, parse_math=False)
        return ax

    def _repr_html_(self) -> str:
        """The first column as a small map, with colour bar, prediction and notices, for display in notebooks."""
        said = [f"<b>{html.escape(self.slide_id)}</b>", *map(html.escape, self._said)]
        notes = self.file.notes[:_SHOWN_NOTICES]
        listed = "".join(f"<li>{html.escape(str(note))}</li>" for note in notes)
        more = len(self.file.notes) - len(notes)
        listed += f"<li>and {grouped(more)} more</li>" if more else ""
        picture = self._picture_html() if len(self) else ""
        text = f"<div>{'<br>'.join(said)}{f'<ul>{listed}</ul>' if listed else ''}</div>"
        return f'<div style="display:flex;gap:1em;align-items:flex-start">{picture}{text}</div>'

    def _picture_html(self) -> str:
        from mil_heatmaps.visualization.palette import colour_index, colour_table

        rule, shades, scale = self._shades(0, None)
        pixels, frame = self._map(shades, _THUMBNAIL_PX)
        table = colour_table(rule.cmap)
        below = self._slide_pixels(_THUMBNAIL_PX)
        base = np.full((*pixels.shape, 3), 255, np.uint8)
        if below is not None:
            import cv2

            base = np.asarray(cv2.resize(below, frame.size_px, interpolation=cv2.INTER_AREA), np.uint8)
        shown = np.isfinite(pixels)
        colours = table[colour_index(pixels[shown].astype(np.float64), len(table))].astype(np.float64)
        share = 1.0 if below is None else 0.6
        base[shown] = np.rint(share * colours + (1 - share) * base[shown]).astype(np.uint8)
        bar = np.repeat(table[None], 10, axis=0)
        ends = (number_words(scale.vmin), number_words(scale.vmax))
        name = html.escape(f"{self.names[0]}: {scale.label}")
        return (
            f'<div><img src="{_data_uri(base)}" alt="map of {html.escape(self.names[0])}" '
            f'style="border:1px solid #8888"><div style="font-size:smaller">{name}</div>'
            f'<div style="display:flex;gap:.4em;font-size:smaller"><span>{ends[0]}</span>'
            f'<img src="{_data_uri(bar)}" alt="colour bar" style="flex:1;height:1em;min-width:6em">'
            f"<span>{ends[1]}</span></div></div>"
        )

    def _number(self, column: str | int) -> int:
        if isinstance(column, int) and -len(self.names) <= column < len(self.names):
            return column % len(self.names)
        if column in self.names:
            return self.names.index(str(column))
        raise ScoreError(f"{self.path}: no column {column!r}; choose from {list(self.names)}")

    def _shades(self, number: int, cmap: str | None) -> tuple[ColourRule, Shades, ColourScale]:
        """Return the pipeline's colours for a column of this kind, and its shades."""
        from mil_heatmaps.visualization.colour_rule import ColourRule

        rule = ColourRule.for_kind(self.file.scores.kind, None, cmap)
        return rule, *rule.shades(self.values[:, number], of_region=False)

    def _map(self, shades: Shades, most_px: int) -> tuple[npt.NDArray[np.float32], Frame]:
        """Return shades as pixels of the whole slide, NaN outside the patches, and their position."""
        from mil_heatmaps.export.score_pixels import ScorePainter
        from mil_heatmaps.visualization.frame import Frame

        width, height = self.size_l0
        downsample = max(1.0, max(width, height) / most_px)
        size_px = max(1, round(width / downsample)), max(1, round(height / downsample))
        frame = Frame(0, size_px, (width / size_px[0], height / size_px[1]))
        painter = ScorePainter(self.file.grid, shades.astype(np.float32), frame)
        (pixels,) = painter.rows(0, size_px[1], size_px[0])
        return pixels, frame

    def _slide_pixels(self, most_px: int) -> npt.NDArray[np.uint8] | None:
        return None if self.slide_path is None else self._thumbnail[:: self._every(most_px), :: self._every(most_px)]

    def _every(self, most_px: int) -> int:
        height, width = self._thumbnail.shape[:2]
        return max(1, int(max(height, width)) // most_px)

    @cached_property
    def _thumbnail(self) -> npt.NDArray[np.uint8]:
        from mil_heatmaps.slides.reader import open_slide

        assert self.slide_path is not None
        with open_slide(self.slide_path) as slide:
            return slide.thumbnail(_PLOT_PX)


def _data_uri(pixels: npt.NDArray[np.uint8]) -> str:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"

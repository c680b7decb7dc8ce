"""Find the tissue, or take it from a file, and draw it for inspection."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mil_heatmaps.config.tissue_sections import VisualizationArguments
from mil_heatmaps.errors import TissueError
from mil_heatmaps.notices import Notice
from mil_heatmaps.numpy_later import np
from mil_heatmaps.stages.base import SlideWork, StageResult

if TYPE_CHECKING:
    from mil_heatmaps.slides.pixels import UInt8Array
    from mil_heatmaps.slides.segmentation_params import SegmentationParams
    from mil_heatmaps.slides.tissue import TissueMask

BUILT_IN_THICKNESS = VisualizationArguments.model_fields["line_thickness"].default
SMALLEST_SAMPLE = 0.5
"""Less tissue than this, in squares of 512 level-0 pixels, is taken for dust unless a_t says otherwise."""

_OTHER_KEYS = {"white_thresh": 5, "black_thresh": 50, "use_padding": True, "contour_fn": "four_pt"}
"""Keys of the segmentation that do not change the tissue, with the values of all CLAM presets. The inputs name them
only because earlier versions did: otherwise slides of earlier runs would be segmented again."""


class SegmentStage:
    """Writes ``S_mask.pkl`` (CLAM's form) and ``S_mask.jpg`` (numbered outlines on the slide)."""

    name = "segment"
    version = 2
    uses_model = False

    def applies(self, work: SlideWork) -> bool:
        """Always: the outlines are drawn even where the map ignores them."""
        return True

    def inputs(self, work: SlideWork) -> dict[str, Any]:
        """The slide, the outlines' file or the parameters, and how the picture is drawn."""
        job = work.job
        inputs: dict[str, Any] = {
            "version": self.version,
            "slide": work.slide_inputs(),
            "picture": {**vars(job.row.visualization)},
        }
        if job.tissue_path is not None:
            return {**inputs, "tissue_file": work.fingerprint(job.tissue_path), **work.space_inputs("coords_frame")}
        return {**inputs, "segmentation": {**_params(work).as_json(), **_OTHER_KEYS}}

    def run(self, work: SlideWork) -> StageResult:
        """Segment or read, then write both files."""
        from mil_heatmaps.slides.tissue_binary import without_colour
        from mil_heatmaps.slides.tissue_files import write_mask_pkl

        job = work.job
        notes: list[Notice] = []
        mask = _segment(work, notes) if job.tissue_path is None else _given(work, job.tissue_path, notes)
        notes += _about_outlines(work)
        if mask.is_empty:
            source = job.slide_path if job.tissue_path is None else job.tissue_path
            if work.config.heatmap_arguments.segment:
                cure = "give outlines in data_arguments.tissue_dir, or set heatmap_arguments.segment: false"
                if job.tissue_path is not None:
                    cure = (
                        "the file holds no outline; draw some, take the file away so that the slide is segmented, "
                        "or set heatmap_arguments.segment: false"
                    )
                else:
                    colourless = without_colour(work.slide)
                    cure = f"{colourless}: {cure}" if colourless else f"{_why_empty(work)}; or {cure}"
                raise TissueError(f"no tissue in {source.name}: {cure}")
            notes.append(Notice("no_tissue", f"no tissue in {source.name}"))
        notes += work.slide.resolution.notes
        work.note_resolution()
        write_mask_pkl(mask, job.paths.mask_pkl)
        notes += _draw_outlines(work, mask)
        return StageResult([job.paths.mask_pkl, job.paths.mask_jpg], notes)


def _params(work: SlideWork) -> SegmentationParams:
    """Return how tissue is found. CLAM truncates a_t and a_h to integers; only ``compat: clam`` repeats this."""
    params = work.job.row.params.of_tissue
    as_clam = work.config.heatmap_arguments.compat == "clam"
    return replace(params, a_t=int(params.a_t), a_h=int(params.a_h)) if as_clam else params


def _about_outlines(work: SlideWork) -> list[Notice]:
    """Return notices where given outlines may not do what the user expects."""
    given, p = work.job.tissue_path, work.job.row.segmentation
    if given is None:
        unused = f" ({work.job.unused_tissue})" if work.job.unused_tissue else ""
        missing = Notice("outlines", f"there are no outlines of it in tissue_dir{unused}: segmented instead")
        return [missing] if work.config.inputs.tissue else []
    ignored = Notice("outlines", "keep_ids and exclude_ids do not apply to given outlines")
    return [ignored] if p.keep_ids or p.exclude_ids else []


def _given(work: SlideWork, path: Path, notes: list[Notice]) -> TissueMask:
    """Return given outlines in the slide's frame."""
    from mil_heatmaps.slides.frames import place_mask
    from mil_heatmaps.slides.tissue_files import read_mask

    mask, moved = place_mask(read_mask(path), work.space)
    notes += moved
    return mask


def _segment(work: SlideWork, notes: list[Notice]) -> TissueMask:
    """Find the tissue. On a slide too small for the built-in area limits the limits follow its largest piece."""
    p = _params(work)
    mask = _segment_with(work, p)
    if not mask.is_empty or not _limits_are_built_in(work):
        return mask
    largest = _largest_piece(_segment_with(work, replace(p, a_t=0.0, a_h=0.0)))
    if largest < SMALLEST_SAMPLE:
        return mask
    a_t = round(largest / 20, 3)
    # The words are the same for every such slide, so that a run shows them once, with a count; run.log has the numbers.
    text = (
        f"the largest piece of tissue is below the usual a_t of {p.a_t:g} squares of 512 px: pieces from a twentieth "
        "of it on are taken (run.log has the numbers); set segmentation_arguments.a_t to decide yourself"
    )
    notes.append(Notice("small_tissue", text))
    work.lines.append(f"the largest piece of tissue is {largest:.3g} squares of 512 px: those from {a_t:g} on count")
    return _segment_with(work, replace(p, a_t=a_t, a_h=round(p.a_h * a_t / p.a_t, 4)))


def _limits_are_built_in(work: SlideWork) -> bool:
    """Whether neither config, preset nor process list sets a_t. CLAM itself finds no tissue then."""
    config = work.config
    chosen = "a_t" in config.segmentation_arguments.model_fields_set or config.inputs.preset is not None
    return not chosen and not work.job.row.cells.get("a_t") and config.heatmap_arguments.compat != "clam"


def _largest_piece(mask: TissueMask) -> float:
    """Area of the largest piece without its holes, in squares of 512 level-0 pixels; 0 when there is none."""
    import cv2

    areas = [
        cv2.contourArea(contour) - sum(cv2.contourArea(hole) for hole in holes)
        for contour, holes in zip(mask.contours_l0, mask.holes_l0, strict=True)
    ]
    return float(max(areas, default=0.0)) / 512**2


def _why_empty(work: SlideWork) -> str:
    """Return what was found and which value would keep it."""
    p = _params(work)
    largest = _largest_piece(_segment_with(work, replace(p, a_t=0.0, a_h=0.0, keep_ids=(), exclude_ids=())))
    if largest <= 0:
        return f"nothing is more saturated than sthresh {p.sthresh}; lower it for this slide"
    if p.keep_ids or p.exclude_ids:
        return "keep_ids and exclude_ids leave no piece"
    return (
        f"the largest piece is {largest:.3g} squares of 512 px and a_t asks for more than {p.a_t:g}; "
        f"a_t {largest / 2:.2g} would keep it"
    )


def _segment_with(work: SlideWork, params: SegmentationParams) -> TissueMask:
    from mil_heatmaps.slides.tissue import segment_tissue

    return segment_tissue(work.slide, params)


def _draw_outlines(work: SlideWork, mask: TissueMask) -> list[Notice]:
    """Write ``S_mask.jpg`` as CLAM does: the slide at about 1/32 with numbered outlines, JPEG quality 75."""
    from mil_heatmaps.visualization.picture_files import fits, save_picture
    from mil_heatmaps.visualization.wsi_object import WholeSlideImage

    p = work.job.row.visualization
    level, note = work.slide.clamp_level(p.vis_level)
    wsi = WholeSlideImage(work.slide)
    wsi.tissue = mask
    thickness = p.line_thickness
    if thickness == BUILT_IN_THICKNESS and work.config.heatmap_arguments.compat != "clam":
        # Right for a whole slide, but a small one would vanish under its own outline.
        thickness = min(thickness, max(work.slide.dimensions_l0) // 120)
    outlined = wsi.outlined(vis_level=level, line_thickness=thickness, number_contours=True)
    notes = [note] if note else []
    if not fits(work.job.paths.mask_jpg, (outlined.shape[1], outlined.shape[0])):
        outlined, said = _shrunk(outlined)
        notes.append(said)
    save_picture(work.job.paths.mask_jpg, outlined, quality=75)
    return notes


def _shrunk(picture: UInt8Array) -> tuple[UInt8Array, Notice]:
    """Return a picture that is too long for JPEG averaged by a whole number, and a notice."""
    import cv2

    from mil_heatmaps.visualization.jpeg_stream import MOST_SIDE

    height, width = picture.shape[:2]
    factor = -(-max(width, height) // MOST_SIDE)
    small = cv2.resize(picture, (-(-width // factor), -(-height // factor)), interpolation=cv2.INTER_AREA)
    what = f"the picture of the outlines does not fit JPEG at {width} x {height} pixels: drawn at 1/{factor} of it"
    return np.asarray(small, np.uint8), Notice("outline_picture", what)

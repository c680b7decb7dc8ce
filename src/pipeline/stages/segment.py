"""Find the tissue, or take it from a file, and draw it for a look."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from src.errors import TissueError
from src.files import atomic_path
from src.pipeline.stages.base import SlideWork, StageResult

if TYPE_CHECKING:
    from src.slides.tissue import TissueMask


class SegmentStage:
    """Writes ``S_mask.pkl`` (CLAM's form) and ``S_mask.jpg`` (numbered outlines on the slide)."""

    name = "segment"
    version = 1
    uses_model = False

    def applies(self, work: SlideWork) -> bool:
        """Always: the outlines are drawn even where the map ignores them."""
        return True

    def inputs(self, work: SlideWork) -> dict[str, Any]:
        """The slide, the outlines' file or the parameters, and how the picture is drawn."""
        job = work.job
        inputs: dict[str, Any] = {
            "version": self.version,
            "slide": work.fingerprint(job.slide_path),
            "picture": asdict(job.row.visualization),
        }
        if job.tissue_path is not None:
            return {**inputs, "tissue_file": work.fingerprint(job.tissue_path)}
        return {**inputs, "segmentation": _parameters(work)}

    def run(self, work: SlideWork) -> StageResult:
        """Segment or read, then write both files."""
        from src.slides.tissue_files import read_mask, write_mask_pkl

        job, notes = work.job, []
        mask = _segment(work) if job.tissue_path is None else read_mask(job.tissue_path)
        if mask.is_empty:
            source = job.slide_path if job.tissue_path is None else job.tissue_path
            if work.config.heatmap_arguments.segment:
                raise TissueError(
                    f"no tissue in {source.name}; lower sthresh or a_t for it in the process list, give outlines in "
                    "data_arguments.tissue_dir, or set heatmap_arguments.segment: false"
                )
            notes.append(f"no tissue in {source.name}")
        if work.slide.mpp_note:
            notes.append(work.slide.mpp_note)
        write_mask_pkl(mask, job.paths.mask_pkl)
        notes += _draw_outlines(work, mask)
        return StageResult([job.paths.mask_pkl, job.paths.mask_jpg], notes)


def _parameters(work: SlideWork) -> dict[str, Any]:
    """Return how tissue is found. CLAM cuts the fractions off a_t and a_h, which is repeated only when asked for."""
    parameters = asdict(work.job.row.segmentation)
    if work.config.heatmap_arguments.compat == "clam":
        parameters.update(a_t=int(parameters["a_t"]), a_h=int(parameters["a_h"]))
    return parameters


def _segment(work: SlideWork) -> TissueMask:
    from src.slides.tissue import segment_tissue

    p = replace(work.job.row.segmentation, **_parameters(work))
    return segment_tissue(
        work.slide,
        seg_level=p.seg_level,
        sthresh=p.sthresh,
        mthresh=p.mthresh,
        close=p.close,
        use_otsu=p.use_otsu,
        filter_params={"a_t": p.a_t, "a_h": p.a_h, "max_n_holes": p.max_n_holes},
        keep_ids=p.keep_ids,
        exclude_ids=p.exclude_ids,
    )


def _draw_outlines(work: SlideWork, mask: TissueMask) -> list[str]:
    """Write ``S_mask.jpg`` as CLAM does: the slide at about 1/32 with numbered outlines, JPEG quality 75."""
    from src.visualization.wsi_object import WholeSlideImage

    p = work.job.row.visualization
    level, note = work.slide.clamp_level(p.vis_level)
    wsi = WholeSlideImage(work.slide)
    wsi.tissue = mask
    picture = wsi.draw_contours(vis_level=level, line_thickness=p.line_thickness, number_contours=True)
    with atomic_path(work.job.paths.mask_jpg) as partial:
        picture.save(partial, format="JPEG")
    return [note] if note else []

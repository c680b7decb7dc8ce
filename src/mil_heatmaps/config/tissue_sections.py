"""How tissue is found and outlined: the config sections behind CLAM's presets and process-list parameters.

The attribute names are the YAML names, CLAM's own; in CLAM they stand in a preset or the process list only. A section
holds a value for every key; which keys somebody gave is in its ``model_fields_set``.
"""

from dataclasses import fields
from typing import Any

from pydantic import Field, model_validator

from mil_heatmaps.choices import ContourTest
from mil_heatmaps.config.section_types import ContourIds, Float, Int, Section, Switch
from mil_heatmaps.slides.segmentation_params import BUILT_IN, SegmentationParams


class _Layer(Section):
    """A section whose values give way to others: a key that is null counts as left out."""

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, given: Any) -> Any:
        return {key: value for key, value in given.items() if value is not None} if isinstance(given, dict) else given


class SegmentationArguments(_Layer):
    """New: how tissue is found, for all slides; a process-list column of the same name changes it for one.

    A key left out takes the preset's value, and without a preset the default.
    """

    seg_level: Int = Field(
        default=BUILT_IN.seg_level,
        ge=-1,
        description="Pyramid level; -1: the one shrunk about 32 times.",
    )
    sthresh: Int = Field(
        default=int(BUILT_IN.sthresh),
        ge=0,
        le=255,
        description="Saturation above which a pixel is tissue.",
    )
    mthresh: Int = Field(default=BUILT_IN.mthresh, ge=1, le=255, description="Side of the median filter, odd.")
    close: Int = Field(default=BUILT_IN.close, ge=0, description="Side of the square that closes gaps; 0: none.")
    use_otsu: Switch = Field(
        default=BUILT_IN.use_otsu,
        description="Choose the threshold by Otsu's method instead of sthresh.",
    )
    keep_ids: ContourIds = Field(
        default=BUILT_IN.keep_ids,
        description="Only these pieces of tissue, by number. none: all.",
    )
    exclude_ids: ContourIds = Field(default=BUILT_IN.exclude_ids, description="All but these pieces of tissue.")
    a_t: Float = Field(
        default=BUILT_IN.a_t,
        ge=0,
        description="Least area of a piece, in squares of 512 level-0 pixels.",
    )
    a_h: Float = Field(default=BUILT_IN.a_h, ge=0, description="Least area of a hole, in the same squares.")
    max_n_holes: Int = Field(default=BUILT_IN.max_n_holes, ge=0, description="Most holes a piece.")
    white_thresh: Int = Field(
        default=5,
        ge=0,
        le=255,
        description="Kept for CLAM's presets; has no effect, as in CLAM's heatmaps.",
    )
    black_thresh: Int = Field(
        default=50,
        ge=0,
        le=255,
        description="Kept for CLAM's presets; has no effect, as in CLAM's heatmaps.",
    )
    use_padding: Switch = Field(
        default=True,
        description="Let patches of the bag stick out of the slide. For patches laid here, without h5_dir and "
        "coords_dir; no effect on a fine map with grid: clam or with compat: clam, as in CLAM.",
    )
    contour_fn: ContourTest = Field(
        default="four_pt",
        description="When a patch of the bag counts as tissue: its corner (basic), its centre, any (four_pt) or each "
        "(four_pt_hard) of four points around the centre lies in it. For patches laid here, as use_padding.",
    )

    @model_validator(mode="after")
    def _check_odd(self) -> "SegmentationArguments":
        if self.mthresh % 2 == 0:
            raise ValueError(f"mthresh must be odd, got {self.mthresh}")
        return self

    @property
    def params(self) -> SegmentationParams:
        """The parameters of `segment_tissue` among these."""
        return SegmentationParams(**{field.name: getattr(self, field.name) for field in fields(SegmentationParams)})


class VisualizationArguments(_Layer):
    """New: the picture of the tissue outlines."""

    vis_level: Int = Field(
        default=-1,
        ge=-1,
        description="Pyramid level; -1: the one shrunk about 32 times.",
    )
    line_thickness: Int = Field(default=250, ge=0, description="Width of the outlines in level-0 pixels.")

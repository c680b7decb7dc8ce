"""How tissue is found and outlined: the config sections behind CLAM's presets and process-list parameters.

The attribute names are the YAML names, CLAM's own; in CLAM they stand in a preset or the process list only.
"""

from typing import Literal

from pydantic import Field, model_validator

from mil_heatmaps.config.section_types import ContourIds, Float, Int, Section, Switch


class SegmentationArguments(Section):
    """New: how tissue is found, for all slides; a process-list column of the same name changes it for one.

    A key left out takes the preset's value, or else the built-in one.
    """

    seg_level: Int | None = Field(
        default=None,
        ge=-1,
        description="Pyramid level; -1: the one shrunk about 32 times. Built in: -1.",
    )
    sthresh: Int | None = Field(
        default=None,
        ge=0,
        le=255,
        description="Saturation above which a pixel is tissue. Built in: 15.",
    )
    mthresh: Int | None = Field(
        default=None,
        ge=1,
        le=255,
        description="Side of the median filter, odd. Built in: 11.",
    )
    close: Int | None = Field(
        default=None,
        ge=0,
        description="Side of the square that closes gaps; 0: none. Built in: 2.",
    )
    use_otsu: Switch | None = Field(
        default=None,
        description="Choose the threshold by Otsu's method instead of sthresh. Built in: false.",
    )
    keep_ids: ContourIds | None = Field(
        default=None,
        description="Only these pieces of tissue, by number. Built in: none, that is all.",
    )
    exclude_ids: ContourIds | None = Field(
        default=None,
        description="All but these pieces of tissue. Built in: none.",
    )
    a_t: Float | None = Field(
        default=None,
        ge=0,
        description="Least area of a piece, in squares of 512 level-0 pixels. Built in: 50.",
    )
    a_h: Float | None = Field(
        default=None,
        ge=0,
        description="Least area of a hole, in the same squares. Built in: 8.",
    )
    max_n_holes: Int | None = Field(default=None, ge=0, description="Most holes a piece. Built in: 10.")
    white_thresh: Int | None = Field(
        default=None,
        ge=0,
        le=255,
        description="Saturation below which a patch counts as white. Built in: 5.",
    )
    black_thresh: Int | None = Field(
        default=None,
        ge=0,
        le=255,
        description="Brightness below which a patch counts as black. Built in: 50.",
    )
    use_padding: Switch | None = Field(
        default=None,
        description="Let patches stick out of the slide. Built in: true.",
    )
    contour_fn: Literal["four_pt", "four_pt_hard", "center", "basic"] | None = Field(
        default=None,
        description="When a patch counts as inside. Built in: four_pt.",
    )

    @model_validator(mode="after")
    def _check_odd(self) -> "SegmentationArguments":
        if self.mthresh is not None and self.mthresh % 2 == 0:
            raise ValueError(f"mthresh must be odd, got {self.mthresh}")
        return self


class VisualizationArguments(Section):
    """New: the picture of the tissue outlines."""

    vis_level: Int | None = Field(
        default=None,
        ge=-1,
        description="Pyramid level; -1: the one shrunk about 32 times. Built in: -1.",
    )
    line_thickness: Int | None = Field(
        default=None,
        ge=0,
        description="Width of the outlines in level-0 pixels. Built in: 250.",
    )

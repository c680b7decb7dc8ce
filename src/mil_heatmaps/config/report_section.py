"""The config section of the report: a page that is handed on."""

from typing import Literal

from pydantic import Field

from mil_heatmaps.config.section_types import Float, Int, Section


class ReportArguments(Section):
    """New: a report of the run as HTML, for whoever has a browser and nothing else. Without the section: none."""

    write: bool = Field(default=True, description="Whether there is a report; the same as --report.")
    form: Literal["auto", "file", "folder"] = Field(
        default="auto",
        description="One file, or a folder with an index and one page per slide. auto: a file if below max_mb.",
    )
    max_mb: Float = Field(default=60, gt=0, description="With auto: the largest file, in millions of bytes.")
    picture_px: Int = Field(default=1000, ge=200, le=4000, description="Longer side of slide and map, in pixels.")
    picture_format: Literal["webp", "jpeg"] = Field(
        default="webp",
        description="Format of slide, thumbnail and patches. The colours are always WebP, as they are transparent.",
    )  # fmt: skip
    quality: Int = Field(default=72, ge=1, le=100, description="Quality of the pictures.")
    slide_kb: Int = Field(
        default=400, ge=50,
        description="Thousands of bytes that the pictures of one slide may have; larger ones are made smaller.",
    )  # fmt: skip
    patches: Int = Field(default=8, ge=0, le=40, description="How many of the highest, and of the lowest, patches.")
    patch_px: Int = Field(default=128, ge=32, le=512, description="Longer side of a patch, in pixels.")

    @property
    def wanted(self) -> bool:
        """Whether there is a report."""
        return self.write

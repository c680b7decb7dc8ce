"""The config section that says what film is made of each slide."""

from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from mil_heatmaps.choices import FilmFormat, FilmMode
from mil_heatmaps.config.section_types import Float, Int, Section, none_word
from mil_heatmaps.errors import ConfigError
from mil_heatmaps.film.settings import FilmSettings

Side = Annotated[Int, Field(ge=64, le=1920)]


class VideoArguments(Section):
    """New: a film of each slide with its map. Without the section there is none."""

    mode: Annotated[FilmMode, BeforeValidator(none_word)] = Field(
        default="tour",
        description="sweep: a window that moves row by row over the tissue. tour: from the overview to the highest "
        "regions and back. fade: from the slide to its map and back. none: no film.",
    )
    format: FilmFormat = Field(
        default="mp4",
        description="mp4 (H.264; needs PyAV, the extra video), or gif or webp for short loops.",
    )
    size: tuple[Side, Side] = Field(default=(1280, 720), description="Width and height in pixels; even for mp4.")
    fps: Float = Field(default=25, gt=0, le=120, description="Frames a second.")
    seconds: Float = Field(default=20, gt=0, le=3600, description="How long the film is.")
    blend: Float | None = Field(
        default=None, ge=0, le=1,
        description="Weight of the colours. null: heatmap_arguments.alpha.",
    )  # fmt: skip
    magnification: Float | None = Field(
        default=None, gt=0, le=200,
        description="Magnification of sweep's window and tour's stops; 10 is 1 µm per pixel. null: 32 patches across "
        "in a sweep, 16 at a stop.",
    )  # fmt: skip
    regions: Int = Field(default=5, ge=1, le=100, description="How many regions a tour stops at.")
    colour_bar: bool = Field(default=True, description="Show what the colours mean.")
    captions: bool = Field(default=True, description="Show the scale bar, and the score of each region.")
    quality: Int = Field(default=20, ge=0, le=51, description="x264's crf of an mp4: lower is better and larger.")

    @property
    def wanted(self) -> bool:
        """Whether a film is made."""
        return self.mode != "none"

    @model_validator(mode="after")
    def _can_be_made(self) -> "VideoArguments":
        try:
            self.settings(0.0)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return self

    def settings(self, alpha: float) -> FilmSettings:
        """Return what the film shows; `alpha` is the weight of the colours where the section gives none."""
        return FilmSettings(
            mode=self.mode,
            format=self.format,
            size_px=self.size,
            fps=self.fps,
            seconds=self.seconds,
            blend=alpha if self.blend is None else self.blend,
            magnification=self.magnification,
            regions=self.regions,
            colour_bar=self.colour_bar,
            captions=self.captions,
            crf=self.quality,
        )

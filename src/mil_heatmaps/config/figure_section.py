"""The config of the figure for people: a switch, the name of a preset, or a mapping of its options."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from mil_heatmaps.choices import FigureFormat, FigurePreset
from mil_heatmaps.config.section_types import Float, Int, Section, shown
from mil_heatmaps.visualization.figure_style import (
    LEAST_PT,
    PRESETS,
    PRINT_DPI,
    SCREEN_DPI,
    FigureStyle,
    Panel,
)


class FigureOptions(Section):
    """New: how the figure is made for print. What is left out is the preset's, or as large as today."""

    preset: FigurePreset | None = Field(
        default=None,
        description="journal_single (88 mm, PDF), journal_double (180 mm, PDF), slide_16_9 (a page of a presentation).",
    )
    format: FigureFormat | None = Field(
        default=None, description="In pdf and svg text, bars and boxes are vectors. Left out: png."
    )
    dpi: Int | None = Field(
        default=None,
        ge=50,
        le=1200,
        description="Resolution of its pictures. Left out: 300 for print, 150 without a width.",
    )
    width_mm: Float | None = Field(
        default=None, ge=40, le=2000, description="Exact width. Left out: as wide as its content needs."
    )
    font_pt: Float | None = Field(
        default=None, ge=LEAST_PT, le=72, description="Size of most letters; none is smaller than 6 pt."
    )
    panels: list[Panel] | None = Field(
        default=None, min_length=1, description="Which parts are shown, if the slide has them. Left out: all."
    )

    @model_validator(mode="after")
    def _check(self) -> "FigureOptions":
        _ = self.style
        return self

    @property
    def style(self) -> FigureStyle:
        """What the options come to."""
        base = PRESETS[self.preset] if self.preset is not None else FigureStyle()
        printed = self.width_mm is not None or self.format in ("pdf", "svg") or self.preset is not None
        usual_dpi = base.dpi if self.preset is not None else PRINT_DPI if printed else SCREEN_DPI
        return FigureStyle(
            format=self.format or base.format,
            dpi=self.dpi or usual_dpi,
            width_mm=self.width_mm or base.width_mm,
            height_mm=base.height_mm if self.width_mm is None else None,
            font_pt=self.font_pt or base.font_pt,
            panels=tuple(self.panels) if self.panels is not None else base.panels,
        )


def _options(value: Any) -> Any:
    """Return the options: none of its own for true, no figure for false, a mapping for the name of a preset."""
    if value is True or value is False:
        return {} if value else None
    if isinstance(value, str):
        if value in PRESETS:
            return {"preset": value}
    elif value is None or isinstance(value, (dict, Section)):
        return value
    raise ValueError(f"must be true, false, {', '.join(PRESETS)}, or a mapping of options; got {shown(value)}")


def _as_given(options: FigureOptions | None) -> Any:
    """Return the options as a config has them: true where there is none of its own, as runs made before say it."""
    return False if options is None else options.model_dump(mode="json", exclude_none=True) or True


Figure = Annotated[
    FigureOptions | None,
    BeforeValidator(_options, json_schema_input_type=bool | FigurePreset | FigureOptions),
    PlainSerializer(_as_given),
]

"""The config section that asks for numbers over the cohort: consensus, annotations, phenotypes, sheets."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from mil_heatmaps.config.section_types import Float, Int, Section, Text, shown


def _names_of_labels(value: Any) -> Any:
    """Check a mapping from the numbers in a label mask to names of classes."""
    if not isinstance(value, dict) or not value:
        raise ValueError(f"must map the numbers of a mask to names, such as 1: tumour; got {shown(value)}")
    return {str(number): name for number, name in value.items()}


def _several(value: list[str]) -> list[str]:
    if len(value) < 2:
        raise ValueError("needs at least two experiments")
    return value


class PhenotypeArguments(Section):
    """Clusters of the features of high patches."""

    k: Int | None = Field(
        default=None, ge=2, le=20,
        description="New: number of clusters. Left out: the one of 2 to 12 with the best silhouette.",
    )  # fmt: skip
    top: Float = Field(default=0.05, gt=0, lt=1, description="New: which part of a slide's patches is taken.")
    per_slide: Int = Field(default=200, ge=1, description="New: most high patches per slide, drawn at random.")
    contrast: bool = Field(default=True, description="New: also take as many of the lowest patches.")
    seed: Int = Field(default=1, ge=0, lt=2**32, description="New: seed of the choice and of k-means.")
    nearest: Int = Field(
        default=8, ge=1, le=50, description="New: pictures per cluster in the sheet; the sheet needs the slides."
    )


class InsightArguments(Section):
    """Numbers over the cohort, made of what has finished, at the end of a run or with --insight."""

    consensus: Annotated[list[Text], AfterValidator(_several)] | None = Field(
        default=None,
        description="New: finished experiments of the same slides. This experiment draws what they agree on.",
    )
    top: Float = Field(default=0.05, gt=0, lt=1, description="New: which part of a slide's patches counts as its top.")
    at_least: Int | None = Field(
        default=None, ge=1,
        description="New: how many models of a consensus must have a patch at the top. Left out: more than half.",
    )  # fmt: skip
    annotations: Text | None = Field(
        default=None,
        description="New: folder of annotations to compare the scores with: GeoJSON of QuPath or TRIDENT, ASAP's XML, "
        "or a mask of labels as TIFF or PNG, by slide.",
    )
    annotation_classes: list[Text] | None = Field(
        default=None,
        description="New: the classes that count; others are named and left out. Left out: all.",
    )
    mask_labels: Annotated[dict[str, Text], BeforeValidator(_names_of_labels)] | None = Field(
        default=None,
        description="New: names of the numbers in masks, such as {1: tumour}. Left out: label 1, label 2, ...",
    )
    mask_downsample: Float | None = Field(
        default=None, gt=0,
        description="New: level-0 pixels per pixel of a mask. Left out: from the sizes of slide and mask.",
    )  # fmt: skip
    overview: bool = Field(default=False, description="New: a sheet of all slides with their maps, as PDF and PNG.")
    phenotypes: PhenotypeArguments | None = Field(
        default=None, description="New: {k: 6}: cluster the features of high patches over the cohort."
    )
    spots: Text | None = Field(
        default=None,
        description="New: folder of spots or cells to compare the scores with, by slide: CSV, parquet, h5ad, GeoJSON.",
    )
    spots_unit: Literal["px", "um"] = Field(
        default="px", description="New: what positions of spots are in: px (level-0 pixels) or um."
    )

    @property
    def asks(self) -> bool:
        """Whether anything is to be made of a run."""
        return bool(self.annotations or self.overview or self.phenotypes or self.spots)

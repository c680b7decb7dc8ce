"""Scores that ask the model itself: the config section of explanations.

The attribute names are the YAML names; docs/explanation/scores.md says what each score answers and what it costs.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from mil_heatmaps.config.section_types import Float, Int, Section, Text, shown
from mil_heatmaps.explain.settings import Settings
from mil_heatmaps.words import whole_number


def _names(value: Any) -> Any:
    """Take one name for a list of it."""
    return [value] if isinstance(value, str) else value


def _targets(value: Any) -> Any:
    """Check ``drawn``, ``all``, ``predicted``, an output, or a list of outputs (names or numbers)."""
    entries = value if isinstance(value, list | tuple) else [value]
    if not entries or any(isinstance(v, bool) or not isinstance(v, str | int) or not str(v).strip() for v in entries):
        raise ValueError(f"must be drawn, all, predicted, an output or a list of outputs; got {shown(value)}")
    return [str(v) for v in entries] if len(entries) > 1 else str(entries[0])


def _window(value: Any) -> Any:
    if isinstance(value, str) and (number := whole_number(value)) is not None:
        value = number
    if value != "auto" and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ValueError(f"must be auto or a whole number of at least 1, got {shown(value)}")
    return value


class ExplanationArguments(Section):
    """Scores that ask the model itself, beside those it has: which are kept, of what, and how they are made."""

    scores: Annotated[list[Text], BeforeValidator(_names)] = Field(
        default_factory=list,
        description="New: scores of the model, old and new, that are computed and kept beside the drawn one: "
        "leave_one_out, single, gradient_x_input, integrated_gradients, occlusion, mask_regression, attention, ...",
    )
    targets: Annotated[
        str | list[str], BeforeValidator(_targets, json_schema_input_type=str | int | list[str | int])
    ] = Field(
        default="drawn",
        description="New: which outputs are explained. drawn: those heatmap_arguments.classes asks for; all; "
        "predicted; or names.",
    )
    output: Literal["auto", "log_odds", "logit", "probability", "value", "risk"] = Field(
        default="auto",
        description="New: which number of an output is explained. auto: log_odds of classes, value of a regression, "
        "risk of a survival model.",
    )
    baseline: Text = Field(
        default="zero",
        description="New: where integrated_gradients begins: zero, mean (the slide's mean feature), or a .npy file of "
        "one feature vector.",
    )
    steps: Int = Field(default=32, ge=1, description="New: steps of integrated_gradients at first.")
    max_steps: Int = Field(
        default=512, ge=1, description="New: steps are doubled up to this many until the map adds up."
    )
    window: Annotated[Int | Literal["auto"], BeforeValidator(_window)] = Field(
        default="auto",
        description="New: side of occlusion's squares, in patches. auto: 4 where that is cheap, else the smallest of "
        "4, 8, 16, ... that max_forwards allows.",
    )
    stride: Int | None = Field(
        default=None, ge=1, description="New: distance of occlusion's squares, in patches. null: half the window."
    )
    groups: Int = Field(default=64, ge=1, description="New: groups of patches that mask_regression masks together.")
    masks: Int = Field(default=512, ge=2, description="New: random halves of the slide for mask_regression.")
    ridge: Float = Field(default=0.01, ge=0, description="New: weight of mask_regression's ridge.")
    seed: Int = Field(default=0, ge=0, description="New: seed of mask_regression.")
    max_forwards: Int = Field(
        default=2000,
        ge=1,
        description="New: a score that would need more forward passes on a slide is refused, with an estimate; "
        "single always runs.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        Settings(**{key: value for key, value in self if key not in ("scores", "targets", "baseline")})
        if self.masks < 2 * self.groups:
            raise ValueError(
                f"masks must be even and at least twice the {self.groups} groups, got {self.masks}; choose "
                f"{2 * self.groups} or more, or fewer groups"
            )
        if self.baseline not in ("zero", "mean") and not self.baseline.endswith(".npy"):
            raise ValueError(f"baseline must be zero, mean, or a .npy file, got {shown(self.baseline)}")
        return self

"""The config section that says how far the faithfulness of maps is measured."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from mil_heatmaps.choices import FaithfulnessLevel
from mil_heatmaps.config.section_types import Float, Int, Section, Text, none_word


def _names(value: Any) -> Any:
    """Take one name for a list of one."""
    return [value] if isinstance(value, str) else value


class FaithfulnessArguments(Section):
    """New: how far each map can be believed, measured on the slide in hand. Without the section nothing is measured."""

    level: Annotated[FaithfulnessLevel, BeforeValidator(none_word)] = Field(
        default="quick",
        description="none, quick (20 steps, 10 random orders) or full (100 steps, 50 random orders).",
    )
    scores: Annotated[list[Text], BeforeValidator(_names, json_schema_input_type=str | list[str])] | None = Field(
        default=None,
        description="Maps to measure, by name of the score. null: the drawn one, the model's usual one, and the "
        "explanations that are kept beside it.",
    )
    steps: Int | None = Field(
        default=None, ge=2, le=10_000,
        description="Steps in which patches are removed. null: as the level says.",
    )  # fmt: skip
    random_orders: Int | None = Field(
        default=None, ge=1, le=10_000,
        description="Random orders that maps are compared with. null: as the level says.",
    )  # fmt: skip
    seed: Int = Field(default=0, ge=0, description="Seed of the random orders.")
    max_minutes: Float = Field(
        default=10,
        gt=0,
        description="Limit per slide for quick: a longer measurement is not started, and the figure says so. full has "
        "no limit.",
    )

    @property
    def wanted(self) -> bool:
        """Whether anything is measured."""
        return self.level != "none"

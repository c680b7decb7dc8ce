"""Named vectors that patches are compared with: the value of `data_arguments.concepts`."""

from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from mil_heatmaps.config.section_types import Float, Section, Text, shown


def _prompts(value: Any) -> Any:
    """Take one prompt for a list of it; refuse concepts without any."""
    if not isinstance(value, dict) or not value:
        raise ValueError(f"must map names of concepts to prompts, such as tumour: [tumour tissue]; got {shown(value)}")
    return {str(name): [texts] if isinstance(texts, str) else texts for name, texts in value.items()}


class Concepts(Section):
    """Named vectors from a file, or prompts that a text encoder makes vectors of."""

    file: Text | None = Field(
        default=None,
        description="New: CSV, .npz, .npy or .safetensors of named vectors of the features; docs/how-to/concepts.md.",
    )
    prompts: Annotated[dict[str, Annotated[list[Text], Field(min_length=1)]], BeforeValidator(_prompts)] | None = Field(
        default=None,
        description="New: prompts of every concept, whose vectors are averaged: {tumour: [...], stroma: [...]}.",
    )
    model: Text | None = Field(
        default=None,
        description="New: text encoder of the prompts: plip, conch, or your own as module:factory or file.py:factory.",
    )
    templates: list[Text] = Field(
        default=["{}"],
        min_length=1,
        description='New: sentences around every prompt, such as "an H&E image of {}.".',
    )
    temperature: Float | None = Field(
        default=None,
        gt=0,
        description="New: of the softmax over concepts. Left out: that of the text encoder or of the file, else 0.01.",
    )
    encoder: Text | None = Field(
        default=None,
        description="New: encoder in whose space the vectors of the file are, where the file does not say.",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.file is None) == (self.prompts is None):
            raise ValueError("must have a file or prompts, one of them")
        if (self.prompts is None) != (self.model is None):
            raise ValueError("needs a model (plip, conch or module:factory) for prompts, and for nothing else")
        if bad := next((text for text in self.templates if "{}" not in text), None):
            raise ValueError(f"templates must hold {{}} where the prompt goes, got {shown(bad)}")
        return self


def as_concepts(value: Any) -> Any:
    """Take a file alone for the section."""
    return {"file": value} if isinstance(value, str) else value

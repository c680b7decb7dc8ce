"""The whole config as one model, and its JSON Schema."""

import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from mil_heatmaps.config.drawing_sections import HeatmapArguments, SampleArguments
from mil_heatmaps.config.explanation_section import ExplanationArguments
from mil_heatmaps.config.export_section import ExportArguments
from mil_heatmaps.config.faithfulness_section import FaithfulnessArguments
from mil_heatmaps.config.film_section import VideoArguments
from mil_heatmaps.config.input_paths import InputPaths
from mil_heatmaps.config.insight_section import InsightArguments
from mil_heatmaps.config.labels import class_names_by_number
from mil_heatmaps.config.report_section import ReportArguments
from mil_heatmaps.config.run_section import RunArguments
from mil_heatmaps.config.sections import (
    DataArguments,
    EncoderArguments,
    ExpArguments,
    ModelArguments,
    PatchingArguments,
)
from mil_heatmaps.config.tissue_sections import SegmentationArguments, VisualizationArguments
from mil_heatmaps.weights.hub import name_of_weights
from mil_heatmaps.words import printable


def _left_out(**keys: Any) -> Any:
    """Return the field of a section that may be left out, which then has these keys.

    They are checked with the whole config: a section made by itself would build a validator of its own.
    """
    return Field(default_factory=lambda: keys, validate_default=True)


class Config(BaseModel):
    """The whole config; build it with `load_config` or `make_config`, which check what one section cannot."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    exp_arguments: ExpArguments = _left_out()
    data_arguments: DataArguments
    patching_arguments: PatchingArguments = _left_out()
    encoder_arguments: EncoderArguments = _left_out()
    model_arguments: ModelArguments = _left_out()
    heatmap_arguments: HeatmapArguments = _left_out()
    explanation_arguments: ExplanationArguments = _left_out()
    sample_arguments: SampleArguments = _left_out()
    segmentation_arguments: SegmentationArguments = _left_out()
    visualization_arguments: VisualizationArguments = _left_out()
    faithfulness_arguments: FaithfulnessArguments = _left_out(level="none")
    export_arguments: ExportArguments = _left_out()
    video_arguments: VideoArguments = _left_out(mode="none")
    report_arguments: ReportArguments = _left_out(write=False)
    run_arguments: RunArguments = _left_out()
    insight_arguments: InsightArguments = _left_out()

    _source: Path | None = PrivateAttr(None)
    _inputs: InputPaths = PrivateAttr(default_factory=InputPaths)

    @property
    def source(self) -> Path | None:
        """The YAML file of the config, None when there is none."""
        return self._source

    @property
    def inputs(self) -> InputPaths:
        """The files and folders that the config names; empty when it was loaded with ``check_files=False``."""
        return self._inputs

    @property
    def run_name(self) -> str:
        """The run as a reader knows it: without a name of its own in the flat layout, its output folder's."""
        told = self.exp_arguments
        if told.layout == "flat" and told.save_exp_code == ExpArguments().save_exp_code:
            return printable(os.path.basename(os.path.abspath(told.production_save_dir)))
        return told.save_exp_code

    @property
    def knows_cases(self) -> bool:
        """Whether it matters which slides belong together: for the bag, or for the scale of colours."""
        return self.data_arguments.bag == "case" or self.heatmap_arguments.scale == "case"

    @property
    def n_classes(self) -> int | None:
        """Outputs of the model, or None when only the checkpoint can tell."""
        told, named = self.exp_arguments.n_classes, self.inputs.head_names
        return len(named) if told is None and named is not None else told

    @property
    def names_model(self) -> bool:
        """Whether the config names a model that can be loaded: a checkpoint, a class, or weights on the hub."""
        model = self.model_arguments
        own = model.ckpt_path is not None or model.own_code is not None
        return own or name_of_weights(model.model_name) is not None

    @property
    def bags(self) -> tuple[str, ...]:
        """Names of the bags of a slide, the first drawn; none where a slide has one bag without a name.

        A mapping h5_dir is of bags where data_dir is not a mapping, whose keys h5_dir's would be otherwise.
        """
        data = self.data_arguments
        several = isinstance(data.h5_dir, dict) and not isinstance(data.data_dir, dict)
        return tuple(data.h5_dir) if several and isinstance(data.h5_dir, dict) else ()

    @property
    def output_names(self) -> list[str] | None:
        """Name of each output, in the model's order: its classes, or what a regression or survival model gives.

        None when the config names none.
        """
        if self.model_arguments.task == "classification":
            return self.class_names
        names = self.model_arguments.output_names or self.inputs.head_names
        return None if names is None else list(names)

    @property
    def class_names(self) -> list[str] | None:
        """Name of each class, in the model's order; None without a label_dict (or a head that
        names its classes), or for a model without classes.

        Labels that label_dict gives one number are one class, called by all of them: ``benign/normal``.
        """
        if self.model_arguments.task != "classification":
            return None
        if self.data_arguments.label_dict is None:
            return None if self.inputs.head_names is None else list(self.inputs.head_names)
        names = class_names_by_number(self.data_arguments.label_dict)
        return [names.get(c, str(c)) for c in range(self.n_classes or 0)]

    @property
    def features_cache(self) -> Path | None:
        """Folder in which encoded features are shared with other runs, None when they are not."""
        given, raw = self.data_arguments.features_cache, self.exp_arguments.raw_save_dir
        if given is False:
            return None
        return Path(raw).parent / "features_cache" if given is None else Path(os.path.expandvars(given)).expanduser()

    @property
    def patch_grid(self) -> str:
        """``features`` or ``clam``: the grid of the fine map."""
        data = self.data_arguments
        return self.patching_arguments.grid or ("features" if data.h5_dir or data.coords_dir else "clam")


def config_schema() -> dict[str, Any]:
    """Return the JSON Schema of the config file."""
    schema: dict[str, Any] = _standard_bounds(Config.model_json_schema())
    for name, section in schema["properties"].items():
        if "$ref" in section and name not in schema["required"]:  # a section whose keys are all commented out
            schema["properties"][name] = {"anyOf": [{"$ref": section["$ref"]}, {"type": "null"}]}
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "Config of create_heatmaps.py"
    return schema


_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}


def _standard_bounds(node: Any) -> Any:
    """Return the schema with JSON Schema's names of bounds; beside validators pydantic leaves its own names."""
    if isinstance(node, dict):
        return {_BOUNDS.get(key, key): _standard_bounds(value) for key, value in node.items()}
    return [_standard_bounds(item) for item in node] if isinstance(node, list) else node

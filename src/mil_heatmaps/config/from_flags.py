"""Turn the flags of generate_heatmaps.py into a config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mil_heatmaps.errors import ConfigError
from mil_heatmaps.files.names import SLIDE_EXTENSIONS

if TYPE_CHECKING:
    from mil_heatmaps.config.config import Config

WORK = "work"
"""Folder below the output for scores, outlines and records."""

TOP_PATCHES = "top_patches"

KEY_OF_FLAG = {
    "model_name": "model_arguments.model_name",
    "num_classes": "exp_arguments.n_classes",
    "output_names": "model_arguments.output_names",
    "task": "model_arguments.task",
    "device": "model_arguments.device",
    "bag": "data_arguments.bag",
    "partial_cases": "run_arguments.partial_cases",
    "coords_frame": "data_arguments.coords_frame",
    "coords_unit": "data_arguments.coords_unit",
    "vis_level": "heatmap_arguments.vis_level",
    "cmap": "heatmap_arguments.cmap",
    "alpha": "heatmap_arguments.alpha",
    "score": "heatmap_arguments.score",
    "normalize": "heatmap_arguments.normalize",
    "cmap_signed": "heatmap_arguments.cmap_signed",
    "color_profile": "heatmap_arguments.color_profile",
    "center": "heatmap_arguments.center",
    "explain": "explanation_arguments.scores",
    "explain_targets": "explanation_arguments.targets",
    "figure": "heatmap_arguments.figure",
    "slide_mpp": "data_arguments.slide_mpp",
    "evidence": "heatmap_arguments.evidence",
    "faithfulness": "faithfulness_arguments.level",
    "faithfulness_scores": "faithfulness_arguments.scores",
    "video": "video_arguments.mode",
    "report": "report_arguments.write",
}
"""Flags whose value one key of the config takes as it is; the key keeps its own default where the flag is not given."""

_WORDS = {key: f"--{flag}" for flag, key in KEY_OF_FLAG.items()} | {
    "model_arguments.ckpt_path": "--checkpoint",
    "exp_arguments.production_save_dir": "--output_dir",
    "the output folders are raw_save_dir, production_save_dir and results_dir of exp_arguments": "see --output_dir",
    "data_arguments.cases": "--cases",
    "data_arguments.beside_dir": "--beside_dir",
    "data_arguments.concepts": "--concepts",
    "data_arguments.label_dict": "--class_names",
    "data_arguments.h5_dir": "--h5_dir",
    "data_arguments.data_dir": "--slide_dir",
    "data_arguments.slide_ext": "--slide_ext",
    "data_arguments.process_list": "--csv",
    "heatmap_arguments.classes": "--classes",
    "heatmap_arguments.segment: false": "--no_segment",
    "heatmap_arguments.segment": "--no_segment",
    "sample_arguments.samples": "--top_patches",
    "--figure.width_mm": "--figure_width_mm",
    "--figure.format": "--figure_format",
    "--figure.dpi": "--figure_dpi",
    "explanation_arguments.": "--explain_setting ",
    "num_classes (n_classes) says": "--num_classes says",
    " (in the config)": "",
}
"""What a key of the config is called on the command line."""


@dataclass(frozen=True)
class SimpleOptions:
    """What generate_heatmaps.py was asked for; folders and files are known to exist.

    Attributes
    ----------
    checkpoint, output : Path
    slides, features : folders
    outlines : folder of tissue outlines, or None to find the tissue
    extensions : of slides; empty for all that can be opened
    class_names, classes : as the flags of the same names
    segment : whether only tissue is coloured
    top_patches : how many to save of each slide
    explanation : settings of explanations, keys of `explanation_arguments`
    exports : names of `mil_heatmaps.choices.EXPORTS`
    settings : values by key of the config: the flags of `KEY_OF_FLAG` that were given
    """

    checkpoint: Path | None
    output: Path
    slides: tuple[Path, ...]
    features: tuple[Path, ...]
    outlines: Path | None = None
    extensions: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    segment: bool = True
    top_patches: int = 0
    explanation: Mapping[str, Any] = field(default_factory=dict)
    exports: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def slide_extensions(self) -> tuple[str, ...]:
        """The extensions slides may have, each with its dot."""
        return tuple("." + ext.strip().lstrip(".") for ext in self.extensions) or SLIDE_EXTENSIONS

    @property
    def process_list(self) -> Path:
        """Where the list of slides to do is kept."""
        return self.output / WORK / "slides.csv"


def simple_config(options: SimpleOptions, process_list: Path | None) -> Config:
    """Return the checked config that does what the flags ask for; messages name flags.

    Paths in it are absolute, so that the file it is saved to can be run from anywhere.

    Raises
    ------
    ConfigError
        With every problem at once.
    """
    from mil_heatmaps.config.config import make_config

    try:
        return make_config(_values(options, process_list))
    except ConfigError as error:
        raise ConfigError(name_flags(str(error))) from error


def name_flags(message: str) -> str:
    """Return a message of the pipeline with flags in place of the config's keys."""
    for key, flag in _WORDS.items():
        message = message.replace(key, flag)
    return message


def _values(options: SimpleOptions, process_list: Path | None) -> dict[str, Any]:
    """Return the config's values; keys that no flag sets keep their defaults."""
    from mil_heatmaps.visualization.visualizer import TISSUE

    if len(set(options.class_names)) < len(options.class_names):
        raise ConfigError(f"--class_names names a class twice: {', '.join(options.class_names)}")
    task = options.settings.get(KEY_OF_FLAG["task"], "classification")
    if options.class_names and task != "classification":
        raise ConfigError(
            f"--class_names names classes, and a {task} model has none; name its outputs with --output_names"
        )
    output = options.output.absolute()
    names = {name: number for number, name in enumerate(options.class_names)} or None
    classes: Any = list(options.classes) if len(options.classes) > 1 else next(iter(options.classes), None)
    samples = [{"name": TOP_PATCHES, "k": options.top_patches}] if options.top_patches else []
    values: dict[str, Any] = {
        "exp_arguments": {
            "layout": "flat",
            "raw_save_dir": str(output / WORK),
            "production_save_dir": str(output),
            "results_dir": str(output),
        },
        "data_arguments": {
            "data_dir": _folders(options.slides),
            "h5_dir": _folders(options.features),
            "slide_ext": list(options.slide_extensions),
            **_given(
                process_list=None if process_list is None else str(process_list.absolute()),
                tissue_dir=None if options.outlines is None else str(options.outlines.absolute()),
                label_dict=names,
            ),
        },
        "model_arguments": _given(ckpt_path=options.checkpoint and str(options.checkpoint.absolute())),
        "heatmap_arguments": {
            "calc_heatmap": False,
            "save_ext": "png",
            "save_orig": False,
            "segment": options.segment,
            **_given(classes=classes),
        },
        "explanation_arguments": dict(options.explanation),
        "sample_arguments": {"samples": samples},
        "segmentation_arguments": dict(TISSUE),
        "export_arguments": dict.fromkeys(options.exports, True),
    }
    for key, value in options.settings.items():
        section, _, name = key.partition(".")
        values.setdefault(section, {})[name] = value
    return values


def _given(**values: Any) -> Mapping[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _folders(folders: tuple[Path, ...]) -> str | list[str]:
    paths = [str(folder.absolute()) for folder in folders]
    return paths[0] if len(paths) == 1 else paths

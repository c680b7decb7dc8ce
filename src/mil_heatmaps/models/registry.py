"""Model names: the class of a type, the YAML of a configuration, the width of an encoder's features."""

import importlib
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from mil_heatmaps.errors import ModelError
from mil_heatmaps.models.base import MILModel
from mil_heatmaps.words import did_you_mean, whole_number

MODULES = {
    "abmil": "mil_heatmaps.models.abmil",
    "clam": "mil_heatmaps.models.clam_mil_lab",
    "dsmil": "mil_heatmaps.models.dsmil",
    "dftd": "mil_heatmaps.models.dftd",
    "ilra": "mil_heatmaps.models.ilra",
    "rrt": "mil_heatmaps.models.rrt",
    "transformer": "mil_heatmaps.models.transformer",
    "transmil": "mil_heatmaps.models.transmil",
    "wikg": "mil_heatmaps.models.wikg",
    "clam_sb": "mil_heatmaps.models.clam",
    "clam_mb": "mil_heatmaps.models.clam",
    "mil_fc": "mil_heatmaps.models.mil_fc",
    "mil_fc_mc": "mil_heatmaps.models.mil_fc",
    "trident_abmil": "mil_heatmaps.models.trident_abmil",
    "trident_slide_encoder": "mil_heatmaps.models.trident_abmil",
    "trident_classifier": "mil_heatmaps.models.trident_abmil",
    # of other public repositories: recognised by their `layout`, after those above
    "abmil_general": "mil_heatmaps.models.abmil_general",
    "dsmil_original": "mil_heatmaps.models.dsmil_original",
    "acmil_ga": "mil_heatmaps.models.acmil_ga",
    "acmil_mha": "mil_heatmaps.models.acmil_mha",
    "dtfd_original": "mil_heatmaps.models.dtfd_original",
    "attrimil": "mil_heatmaps.models.attrimil",
    "additive_mil": "mil_heatmaps.models.additive_mil",
    "transmil_original": "mil_heatmaps.models.transmil_public",
    "torchmil_transmil": "mil_heatmaps.models.transmil_public",
    "stamp_vit": "mil_heatmaps.models.stamp_vit",
    "stamp_linear": "mil_heatmaps.models.stamp_mean",
    "stamp_mlp": "mil_heatmaps.models.stamp_mean",
    "torchmil_abmil": "mil_heatmaps.models.torchmil_abmil",
    "torchmil_dsmil": "mil_heatmaps.models.torchmil_dsmil",
    "torchmil_transformer_abmil": "mil_heatmaps.models.torchmil_transformer",
    "histobistro_transformer": "mil_heatmaps.models.histobistro",
}
"""Type name -> module whose import registers it; imported only when asked for."""

ALIASES = {
    "slideflow_attention_mil": "abmil_general",
    "slideflow_transmil": "transmil_original",
    "stamp_transmil": "transmil_original",
    "torchmil_clam": "torchmil_abmil",
}
"""Names that users of one repository may give to a type that several repositories share."""

_CLASSES: dict[str, type[MILModel]] = {}
_CONFIG_DIR = Path(__file__).parent / "configs"
_Model = TypeVar("_Model", bound=type[MILModel])

ENCODER_WIDTHS = {
    "uni": 1024,
    "uni_v2": 1536,
    "ctranspath": 768,
    "conch_v1": 512,
    "conch_v15": 768,
    "gigapath": 1536,
    "resnet50": 1024,
    "virchow": 2560,
    "virchow2": 2560,
    "phikon": 768,
    "phikon_v2": 1024,
    "hoptimus": 1536,
    "hoptimus1": 1536,
    "musk": 1024,
    "hibou_l": 1024,
    "midnight12k": 3072,
    "openmidnight": 1536,
    "kaiko-vits8": 384,
    "kaiko-vits16": 384,
    "kaiko-vitb8": 768,
    "kaiko-vitb16": 768,
    "kaiko-vitl14": 1024,
    "lunit-vits8": 384,
}
"""Encoder -> width of its features: MIL-Lab's names, then those only TRIDENT has."""

ENCODER_ALIASES = {
    "uni_v1": "uni",  # TRIDENT, CLAM
    "uni2": "uni_v2",
    "uni2-h": "uni_v2",
    "hoptimus0": "hoptimus",  # TRIDENT
    "conch": "conch_v1",  # MIL-Lab until the end of 2025
    "phikon2": "phikon_v2",  # the same
    "conch_v1_5": "conch_v15",  # CLAM
    "resnet50_trunc": "resnet50",  # CLAM
}


def register_model(name: str) -> Callable[[_Model], _Model]:
    """Make the decorated class the model of type `name`."""

    def register(cls: _Model) -> _Model:
        cls.name = name
        _CLASSES[name] = cls
        return cls

    return register


def model_types() -> list[str]:
    """Return every type name, built in or registered since."""
    return list(dict.fromkeys([*MODULES, *_CLASSES]))


def model_class(name: str) -> type[MILModel]:
    """Return the class of a type; a `ModelError` lists the choices."""
    name = ALIASES.get(name, name)
    if name not in _CLASSES and name in MODULES:
        importlib.import_module(MODULES[name])
    if name not in _CLASSES:
        choices = [*model_types(), *ALIASES]
        raise ModelError(f"unknown model type {name!r}{nearest(name, choices)}; choose from {choices}")
    return _CLASSES[name]


def config_names(model_type: str) -> list[str]:
    """Return the configurations of a type, the default (MIL-Lab's ``base``, CLAM's ``small``) first.

    A type without YAML has one, ``base``: its constructor's defaults.
    """
    files = _CONFIG_DIR.glob(f"{model_type}.*.yaml")
    names = (path.name[len(model_type) + 1 : -len(".yaml")] for path in files)
    return sorted(names, key=lambda name: (name not in ("base", "small"), name)) or ["base"]


def model_config(model_type: str, config: str) -> dict[str, Any]:
    """Return the constructor arguments that a type's YAML gives for a configuration."""
    if config not in (choices := config_names(model_type)):
        raise ModelError(
            f"unknown configuration {config!r} of {model_type}{nearest(config, choices)}; choose from {choices}"
        )
    path = _CONFIG_DIR / f"{model_type}.{config}.yaml"
    if not path.is_file():
        parameters = inspect.signature(model_class(model_type).__init__).parameters.values()
        return {p.name: p.default for p in parameters if p.default is not p.empty and p.name != "in_dim"}
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")) or {})


def encoder_width(encoder: str) -> int:
    """Return how wide an encoder's features are; a plain number stands for itself."""
    if number := whole_number(encoder):
        return number
    name = ENCODER_ALIASES.get(encoder, encoder)
    if name not in ENCODER_WIDTHS:
        choices = [*ENCODER_WIDTHS, *ENCODER_ALIASES]
        raise ModelError(
            f"unknown encoder {encoder!r}{nearest(encoder, choices)}; choose from {choices}, "
            "or write the width of the features in its place, as in abmil.base.1280.none"
        )
    return ENCODER_WIDTHS[name]


def encoders_of_width(width: int) -> list[str]:
    """Return the known encoders whose features have this width, then their other names."""
    names = [name for name, known in ENCODER_WIDTHS.items() if known == width]
    return names + [alias for alias, name in ENCODER_ALIASES.items() if name in names]


@dataclass(frozen=True)
class ModelName:
    """A name taken apart: ``{type}.{config}.{encoder}.{task}``.

    Attributes
    ----------
    type, config, encoder, task : str
    encoder_given : bool
        False when the encoder was left out and is MIL-Lab's default, ``uni``.
    """

    type: str
    config: str = "base"
    encoder: str = "uni"
    task: str = "none"
    encoder_given: bool = True

    @property
    def in_dim(self) -> int:
        """Width of the encoder's features."""
        return encoder_width(self.encoder)

    def __str__(self) -> str:
        return f"{self.type}.{self.config}.{self.encoder}.{self.task}"


def parse_model_name(name: str) -> ModelName:
    """Return the parts of a MIL-Lab model name; parts left out at the end are ``base``, ``uni`` and ``none``.

    Raises
    ------
    ModelError
        Too many or empty parts, or an unknown part; the message lists the known ones.
    """
    parts = name.split(".")
    if len(parts) > 4 or not all(parts):
        raise ModelError(
            f"model name {name!r} must have one to four parts, type.config.encoder.task, as in abmil.base.uni_v2.none"
        )
    model_class(parts[0])
    configs = config_names(parts[0])
    parsed = ModelName(
        parts[0],
        parts[1] if len(parts) > 1 else configs[0],
        parts[2] if len(parts) > 2 else "uni",
        parts[3] if len(parts) > 3 else "none",
        encoder_given=len(parts) > 2,
    )
    model_config(parsed.type, parsed.config)
    encoder_width(parsed.encoder)
    return parsed


def constructor_arguments(cls: type[MILModel]) -> list[str]:
    """Return the names a model's constructor takes."""
    parameters = inspect.signature(cls.__init__).parameters.values()
    return [p.name for p in parameters if p.name != "self" and p.kind is not p.VAR_KEYWORD]


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return ``, did you mean 'x'?`` for an error message, or nothing."""
    return did_you_mean(word, choices, before=", ", after="")

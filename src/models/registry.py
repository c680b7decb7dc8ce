"""Model names: the class of a type, the YAML of a configuration, the width of an encoder's features."""

import difflib
import importlib
import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import yaml

from src.errors import ModelError
from src.models.base import MILModel

MODULES = {
    "abmil": "src.models.abmil",
    "clam": "src.models.clam_mil_lab",
    "dsmil": "src.models.dsmil",
    "dftd": "src.models.dftd",
    "ilra": "src.models.ilra",
    "rrt": "src.models.rrt",
    "transformer": "src.models.transformer",
    "transmil": "src.models.transmil",
    "wikg": "src.models.wikg",
    "clam_sb": "src.models.clam",
    "clam_mb": "src.models.clam",
    "mil_fc": "src.models.mil_fc",
    "mil_fc_mc": "src.models.mil_fc",
    "trident_abmil": "src.models.trident_abmil",
    "trident_slide_encoder": "src.models.trident_abmil",
    "trident_classifier": "src.models.trident_abmil",
}
"""Type name -> module whose import registers it; imported only when asked for."""

_CLASSES: dict[str, type[MILModel]] = {}
_CONFIG_DIR = Path(__file__).parent.parent / "model_configs"
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
    if name not in _CLASSES and name in MODULES:
        importlib.import_module(MODULES[name])
    if name not in _CLASSES:
        choices = model_types()
        raise ModelError(f"unknown model type {name!r}{nearest(name, choices)}; choose from {choices}")
    return _CLASSES[name]


def config_names(model_type: str) -> list[str]:
    """Return the configurations of a type, ``base`` first where there is one."""
    files = _CONFIG_DIR.glob(f"{model_type}.*.yaml")
    names = (path.name[len(model_type) + 1 : -len(".yaml")] for path in files)
    return sorted(names, key=lambda name: (name != "base", name))


def model_config(model_type: str, config: str) -> dict[str, Any]:
    """Return the constructor arguments that a type's YAML gives for a configuration."""
    if config not in (choices := config_names(model_type)):
        raise ModelError(
            f"unknown configuration {config!r} of {model_type}{nearest(config, choices)}; "
            f"choose from {choices}"
        )
    text = (_CONFIG_DIR / f"{model_type}.{config}.yaml").read_text(encoding="utf-8")
    return dict(yaml.safe_load(text) or {})


def encoder_width(encoder: str) -> int:
    """Return how wide an encoder's features are; a plain number stands for itself."""
    if encoder.isdecimal() and int(encoder) > 0:
        return int(encoder)
    name = ENCODER_ALIASES.get(encoder, encoder)
    if name not in ENCODER_WIDTHS:
        choices = [*ENCODER_WIDTHS, *ENCODER_ALIASES]
        raise ModelError(
            f"unknown encoder {encoder!r}{nearest(encoder, choices)}; choose from {choices}, "
            "or write the width of the features in its place, as in abmil.base.1280.none"
        )
    return ENCODER_WIDTHS[name]


def constructor_arguments(cls: type[MILModel]) -> list[str]:
    """Return the names a model's constructor takes."""
    parameters = inspect.signature(cls.__init__).parameters.values()
    return [p.name for p in parameters if p.name != "self" and p.kind is not p.VAR_KEYWORD]


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return ``, did you mean 'x'?`` for an error message, or nothing."""
    close = difflib.get_close_matches(word, list(choices), n=1)
    return f", did you mean {close[0]!r}?" if close else ""

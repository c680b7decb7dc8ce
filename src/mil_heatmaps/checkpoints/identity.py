"""Tell from tensors alone which model a checkpoint holds, its sizes, and what the tensors cannot tell."""

import inspect
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mil_heatmaps.checkpoints.recognise import Candidate, below_prefixes, fitting, is_layer, nearest, side_by_side
from mil_heatmaps.checkpoints.refusals import OWN_MODEL, known_refusal, refused_by_name
from mil_heatmaps.errors import CheckpointError, ModelError
from mil_heatmaps.models.base import MILModel
from mil_heatmaps.models.public import PublicModel
from mil_heatmaps.models.registry import config_names, constructor_arguments, model_class, model_config, model_types
from mil_heatmaps.models.settings import checked_setting
from mil_heatmaps.weights.fit import misfits, require_plain_weights, require_same_keys
from mil_heatmaps.words import first_of

_TYPE_NAMES = {"rrtmil": "rrt"}
"""`model_type` in a config.json -> our type, if they differ."""


@dataclass(frozen=True)
class Identity:
    """What a checkpoint holds.

    Attributes
    ----------
    model_type : str
        As in the first part of a model name.
    config : dict
        Arguments of the model's constructor: from the tensors, then from the file's own settings, then assumed.
    tensors : dict
        The model's tensors with its own keys.
    prefix : str
        Prefix of the model's keys in the file.
    assumed : dict
        The part of `config` that neither the tensors nor the file tell: defaults that the user should check.
    left_out : tuple of str
        Keys in the file that are not part of the model.
    unexplained : tuple of str
        Keys among `left_out` that look like layers, such as a separate head beside the model: `build` refuses them.
    roles : dict
        For a public family: role -> its key in the file.
    told : tuple of str
        The part of `config` that comes from the file's own settings.
    unasked : dict
        For a public family: settings that would change nothing here -> why; see `Match.unasked`.
    """

    model_type: str
    config: dict[str, Any]
    tensors: dict[str, Tensor]
    prefix: str
    assumed: dict[str, Any] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    unexplained: tuple[str, ...] = ()
    roles: Mapping[str, str] = field(default_factory=dict)
    told: tuple[str, ...] = ()
    unasked: Mapping[str, str] = field(default_factory=dict)

    @property
    def in_dim(self) -> int:
        """Width of the features it takes."""
        return int(self.config["in_dim"])

    @property
    def num_classes(self) -> int:
        """Number of classes of its classifier, 0 without one."""
        return int(self.config["num_classes"])


def find_model(
    tensors: Mapping[str, Tensor],
    settings: Mapping[str, Any] | None = None,
    *,
    model_type: str | None = None,
    config_name: str | None = None,
    overridden: Collection[str] = (),
    where: str = "the checkpoint",
) -> Identity | None:
    """Return the model that `tensors` hold, None if it is not a known one.

    Parameters
    ----------
    tensors : state dict
        Keys may have any prefix; averaged weights (a prefix with ``ema``) are preferred.
    settings : dict, optional
        The file's own settings; used only for what tensors cannot tell.
    model_type, config_name : str, optional
        Consider this type only, and assume this configuration's values.
    overridden : names, optional
        Settings that the user gives; they replace the file's own.
    where : str
        The file that `settings` come from, for messages.

    Raises
    ------
    CheckpointError
        There are several models, or a setting has the wrong type or an absurd value.
    """
    settings = settings or {}
    types = [model_type] if model_type else model_types()
    beyond = partial(_beyond_tensors, settings=settings, config_name=config_name, overridden=overridden, where=where)
    families = _families(types)
    found = _own_layout(tensors, settings, [name for name in types if model_class(name) not in families], beyond)
    if found is not None and _is_whole(found):
        return found
    # a few layers may be CLAM's although the rest is another model's (TOAD, CHIEF): that model is refused by its name
    return _public(tensors, families, beyond) or (None if refused_by_name(tensors) else found)


def fits_whole(tensors: Mapping[str, Tensor]) -> bool:
    """Say whether tensors from several dicts, with the dicts' names prepended, together fit a public family."""
    return any(one.prefix == "" for one in fitting(tensors, _families(model_types())))


def is_own_layout(tensors: Mapping[str, Tensor]) -> bool:
    """Say whether tensors hold a model in the layout of MIL-Lab, CLAM or TRIDENT."""
    types = [name for name in model_types() if not issubclass(model_class(name), PublicModel)]
    return _own_layout(tensors, {}, types, lambda cls: ({}, {})) is not None


def _families(types: list[str]) -> list[type[PublicModel]]:
    return [cls for name in types if issubclass(cls := model_class(name), PublicModel)]


def _public(tensors: Mapping[str, Tensor], families: list[type[PublicModel]], beyond: Any) -> Identity | None:
    """Return the public family that all of `tensors` fit, None if there is none; raise if they fit two."""
    fits = fitting(tensors, families)
    if len(fits) > 1:
        names = " and ".join(one.cls.name for one in fits)
        raise CheckpointError(f"the checkpoint fits {names}: name the one it is in model_arguments.model_name")
    if not fits:
        return None
    one = fits[0]
    sizes = one.cls.config_of(one.match) or {}
    # keys win over settings: a `temperature` in the settings of an ABMIL without one belongs to something else (a loss)
    unasked = one.match.unasked
    told, assumed = ({k: v for k, v in part.items() if k not in sizes | unasked} for part in beyond(one.cls))
    arguments = inspect.signature(one.cls.__init__).parameters
    usual = {key: arguments[key].default for key, why in unasked.items() if not why}
    config = sizes | usual | told | assumed
    known = one.match.roles
    return Identity(
        one.cls.name, config, one.match.tensors, one.prefix, assumed, one.beside, (), known, tuple(told), unasked
    )


def nearest_family(tensors: Mapping[str, Tensor]) -> Candidate | None:
    """Return the public family nearest to unknown tensors, None if no family explains a layer."""
    return nearest(tensors, _families(model_types()))


def unknown(tensors: Mapping[str, Tensor], model_type: str | None = None) -> str:
    """Return why tensors are not a known model, or not a `model_type`, and what to do; follows the file's name."""
    if reason := known_refusal(tensors):
        return f"cannot be used: {reason}"
    types = [model_type] if model_type else model_types()
    families = _families(types)
    if len(several := side_by_side(tensors, families)) > 1:
        held = " and ".join(f"{one.cls.name} (keys such as {one.sample})" for one in several)
        return f"holds {len(several)} models, {held}: save the one you want on its own"
    near = nearest(tensors, families)
    if near is not None:
        spare = near.match.fits and near.left
        less = "save the file without that where the model does not use it, or " if spare else ""
        begin = f"is not a known model; it comes nearest to {near.cls.name}, but"
        return f"{f'does not fit {model_type}:' if model_type else begin} {near.problem}; {less}{OWN_MODEL}"
    sample = f"it has {len(tensors)} tensors such as {', '.join(list(tensors)[:4])}"
    own = "a model of your own is named by model_class (docs/how-to/own_model.md)"
    return f"is none of {', '.join(types)}; {sample}; {own}"


def _own_layout(
    tensors: Mapping[str, Tensor], settings: Mapping[str, Any], types: list[str], beyond: Any
) -> Identity | None:
    """Return the model in the layout of MIL-Lab, CLAM or TRIDENT that `tensors` hold, None if there is none."""
    stated = _TYPE_NAMES.get(str(settings.get("model_type")), settings.get("model_type"))
    matches = [
        match
        for prefix, below in below_prefixes(tensors).items()
        if (match := _match(below, prefix, types, str(stated))) is not None
    ]
    averaged = [match for match in matches if "ema" in match[1].lower()]
    matches = [match for match in averaged or matches if not _inside_another(match[1], averaged or matches)]
    if not matches:
        return None
    if len(matches) > 1:
        raise CheckpointError(
            f"the checkpoint holds {len(matches)} models, their keys below "
            f"{', '.join(repr(match[1]) for match in matches)}: save the one you want on its own"
        )
    cls, prefix, sizes, inside = matches[0]
    told, assumed = beyond(cls)
    # tensors may narrow down a setting that they cannot tell (wikg's pooling): assumed values must agree with them
    assumed = {key: sizes.get(key, value) for key, value in assumed.items() if sizes.get(key) != value}
    left_out = tuple(sorted(key for key in tensors if not key.startswith(prefix)))
    unexplained = () if averaged else tuple(key for key in left_out if is_layer(key, tensors[key]))
    config = sizes | told | assumed
    return Identity(cls.name, config, inside, prefix, assumed, left_out, unexplained, told=tuple(told))


def _inside_another(prefix: str, matches: list[Any]) -> bool:
    """Say whether the model at `prefix` is part of one found at an outer prefix."""
    return any(prefix.startswith(match[1]) and prefix != match[1] for match in matches)


def _match(
    below: Mapping[str, Tensor], prefix: str, types: list[str], stated: str
) -> tuple[type[MILModel], str, dict[str, Any], dict[str, Tensor]] | None:
    for name in sorted(types, key=lambda name: name != stated):
        cls = model_class(name)
        inside = {new: value for key, value in below.items() if (new := cls.canonical_key(key)) is not None}
        try:
            sizes = cls.config_from_shapes({key: tuple(value.shape) for key, value in inside.items()})
        except (IndexError, ZeroDivisionError):  # known names of tensors with too few dimensions
            sizes = None
        if sizes is not None:
            return cls, prefix, sizes, inside
    return None


def _beyond_tensors(
    cls: type[MILModel],
    settings: Mapping[str, Any],
    config_name: str | None,
    overridden: Collection[str],
    where: str,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arguments that the file's settings give beyond its tensors, and those that must be assumed."""
    names = [name for name in constructor_arguments(cls) if name in cls.not_in_tensors]
    given = {name: value for name, value in cls.settings_told(settings).items() if name not in overridden}
    told = {name: _setting(cls, name, value, where) for name, value in given.items()}
    configs = config_names(cls.name)
    chosen = config_name or ("base" if "base" in configs else None)
    defaults = model_config(cls.name, chosen) if chosen else {}
    assumed = {name: defaults[name] for name in names if name not in told and name in defaults}
    return told, assumed


def _setting(cls: type[MILModel], name: str, value: Any, where: str) -> Any:
    try:
        return checked_setting(cls, name, value)
    except ModelError as error:
        raise CheckpointError(
            f"{where}: its setting {error}; correct it there, or give {name} in model_arguments.overrides"
        ) from error


def _empty(identity: Identity) -> tuple[MILModel, dict[str, Tensor]]:
    """Return the model without memory for its weights, and its tensors by their keys in checkpoints."""
    cls = model_class(identity.model_type)
    try:
        with torch.device("meta"):  # nothing is initialised: every parameter must come from the checkpoint
            model = cls(**identity.config)
    except ModelError as error:
        raise CheckpointError(f"its tensors with these settings make no {identity.model_type}: {error}") from error
    return model, own_tensors(model)


def own_tensors(model: MILModel) -> dict[str, Tensor]:
    """Return a model's tensors by their keys in checkpoints."""
    return {key[len(model.key_prefix) :]: value for key, value in model.state_dict().items()}


def _is_whole(identity: Identity) -> bool:
    """Say whether a model explains every layer of its file: another architecture may share a few key names."""
    try:
        return not identity.unexplained and not misfits(_empty(identity)[1], identity.tensors)
    except CheckpointError:
        return False


def lacking_bias(identity: Identity, expected: Mapping[str, Tensor] | None = None) -> list[str]:
    """Return the biases, by the model's own keys, that a public family's layers lack in the file; they count as 0."""
    if not identity.roles:
        return []
    if expected is None:
        try:
            expected = _empty(identity)[1]
        except CheckpointError:  # `build` tells why
            return []
    return [
        key for key in expected
        if key.endswith(".bias") and key not in identity.tensors and f"{key[:-4]}weight" in identity.tensors
    ]  # fmt: skip


def build(identity: Identity) -> MILModel:
    """Return the model with its weights, in eval mode; every tensor is used and every parameter is filled.

    Raises
    ------
    CheckpointError
        Tensors are missing, left over or of another shape; the message names them.
    """
    if identity.unexplained:
        others = first_of(list(identity.unexplained), 12)
        raise CheckpointError(
            f"the checkpoint does not fit {identity.model_type}: beside the model, whose keys begin with "
            f"{identity.prefix!r}, it holds {others}, which may change its predictions: "
            "save the model's own state dict alone, or bring the whole as model_class"
        )
    cls = model_class(identity.model_type)
    model, expected = _empty(identity)
    tensors = identity.tensors | {key: torch.zeros(expected[key].shape) for key in lacking_bias(identity, expected)}
    require_same_keys(expected, tensors, identity.model_type)
    require_plain_weights(tensors)
    weights = {cls.key_prefix + key: value.detach().to(expected[key].dtype) for key, value in tensors.items()}
    model.load_state_dict(weights, strict=True, assign=True)
    return model.eval()

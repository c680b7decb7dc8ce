"""Read any checkpoint file, identify its model and build it. Loading is safe and strict."""

import logging
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mil_heatmaps.checkpoints.identity import (
    Identity,
    build,
    find_model,
    fits_whole,
    is_own_layout,
    lacking_bias,
    own_tensors,
    unknown,
)
from mil_heatmaps.choices import TASKS_WITH_CHANCES
from mil_heatmaps.errors import CheckpointError, ModelError
from mil_heatmaps.files.digests import sha256_files
from mil_heatmaps.files.inert import names_of_records
from mil_heatmaps.models.base import MILModel
from mil_heatmaps.models.public import PublicModel
from mil_heatmaps.models.registry import (
    constructor_arguments,
    model_class,
    nearest,
    parse_model_name,
)
from mil_heatmaps.models.settings import checked_setting
from mil_heatmaps.weights.checkpoint_files import read_stored
from mil_heatmaps.weights.hub import download, is_hub_name
from mil_heatmaps.weights.layouts import Found, best_candidates, joined
from mil_heatmaps.weights.pathforge_package import check_package, unknown_package
from mil_heatmaps.weights.stated import Stated, stated, stated_in
from mil_heatmaps.words import counted, first_of

logger = logging.getLogger(__name__)

_NAMES = ("model", "model_name", "model_type")
"""Settings beside weights that may hold the model's name."""


@dataclass(frozen=True, repr=False)
class Checkpoint:
    """The weights in a file.

    Attributes
    ----------
    tensors : dict
        The state dict, on the CPU, with the keys in the file (without what compilers and wrappers add to them).
    source : Path
        The file they came from: in a folder, the one chosen; for weights in several files, their index.
    parts : tuple of Path
        Every file that the tensors came from: `source` alone, or an index and the files it names.
    notes : tuple of str
        How the weights were found, as readable notes.
    said : Stated
        What the file, or a ``config.json`` or ``mil_params.json`` beside it, says about the model.
    config_source : Path or None
        The file that `said` comes from.
    """

    tensors: dict[str, Tensor]
    source: Path
    parts: tuple[Path, ...]
    notes: tuple[str, ...] = ()
    said: Stated = field(default_factory=Stated)
    config_source: Path | None = None

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of its file, or over those of all its files; records and score files identify it by this."""
        return sha256_files(self.parts)

    @property
    def bytes(self) -> int:
        """Size of all its files on disk."""
        return sum(part.stat().st_size for part in self.parts)

    def __repr__(self) -> str:
        return f"Checkpoint({self.source.name!r}, tensors={len(self.tensors)})"


def load_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Return the weights in a file, folder or hub repository of any layout. Nothing in it is executed.

    It reads plain and wrapped state dicts, Lightning, DataParallel, averaged weights (preferred), models saved
    in parts, safetensors, legacy files with CUDA storages, and folders of `save_model` or the Hugging Face
    hub.

    Raises
    ------
    CheckpointError
        The file is missing, damaged, foreign or unsafe, has no tensors, or holds several models.
    """
    stored = read_stored(local_path(path))
    try:
        candidates, passed_over = best_candidates(stored.content)
    except CheckpointError as error:
        raise CheckpointError(f"{stored.file}: {error}") from None
    if not candidates:
        raise CheckpointError(
            f"{stored.file} holds no tensors ({_contents(stored.content)}): save the model's state dict, "
            "torch.save(model.state_dict(), FILE)"
        )
    said = stated(stored.config) if stored.config else stated_in(stored.content)
    told_by = stored.config_file if stored.config else stored.file
    tensors, where = _one_model(candidates, stored.file)
    notes = [f"weights at {where}"]
    if passed_over:
        notes.append(f"not used: {', '.join(passed_over)}")
    if objects := names_of_records(stored.content):
        notes.append(f"objects beside the weights, of which only settings are read: {first_of(objects, 8)}")
    if len(stored.parts) > 1:
        notes.append(f"in {len(stored.parts) - 1} files: {', '.join(part.name for part in stored.parts[1:9])}")
    if odd := _not_numbers(tensors):
        notes.append(odd)
        logger.warning("%s: %s", stored.file, odd)
    return Checkpoint(tensors, stored.file, stored.parts, tuple(notes), said, told_by)


def _not_numbers(tensors: Mapping[str, Tensor]) -> str:
    """Say which weights are NaN or infinite; empty if there are none."""
    odd = [key for key, tensor in tensors.items() if _is_plain(tensor) and not _wide(tensor).isfinite().all()]
    where = f"{len(odd)} of {counted(len(tensors), 'tensor')}: {first_of(odd, 4)}"
    return f"NaN or infinite values in {where}" if odd else ""


def _wide(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.itemsize == 1 else tensor  # torch has no isfinite for numbers of 8 bits


def _is_plain(tensor: Tensor) -> bool:
    """Whether the tensor holds all its numbers in memory, one by one; other tensors are refused later, by name."""
    expanded = 0 in tensor.stride() and tensor.numel() > 1 if tensor.layout == torch.strided else True
    return tensor.is_floating_point() and not tensor.is_meta and not tensor.is_quantized and not expanded


def local_path(path: str | os.PathLike[str]) -> Path:
    """Return the local path of a checkpoint; ``hf://owner/name`` is downloaded from the hub."""
    if is_hub_name(path):
        return download(path)
    return Path(path).expanduser()


def _contents(content: Any) -> str:
    if isinstance(content, Mapping):
        return f"its keys: {', '.join(str(key)[:100] for key in list(content)[:8]) or 'none'}"
    return f"it is a {type(content).__name__}"


def _one_model(candidates: list[Found], file: Path) -> tuple[dict[str, Tensor], str]:
    """Return one state dict from several: the only one that is a model, or all of them as parts of one model."""
    if len(candidates) == 1:
        return candidates[0].tensors, candidates[0].title
    whole = joined(candidates)
    if fits_whole(whole):  # DTFD-MIL's four parts: one of them is also a model by itself
        return whole, " + ".join(item.title for item in candidates)
    models = [item for item in candidates if is_own_layout(item.tensors)]
    if len(models) > 1:
        titles = ", ".join(item.title for item in models)
        raise CheckpointError(f"{file} holds {len(models)} models ({titles}): save the one you want on its own")
    if models:
        return models[0].tensors, models[0].title
    return whole, " + ".join(item.title for item in candidates)


def identify(
    checkpoint: Checkpoint,
    model_type: str | None = None,
    config_name: str | None = None,
    overridden: Collection[str] = (),
) -> Identity:
    """Return which model a checkpoint holds: type, sizes, classes, width, and what had to be assumed.

    Settings that are `overridden` are not read from the file.

    Raises
    ------
    CheckpointError
        The model is unknown or not a `model_type`, or settings in the file are impossible.
    """
    found = find_model(
        checkpoint.tensors,
        checkpoint.said.settings,
        model_type=model_type,
        config_name=config_name,
        overridden=overridden,
        where=str(checkpoint.config_source or checkpoint.source),
    )
    said = checkpoint.said.settings
    if found is not None:
        try:
            check_package(said, found.in_dim, found.num_classes)
        except CheckpointError as error:
            raise CheckpointError(f"{checkpoint.source}: {error}") from None
        return found
    other = find_model(checkpoint.tensors) if model_type else None
    if other is not None:
        raise CheckpointError(
            f"{checkpoint.source} is not a {model_type}, its tensors are those of {other.model_type}: "
            f"name that model, or leave the name out"
        )
    if model_type is not None and not issubclass(model_class(model_type), PublicModel):
        raise CheckpointError(f"{checkpoint.source} does not fit {model_type}: {_what_differs(checkpoint, model_type)}")
    called = unknown_package(said) or _called(checkpoint)
    raise CheckpointError(f"{checkpoint.source} {called}{unknown(checkpoint.tensors, model_type)}")


def _called(checkpoint: Checkpoint) -> str:
    """Return the start of the message about an unknown model whose own settings name it, as slideflow's do; else ""."""
    said = checkpoint.said.settings
    name = next((said[key] for key in _NAMES if isinstance(said.get(key), str) and said[key]), None)
    where = checkpoint.config_source
    beside = "" if where is None or where == checkpoint.source else f" by {where.name}"
    return "" if name is None else f"is called the model {name[:100]!r}{beside}, and "


def _what_differs(checkpoint: Checkpoint, model_type: str) -> str:
    """List the keys of a model of this type that the checkpoint lacks, and the keys it has instead."""
    cls: Any = model_class(model_type)
    expected = {key.removeprefix(cls.key_prefix) for key in cls().state_dict()}  # every type has a default size
    given = {cls.canonical_key(key.removeprefix(cls.key_prefix)) for key in checkpoint.tensors} - {None}
    missing, unexpected = sorted(expected - given), sorted(str(key) for key in given - expected)
    found = {"missing": missing, "unexpected": unexpected}
    parts = [f"{word} {', '.join(keys[:8])}{' …' if len(keys) > 8 else ''}" for word, keys in found.items() if keys]
    return "; ".join(parts) or "its tensors have other shapes"


def model_from_checkpoint(
    path: str | os.PathLike[str],
    model_name: str | None = None,
    num_classes: int | None = None,
    *,
    keep_classifier: bool = True,
    **overrides: Any,
) -> MILModel:
    """Return the model in a checkpoint, in eval mode on the CPU, with every weight from the file.

    Parameters
    ----------
    path : file, folder or ``hf://owner/name``
    model_name : str, optional
        ``{type}.{config}.{encoder}.{task}``. Without a name, the tensors tell the model. Sizes always come from the
        tensors; type and encoder width must agree with them.
    num_classes : int, optional
        Must agree with the checkpoint; a checkpoint without a classifier gives scores and no predictions.
    keep_classifier : bool
        False leaves the classifier out.
    **overrides
        Arguments of the model's constructor that the tensors cannot tell; others must agree with the tensors.

    Raises
    ------
    CheckpointError
        The file is unusable, or does not fit the arguments.
    ModelError
        A name or override is unknown.
    """
    name = parse_model_name(model_name) if model_name else None
    checkpoint = load_checkpoint(path)
    identity = identify(checkpoint, name.type if name else None, name.config if name else None, overrides)
    where = str(checkpoint.source)
    if name and name.encoder_given and "in_dim" not in overrides and name.in_dim != identity.in_dim:
        raise CheckpointError(
            f"{where} was trained on features {identity.in_dim} wide, {name.encoder} (in {model_name}) gives "
            f"{name.in_dim}: name the encoder it was trained on"
        )
    if not keep_classifier:
        identity = _without_classifier(identity)
    elif num_classes is not None and identity.num_classes not in (0, num_classes):
        raise CheckpointError(f"{where} has {identity.num_classes} classes, num_classes (n_classes) says {num_classes}")
    identity = _with_overrides(identity, overrides, where)
    model = _built(identity, checkpoint)
    if identity.num_classes == 0 and type(model).head_keys:
        logger.warning("%s has no classifier: it gives patch scores, but no prediction", where)
    for name_, value in identity.assumed.items():
        if name_ not in overrides:
            level = logging.INFO if name else logging.WARNING  # a given name states its configuration
            logger.log(level, "%s: %s is not in the checkpoint, assumed %s", where, name_, value)
    model.stated_task = checkpoint.said.task
    if checkpoint.said.task in (None, *TASKS_WITH_CHANCES):
        model.class_names = checkpoint.said.class_names
    if unbiased := lacking_bias(identity, own_tensors(model)):
        logger.info("%s: layers without a bias: %s", where, first_of(unbiased, 12))
    if identity.left_out:
        logger.info("%s: not part of the model: %s", where, ", ".join(identity.left_out[:12]))
    return model


def _built(identity: Identity, checkpoint: Checkpoint) -> MILModel:
    try:
        return build(identity)
    except CheckpointError as error:
        beside = checkpoint.config_source not in (None, checkpoint.source)
        files = f"{checkpoint.source}{f' (with {checkpoint.config_source})' if beside else ''}"
        raise CheckpointError(f"{files}: {error}") from error


def _without_classifier(identity: Identity) -> Identity:
    heads = model_class(identity.model_type).head_keys
    if not heads:
        raise ModelError(f"a {identity.model_type} cannot be without its classifier (keep_classifier=False)")
    tensors = {key: value for key, value in identity.tensors.items() if not key.startswith(heads)}
    return replace(identity, tensors=tensors, config=identity.config | {"num_classes": 0})


def _with_overrides(identity: Identity, overrides: Mapping[str, Any], where: str) -> Identity:
    """Return the identity with the user's settings, which may not contradict the tensors."""
    overrides = checked_overrides(identity.model_type, overrides)
    cls = model_class(identity.model_type)
    free = set(cls.not_in_tensors) | cls.training_only
    if issubclass(cls, PublicModel):  # its keys may tell settings that other models' keys do not tell
        free -= set(identity.config) - set(identity.told) - set(identity.assumed) - set(identity.unasked)
    for key, value in overrides.items():
        if why := identity.unasked.get(key):
            raise CheckpointError(f"{where}: {key} would change nothing, for {why}: leave it out of the overrides")
        if key not in free and key in identity.config and identity.config[key] != value:
            raise CheckpointError(f"{where} has {key} {identity.config[key]}, not {value}")
    taken = {key: value for key, value in overrides.items() if key in constructor_arguments(cls)}
    assumed = {key: value for key, value in identity.assumed.items() if key not in overrides}
    return replace(identity, config=identity.config | taken, assumed=assumed)


def checked_overrides(model_type: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return overrides in the form that the model takes.

    Raises
    ------
    ModelError
        The model does not know an override (the message has the nearest name), or its type is wrong.
    """
    cls = model_class(model_type)
    arguments = constructor_arguments(cls)
    known = [*arguments, *sorted(cls.training_only - set(arguments))]
    # files of a public family tell every size, so only the settings that they do not tell are listed
    named = list(cls.not_in_tensors) if issubclass(cls, PublicModel) else known
    for key in overrides:
        if key not in known:
            choice = f"choose from {named}" if named else "it has none, for its files tell all"
            raise ModelError(f"{model_type} has no setting {key!r}{nearest(key, named)}; {choice}")
    return {key: checked_setting(cls, key, value) if key in arguments else value for key, value in overrides.items()}

"""`create_model`: models by MIL-Lab's names, CLAM's networks by CLAM's settings."""

import os
from typing import Any

from mil_heatmaps.checkpoints.load import checked_overrides, model_from_checkpoint
from mil_heatmaps.errors import ModelError
from mil_heatmaps.models.base import MILModel
from mil_heatmaps.models.registry import constructor_arguments, model_class, model_config, parse_model_name

CLAM_ATTENTION_WIDTHS = {"small": 256, "big": 384}
"""CLAM's `model_size` -> width of the attention layers."""


def create_model(
    model_name: str | None,
    num_classes: int | None = None,
    checkpoint_path: str | os.PathLike[str] | None = None,
    *,
    from_pretrained: bool = False,
    keep_classifier: bool = True,
    **overrides: Any,
) -> MILModel:
    """Return a model by its name, in eval mode on the CPU.

    Parameters
    ----------
    model_name : str or None
        ``{type}.{config}.{encoder}.{task}``, as in ``abmil.base.uni_v2.none``; parts left out at the end are
        ``base``, ``uni`` and ``none``. None: what the checkpoint says. The encoder gives the width of the features
        (its name in MIL-Lab, TRIDENT or CLAM, or the width itself). A task other than ``none``, with no checkpoint,
        names public weights: ``abmil.base.uni_v2.pc108-24k`` is downloaded from the Hugging Face hub as
        ``mahmoodlab/...``.
    num_classes : int, optional
        Must agree with the checkpoint's. Without a checkpoint the model's own default: 2 for MIL-Lab's.
    checkpoint_path : file, folder or ``hf://owner/name``, optional
        See `mil_heatmaps.checkpoints.load.model_from_checkpoint`. Without one the weights are random: for training.
    from_pretrained : bool
        Ask for the public weights even if the task is ``none``.
    keep_classifier : bool
        False leaves out the checkpoint's classifier: scores without a prediction.
    **overrides
        Settings of the model's configuration (``embed_dim``, ``dropout``, ...) and ``in_dim``.

    Raises
    ------
    ModelError
        A part of the name, or a setting, is unknown; the known ones are listed.
    CheckpointError
        The checkpoint is unusable or does not fit.
    """
    if model_name is None:
        if checkpoint_path is None:
            raise ModelError("name the model, or give a checkpoint that says what it is")
        return model_from_checkpoint(checkpoint_path, None, num_classes, keep_classifier=keep_classifier, **overrides)
    owner, _, bare_name = model_name.rpartition("/")
    name = parse_model_name(bare_name)
    if checkpoint_path is None and (from_pretrained or owner or name.task != "none"):
        checkpoint_path = f"hf://{owner or 'mahmoodlab'}/{bare_name}"
    if checkpoint_path is not None:
        return model_from_checkpoint(
            checkpoint_path, bare_name, num_classes, keep_classifier=keep_classifier, **overrides
        )
    overrides = checked_overrides(name.type, overrides)
    cls = model_class(name.type)
    settings: dict[str, Any] = {"in_dim": name.in_dim, **model_config(name.type, name.config), **overrides}
    if num_classes is not None:
        settings["num_classes"] = num_classes
    known = constructor_arguments(cls)
    return cls(**{key: value for key, value in settings.items() if key in known}).eval()


def create_clam(
    model_type: str = "clam_sb",
    model_size: str | None = None,
    n_classes: int | None = None,
    embed_dim: int | None = None,
    ckpt_path: str | os.PathLike[str] | None = None,
    *,
    drop_out: float = 0.25,
    gate: bool = True,
) -> MILModel:
    """Return one of CLAM's networks by the names of CLAM's `model_arguments`, in eval mode on the CPU.

    Parameters
    ----------
    model_type : "clam_sb", "clam_mb" or "mil"
        As in CLAM, ``mil`` is MIL_fc for two classes and MIL_fc_mc for more.
    model_size : "small" or "big", optional
        Width of the attention layers, 256 or 384. With a checkpoint its tensors tell; a size given must
        agree.
    n_classes, embed_dim : int, optional
        Classes and width of the features; 2 and 1024 without a checkpoint, which otherwise tells. Must agree
        with it.
    ckpt_path : file, optional
        Without one the weights are random.
    drop_out, gate
        Of a model without checkpoint: dropout matters in training only, the checkpoint's keys tell the gate.
    """
    if model_size is not None and model_size not in CLAM_ATTENTION_WIDTHS:
        raise ModelError(f"unknown model_size {model_size!r}; choose from {list(CLAM_ATTENTION_WIDTHS)}")
    settings: dict[str, Any] = {} if embed_dim is None else {"in_dim": embed_dim}
    if model_type in ("clam_sb", "clam_mb"):
        name = model_type
        if model_size is not None or ckpt_path is None:
            settings["attn_dim"] = CLAM_ATTENTION_WIDTHS[model_size or "small"]
        if ckpt_path is None:
            settings["gate"] = gate
    elif model_type == "mil":
        name = "mil_fc" if _clam_classes(n_classes, ckpt_path) == 2 else "mil_fc_mc"
    else:
        raise ModelError(f"unknown model_type {model_type!r}; choose from ['clam_sb', 'clam_mb', 'mil']")
    if ckpt_path is None:
        settings = {"in_dim": 1024, "dropout": float(drop_out), **settings}
    return create_model(name, n_classes, ckpt_path, **settings)


def _clam_classes(n_classes: int | None, ckpt_path: str | os.PathLike[str] | None) -> int:
    """Return the number of classes as given, else as the checkpoint has it, else 2."""
    if n_classes is not None or ckpt_path is None:
        return n_classes or 2
    from mil_heatmaps.checkpoints.load import identify, load_checkpoint

    return identify(load_checkpoint(ckpt_path)).num_classes

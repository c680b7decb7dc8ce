"""What a checkpoint holds, in words, as `--inspect_checkpoint` prints it."""

import json
import os

from mil_heatmaps.checkpoints.identity import Identity, build, lacking_bias, nearest_family
from mil_heatmaps.checkpoints.load import Checkpoint, identify, load_checkpoint
from mil_heatmaps.errors import CheckpointError
from mil_heatmaps.explain.estimates import cost_of
from mil_heatmaps.explain.settings import EXPLANATIONS, Settings
from mil_heatmaps.models.base import MILModel
from mil_heatmaps.models.explaining import exact_passes
from mil_heatmaps.models.registry import encoders_of_width, model_class
from mil_heatmaps.weights.pathforge_package import package_lines
from mil_heatmaps.weights.stated import Stated
from mil_heatmaps.words import first_of

_MOST_TENSORS = 30
_MOST_CLASSES = 10
_OWN = "; cost: none beside the prediction"
_PATCHES = 10_000
"""Number of patches of the slide for which costs are given."""


def describe_checkpoint(path: str | os.PathLike[str]) -> str:
    """Return lines of name and value: file, model, classes, widths, settings, assumed settings, scores, config.

    A checkpoint of an unknown model is described by its tensors. Raises `CheckpointError` for an unusable file.
    """
    checkpoint, given = load_checkpoint(path), os.fspath(path)
    try:
        about = _known(checkpoint, identify(checkpoint), given)
    except CheckpointError as error:
        about = _unknown(checkpoint, str(error), given)
    rows = [
        ("file", f"{checkpoint.source} ({checkpoint.bytes:,} bytes)"),
        ("SHA-256", checkpoint.sha256),
        *(("layout", note) for note in checkpoint.notes),
        *(("package", line) for line in package_lines(checkpoint.said.settings)),
        *about,
    ]
    width = max(len(name) for name, _ in rows)
    lines, previous = [], ""
    for name, value in rows:
        lines.append(f"{name if name != previous else '':<{width}}  {value}".rstrip())
        previous = name
    return "\n".join(lines)


def _known(checkpoint: Checkpoint, identity: Identity, path: str) -> list[tuple[str, str]]:
    cls = model_class(identity.model_type)
    sizes = {
        key: value
        for key, value in identity.config.items()
        if key not in ("in_dim", "num_classes") and key not in identity.assumed
    }
    encoders = encoders_of_width(identity.in_dim)
    names = checkpoint.said.class_names
    classes = str(identity.num_classes) + (f": {', '.join(names)}, as the file names them" if names else "")
    if not identity.num_classes:
        classes = "none: no classifier in it, so it gives patch scores and no prediction"
    if names and len(names) not in ({identity.num_classes} if identity.num_classes != 1 else {1, 2}):
        classes += f": this contradicts {identity.num_classes} outputs, so name them in data_arguments.label_dict"
    rows = [
        ("model", identity.model_type),
        *_how(identity, cls),
        ("classes", classes),
        ("features", f"{identity.in_dim} wide" + (f", as of {', '.join(encoders)}" if encoders else "")),
        ("settings", ", ".join(f"{key} {_shown(value)}" for key, value in sizes.items())),
        ("parameters", f"{sum(value.numel() for value in identity.tensors.values()):,}"),
    ]
    if identity.told:
        where = checkpoint.config_source or checkpoint.source
        rows.append(("from file", f"{', '.join(identity.told)}: told by {where.name}, not by the tensors"))
    if unbiased := lacking_bias(identity):
        rows.append(("no bias", f"{first_of(unbiased, _MOST_TENSORS)}: these layers of the file have none"))
    for key, value in identity.assumed.items():
        rows.append(("assumed", f"{key} {value}: {cls.not_in_tensors[key]}, which no tensor tells"))
    if identity.prefix:
        rows.append(("keys", f"begin with {identity.prefix!r}"))
    if checkpoint.said.task is not None:
        rows.append(("task", f"{checkpoint.said.task}, as the file says"))
    if identity.left_out:
        rows.append(("left out", f"not part of the prediction: {first_of(list(identity.left_out), _MOST_TENSORS)}"))
    try:
        model = build(identity)
    except CheckpointError as error:
        return [*rows, ("problem", f"it does not load: {error}")]
    passes = exact_passes(model, model.in_dim) if model.num_classes else None
    for name, about in model.score_names().items():
        default = " (default)" if name == model.default_score else ""
        cost = f"; cost: {cost_of(name, _PATCHES, Settings(), passes=passes).words}" if name in EXPLANATIONS else _OWN
        rows.append(("scores", f"{name}{default}: {about}{cost}"))
    if model.num_classes and not model.refused_explanations():
        about = f"costs are those of a slide of {_PATCHES:,} patches; see docs/explanation/scores.md"
        rows.append(("scores", about))
    if model.asks_um:
        rows.append(("needs", "where patches lie in micrometres: the slide's mpp, or features with places in µm"))
    for name, reason in model.refused_scores().items():
        rows.append(("no score", f"{name}: {reason}"))
    return [*rows, *(("config", line) for line in config_lines(identity, path, checkpoint.said))]


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(str, value))})" if value else "none"
    return str(value)


def _how(identity: Identity, cls: type[MILModel]) -> list[tuple[str, str]]:
    """Return how the model was recognised: by the key of each role of a public family, or by its own layout."""
    if not identity.roles:
        return [("known by", "the keys of its own layout (MIL-Lab's, CLAM's or TRIDENT's)")]
    return [("known by", f"{key}: {role}") for role, key in identity.roles.items()]


def config_lines(identity: Identity, path: str, said: Stated) -> list[str]:
    """Return the part of a config that this checkpoint needs."""
    lines = ["model_arguments:", f"  ckpt_path: {path}"]
    if identity.assumed:
        pairs = ", ".join(f"{key}: {value}" for key, value in identity.assumed.items())
        lines.append(f"  overrides: {{{pairs}}}  # assumed; write what the training used")
    count = identity.num_classes
    if said.task not in (None, "classification"):
        return [*lines, f"  task: {said.task}  # as the file says"]
    if count == 1:
        lines.append("  task: classification  # the one logit of two classes; or regression, or survival")
    elif count:
        lines.append("  task: classification  # or regression, or survival: then with output_names, no label_dict")
    if count:
        told = [json.dumps(name, ensure_ascii=False) for name in said.class_names or ()]
        shown = range(min(max(count, 2), _MOST_CLASSES))
        names = ", ".join(f"{told[i] if i < len(told) else f'class_{i}'}: {i}" for i in shown)
        more = ", ..." if count > _MOST_CLASSES else ""
        lines += ["data_arguments:", f"  label_dict: {{{names}{more}}}  # your names, in the model's order"]
    return lines


def _unknown(checkpoint: Checkpoint, problem: str, path: str) -> list[tuple[str, str]]:
    rows = [("model", f"unknown: {problem}")]
    near = nearest_family(checkpoint.tensors)
    if near is not None:
        rows.append(("nearest", near.cls.name))
        rows += [("roles", f"{key}: {role}") for role, key in near.match.roles.items()]
        rows.append(("misfit", near.problem))
    for key, value in list(checkpoint.tensors.items())[:_MOST_TENSORS]:
        rows.append(("tensors", f"{key} {tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"))
    if (more := len(checkpoint.tensors) - _MOST_TENSORS) > 0:
        rows.append(("tensors", f"and {more} more"))
    lines = ("model_arguments:", "  model_class: file.py:Class  # see docs/how-to/own_model.md", f"  ckpt_path: {path}")
    return [*rows, *(("config", line) for line in lines)]

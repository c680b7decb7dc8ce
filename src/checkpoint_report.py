"""What a checkpoint holds, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from src.checkpoint_identity import Identity, build
from src.errors import CheckpointError
from src.models.registry import ENCODER_ALIASES, ENCODER_WIDTHS, model_class

if TYPE_CHECKING:
    from src.checkpoints import Checkpoint

_MOST_TENSORS = 30


def report(checkpoint: Checkpoint, identity: Identity | None, problem: str = "") -> str:
    """Return lines of name and value: file, model, classes, widths, settings, what had to be assumed, scores.

    Without an `identity` the tensors are listed, and `problem` says why there is none.
    """
    rows = [
        ("file", f"{checkpoint.source} ({checkpoint.bytes:,} bytes)"),
        ("SHA-256", checkpoint.sha256),
        *(("layout", note) for note in checkpoint.notes),
    ]
    rows += _unknown(checkpoint, problem) if identity is None else _known(identity)
    width = max(len(name) for name, _ in rows)
    lines, previous = [], ""
    for name, value in rows:
        lines.append(f"{name if name != previous else '':<{width}}  {value}".rstrip())
        previous = name
    return "\n".join(lines)


def _known(identity: Identity) -> list[tuple[str, str]]:
    cls = model_class(identity.model_type)
    sizes = {
        key: value
        for key, value in identity.config.items()
        if key not in ("in_dim", "num_classes") and key not in identity.assumed
    }
    encoders = [name for name, width in ENCODER_WIDTHS.items() if width == identity.in_dim]
    encoders += [alias for alias, name in ENCODER_ALIASES.items() if name in encoders]
    classes = str(identity.num_classes)
    if not identity.num_classes:
        classes = "none: no classifier in it, so it gives patch scores and no prediction"
    rows = [
        ("model", identity.model_type),
        ("classes", classes),
        ("features", f"{identity.in_dim} wide" + (f", as of {', '.join(encoders)}" if encoders else "")),
        ("settings", ", ".join(f"{key} {value}" for key, value in sizes.items())),
        ("parameters", f"{sum(value.numel() for value in identity.tensors.values()):,}"),
    ]
    for key, value in identity.assumed.items():
        rows.append(("assumed", f"{key} {value}: {cls.not_in_tensors[key]}, which no tensor tells"))
    if identity.prefix:
        rows.append(("keys", f"begin with {identity.prefix!r}"))
    if identity.left_out:
        rows.append(("left out", f"not part of the model: {', '.join(identity.left_out[:_MOST_TENSORS])}"))
    try:
        model = build(identity)
    except CheckpointError as error:
        return [*rows, ("problem", f"it does not load: {error}")]
    for name, about in model.score_names().items():
        default = " (default)" if name == model.default_score else ""
        rows.append(("scores", f"{name}{default}: {about}"))
    return rows


def _unknown(checkpoint: Checkpoint, problem: str) -> list[tuple[str, str]]:
    rows = [("model", f"unknown: {problem}")]
    for key, value in list(checkpoint.tensors.items())[:_MOST_TENSORS]:
        rows.append(("tensors", f"{key} {tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"))
    if (more := len(checkpoint.tensors) - _MOST_TENSORS) > 0:
        rows.append(("tensors", f"and {more} more"))
    return rows

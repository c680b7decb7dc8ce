"""What the shapes of a checkpoint's tensors tell about a network."""

from collections.abc import Mapping
from itertools import count
from typing import TypeAlias

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
"""State-dict key -> shape of its tensor."""


def count_layers(shapes: Shapes, key: str, step: int = 1) -> int:
    """Return how many layers are numbered without a gap; ``{}`` in `key` stands for 0, `step`, 2 `step` and so on."""
    return next(layer for layer in count() if key.format(step * layer) not in shapes)


def mlp_layers(shapes: Shapes, prefix: str = "patch_embed.") -> int:
    """Return how many linear layers an `attention.mlp` with keys below `prefix` has."""
    return count_layers(shapes, prefix + "{}.weight", step=3)


def classes_of(shapes: Shapes, key: str = "classifier.weight") -> int:
    """Return how many classes the linear classifier with this weight has, 0 without a classifier."""
    return shapes[key][0] if key in shapes else 0

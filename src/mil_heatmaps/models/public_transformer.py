"""What transformers of public repositories share with MIL-Lab's: all but keys, activations and blocks."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import nn

from mil_heatmaps.layers.roles import Match
from mil_heatmaps.layers.transformer_block import TransformerBlock
from mil_heatmaps.models.base import Shapes
from mil_heatmaps.models.public import PublicModel
from mil_heatmaps.models.transformer import Transformer


def whole_layers(match: Match) -> int:
    """Return how many layers there are; 0, and a misfit, if some lack a role that others have."""
    numbered = {match.roles[name]: numbers for name, numbers in match.numbers.items() if "{l}" in name}
    count = max(map(len, numbered.values()), default=0)
    for key, numbers in numbered.items():
        if numbers != tuple(range(count)):
            missing = sorted({*range(count)} - {*numbers}) or [len(numbers)]
            match.misfit = match.misfit or f"{key.replace('{l}', str(missing[0]))} is missing, which other layers have"
            return 0
    return count


class PublicTransformer(Transformer, PublicModel):
    """A transformer with a class token, made of the blocks it is given."""

    key_prefix = "model."
    not_in_tensors: ClassVar[Mapping[str, str]] = {"num_heads": "heads of every layer"}

    def __init__(
        self,
        in_dim: int,
        embed_dim: int,
        num_heads: int,
        mlp_dim: int,
        num_classes: int,
        activation: nn.Module,
        blocks: Sequence[TransformerBlock],
        *,
        token_shape: tuple[int, ...] = (1, 1),
    ) -> None:
        super().__init__(in_dim, embed_dim, 1, 0.0, 0, 1, mlp_dim, num_classes)
        self.num_heads = num_heads
        self.model.cls_token = nn.Parameter(torch.randn(*token_shape, embed_dim) * 0.02)
        self.model.patch_embed = nn.Sequential(nn.Linear(in_dim, embed_dim), activation)
        self.model.blocks = nn.ModuleList(blocks)

    @classmethod
    def config_from_shapes(cls, shapes: Shapes) -> dict[str, Any] | None:
        """None: the model is recognised by its layout."""
        return None

    @classmethod
    def sizes_of(cls, match: Match) -> dict[str, Any] | None:
        """Return the sizes that all models have, from letters D, E, M and C; None if the layer numbers have gaps."""
        sizes, layers = match.sizes, whole_layers(match)
        if not layers:
            return None
        return {
            "in_dim": sizes["D"], "embed_dim": sizes["E"], "num_layers": layers, "mlp_dim": sizes["M"],
            "num_classes": sizes["C"],
        }  # fmt: skip

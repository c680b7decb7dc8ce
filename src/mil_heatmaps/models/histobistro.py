"""HistoBistro's transformer, which slideflow calls ``bistro.transformer``."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from mil_heatmaps.layers.bag import Bag
from mil_heatmaps.layers.roles import Layout, Match, Role
from mil_heatmaps.layers.transformer_block import GeluBlock
from mil_heatmaps.models.base import BagResult, ScoreSpec
from mil_heatmaps.models.public_transformer import PublicTransformer
from mil_heatmaps.models.registry import register_model


@register_model("histobistro_transformer")
class HistoBistroTransformer(PublicTransformer):
    """t = [cls; ReLU(projection x)]; blocks; logits = head(LN_head(LN(t)[0])).

    With `pool` mean there is no class token, and the mean of the tokens takes the place of t[0].
    """

    layout = Layout((
        Role("patch_embed.0", "projection.0", "E D"), Role("cls_token", "cls_token", "1 1 E", kind="tensor"),
        Role("blocks.{l}.norm", "transformer.layers.{l}.0.norm", "E", kind="norm"),
        Role("blocks.{l}.attention.in_proj_weight", "transformer.layers.{l}.0.fn.to_qkv.weight", "3*I E",
             kind="tensor"),
        Role("blocks.{l}.attention.out_proj", "transformer.layers.{l}.0.fn.to_out.0", "E I"),
        Role("blocks.{l}.norm2", "transformer.layers.{l}.1.norm", "E", kind="norm"),
        Role("blocks.{l}.mlp.0", "transformer.layers.{l}.1.fn.net.0", "M E"),
        Role("blocks.{l}.mlp.3", "transformer.layers.{l}.1.fn.net.3", "E M"),
        Role("norm", "norm", "E", kind="norm"), Role("head_norm", "mlp_head.0", "E", kind="norm"),
        Role("classifier", "mlp_head.1", "C E"),
    ))  # fmt: skip
    not_in_tensors: ClassVar[Mapping[str, str]] = {
        "num_heads": "heads of every layer",
        "pool": "what is classified: the class token (cls) or the mean of the tokens",
    }
    file_names: ClassVar[Mapping[str, tuple[str, ...]]] = {"num_heads": ("heads", "n_heads")}

    def __init__(
        self,
        in_dim: int = 1024,
        embed_dim: int = 512,
        num_layers: int = 2,
        inner_dim: int = 512,
        mlp_dim: int = 512,
        num_classes: int = 2,
        num_heads: int = 8,
        pool: Literal["cls", "mean"] = "cls",
    ) -> None:
        blocks = [GeluBlock(embed_dim, num_heads, mlp_dim, inner=inner_dim, bias=False) for _ in range(num_layers)]
        super().__init__(in_dim, embed_dim, num_heads, mlp_dim, num_classes, nn.ReLU(), blocks)
        self.pool = pool
        self.model.head_norm = nn.LayerNorm(embed_dim)

    @classmethod
    def config_of(cls, match: Match) -> dict[str, Any] | None:
        """Read every size except the number of heads."""
        sizes = cls.sizes_of(match)
        return None if sizes is None else sizes | {"inner_dim": match.sizes["I"]}

    def forward_head(self, slide_feats: Tensor) -> Tensor:
        """Return the logits (B, C) of slide vectors."""
        return cast(Tensor, self.model.classifier(self.model.head_norm(slide_feats)))

    # -- the mean of the tokens in place of the class token

    def score_specs(self) -> dict[str, ScoreSpec]:
        """Without a class token, the score is what all patches read on average."""
        if self.pool == "cls":
            return super().score_specs()
        about = "what the patches read in the last block, mean over patches and heads"
        return {"attention": ScoreSpec("attention_mean", about)}

    def forward_features(
        self, h: Tensor, attn_mask: Tensor | None = None, return_attention: bool = False
    ) -> tuple[Tensor, dict[str, Any]]:
        """Return slide vectors (B, E)."""
        if self.pool == "cls":
            return super().forward_features(h, attn_mask, return_attention)
        return self._mean_encoded(self.model.patch_embed(h))[0], {"attention": None}

    def explain_bag(self, bag: Bag, wanted: frozenset[str]) -> BagResult:
        """As `Transformer`, or without a class token."""
        if self.pool == "cls":
            return super().explain_bag(bag, wanted)
        tokens = torch.cat([self.model.patch_embed(x) for _, x in bag.chunks()])[None]
        slide_feats, scores = self._mean_encoded(tokens, "attention" in wanted)
        return BagResult(self.slide_logits(slide_feats), scores)

    def _mean_encoded(self, tokens: Tensor, attention: bool = False) -> tuple[Tensor, dict[str, Tensor]]:
        scores, blocks = {}, list(self.model.blocks)
        for block in blocks:
            if attention and block is blocks[-1]:
                even = tokens.new_full((tokens.shape[1],), 1 / tokens.shape[1])
                scores["attention"] = block.carry_back(even, tokens)
            keys, values = block.keys_and_values(tokens)
            tokens = block(tokens, keys, values)
        return cast(Tensor, self.model.norm(tokens.mean(dim=1))), scores

"""TransMIL: a class token, Nystrom attention and positions from a square of patches (Shao et al. 2021), in
MIL-Lab's form.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn

from mil_heatmaps.errors import ModelError
from mil_heatmaps.layers.attention import mlp
from mil_heatmaps.layers.bag import CHUNK_ROWS
from mil_heatmaps.layers.shapes import classes_of, count_layers, mlp_layers
from mil_heatmaps.layers.square import NystromBlock, PyramidPositions, square_of
from mil_heatmaps.layers.streaming import OVERHEAD_BYTES, RowFunction, prepend_class_token
from mil_heatmaps.models.base import Bag, BagResult, MILModel, Parts, ScoreSpec, Shapes
from mil_heatmaps.models.registry import register_model


@register_model("transmil")
class TransMIL(MILModel):
    """h = mlp(x), padded to S = ceil(sqrt N)^2 tokens by its first rows; [cls; h]; block; PPEG; blocks;
    classifier(LN t_0).

    The order of the patches matters. So does the rest of a batch: see `nystrom`.
    """

    training_only = frozenset({"dropout"})

    def __init__(
        self,
        in_dim: int = 1024,
        embed_dim: int = 512,
        num_fc_layers: int = 1,
        dropout: float = 0.25,
        num_attention_layers: int = 2,
        num_heads: int = 4,
        num_classes: int = 2,
    ) -> None:
        super().__init__(in_dim=in_dim, num_classes=num_classes)
        if num_heads < 1 or embed_dim % num_heads or embed_dim % 2:
            raise ModelError(f"embed_dim {embed_dim} must be even and a multiple of num_heads {num_heads}")
        self.embed_dim, self.num_heads = embed_dim, num_heads
        parts: dict[str, nn.Module | nn.Parameter] = {
            "cls_token": nn.Parameter(torch.randn(1, 1, embed_dim) * 0.02),
            "patch_embed": mlp(in_dim, embed_dim, layers=num_fc_layers, dropout=dropout),
            "pos_layer": PyramidPositions(embed_dim),
            "blocks": nn.ModuleList(
                NystromBlock(embed_dim, num_heads, dropout) for _ in range(num_attention_layers)
            ),
            "norm": nn.LayerNorm(embed_dim),
        }
        if num_classes:
            parts["classifier"] = nn.Linear(embed_dim, num_classes)
        self.model = Parts(**parts)

    @classmethod
    def config_from_shapes(cls, shapes: Shapes) -> dict[str, Any] | None:
        """Read every size; the heads are the channels of the residual convolution."""
        first, heads = shapes.get("patch_embed.0.weight"), shapes.get("blocks.0.attention.res_conv.weight")
        if (
            first is None
            or heads is None
            or "cls_token" not in shapes
            or "pos_layer.proj.weight" not in shapes
        ):
            return None
        return {
            "in_dim": first[1],
            "embed_dim": first[0],
            "num_fc_layers": mlp_layers(shapes),
            "num_attention_layers": count_layers(shapes, "blocks.{}.attention.res_conv.weight"),
            "num_heads": heads[0],
            "num_classes": classes_of(shapes),
        }

    def score_specs(self) -> dict[str, ScoreSpec]:
        """The class token's Nystrom attention in the last block is the default; what MIL-Lab returns is a
        similarity.
        """
        specs = {
            "attention": ScoreSpec(
                "nystrom_attention",
                "what the class token reads in the last block (Nystrom), mean over the heads; signed",
            ),
            "attention_heads": ScoreSpec("nystrom_attention", "the same, each head for itself", "head"),
            "similarity": ScoreSpec(
                "similarity",
                "dot product with the class token after the first block; the network does not use it",
            ),
        }
        for i in range(len(self.model.blocks)):
            specs[f"attention_block{i}"] = ScoreSpec(
                "nystrom_attention",
                f"what the class token reads in block {i} (Nystrom), mean over the heads; signed",
            )
            specs[f"attention_block{i}_heads"] = ScoreSpec(
                "nystrom_attention",
                f"what the class token reads in block {i} (Nystrom), each head for itself",
                "head",
            )
        return specs

    def refused_own_scores(self) -> dict[str, str]:
        """Nothing about the logit is a sum over patches."""
        return {"class_contribution": "attention and a LayerNorm follow, so the logit is not a sum over patches"}

    def memory_estimate(self, n: int, wanted: frozenset[str] = frozenset()) -> int:
        """Return the bytes that a bag of `n` patches takes beside its features."""
        tokens = square_of(n) + 1
        chunk = min(n, CHUNK_ROWS) * (2 * self.in_dim + 2 * self.embed_dim)
        beside: int = self.model.blocks[0].attention.memory_estimate(tokens, self.embed_dim)
        return OVERHEAD_BYTES + 4 * (tokens * self.embed_dim + chunk) + max(beside, 2**27)

    def forward_features(
        self, h: Tensor, attn_mask: Tensor | None = None, return_attention: bool = False
    ) -> tuple[Tensor, dict[str, Any]]:
        """Return slide vectors (B, E). `attention` is MIL-Lab's: the similarity to the class token, (B, S).

        Columns N up to S belong to the repeated patches. Like upstream, takes `attn_mask` and ignores it.
        """
        tokens = self._tokens(lambda start, stop: h[:, start:stop], h.shape[1])
        slide_feats, similarity, _ = self._encode(tokens, return_attention, frozenset())
        return slide_feats, {"attention": similarity}

    def explain_bag(self, bag: Bag, wanted: frozenset[str]) -> BagResult:
        """Embed by chunks, then the blocks; the last computes only the class token's row."""
        n = len(bag)
        last = len(self.model.blocks) - 1
        rows = {i for i in range(last + 1) if {f"attention_block{i}", f"attention_block{i}_heads"} & wanted}
        if wanted & {"attention", "attention_heads"}:
            rows.add(last)
        tokens = self._tokens(lambda start, stop: bag.rows(start, stop).unsqueeze(0), n)
        slide_feats, similarity, heads = self._encode(tokens, "similarity" in wanted, frozenset(rows))
        scores = {} if similarity is None else {"similarity": similarity[0, :n]}
        for i, row in heads.items():
            for name in [f"attention_block{i}"] + (["attention"] if i == last else []):
                scores[name] = row[0, :, 1 : n + 1].mean(dim=0)
                scores[f"{name}_heads"] = row[0, :, 1 : n + 1].T
        return BagResult(self.slide_logits(slide_feats), scores)

    def _tokens(self, rows: RowFunction, n: int) -> Tensor:
        embed = self.model.patch_embed
        return prepend_class_token(
            self.model.cls_token, lambda start, stop: embed(rows(start, stop)), n, repeated=square_of(n) - n
        )

    def _encode(
        self, tokens: Tensor, similarity: bool, rows: frozenset[int]
    ) -> tuple[Tensor, Tensor | None, dict[int, Tensor]]:
        """Return slide vectors (B, E), the similarity (B, S) if asked for, and row 0's weights (B, H, 1+S) of
        blocks `rows`.
        """
        likeness: Tensor | None = None
        weights: dict[int, Tensor] = {}
        last = len(self.model.blocks) - 1
        for i, block in enumerate(self.model.blocks):
            compare = similarity and i == 0
            tokens, row = block(tokens, first_only=i == last and not compare, row_weights=i in rows)
            if row is not None:
                weights[i] = row
            if compare:
                likeness = (tokens[:, 1:] @ tokens[:, :1].transpose(1, 2)).squeeze(-1)
            if i == 0 and last > 0:
                tokens = self._add_positions(tokens)
        return cast(Tensor, self.model.norm(tokens[:, 0])), likeness, weights

    def _add_positions(self, tokens: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return torch.cat([tokens[:, :1], self.model.pos_layer(tokens[:, 1:])], dim=1)
        self.model.pos_layer(tokens[:, 1:])  # in place
        return tokens

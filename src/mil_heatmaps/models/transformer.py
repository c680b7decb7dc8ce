"""A transformer with a class token, in MIL-Lab's form; patch scores without an N x N matrix."""

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from mil_heatmaps.errors import ModelError
from mil_heatmaps.layers.attention import mlp
from mil_heatmaps.layers.bag import CHUNK_ROWS
from mil_heatmaps.layers.shapes import classes_of, count_layers, mlp_layers
from mil_heatmaps.layers.streaming import OVERHEAD_BYTES, RowFunction, prepend_class_token
from mil_heatmaps.layers.transformer_block import TransformerBlock
from mil_heatmaps.models.base import Bag, BagResult, MILModel, Parts, ScoreSpec, Shapes
from mil_heatmaps.models.memory import require_memory
from mil_heatmaps.models.registry import register_model


@register_model("transformer")
class Transformer(MILModel):
    """t = [cls; mlp(x)]; blocks; logits = classifier(LayerNorm(t)[0]).

    MIL-Lab's own forward with ``return_attention=True`` adds the class token's attention output to every
    token of the first block, which changes the prediction; here logits are those of
    ``return_attention=False`` either way.

    Of the last block only the class token's row is computed, because nothing else is read: with the default
    two blocks that halves the quadratic work.
    """

    training_only = frozenset({"dropout"})
    not_in_tensors: ClassVar[Mapping[str, str]] = {"num_heads": "heads of every block"}

    def __init__(
        self,
        in_dim: int = 1024,
        embed_dim: int = 512,
        num_fc_layers: int = 1,
        dropout: float = 0.25,
        num_attention_layers: int = 2,
        num_heads: int = 8,
        encoder_mlp_dim: int = -1,
        num_classes: int = 2,
    ) -> None:
        super().__init__(in_dim=in_dim, num_classes=num_classes)
        if num_heads < 1 or embed_dim % num_heads:
            raise ModelError(f"embed_dim {embed_dim} must be a multiple of num_heads {num_heads}")
        self.embed_dim, self.num_heads, self.encoder_mlp_dim = embed_dim, num_heads, encoder_mlp_dim
        parts: dict[str, nn.Module | nn.Parameter] = {
            "cls_token": nn.Parameter(torch.randn(1, 1, embed_dim) * 0.02),
            "patch_embed": mlp(in_dim, embed_dim, layers=num_fc_layers, dropout=dropout),
            "blocks": nn.ModuleList(
                TransformerBlock(embed_dim, num_heads, encoder_mlp_dim, dropout)
                for _ in range(num_attention_layers)
            ),
            "norm": nn.LayerNorm(embed_dim),
        }
        if num_classes:
            parts["classifier"] = nn.Linear(embed_dim, num_classes)
        self.model = Parts(**parts)

    @classmethod
    def config_from_shapes(cls, shapes: Shapes) -> dict[str, Any] | None:
        """Read the sizes; the number of heads no tensor tells."""
        first = shapes.get("patch_embed.0.weight")
        if first is None or "cls_token" not in shapes or "blocks.0.attention.in_proj_weight" not in shapes:
            return None
        hidden = shapes.get("blocks.0.mlp.0.weight")
        return {
            "in_dim": first[1],
            "embed_dim": first[0],
            "num_fc_layers": mlp_layers(shapes),
            "num_attention_layers": count_layers(shapes, "blocks.{}.attention.in_proj_weight"),
            "encoder_mlp_dim": hidden[0] if hidden else -1,
            "num_classes": classes_of(shapes),
        }

    def score_specs(self) -> dict[str, ScoreSpec]:
        """The class token's row of the last block is the default: those weights enter the prediction."""
        specs = {
            "attention": ScoreSpec(
                "attention_mean",
                "what the class token reads in the last block, mean over the heads; sums to 1 with its own",
            ),
            "attention_heads": ScoreSpec("attention_softmax", "the same, each head for itself", "head"),
            "rollout": ScoreSpec(
                "attention_rollout",
                "attention followed back through all blocks, half of each kept for the token itself",
            ),
        }
        for i in range(len(self.model.blocks)):
            specs[f"attention_block{i}"] = ScoreSpec(
                "attention_mean", f"what the class token reads in block {i}, mean over the heads"
            )
            specs[f"attention_block{i}_heads"] = ScoreSpec(
                "attention_softmax", f"what the class token reads in block {i}, each head for itself", "head"
            )
        return specs

    def refused_own_scores(self) -> dict[str, str]:
        """Nothing about a transformer's logit is a sum over patches."""
        return {
            "class_contribution": "blocks and LayerNorm are not linear, so the logit is not a sum over patches"
        }

    def memory_estimate(self, n: int, wanted: frozenset[str] = frozenset()) -> int:
        """Return the bytes that a bag of `n` patches takes beside its features: tokens, keys, values and a
        chunk.
        """
        rollout = "rollout" in wanted
        kept = 3 + (len(self.model.blocks) - 1 if rollout else 0)
        tokens = (n + 1) * (kept * self.embed_dim + 2 * self.num_heads * len(self.model.blocks))
        chunk = min(n, CHUNK_ROWS) * (2 * self.in_dim + 8 * self.embed_dim)
        return OVERHEAD_BYTES + 4 * (tokens + chunk) + (2**28 if rollout else 2**27)

    def forward_features(
        self, h: Tensor, attn_mask: Tensor | None = None, return_attention: bool = False
    ) -> tuple[Tensor, dict[str, Any]]:
        """Return slide vectors (B, E). `attention` is MIL-Lab's: block 0, mean over heads, (B, N+1, N+1),
        index 0 = CLS.

        That matrix is quadratic; for large bags use `explain`. Like upstream, takes `attn_mask` and ignores
        it.
        """
        n = h.shape[1]
        tokens = self._tokens(lambda start, stop: h[:, start:stop], n)
        matrix = None
        if return_attention:
            require_memory(
                4 * len(h) * (n + 1) ** 2 + self.memory_estimate(n),
                h.device,
                f"transformer's attention matrix of {n:,} patches (explain() gives patch scores without it)",
            )
            matrix = self.model.blocks[0].mean_matrix(tokens)
        slide_feats, _ = self._encode(tokens, frozenset())
        return slide_feats, {"attention": matrix}

    def explain_bag(self, bag: Bag, wanted: frozenset[str]) -> BagResult:
        """Blocks by chunks of queries over all keys; class-token rows in passing; rollout backwards at the
        end.
        """
        rollout = "rollout" in wanted
        tokens = self._tokens(lambda start, stop: bag.rows(start, stop).unsqueeze(0), len(bag))
        last = len(self.model.blocks) - 1
        rows = {i for i in range(last + 1) if {f"attention_block{i}", f"attention_block{i}_heads"} & wanted}
        if wanted & {"attention", "attention_heads", "rollout"}:
            rows.add(last)
        inputs: list[Tensor] = []
        slide_feats, heads = self._encode(tokens, frozenset(rows), inputs if rollout else None)
        scores: dict[str, Tensor] = {}
        for i, row in heads.items():
            names = [f"attention_block{i}"] + (["attention"] if i == last else [])
            for name in names:
                scores[name] = row[0, :, 1:].mean(dim=0)
                scores[f"{name}_heads"] = row[0, :, 1:].T
        if rollout:
            scores["rollout"] = self._roll_out(heads[last], inputs)
        return BagResult(self.slide_logits(slide_feats), scores)

    def _tokens(self, rows: RowFunction, n: int) -> Tensor:
        embed = self.model.patch_embed
        class_token = self.model.cls_token.reshape(1, 1, -1)
        return prepend_class_token(class_token, lambda start, stop: embed(rows(start, stop)), n)

    def _encode(
        self, tokens: Tensor, rows: frozenset[int], inputs: list[Tensor] | None = None
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """Return slide vectors (B, E) and the class token's attention (B, H, N+1) in the blocks of `rows`.

        Appends the input of every block but the last to `inputs`.
        """
        heads: dict[int, Tensor] = {}
        last = len(self.model.blocks) - 1
        for i, block in enumerate(self.model.blocks):
            if inputs is not None and i < last:
                inputs.append(tokens.clone())  # the block overwrites them
            keys, values = block.keys_and_values(tokens)
            if i in rows:
                heads[i] = block.first_row(tokens, keys)
            tokens = block(tokens, keys, values, first_only=i == last)
        return cast(Tensor, self.model.norm(tokens[:, 0])), heads

    def _roll_out(self, last_row: Tensor, inputs: list[Tensor]) -> Tensor:
        """Return the class token's row (N,) of the product of ``(mean head + identity) / 2`` over the blocks.

        Abnar and Zuidema's rollout (2020). Only one row of the product is wanted, so it is carried back
        from the last block as a vector: each step is a vector times an attention matrix whose rows are
        made, used and dropped in chunks.
        """
        row = last_row[0].mean(dim=0)
        row = 0.5 * row
        row[0] += 0.5
        for block, tokens in zip(reversed(self.model.blocks[:-1]), reversed(inputs), strict=True):
            row = 0.5 * row + 0.5 * block.carry_back(row, tokens)
        return row[1:]

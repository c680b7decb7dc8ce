"""ILRA: patches exchange through a few latent vectors, low rank by construction (Xiang and Zhang 2023), in
MIL-Lab's form.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mil_heatmaps.errors import ModelError
from mil_heatmaps.layers.bag import CHUNK_ROWS
from mil_heatmaps.layers.shapes import classes_of, count_layers
from mil_heatmaps.layers.streaming import (
    OVERHEAD_BYTES,
    OnlineAttention,
    merge_heads,
    row_chunks,
    split_heads,
    stream_rows,
)
from mil_heatmaps.models.base import Bag, BagResult, MILModel, Parts, ScoreSpec, Shapes
from mil_heatmaps.models.registry import register_model

Rows = Callable[[int, int], Tensor]
"""(start, stop) -> (B, stop - start, D), the features or the tokens of some patches."""


class MultiHeadBlock(nn.Module):
    """Attention of queries Q over keys K with residual, feed-forward and optional gate.

    q = fc_q Q; O = LN0(q + MHA(q, fc_k K, fc_v K)); O = LN1(O + ReLU(fc_o O)); with a gate, O *= SiLU(gate
    Q).
    """

    def __init__(self, query_dim: int, key_dim: int, dim: int, heads: int, *, gated: bool) -> None:
        super().__init__()
        self.heads = heads
        self.multihead_attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.fc_q = nn.Linear(query_dim, dim)
        self.fc_k = nn.Linear(key_dim, dim)
        self.fc_v = nn.Linear(key_dim, dim)
        self.ln0 = nn.LayerNorm(dim)
        self.ln1 = nn.LayerNorm(dim)
        self.fc_o = nn.Linear(dim, dim)
        if gated:
            self.gate = nn.Sequential(nn.Linear(query_dim, dim), nn.SiLU())
        self.gated = gated

    def keys(self, rows: Tensor) -> Tensor:
        """Return keys (B, H, n, d)."""
        return self._project(self.fc_k(rows), 1)

    def values(self, rows: Tensor) -> Tensor:
        """Return values (B, H, n, d)."""
        return self._project(self.fc_v(rows), 2)

    def scaled_queries(self, embedded: Tensor) -> Tensor:
        """Return queries (B, H, n, d) of ``fc_q Q``, already divided by sqrt(d)."""
        queries = self._project(embedded, 0)
        return queries * float(queries.shape[-1] ** -0.5)

    def finish(self, rows: Tensor, embedded: Tensor, attended: Tensor) -> Tensor:
        """Return the block's output of queries `rows` (B, n, D), their ``fc_q`` and what they attended to (B,
        H, n, d).
        """
        out = self.ln0(embedded + self.multihead_attention.out_proj(merge_heads(attended)))
        out = self.ln1(out + F.relu(self.fc_o(out)))
        result: Tensor = out * self.gate(rows) if self.gated else out
        return result

    def many_from_few(self, rows: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Return the output for many queries `rows` over few keys and values."""
        embedded = self.fc_q(rows)
        return self.finish(
            rows, embedded, F.scaled_dot_product_attention(self._project(embedded, 0), keys, values)
        )

    def few_from_many(
        self, few: Tensor, rows: Rows, n: int, keep: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Return the output for few queries over `n` rows, and if `keep` the attention (B, H, Q, n)."""
        embedded = self.fc_q(few)
        queries = self.scaled_queries(embedded)
        pool = OnlineAttention()
        kept = []
        for start, stop in row_chunks(n):
            part = rows(start, stop)
            scores = queries @ self.keys(part).transpose(-1, -2)
            pool.update(scores, self.values(part))
            if keep:
                kept.append(scores)
        out = self.finish(few, embedded, pool.pooled())
        return out, torch.softmax(torch.cat(kept, dim=-1), dim=-1) if keep else None

    def _project(self, embedded: Tensor, part: int) -> Tensor:
        """Return nn.MultiheadAttention's own projection of queries (0), keys (1) or values (2), split into
        heads.
        """
        attention = self.multihead_attention
        where = slice(part * attention.embed_dim, (part + 1) * attention.embed_dim)
        projected = F.linear(embedded, attention.in_proj_weight[where], attention.in_proj_bias[where])
        return split_heads(projected, self.heads)


@register_model("ilra")
class ILRA(MILModel):
    """Blocks L' = MHB(latent, X), X = MHB(X, L'); then one learned query S pools: classifier(MHB(S, X))."""

    training_only = frozenset({"ln", "mode"})  # MIL-Lab reads them and passes neither on
    not_in_tensors: ClassVar[Mapping[str, str]] = {"num_heads": "heads of every attention"}

    def __init__(
        self,
        in_dim: int = 1024,
        embed_dim: int = 256,
        num_attention_layers: int = 2,
        num_heads: int = 8,
        topk: int = 64,
        num_classes: int = 2,
    ) -> None:
        super().__init__(in_dim=in_dim, num_classes=num_classes)
        if num_heads < 1 or embed_dim % num_heads:
            raise ModelError(f"embed_dim {embed_dim} must be a multiple of num_heads {num_heads}")
        self.embed_dim, self.num_heads = embed_dim, num_heads
        widths = [in_dim] + [embed_dim] * (num_attention_layers - 1)
        blocks = [
            Parts(
                latent=nn.Parameter(torch.empty(1, topk, embed_dim)),
                project_forward=MultiHeadBlock(embed_dim, width, embed_dim, num_heads, gated=True),
                project_backward=MultiHeadBlock(width, embed_dim, embed_dim, num_heads, gated=True),
            )
            for width in widths
        ]
        pooling = Parts(
            S=nn.Parameter(torch.empty(1, 1, embed_dim)),
            mha=MultiHeadBlock(embed_dim, embed_dim, embed_dim, num_heads, gated=False),
        )
        for parameter in (*(block.latent for block in blocks), pooling.S):
            nn.init.xavier_uniform_(parameter)
        parts: dict[str, nn.Module] = {"gab_blocks": nn.ModuleList(blocks), "pooling": pooling}
        if num_classes:
            parts["classifier"] = nn.Linear(embed_dim, num_classes)
        self.model = Parts(**parts)

    @classmethod
    def config_from_shapes(cls, shapes: Shapes) -> dict[str, Any] | None:
        """Read the sizes; the number of heads no tensor tells."""
        latent = shapes.get("gab_blocks.0.latent")
        first = shapes.get("gab_blocks.0.project_forward.fc_k.weight")
        if latent is None or first is None or "pooling.S" not in shapes:
            return None
        return {
            "in_dim": first[1],
            "embed_dim": latent[2],
            "num_attention_layers": count_layers(shapes, "gab_blocks.{}.latent"),
            "topk": latent[1],
            "num_classes": classes_of(shapes),
        }

    def score_specs(self) -> dict[str, ScoreSpec]:
        """The pooling attention, mean of its heads, is the default."""
        return {
            "attention": ScoreSpec(
                "attention_mean",
                "share of the patch's token in the slide's vector, mean over the heads; sums to 1",
            ),
            "attention_heads": ScoreSpec("attention_softmax", "the same, each head for itself", "head"),
        }

    def refused_own_scores(self) -> dict[str, str]:
        """Nothing after the pooling is linear."""
        return {"class_contribution": "LayerNorms and a feed-forward layer follow, so the logit is not a sum"}

    def memory_estimate(self, n: int, wanted: frozenset[str] = frozenset()) -> int:
        """Return the bytes that a bag of `n` patches takes beside its features: two sets of tokens and a
        chunk.
        """
        tokens = n * (2 * self.embed_dim + 3 * self.num_heads)
        latents = int(self.model.gab_blocks[0].latent.shape[1])
        chunk = min(n, CHUNK_ROWS) * (2 * self.in_dim + 8 * self.embed_dim + 3 * self.num_heads * latents)
        return OVERHEAD_BYTES + 4 * (tokens + chunk)

    def forward_features(
        self, h: Tensor, attn_mask: Tensor | None = None, return_attention: bool = False
    ) -> tuple[Tensor, dict[str, Any]]:
        """Return slide vectors (B, E); `attention` (B, N) is the pooling's, mean over the heads. No mask
        upstream.
        """
        slide_feats, heads = self._run(lambda start, stop: h[:, start:stop], h.shape[1], return_attention)
        return slide_feats, {"attention": None if heads is None else heads.mean(dim=1)}

    def explain_bag(self, bag: Bag, wanted: frozenset[str]) -> BagResult:
        """Two passes over the patches a block: into the latents, and back."""
        slide_feats, heads = self._run(
            lambda start, stop: bag.rows(start, stop).unsqueeze(0), len(bag), bool(wanted)
        )
        scores = {} if heads is None else {"attention": heads[0].mean(dim=0), "attention_heads": heads[0].T}
        return BagResult(self.slide_logits(slide_feats), scores)

    def _run(self, rows: Rows, n: int, keep: bool) -> tuple[Tensor, Tensor | None]:
        """Return slide vectors (B, E) and, if `keep`, the pooling attention (B, H, n)."""
        for block in self.model.gab_blocks:
            rows = self._exchange(block, rows, n)
        query = self.model.pooling.S.expand(rows(0, 1).shape[0], -1, -1)
        pooled, attention = self.model.pooling.mha.few_from_many(query, rows, n, keep)
        return pooled.squeeze(1), None if attention is None else attention.squeeze(2)

    def _exchange(self, block: Any, rows: Rows, n: int) -> Rows:
        latent = block.latent.expand(rows(0, 1).shape[0], -1, -1)
        summary, _ = block.project_forward.few_from_many(latent, rows, n)
        keys, values = block.project_backward.keys(summary), block.project_backward.values(summary)
        tokens = stream_rows(
            lambda start, stop: block.project_backward.many_from_few(rows(start, stop), keys, values), n
        )
        return lambda start, stop: tokens[:, start:stop]

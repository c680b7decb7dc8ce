"""WiKG: a graph of each patch's best-matching patches, built from the features (Li et al. 2024), in MIL-Lab's
form.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mil_heatmaps.errors import ModelError
from mil_heatmaps.layers.attention import map_rows
from mil_heatmaps.layers.bag import CHUNK_ROWS
from mil_heatmaps.layers.neighbours import neighbour_rows, top_neighbours
from mil_heatmaps.layers.shapes import classes_of
from mil_heatmaps.layers.streaming import OVERHEAD_BYTES, row_chunks, rows_for
from mil_heatmaps.layers.wikg_readout import Nodes, Readout
from mil_heatmaps.models.base import Bag, BagResult, MILModel, Parts, ScoreSpec, Shapes
from mil_heatmaps.models.memory import require_memory
from mil_heatmaps.models.registry import register_model

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "leaky_relu": F.leaky_relu,
    "relu": F.relu,
    "gelu": F.gelu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "none": lambda x: x,
}
AGGREGATIONS = {"bi-interaction": ("linear1", "linear2"), "gcn": ("linear",), "sage": ("linear",)}
POOLS = ("attn", "mean", "max")


@register_model("wikg")
class WiKG(MILModel):
    """Embedding, graph, aggregation, readout.

    h = ReLU(embed x), h = (h + mean h) / 2; e = W_head h, t = W_tail h; each patch listens to the topk
    patches of largest e.t / sqrt(E), p their softmax; g = tanh(e_i + p nb), w = softmax(sum g nb), m = sum
    w nb; z = aggregate(e, m); the readout pools z by softmax(gate(z)), mean or max; logits =
    classifier(LayerNorm(s)).

    The N x N scores are made for some rows at a time and only each row's best are kept. With fewer than
    `topk` patches (where MIL-Lab raises) every patch listens to all there are.
    """

    training_only = frozenset({"dropout"})
    not_in_tensors: ClassVar[Mapping[str, str]] = {
        "topk": "neighbours a patch listens to",
        "act": "activation of the aggregation",
        "pool": "mean or max, where there is no gate",
    }

    def __init__(
        self,
        in_dim: int = 1024,
        embed_dim: int = 512,
        topk: int = 4,
        agg_type: Literal["bi-interaction", "gcn", "sage"] = "bi-interaction",
        pool: Literal["attn", "mean", "max"] = "attn",
        dropout: float = 0.25,
        act: str = "leaky_relu",
        num_classes: int = 2,
    ) -> None:
        super().__init__(in_dim=in_dim, num_classes=num_classes)
        for what, given, choices in (
            ("agg_type", agg_type, list(AGGREGATIONS)),
            ("pool", pool, list(POOLS)),
            ("act", act, list(ACTIVATIONS)),
        ):
            if given not in choices:
                raise ModelError(f"unknown {what} {given!r}; choose from {choices}")
        if topk < 1:
            raise ModelError(f"topk must be at least 1, got {topk}")
        self.embed_dim, self.topk, self.agg_type, self.pool = embed_dim, topk, agg_type, pool
        self.act = ACTIVATIONS[act]
        parts: dict[str, nn.Module] = {
            "patch_embed": nn.Sequential(nn.Linear(in_dim, embed_dim), nn.ReLU()),
            "gate_U": nn.Linear(embed_dim, embed_dim // 2),  # these three are in every checkpoint and unused
            "gate_V": nn.Linear(embed_dim, embed_dim // 2),
            "gate_W": nn.Linear(embed_dim // 2, embed_dim),
            "W_head": nn.Linear(embed_dim, embed_dim),
            "W_tail": nn.Linear(embed_dim, embed_dim),
            "message_dropout": nn.Dropout(dropout),
            "norm": nn.LayerNorm(embed_dim),
        }
        width = 2 * embed_dim if agg_type == "sage" else embed_dim
        parts |= {name: nn.Linear(width, embed_dim) for name in AGGREGATIONS[agg_type]}
        if pool == "attn":
            gate = nn.Sequential(
                nn.Linear(embed_dim, embed_dim // 2), nn.LeakyReLU(), nn.Linear(embed_dim // 2, 1)
            )
            parts["readout"] = Parts(gate_nn=gate)
        if num_classes:
            parts["classifier"] = nn.Linear(embed_dim, num_classes)
        self.model = Parts(**parts)

    @classmethod
    def config_from_shapes(cls, shapes: Shapes) -> dict[str, Any] | None:
        """Read the sizes and the aggregation; mean and max pooling have no tensors and look the same."""
        first, tail = shapes.get("patch_embed.0.weight"), shapes.get("W_tail.weight")
        if first is None or tail is None:
            return None
        linear = shapes.get("linear.weight")
        aggregation = "bi-interaction" if linear is None else "gcn" if linear[1] == linear[0] else "sage"
        config = {
            "in_dim": first[1],
            "embed_dim": first[0],
            "agg_type": aggregation,
            "num_classes": classes_of(shapes),
        }
        return config | ({"pool": "attn"} if "readout.gate_nn.0.weight" in shapes else {"pool": "mean"})

    def score_specs(self) -> dict[str, ScoreSpec]:
        """The readout's share is the default where it has one."""
        received = ScoreSpec(
            "attention_softmax",
            "share of all patches' listening that goes to the patch; most patches get none; sums to 1",
        )
        if self.pool == "attn":
            return {
                "attention": ScoreSpec(
                    "attention_softmax", "share of the patch's node in the slide's vector; sums to 1"
                ),
                "attention_logit": ScoreSpec(
                    "attention_logit", "the same before the softmax over the patches"
                ),
                "attention_received": received,
            }
        if self.pool == "max":
            share = ScoreSpec(
                "attention_softmax",
                "share of the slide vector's numbers that come from the patch's node; sums to 1",
            )
            return {"max_share": share, "attention_received": received}
        return {"attention_received": received}

    def refused_own_scores(self) -> dict[str, str]:
        """A readout by mean or max weighs nothing."""
        refused = {
            "class_contribution": "a LayerNorm stands between readout and classifier, so the logit is not a sum"
        }
        if self.pool != "attn":
            refused["attention"] = f"its readout is a plain {self.pool}, which has no attention"
        return refused

    def memory_estimate(self, n: int, wanted: frozenset[str] = frozenset()) -> int:
        """Return the bytes that a bag of `n` patches takes beside its features."""
        k = min(self.topk, n)
        rows = min(n, neighbour_rows(n), CHUNK_ROWS)
        kept = n * (2 * self.embed_dim + 4 * k + 4)
        chunk = rows * (3 * n + (3 * k + 8) * self.embed_dim) + min(n, CHUNK_ROWS) * (
            self.in_dim + self.embed_dim
        )
        return OVERHEAD_BYTES + 4 * (kept + chunk)

    def forward_features(
        self, h: Tensor, attn_mask: Tensor | None = None, return_attention: bool = False
    ) -> tuple[Tensor, dict[str, Any]]:
        """Return slide vectors (B, E). `attention` is MIL-Lab's: (B, N, N), row i the weights of whom i
        listens to.

        That matrix is quadratic and says nothing of the readout; for patch scores use `explain`. Takes
        `attn_mask` and, like upstream, ignores it.
        """
        batch, n = h.shape[:2]
        if return_attention:
            require_memory(
                4 * batch * n * n + self.memory_estimate(n),
                h.device,
                f"wikg's neighbour matrix of {n:,} patches (explain() gives patch scores without it)",
            )
        vectors, matrices = [], []
        for one in h:
            matrix = one.new_zeros(n, n) if return_attention else None
            readout = self._readout()
            for nodes in self.nodes(self.model.patch_embed(one)):
                readout.add(nodes)
                if matrix is not None:
                    matrix[nodes.rows] = matrix[nodes.rows].scatter(1, nodes.index, nodes.share.to(matrix.dtype))
            vectors.append(self.model.norm(readout.vector()))
            matrices += [] if matrix is None else [matrix]
        return torch.stack(vectors), {"attention": torch.stack(matrices) if matrices else None}

    def explain_bag(self, bag: Bag, wanted: frozenset[str]) -> BagResult:
        """Embed by chunks, then find neighbours, aggregate and read out by chunks."""
        n = len(bag)
        readout = self._readout()
        received = torch.zeros(n, dtype=bag.dtype, device=bag.device)
        for nodes in self.nodes(map_rows(bag, self.model.patch_embed)):
            readout.add(nodes)
            received.index_add_(0, nodes.index.reshape(-1), nodes.share.reshape(-1).to(received.dtype))
        scores = readout.scores() | {"attention_received": received / n}
        return BagResult(self.slide_logits(self.model.norm(readout.vector())[None]), scores)

    def _readout(self) -> Readout:
        return Readout(self.pool, self.model.readout.gate_nn if self.pool == "attn" else None)

    def nodes(self, embedded: Tensor) -> Iterator[Nodes]:
        """Yield the aggregated nodes of patches (N, E), chunk by chunk; overwrites `embedded` without
        gradients.
        """
        n = len(embedded)
        mean = embedded.mean(dim=0)
        embedded = (embedded + mean) * 0.5 if torch.is_grad_enabled() else embedded.add_(mean).mul_(0.5)
        tails = self.model.W_tail(embedded)
        for start, stop in row_chunks(n, min(CHUNK_ROWS, rows_for(4 * self.topk * self.embed_dim))):
            heads = self.model.W_head(embedded[start:stop])
            scaled = heads * self.embed_dim**-0.5
            index = top_neighbours(scaled, tails, min(self.topk, n))
            others = tails[index]
            share = torch.softmax((others @ scaled.unsqueeze(-1)).squeeze(-1), dim=-1)
            mixed = torch.tanh(heads.unsqueeze(1) + share.unsqueeze(-1) * others)
            weight = torch.softmax((mixed * others).sum(dim=-1), dim=-1)
            message = (weight.unsqueeze(1) @ others).squeeze(1)
            yield Nodes(slice(start, stop), index, share, self._aggregate(heads, message))

    def _aggregate(self, heads: Tensor, message: Tensor) -> Tensor:
        """Return nodes (n, E) of the patches' own vectors and what they heard."""
        parts = self.model
        if self.agg_type == "bi-interaction":
            nodes = self.act(parts.linear1(heads + message)) + self.act(parts.linear2(heads * message))
        elif self.agg_type == "gcn":
            nodes = self.act(parts.linear(heads + message))
        else:
            nodes = self.act(parts.linear(torch.cat([heads, message], dim=-1)))
        return cast(Tensor, parts.message_dropout(nodes))

"""RRT: Nystrom layers over the patches, then attention pooling (Tang et al. 2024), in MIL-Lab's form."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mil_heatmaps.errors import ModelError
from mil_heatmaps.layers.attention import map_rows
from mil_heatmaps.layers.bag import CHUNK_ROWS
from mil_heatmaps.layers.nystrom import NystromAttention
from mil_heatmaps.layers.shapes import classes_of, count_layers
from mil_heatmaps.layers.streaming import OVERHEAD_BYTES, OnlineAttention, add_rows, row_chunks, stream_rows
from mil_heatmaps.models.base import Bag, BagResult, MILModel, Parts, ScoreSpec, Shapes
from mil_heatmaps.models.registry import register_model

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh}
LANDMARKS = 256
POOL_WIDTH = 128
IGNORED = frozenset(
    {"attn", "pos_pos", "epeg", "region_num", "min_region_num", "shift_size", "no_norm", "qkv_bias"}
    | {"drop_path", "trans_dropout", "multi_scale", "n_cycle"}
)
"""MIL-Lab's settings without effect on its own network."""


def activation(name: str) -> nn.Module:
    """Return an activation by MIL-Lab's name for it."""
    if name not in ACTIVATIONS:
        raise ModelError(f"unknown activation {name!r}; choose from {list(ACTIVATIONS)}")
    return ACTIVATIONS[name]()


class PoolAttention(nn.Module):
    """Raw pooling scores: W2 act(W1 h), gated: W_c(act(W_a h) * sigmoid(W_b h))."""

    def __init__(self, dim: int, act: str, *, gated: bool, bias: bool, dropout: bool) -> None:
        super().__init__()
        drop = [nn.Dropout(0.25)] if dropout else []
        self.gated = gated
        if gated:
            self.attention_a = nn.Sequential(nn.Linear(dim, POOL_WIDTH, bias=bias), activation(act), *drop)
            self.attention_b = nn.Sequential(nn.Linear(dim, POOL_WIDTH, bias=bias), nn.Sigmoid(), *drop)
            self.attention_c = nn.Linear(POOL_WIDTH, 1, bias=bias)
        else:
            self.attention = nn.Sequential(
                nn.Linear(dim, POOL_WIDTH, bias=bias),
                activation(act),
                *drop,
                nn.Linear(POOL_WIDTH, 1, bias=bias),
            )

    def forward(self, h: Tensor) -> Tensor:
        """Return raw scores (..., 1) of tokens (..., E)."""
        raw: Tensor = (
            self.attention_c(self.attention_a(h) * self.attention_b(h)) if self.gated else self.attention(h)
        )
        return raw


class RRTLayer(nn.Module):
    """h += Nystrom(LN h); with a feed-forward part also h += W2 act(W1 LN2 h)."""

    def __init__(
        self, dim: int, heads: int, head_dim: int, *, ffn: bool, ffn_act: str, mlp_ratio: float
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.attn = NystromAttention(dim, heads=heads, head_dim=head_dim, landmarks=LANDMARKS)
        self.ffn = ffn
        if ffn:
            hidden = int(dim * mlp_ratio)
            self.norm2 = nn.LayerNorm(dim)
            self.mlp = Parts(fc1=nn.Linear(dim, hidden), act=activation(ffn_act), fc2=nn.Linear(hidden, dim))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens (B, N, E) after the layer; overwrites them without gradients."""
        tokens, _ = self.attn(tokens, self.norm)
        if not self.ffn:
            return tokens
        mlp = self.mlp
        return add_rows(
            tokens, lambda start, stop: mlp.fc2(mlp.act(mlp.fc1(self.norm2(tokens[:, start:stop]))))
        )


@register_model("rrt")
class RRT(MILModel):
    """h = act(embed x); layers; h = LN h; a = W2 act(W1 h); s = sum softmax(a)_i h_i; logits = classifier(s).

    The order of the patches matters, through the Nystrom layers. MIL-Lab never applies the paper's region
    attention and positions, but its checkpoints hold the weights of the positions.
    """

    training_only = IGNORED | {"dropout", "da_dropout"}
    not_in_tensors: ClassVar[Mapping[str, str]] = {
        "act": "activation of the embedding",
        "da_act": "activation of the pooling attention",
        "ffn_act": "activation of the feed-forward part",
    }

    def __init__(
        self,
        in_dim: int = 1024,
        mlp_dim: int = 512,
        embed_dim: int | None = None,
        act: str = "relu",
        dropout: float = 0.25,
        n_layers: int = 2,
        n_heads: int = 8,
        trans_dim: int = 64,
        da_act: str = "relu",
        da_gated: bool = False,
        da_bias: bool = False,
        da_dropout: bool = False,
        ffn: bool = False,
        ffn_act: str = "gelu",
        mlp_ratio: float = 4.0,
        pos: str = "ppeg",
        peg_k: int = 7,
        pool: str = "attn",
        num_classes: int = 2,
    ) -> None:
        super().__init__(in_dim=in_dim, num_classes=num_classes)
        if embed_dim not in (None, mlp_dim):
            raise ModelError(f"rrt's embed_dim and mlp_dim are one width, got {embed_dim} and {mlp_dim}")
        if pool != "attn":
            raise ModelError(f"rrt pools by attention ('attn') here, got pool {pool!r}")
        self.embed_dim = dim = mlp_dim

        def layer() -> RRTLayer:
            return RRTLayer(dim, n_heads, trans_dim, ffn=ffn, ffn_act=ffn_act, mlp_ratio=mlp_ratio)

        encoder: dict[str, nn.Module] = {
            "layer1": layer(),
            "layers": nn.ModuleList(layer() for _ in range(n_layers - 1)),
            "norm": nn.LayerNorm(dim),
            "pool_fn": Parts(
                attention=PoolAttention(dim, da_act, gated=da_gated, bias=da_bias, dropout=da_dropout)
            ),
        }
        if positions := _unused_positions(dim, pos, peg_k):
            encoder["pos_embedding"] = Parts(**positions)
        parts: dict[str, nn.Module] = {
            "patch_embed": nn.Sequential(nn.Linear(in_dim, dim), activation(act), nn.Dropout(dropout)),
            "encoder": Parts(**encoder),
        }
        if num_classes:
            parts["classifier"] = nn.Linear(dim, num_classes)
        self.model = Parts(**parts)

    @classmethod
    def config_from_shapes(cls, shapes: Shapes) -> dict[str, Any] | None:
        """Read every size; no tensor tells the activations."""
        first, heads = shapes.get("patch_embed.0.weight"), shapes.get("encoder.layer1.attn.res_conv.weight")
        if first is None or heads is None:
            return None
        pool = "encoder.pool_fn.attention."
        gated = pool + "attention_c.weight" in shapes
        hidden = shapes.get("encoder.layer1.mlp.fc1.weight")
        config: dict[str, Any] = {
            "in_dim": first[1],
            "mlp_dim": first[0],
            "n_layers": 1 + count_layers(shapes, "encoder.layers.{}.norm.weight"),
            "n_heads": heads[0],
            "trans_dim": shapes["encoder.layer1.attn.to_qkv.weight"][0] // (3 * heads[0]),
            "da_gated": gated,
            "da_bias": pool + ("attention_c.bias" if gated else "attention.0.bias") in shapes,
            "da_dropout": pool + "attention.3.weight" in shapes,
            "ffn": hidden is not None,
            "num_classes": classes_of(shapes),
        }
        if hidden is not None:
            config["mlp_ratio"] = hidden[0] / first[0]
        return config | _positions_from_shapes(shapes)

    def score_specs(self) -> dict[str, ScoreSpec]:
        """The pooling weight is the default, as upstream returns it."""
        specs = {
            "attention": ScoreSpec(
                "attention_softmax", "share of the patch's token in the slide's vector; sums to 1"
            ),
            "attention_logit": ScoreSpec("attention_logit", "the same before the softmax over the patches"),
        }
        if self.num_classes:
            specs["class_contribution"] = ScoreSpec(
                "class_contribution",
                "what the patch's token adds to each class's logit; sums to the logit less its bias",
                "class",
            )
        return specs

    def refused_own_scores(self) -> dict[str, str]:
        """A headless checkpoint has nothing to contribute to."""
        return {} if self.num_classes else {"class_contribution": "the checkpoint has no classifier"}

    def memory_estimate(self, n: int, wanted: frozenset[str] = frozenset()) -> int:
        """Return the bytes that a bag of `n` patches takes beside its features."""
        beside: int = self.model.encoder.layer1.attn.memory_estimate(n, self.embed_dim)
        chunk = min(n, CHUNK_ROWS) * (2 * self.in_dim + 2 * self.embed_dim)
        return OVERHEAD_BYTES + beside + 4 * (n * (self.embed_dim + 3 + self.num_classes) + chunk)

    def forward_features(
        self, h: Tensor, attn_mask: Tensor | None = None, return_attention: bool = False
    ) -> tuple[Tensor, dict[str, Any]]:
        """Return slide vectors (B, E) and softmaxed `attention` (B, N), which is always returned, as upstream.

        Takes `attn_mask` and, like upstream, ignores it.
        """
        tokens = stream_rows(lambda start, stop: self.model.patch_embed(h[:, start:stop]), h.shape[1])
        slide_feats, raw, _ = self._encode(tokens, False)
        return slide_feats, {"attention": torch.softmax(raw.squeeze(-1), dim=1)}

    def explain_bag(self, bag: Bag, wanted: frozenset[str]) -> BagResult:
        """Embed by chunks, then the layers, then pool by chunks."""
        tokens = map_rows(bag, self.model.patch_embed).unsqueeze(0)
        slide_feats, raw, per_class = self._encode(tokens, "class_contribution" in wanted)
        attention = torch.softmax(raw[0], dim=0)
        scores = {"attention": attention, "attention_logit": raw[0]}
        if per_class is not None:
            scores["class_contribution"] = attention * per_class[0]
        return BagResult(self.slide_logits(slide_feats), scores)

    def _encode(self, tokens: Tensor, per_class: bool) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return slide vectors (B, E), raw scores (B, N, 1) and, if asked, W h without bias (B, N, C)."""
        encoder = self.model.encoder
        for layer in (encoder.layer1, *encoder.layers):
            tokens = layer(tokens)
        pool = OnlineAttention()
        raw, votes = [], []
        for start, stop in row_chunks(tokens.shape[1]):
            rows = encoder.norm(tokens[:, start:stop])
            scores = encoder.pool_fn.attention(rows)
            pool.update(scores.transpose(1, 2), rows)
            raw.append(scores)
            if per_class:
                votes.append(rows @ self.model.classifier.weight.T)
        return pool.pooled().squeeze(1), torch.cat(raw, dim=1), torch.cat(votes, dim=1) if votes else None


def _unused_positions(dim: int, pos: str, peg_k: int) -> dict[str, nn.Module]:
    """Return the convolutions whose weights MIL-Lab's checkpoints hold but its forward never applies."""
    sizes = {
        "ppeg": {"proj": peg_k, "proj1": 5, "proj2": 3},
        "peg": {"proj": peg_k},
        "none": {},
        "sincos": {},
    }
    if pos not in sizes:
        raise ModelError(f"unknown pos {pos!r}; choose from {list(sizes)}")
    return {name: nn.Conv2d(dim, dim, k, padding=k // 2, groups=dim) for name, k in sizes[pos].items()}


def _positions_from_shapes(shapes: Shapes) -> dict[str, Any]:
    kernel = shapes.get("encoder.pos_embedding.proj.weight")
    if kernel is None:
        return {"pos": "none"}
    return {"pos": "ppeg" if "encoder.pos_embedding.proj1.weight" in shapes else "peg", "peg_k": kernel[-1]}

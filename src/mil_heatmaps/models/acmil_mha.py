"""ACMIL with multi-head attention (Zhang et al. 2024): learned queries attend to the patches, their mean pools them.

    p_ij = mean_k softmax_i((W_q q_k)_j . (W_k h_i)_j / sqrt(d)),  z = LN(out(concat_j sum_i p_ij (v h_i)_j)),
    logits = W z + b

for token k and head j. Queries do not depend on the slide, and projections are linear: what each patch is compared with
is one vector a token and head, and values are projected once, after pooling.
"""

import copy
from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from mil_heatmaps.errors import ModelError
from mil_heatmaps.explain.answers import Form
from mil_heatmaps.explain.rows import Rows
from mil_heatmaps.explain.vector_pooling import VectorPooling
from mil_heatmaps.layers.attention import pool_bag, softmax_over_patches
from mil_heatmaps.layers.pooling import BLOCK_ROLES
from mil_heatmaps.layers.roles import Layout, Match, Role
from mil_heatmaps.layers.steps import Residual, Steps, steps_of
from mil_heatmaps.models.acmil_ga import EMBED, HEADS
from mil_heatmaps.models.base import Bag, BagResult, ScoreSpec
from mil_heatmaps.models.public import PublicModel
from mil_heatmaps.models.registry import register_model

LN_EPS = 1e-6


@register_model("acmil_mha")
class ACMILMultiHead(PublicModel):
    """See the module.

    Parameters
    ----------
    tokens : int
        K.
    attention_dim : int
        Width of all heads of a query together.
    value_dim : int
        The same of the values.
    """

    layout = Layout((
        EMBED, *BLOCK_ROLES, Role("q", "q", "1 K E", "tensor"),
        Role("query.{k}", "sub_attention.{k}.q_proj", "A E"), Role("key.{k}", "sub_attention.{k}.k_proj", "A E"),
        Role("tv.{k}", "sub_attention.{k}.v_proj", training_only=True, needed=False),
        Role("to.{k}", "sub_attention.{k}.out_proj", training_only=True, needed=False),
        Role("tn.{k}", "sub_attention.{k}.layer_norm", "_", "norm", training_only=True, needed=False),
        Role("value", "bag_attention.v_proj", "V E"), Role("out", "bag_attention.out_proj", "Z V"),
        Role("norm", "bag_attention.layer_norm", "Z", "norm"),
        HEADS[0], Role("head", "Slide_classifier.fc", "C Z"),
    ))  # fmt: skip
    not_in_tensors: ClassVar[Mapping[str, str]] = {"num_heads": "heads of the attention"}

    def __init__(
        self,
        in_dim: int = 1024,
        embed: tuple[str, ...] = ("linear! 512", "activation"),
        blocks: int = 0,
        tokens: int = 5,
        attention_dim: int = 512,
        value_dim: int = 512,
        out_dim: int = 512,
        num_classes: int = 2,
        num_heads: int = 8,
    ) -> None:
        super().__init__(in_dim=in_dim, num_classes=num_classes)
        if num_heads < 1 or attention_dim % num_heads or value_dim % num_heads:
            raise ModelError(
                f"attention of width {attention_dim} and values of width {value_dim} must be a multiple of num_heads "
                f"{num_heads}"
            )
        self.heads, self.tokens = num_heads, tokens
        self.embed = Steps(in_dim, embed)
        width = self.embed.width
        self.blocks = nn.Sequential(*(Residual(width) for _ in range(blocks)))
        self.q = nn.Parameter(torch.zeros(1, tokens, width))
        self.query = nn.ModuleList(nn.Linear(width, attention_dim) for _ in range(tokens))
        self.key = nn.ModuleList(nn.Linear(width, attention_dim) for _ in range(tokens))
        self.value, self.out = nn.Linear(width, value_dim), nn.Linear(value_dim, out_dim)
        self.norm, self.head = nn.LayerNorm(out_dim, eps=LN_EPS), nn.Linear(out_dim, num_classes)
        nn.init.normal_(self.q)

    @classmethod
    def config_of(cls, match: Match) -> dict[str, Any] | None:
        """Read the sizes; every token has its projections."""
        sizes, count = match.sizes, match.sizes["K"]
        if match.numbers["query.{k}"] != tuple(range(count)) or match.count("key.{k}") != count:
            match.misfit = match.misfit or f"sub_attention needs the numbers 0 to {count - 1}, one per token of q"
            return None
        return {
            "in_dim": sizes["D"], "num_classes": sizes["C"], "embed": steps_of(match.chains["embed"]),
            "blocks": match.count("blocks.{b}.block.0"), "tokens": count, "attention_dim": sizes["A"],
            "value_dim": sizes["V"], "out_dim": sizes["Z"],
        }  # fmt: skip

    def score_specs(self) -> dict[str, ScoreSpec]:
        """The mean over tokens and heads is the default."""
        return {
            "attention_mean": ScoreSpec("attention_mean", "mean share of the patch over tokens and heads"),
            "attention_heads": ScoreSpec("attention_mean", "mean share over the tokens, of every head", "head"),
        }

    def refused_own_scores(self) -> dict[str, str]:
        """A LayerNorm stands between the patches and the classifier."""
        return {"class_contribution": "a LayerNorm stands between pooling and classifier, so the logit is not a sum"}

    def embedded(self, x: Tensor) -> Tensor:
        """Return (n, E) of features (n, D)."""
        return cast(Tensor, self.blocks(self.embed(x)))

    def directions(self) -> tuple[Tensor, Tensor]:
        """Return what patches are compared with, (K * J, E), and what is added, (K * J,), scaled; J heads."""
        found, added = [], []
        for token, (query, key) in enumerate(zip(self.query, self.key, strict=True)):
            asked = query(self.q[0, token]).reshape(self.heads, -1, 1)
            asked = asked / asked.shape[1] ** 0.5
            linear = cast(nn.Linear, key)
            found.append((linear.weight.reshape(self.heads, -1, linear.in_features) * asked).sum(dim=1))
            added.append((linear.bias.reshape(self.heads, -1) * asked[..., 0]).sum(dim=1))
        return torch.cat(found), torch.cat(added)

    def bag_vectors(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return pooled vectors (1, K * J, E) and raw attention (N, K * J)."""
        toward, added = self.directions()
        h = self.embedded(x)
        raw = h @ toward.T + added
        return (softmax_over_patches(raw).T @ h)[None], raw

    def forward_head(self, slide_feats: Tensor) -> Tensor:
        """Return logits (..., C) of pooled vectors (..., K * J, E)."""
        return readout(self, slide_feats, self.heads)

    def explain_bag(self, bag: Bag, wanted: frozenset[str]) -> BagResult:
        """One pass keeps K * J numbers a patch."""
        toward, added = self.directions()
        raw, pooled, _ = pool_bag(bag, self.embedded, lambda h: h @ toward.T + added)
        logits = self.forward_head(pooled[None])[0]
        if not wanted:
            return BagResult(logits, {})
        heads = softmax_over_patches(raw).reshape(len(raw), self.tokens, self.heads).mean(dim=1)
        return BagResult(logits, {"attention_heads": heads, "attention_mean": heads.mean(dim=1)})

    def exact_form(self, rows: Rows) -> Form:
        """Parts of the bag follow from sums; what follows pooling runs once a part."""
        toward, added = self.directions()
        after = copy.deepcopy(self).to("cpu", torch.float64)
        return VectorPooling(
            rows, self.embedded, lambda h: h @ toward.T + added, lambda s: readout(after, s, self.heads)
        )


def readout(model: Any, pooled: Tensor, heads: int) -> Tensor:
    """Return logits (..., C) of pooled vectors (..., K * J, E): mean over the tokens, then values head by head."""
    mean = cast(Any, pooled).unflatten(-2, (-1, heads)).mean(dim=-3)
    weight = model.value.weight.reshape(heads, -1, mean.shape[-1])
    values = torch.einsum("...je,jde->...jd", mean, weight).flatten(-2) + model.value.bias
    return cast(Tensor, model.head(model.norm(model.out(values))))

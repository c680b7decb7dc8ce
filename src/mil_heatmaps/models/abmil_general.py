"""Attention pooling of every public kind in one class, which is told its embedding, its attention and its head.

    h_i = embed(x_i),  a_ik = attention(h_i),  s_k = sum_i softmax(a_k)_i h_i,  logits = head(s)

AttentionDeepMIL, the ABMIL of ACMIL's, AttriMIL's, PathBench's and xMIL's repositories, slideflow's `attention_mil`,
marugoto's and many a thesis's: their keys differ, their arithmetic does not.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from mil_heatmaps.errors import ModelError
from mil_heatmaps.explain.additive import Additive
from mil_heatmaps.explain.answers import Form
from mil_heatmaps.explain.rows import Rows, wide
from mil_heatmaps.explain.vector_pooling import VectorPooling
from mil_heatmaps.layers.attention import map_rows, pool_bag, softmax_over_patches
from mil_heatmaps.layers.pooling import ATTENTION_ROLES, BLOCK_ROLES, AttentionKind, PublicAttention, attention_config
from mil_heatmaps.layers.roles import Chain, Layout, Match, OneOf, Role
from mil_heatmaps.layers.steps import BatchNorm, Residual, Steps, steps_of
from mil_heatmaps.models.base import Bag, BagResult, ScoreSpec
from mil_heatmaps.models.public import CONTRIBUTION, MEAN, PublicModel, attention_spec, note_embedding, shares_spec
from mil_heatmaps.models.registry import register_model

EMBED = Chain(
    "embed",
    "feature_extractor_part2.{n} feature_extractor.{n} encoder.{n} dimreduction.fc1 linear_layers.{n}.0 "
    "patch_embed.{n} fc.{n} feature.{n} _fc1.{n} embedding.{n}",
    "D", "E", needed=False,
)  # fmt: skip
HEAD = OneOf(
    "head",
    {
        "classes": (Role("heads.{c}", "classifiers.{c}", "1 E"),),
        "one": (Chain("head", "classifier classifier.{n} classifier.fc fc head head.{n} classifiers", "P", "C"),),
    },
)
EmbedActivation = Literal["relu", "gelu", "leaky_relu", "tanh", "none"]


@register_model("abmil_general")
class ABMILGeneral(PublicModel):
    """See the module.

    Parameters
    ----------
    embed : words
        Steps of the embedding, see `layers.steps`; none: features are pooled as they are.
    adaptor : int
        Width within AttriMIL's residual adaptor; 0 without.
    blocks : int
        Residual blocks after the embedding.
    branches : int
        K.
    class_heads : bool
        One head of one row per class, which reads its own branch; otherwise one head reads all, branch after branch.
    head_norm : bool
        A batch norm stands before the head.
    shared_head : bool
        The head is as wide as one branch (ACMIL).
    """

    layout = Layout((
        Role("adaptor.0", "adaptor.0", "R D", needed=False),
        Role("adaptor.2", "adaptor.2", "D R", needed=False),
        EMBED, *BLOCK_ROLES, ATTENTION_ROLES, HEAD,
    ))  # fmt: skip
    not_in_tensors: ClassVar[Mapping[str, str]] = {
        "embed_activation": "what follows each layer of the embedding: relu, gelu, leaky_relu, tanh or none",
        "attention_gate": "quantile of the attention up to which patches are taken out (slideflow); 0: none",
        "temperature": "what attention is divided by before its softmax (slideflow)",
    }

    def __init__(
        self,
        in_dim: int = 1024,
        embed: tuple[str, ...] = ("linear 512", "activation"),
        adaptor: int = 0,
        blocks: int = 0,
        attention_kind: AttentionKind = "gated",
        attention_dim: int = 128,
        attention_without_bias: tuple[str, ...] = (),
        branches: int = 1,
        class_heads: bool = False,
        head_norm: bool = False,
        head_bias: bool = True,
        shared_head: bool = False,
        num_classes: int = 2,
        embed_activation: EmbedActivation = "relu",
        attention_gate: float = 0.0,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(in_dim=in_dim, num_classes=num_classes)
        if not 0 <= attention_gate < 1 or temperature <= 0:
            raise ModelError(
                f"attention_gate must be from 0 to below 1 and temperature above 0, got {attention_gate}, {temperature}"
            )
        self.gate, self.temperature, self.branches, self.class_heads = (
            attention_gate, temperature, branches, class_heads
        )  # fmt: skip
        if adaptor:
            self.adaptor = nn.Sequential(nn.Linear(in_dim, adaptor), nn.ReLU(), nn.Linear(adaptor, in_dim))
        self.embed = Steps(in_dim, embed, embed_activation)
        width = self.embed.width
        self.blocks = nn.Sequential(*(Residual(width) for _ in range(blocks)))
        self.attention = PublicAttention(width, attention_dim, branches, attention_kind, attention_without_bias)
        if class_heads:
            self.heads = nn.ModuleList(nn.Linear(width, 1, bias=head_bias) for _ in range(num_classes))
        else:
            steps = (["norm"] if head_norm else []) + [f"linear{'' if head_bias else '!'} {num_classes}"]
            self.head = Steps(width if shared_head else width * branches, steps)

    @classmethod
    def config_of(cls, match: Match) -> dict[str, Any] | None:
        """Read the sizes and what the numbers of Sequentials tell."""
        sizes, classes = match.sizes, match.choices.get("head") == "classes"
        layers = match.chains.get("head", ())
        branches, count = sizes["K"], match.count("heads.{c}") if classes else sizes["C"]
        embed, in_dim = match.chains.get("embed", ()), sizes.get("D", sizes["E"])
        if any(layer.kind == "norm" and not layer.full for layer in embed):
            match.misfit = match.misfit or "the embedding's norm has no running statistics, so it is not a batch norm"
        if not embed and in_dim != sizes["E"]:
            match.misfit = match.misfit or f"the attention reads {sizes['E']} numbers, and the adaptor gives {in_dim}"
        match.misfit = match.misfit or _misfit_of_head(match, classes)
        if match.misfit:
            return None
        note_embedding(match)
        if not (len(layers) == 2 and match.roles["head"] == "head.{n}"):  # slideflow's and marugoto's
            match.unasked |= {"attention_gate": "", "temperature": ""}
        return {
            "in_dim": in_dim, "num_classes": count, "embed": steps_of(embed),
            "adaptor": sizes.get("R", 0), "blocks": match.count("blocks.{b}.block.0"), **attention_config(match),
            "branches": branches, "class_heads": classes, "head_norm": len(layers) == 2,
            "head_bias": match.biased("heads.0") if classes else layers[-1].full,
        }  # fmt: skip

    @classmethod
    def settings_told(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """A slideflow file that names its model has said what it does not set."""
        told = {"attention_gate": 0.0, "temperature": 1.0} if settings.get("model") == "attention_mil" else {}
        return told | super().settings_told(settings)

    def score_specs(self) -> dict[str, ScoreSpec]:
        """Raw attention is the default of one branch, the mean share of several."""
        columns: Any = "class" if self.class_heads else "head"
        several = self.branches > 1
        specs = {"attention_mean": MEAN} if several else {}
        specs |= {"attention": attention_spec(columns), "attention_softmax": shares_spec(columns)}
        return specs | {"class_contribution": CONTRIBUTION}

    def embedded(self, x: Tensor) -> Tensor:
        """Return (n, E) of features (n, D)."""
        if hasattr(self, "adaptor"):
            x = x + self.adaptor(x)
        return cast(Tensor, self.blocks(self.embed(x)))

    def _scaled(self, h: Tensor) -> Tensor:
        return cast(Tensor, self.attention(h)) / self.temperature

    def shares(self, raw: Tensor) -> Tensor:
        """Return what each patch (N, K) weighs: the softmax of attention, over what a gate lets through."""
        if self.gate and len(raw) > 1:
            kept = raw > _quantile(raw, self.gate)
            if not kept.any(dim=0).all():
                raise ModelError(f"attention_gate {self.gate} takes every patch out: their attention is the same")
            raw = raw.masked_fill(~kept, -torch.inf)
        return softmax_over_patches(raw / self.temperature)

    def readout(self) -> tuple[Tensor, Tensor]:
        """Return the head's rows (K, C, E), (1, C, E) of one head a class, with a norm folded in; and its bias (C,)."""
        if self.class_heads:
            heads = [cast(nn.Linear, head) for head in self.heads]
            rows = torch.cat([head.weight for head in heads])
            biased = heads[0].bias is not None
            return rows[None], torch.cat([head.bias for head in heads]) if biased else rows.new_zeros(len(heads))
        linear = cast(nn.Linear, self.head[-1])
        weight: Tensor = linear.weight
        bias = weight.new_zeros(len(weight)) if linear.bias is None else cast(Tensor, linear.bias)
        if len(self.head) == 2:
            scale, shift = cast(BatchNorm, self.head[0]).scale_and_shift()
            bias = bias + weight @ shift
            weight = weight * scale
        return weight.reshape(len(weight), -1, self.embed.width).transpose(0, 1), bias

    def _logits(self, pooled: Tensor) -> Tensor:
        """Return logits (..., C) of pooled vectors (..., K, E)."""
        weight, bias = (part.to(pooled) for part in self.readout())
        if self.class_heads:
            return (pooled * weight[0]).sum(dim=-1) + bias
        return torch.einsum("...ke,kce->...c", pooled, weight) + bias

    def bag_vectors(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return pooled vectors (1, K, E) and raw attention (N, K)."""
        h = self.embedded(x)
        raw = self.attention(h)
        return (self.shares(raw).T @ h)[None], raw

    def forward_head(self, slide_feats: Tensor) -> Tensor:
        """Return logits (B, C) of (B, K, E)."""
        return self._logits(slide_feats)

    def explain_bag(self, bag: Bag, wanted: frozenset[str]) -> BagResult:
        """One pass; what a gate lets through is embedded a second time, once the gate is known."""
        weight, _ = self.readout()
        per_row = {"votes": lambda h: h @ weight.flatten(0, 1).T} if "class_contribution" in wanted else {}
        if self.gate:
            kept = map_rows(bag, lambda x: self._raw_and_votes(x, per_row))
            raw, votes = kept[:, : self.branches].contiguous(), kept[:, self.branches :]
            shares = self.shares(raw)
            pooled = sum(
                shares[where][some].T @ self.embedded(x[some])
                for where, x in bag.chunks()
                if (some := (shares[where] > 0).any(dim=1)).any()
            )
            rows = {"votes": votes}
        else:
            raw, pooled, rows = pool_bag(bag, self.embedded, self._scaled, per_row)
            raw = raw * self.temperature if self.temperature != 1 else raw
        scores = {"attention": raw}
        if wanted & {"attention_softmax", "attention_mean", "class_contribution"}:
            scores["attention_softmax"] = self.shares(raw)
            scores["attention_mean"] = scores["attention_softmax"].mean(dim=1)
        if per_row:
            scores["class_contribution"] = self._contributions(scores["attention_softmax"], rows["votes"])
        return BagResult(self._logits(cast(Tensor, pooled)), scores)

    def _raw_and_votes(self, x: Tensor, per_row: Mapping[str, Any]) -> Tensor:
        h = self.embedded(x)
        return torch.cat([self.attention(h), *(function(h) for function in per_row.values())], dim=1)

    def _contributions(self, shares: Tensor, votes: Tensor) -> Tensor:
        if self.class_heads:
            return shares * votes
        return (shares[:, :, None] * votes.reshape(len(votes), self.branches, -1)).sum(dim=1)

    def exact_form(self, rows: Rows) -> Form | None:
        """Logits are sums over the patches; a gate's are not, because it depends on the others."""
        if self.gate:
            return None
        weight, bias = self.readout()
        if self.branches == 1 or self.class_heads:

            def votes(x: Tensor) -> tuple[Tensor, Tensor]:
                h = self.embedded(x)
                return h @ weight[0].T, self._scaled(h)

            return Additive(rows, votes, wide(bias))
        flat, after = weight.detach().to("cpu", torch.float64), bias.detach().to("cpu", torch.float64)
        return VectorPooling(
            rows, self.embedded, self._scaled, lambda s: torch.einsum("...ke,kce->...c", s, flat) + after
        )


def _misfit_of_head(match: Match, classes: bool) -> str:
    """Say why the head cannot read what the attention pools, "" if it can."""
    branches, width, layers = match.sizes["K"], match.sizes["E"], match.chains.get("head", ())
    if classes:
        count, key = match.count("heads.{c}"), match.roles["heads.{c}"]
        whole = match.numbers["heads.{c}"] == tuple(range(count)) and branches == count
        return "" if whole else f"{count} heads {key} of one output each do not fit {branches} branches of attention"
    key = match.roles["head"]
    if [layer.kind for layer in layers] not in (["linear"], ["norm", "linear"]):
        return f"the head {key} is more than one Linear with perhaps a batch norm before it"
    if len(layers) == 2 and not layers[0].full:
        return f"the norm in {key} has no running statistics, so it is not a batch norm"
    pooled = f"{branches} x {width}" if branches > 1 else str(width)
    reads = match.sizes["P"]
    return "" if reads == branches * width else f"{key} reads {reads} numbers, and the attention pools {pooled}"


def _quantile(raw: Tensor, q: float) -> Tensor:
    """Return the q-quantile (1, K) of each column, between neighbours by a straight line, of any number of rows."""
    found = np.quantile(raw.detach().cpu().numpy(), q, axis=0, keepdims=True)
    return torch.from_numpy(np.asarray(found)).to(raw)

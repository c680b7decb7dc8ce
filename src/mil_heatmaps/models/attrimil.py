"""AttriMIL (Cai et al. 2024): a branch of attention and a scorer of patches for each class.

    h_i = x_i + adaptor(x_i),  logit_c = sum_i softmax(a_c)_i g_c(h_i) + bias_c

The authors draw g exp(a). It is the contribution up to one factor per slide and class, and it overflows.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mil_heatmaps.explain.additive import Additive
from mil_heatmaps.explain.answers import Form
from mil_heatmaps.explain.rows import Rows, wide
from mil_heatmaps.layers.attention import map_rows, softmax_over_patches
from mil_heatmaps.layers.pooling import PublicAttention
from mil_heatmaps.layers.roles import Layout, Match, Role
from mil_heatmaps.models.base import Bag, BagResult, ScoreSpec
from mil_heatmaps.models.public import PublicModel, attention_spec, shares_spec
from mil_heatmaps.models.registry import register_model


@register_model("attrimil")
class AttriMIL(PublicModel):
    """See the module; `adaptor_dim` and `attention_dim` are hidden widths."""

    layout = Layout((
        Role("adaptor.0", "adaptor.0", "R D"), Role("adaptor.2", "adaptor.2", "D R"),
        Role("attention.{c}.first", "attention_nets.{c}.attention_a.0", "A D"),
        Role("attention.{c}.gate", "attention_nets.{c}.attention_b.0", "A D"),
        Role("attention.{c}.out", "attention_nets.{c}.attention_c", "1 A"),
        Role("scorers.{c}", "classifiers.{c}", "1 D"), Role("bias", "bias", "C", "tensor"),
    ))  # fmt: skip

    def __init__(
        self, in_dim: int = 1024, adaptor_dim: int = 256, attention_dim: int = 128, num_classes: int = 2
    ) -> None:
        super().__init__(in_dim=in_dim, num_classes=num_classes)
        self.adaptor = nn.Sequential(nn.Linear(in_dim, adaptor_dim), nn.ReLU(), nn.Linear(adaptor_dim, in_dim))
        self.attention = nn.ModuleList(PublicAttention(in_dim, attention_dim) for _ in range(num_classes))
        self.scorers = nn.ModuleList(nn.Linear(in_dim, 1) for _ in range(num_classes))
        self.bias = nn.Parameter(torch.zeros(num_classes))

    @classmethod
    def config_of(cls, match: Match) -> dict[str, Any] | None:
        """Read the sizes; every class has its branch and its scorer."""
        sizes, classes = match.sizes, tuple(range(match.sizes["C"]))
        if match.numbers["scorers.{c}"] != classes or match.numbers["attention.{c}.out"] != classes:
            match.misfit = match.misfit or f"attention_nets and classifiers need the numbers 0 to {len(classes) - 1}"
            return None
        return {
            "in_dim": sizes["D"], "num_classes": len(classes), "adaptor_dim": sizes["R"], "attention_dim": sizes["A"],
        }  # fmt: skip

    def score_specs(self) -> dict[str, ScoreSpec]:
        """The contribution to each class is the default, as the authors draw it."""
        return {
            "class_contribution": ScoreSpec(
                "class_contribution",
                "what the patch adds to the logit of each class; sums to the logit less the class's bias",
                "class",
            ),
            "attention": attention_spec("class"),
            "attention_softmax": shares_spec("class"),
            "instance_logit": ScoreSpec(
                "instance_logit", "what the class's own scorer says of the patch alone", "class", alone=True
            ),
        }

    def _joined(self) -> tuple[Tensor, ...]:
        """Return the layers of all branches and scorers joined: one layer reads x, the other reads ReLU(lin0 x).

        The layers are linear in ``h = x + lin2 ReLU(lin0 x)``. So lin2 is folded into their weights, and h (n, D) is
        never computed.
        """
        branches: list[Any] = list(self.attention)
        layers = [one.first for one in branches] + [one.gate for one in branches] + list(self.scorers)
        inner, outer = cast(nn.Linear, self.adaptor[0]), cast(nn.Linear, self.adaptor[2])
        wide_type = torch.float32 if self.device.type == "mps" else torch.float64
        weight, bias = torch.cat([one.weight for one in layers]), torch.cat([one.bias for one in layers])
        through = weight.to(wide_type) @ outer.weight.to(wide_type)
        shift = bias.to(wide_type) + weight.to(wide_type) @ outer.bias.to(wide_type)
        return (
            torch.cat([inner.weight, weight]), torch.cat([inner.bias, shift.to(bias)]), through.to(weight),
            cast(Any, torch).block_diag(*[one.out.weight for one in branches]),
            torch.cat([one.out.bias for one in branches]),
        )  # fmt: skip

    def _votes(self, x: Tensor, joined: tuple[Tensor, ...] | None = None) -> tuple[Tensor, Tensor]:
        """Return the scorers' outputs (n, C) and raw attention (n, C) of features (n, D)."""
        weight, bias, through, out, rest = joined or self._joined()
        read = F.linear(x, weight, bias)
        inner = len(weight) - len(through)
        read = torch.addmm(read[:, inner:], torch.relu(read[:, :inner]), through.T)
        gated, votes = read[:, : -self.num_classes], read[:, -self.num_classes :]
        first, gate = gated.chunk(2, dim=1)
        return votes, F.linear(torch.tanh(first) * torch.sigmoid(gate), out, rest)

    def bag_vectors(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return what the patches add to each class (1, C) and raw attention (N, C)."""
        votes, raw = self._votes(x)
        return (softmax_over_patches(raw) * votes).sum(dim=0, keepdim=True), raw

    def forward_head(self, slide_feats: Tensor) -> Tensor:
        """Return logits (B, C)."""
        return slide_feats + self.bias

    def explain_bag(self, bag: Bag, wanted: frozenset[str]) -> BagResult:
        """One pass keeps two numbers per patch and class."""
        joined = self._joined()
        kept = map_rows(bag, lambda x: torch.cat(self._votes(x, joined), dim=1))
        votes, raw = kept[:, : self.num_classes], kept[:, self.num_classes :]
        shares = softmax_over_patches(raw)
        contributions = shares * votes
        sums = torch.float32 if bag.device.type == "mps" else torch.float64
        logits = contributions.sum(dim=0, dtype=sums).to(votes.dtype) + self.bias
        scores = {"class_contribution": contributions, "attention": raw, "attention_softmax": shares}
        return BagResult(logits, scores | {"instance_logit": votes})

    def exact_form(self, rows: Rows) -> Form:
        """The logits are sums over the patches."""
        return Additive(rows, self._votes, wide(cast(Tensor, self.bias)))

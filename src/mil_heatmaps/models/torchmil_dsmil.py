"""torchmil's DSMIL: the authors' pooling, and the mean of the bag's logit and of the best patch's."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from mil_heatmaps.explain.answers import Form
from mil_heatmaps.explain.critical_pooling import CriticalPooling
from mil_heatmaps.explain.rows import Rows
from mil_heatmaps.explain.vector_pooling import Straight
from mil_heatmaps.layers.bag import MappedBag
from mil_heatmaps.layers.roles import Layout, Match, OneOf, Role
from mil_heatmaps.layers.steps import Steps, steps_of
from mil_heatmaps.models.abmil_general import EmbedActivation
from mil_heatmaps.models.base import Bag, BagResult, ScoreSpec
from mil_heatmaps.models.dsmil_original import DSMILOriginal
from mil_heatmaps.models.public import note_embedding
from mil_heatmaps.models.registry import register_model
from mil_heatmaps.models.torchmil_abmil import EMBEDDED, FEAT_EXT


@register_model("torchmil_dsmil")
class DSMILTorchmil(DSMILOriginal):
    """logit = (bag logit + max_i c_i) / 2 of embedded patches; parameters are those of `DSMILOriginal`."""

    layout = Layout((
        FEAT_EXT, Role("instance", "inst_classifier", "C E"),
        OneOf("query", {
            "deep": (Role("query.0", "q_nn.0", "M E"), Role("query.2", "q_nn.2", "A M")),
            "linear": (Role("query.0", "q_nn", "A E"),),
        }),
        Role("value", "v_nn.1", "V E", needed=False),
        OneOf("bag", {
            "convolution": (Role("bag", "bag_classifier", "C C V"),), "linear": (Role("bag", "bag_classifier", "C V"),),
        }),
    ))  # fmt: skip
    not_in_tensors: ClassVar[Mapping[str, str]] = {"embed_activation": EMBEDDED}
    independent = False

    def __init__(
        self,
        in_dim: int = 512,
        embed: tuple[str, ...] = (),
        version: Literal["linear", "deep"] = "linear",
        query_dim: int = 128,
        hidden_dim: int = 128,
        value_dim: int = 0,
        convolution: bool = False,
        num_classes: int = 1,
        embed_activation: EmbedActivation = "relu",
    ) -> None:
        steps = Steps(in_dim, embed, embed_activation)
        super().__init__(steps.width, version, query_dim, hidden_dim, value_dim, num_classes, value_relu=True)
        self.in_dim, self.embed = in_dim, steps
        if not convolution:
            self.add_module("bag", nn.Linear(value_dim or steps.width, num_classes))

    @classmethod
    def config_of(cls, match: Match) -> dict[str, Any] | None:
        """Read the sizes."""
        sizes, embed = match.sizes, match.chains.get("embed", ())
        if sizes["C"] != 1:
            match.misfit = match.misfit or f"inst_classifier has {sizes['C']} outputs, where torchmil's has one"
        elif not match.has("value") and sizes["V"] != sizes["E"]:
            match.misfit = match.misfit or f"bag_classifier reads {sizes['V']} numbers, where patches have {sizes['E']}"
        elif any(layer.kind != "linear" for layer in embed):
            match.misfit = match.misfit or "feat_ext holds more than Linear layers"
        if match.misfit:
            return None
        note_embedding(match)
        return {
            "in_dim": sizes.get("D", sizes["E"]), "embed": steps_of(embed), "version": match.choices["query"],
            "query_dim": sizes["A"], "hidden_dim": sizes.get("M", 0), "num_classes": 1,
            "value_dim": sizes["V"] if match.has("value") else 0, "convolution": match.choices["bag"] == "convolution",
        }  # fmt: skip

    def score_specs(self) -> dict[str, ScoreSpec]:
        """The authors', without contributions."""
        return {name: spec for name, spec in super().score_specs().items() if name != "class_contribution"}

    def refused_own_scores(self) -> dict[str, str]:
        """Half of the logit is one patch's."""
        return {"class_contribution": "half of the logit comes from the best patch alone, so it is not a sum"}

    def bag_vectors(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the vector and the best patch's logit, (1, 1, V + 1), and raw attention (N, 1)."""
        h = self.embed(x)
        pooled, raw = super().bag_vectors(h)
        return torch.cat([pooled, self.instance(h).amax(dim=0).reshape(1, 1, 1)], dim=-1), raw

    def forward_head(self, slide_feats: Tensor) -> Tensor:
        """Return logits (B, 1)."""
        return (self._bag_logits(slide_feats[..., :-1]) + slide_feats[..., -1]) / 2

    def explain_bag(self, bag: Bag, wanted: frozenset[str]) -> BagResult:
        """As the authors', of embedded patches."""
        found = super().explain_bag(MappedBag(bag, self.embed), wanted)
        best = found.scores["instance_logit"].amax(dim=0)
        return BagResult((cast(Tensor, found.logits) + best) / 2, found.scores)

    def exact_form(self, rows: Rows) -> Form:
        """As the authors', half of it, and half of the best patch's logit."""
        whole = cast(CriticalPooling, super().exact_form(rows))
        first = cast(Straight, whole.first)
        return replace(
            whole, embed=lambda x: whole.embed(self.embed(x)), head=lambda pooled: whole.head(pooled) / 2,
            first=replace(first, rest=lambda pooled: first.rest(pooled) / 2), adds=0.5,
        )  # fmt: skip

"""ACMIL with gated attention (Zhang et al. 2024): the mean of several branches of attention pools the slide.

    h_i = ReLU(fc1 x_i),  m_i = mean_k softmax(a_k)_i,  logits = W sum_i m_i h_i + b

The classifiers of the branches and the masking serve training only. The model is `abmil_general` with W / K for every
branch.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from mil_heatmaps.layers.pooling import BLOCK_ROLES, GATED_ROLES, attention_config
from mil_heatmaps.layers.roles import Chain, Layout, Match, Role
from mil_heatmaps.layers.steps import steps_of
from mil_heatmaps.models.abmil_general import ABMILGeneral, EmbedActivation
from mil_heatmaps.models.base import ScoreSpec
from mil_heatmaps.models.public import CONTRIBUTION, MEAN, attention_spec, shares_spec
from mil_heatmaps.models.registry import register_model

EMBED = Chain("embed", "dimreduction.fc1", "D", "E")
HEADS = (
    Role("tokens.{k}", "classifier.{k}.fc", "C E", training_only=True),
    Role("head.0", "Slide_classifier.fc", "C E"),
)


@register_model("acmil_ga")
class ACMILGated(ABMILGeneral):
    """See the module; `branches` is the number of tokens."""

    layout = Layout((EMBED, *BLOCK_ROLES, *GATED_ROLES, *HEADS))
    not_in_tensors: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self,
        in_dim: int = 1024,
        embed: tuple[str, ...] = ("linear! 512", "activation"),
        blocks: int = 0,
        attention_dim: int = 128,
        attention_without_bias: tuple[str, ...] = (),
        branches: int = 5,
        head_bias: bool = True,
        num_classes: int = 2,
        embed_activation: EmbedActivation = "relu",
    ) -> None:
        super().__init__(
            in_dim=in_dim, embed=embed, blocks=blocks, attention_dim=attention_dim, branches=branches,
            attention_without_bias=attention_without_bias, num_classes=num_classes,
            embed_activation=embed_activation, head_bias=head_bias, shared_head=True,
        )  # fmt: skip

    @classmethod
    def config_of(cls, match: Match) -> dict[str, Any] | None:
        """Read the sizes."""
        told = attention_config(match)
        return {
            "in_dim": match.sizes["D"], "num_classes": match.sizes["C"], "embed": steps_of(match.chains["embed"]),
            "blocks": match.count("blocks.{b}.block.0"), "attention_dim": told["attention_dim"],
            "attention_without_bias": told["attention_without_bias"], "branches": match.sizes["K"],
            "head_bias": match.biased("head.0"),
        }  # fmt: skip

    def score_specs(self) -> dict[str, ScoreSpec]:
        """The mean share is the default for any number of tokens, because it pools the slide."""
        return {
            "attention_mean": MEAN, "attention": attention_spec("head"), "attention_softmax": shares_spec("head"),
            "class_contribution": CONTRIBUTION,
        }  # fmt: skip

    def readout(self) -> tuple[Tensor, Tensor]:
        """Return the head's rows divided by the number of branches, once per branch (K, C, E), and its bias (C,)."""
        weight, bias = super().readout()
        return weight.expand(self.branches, -1, -1) / self.branches, bias

"""torchmil's ABMIL and CLAM_SB: attention pooling as in `abmil_general`, under torchmil's keys.

CLAM_SB's instance classifiers serve training only. ``feat_ext`` is the user's module: Linear layers with ReLU.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from mil_heatmaps.layers.pooling import PublicAttention, attention_config
from mil_heatmaps.layers.roles import Chain, Layout, Match, OneOf, Role
from mil_heatmaps.layers.steps import steps_of
from mil_heatmaps.models.abmil_general import ABMILGeneral, EmbedActivation
from mil_heatmaps.models.public import note_embedding
from mil_heatmaps.models.registry import register_model

FEAT_EXT = Chain("embed", "feat_ext.{n} feat_ext", "D", "E", needed=False)
POOL = OneOf("attention", {
    "gated": (
        Role("attention.first", "pool.fc1.module", "A E"), Role("attention.gate", "pool.fc_gated.module", "A E"),
        Role("attention.out", "pool.fc2", "1 A"),
    ),
    "plain": (Role("attention.first", "pool.fc1.module", "A E"), Role("attention.out", "pool.fc2", "1 A")),
})  # fmt: skip
AttentionActivation = Literal["tanh", "relu", "gelu"]
EMBEDDED = "what follows each layer of feat_ext: relu, gelu, leaky_relu, tanh or none"
ACTIVATION = "what follows the first layer of the attention: tanh, relu or gelu"


@register_model("torchmil_abmil")
class ABMILTorchmil(ABMILGeneral):
    """See the module; parameters are those of `ABMILGeneral`."""

    layout = Layout((
        FEAT_EXT, POOL, Chain("head", "classifier.module classifier", "E", "C"),
        Role("inst", "inst_classifiers.{n}.module", "_ E", needed=False, training_only=True),
    ))  # fmt: skip
    not_in_tensors: ClassVar[Mapping[str, str]] = {"attention_activation": ACTIVATION, "embed_activation": EMBEDDED}

    def __init__(
        self,
        in_dim: int = 1024,
        embed: tuple[str, ...] = (),
        attention_kind: Literal["gated", "plain"] = "plain",
        attention_dim: int = 128,
        attention_without_bias: tuple[str, ...] = ("out",),
        head_bias: bool = True,
        num_classes: int = 1,
        attention_activation: AttentionActivation = "tanh",
        embed_activation: EmbedActivation = "relu",
    ) -> None:
        super().__init__(
            in_dim, embed, embed_activation=embed_activation, attention_kind=attention_kind,
            attention_dim=attention_dim, attention_without_bias=attention_without_bias, head_bias=head_bias,
            num_classes=num_classes,
        )  # fmt: skip
        self.attention = PublicAttention(
            self.embed.width, attention_dim, 1, attention_kind, attention_without_bias, attention_activation
        )

    @classmethod
    def config_of(cls, match: Match) -> dict[str, Any] | None:
        """Read the sizes."""
        head, embed = match.chains["head"], match.chains.get("embed", ())
        if len(head) != 1 or head[0].kind != "linear":
            match.misfit = match.misfit or "the classifier is not one Linear"
            return None
        if any(layer.kind != "linear" for layer in embed):
            match.misfit = match.misfit or "feat_ext holds more than Linear layers"
            return None
        note_embedding(match)
        return {
            "in_dim": match.sizes.get("D", match.sizes["E"]), "num_classes": match.sizes["C"], "embed": steps_of(embed),
            **attention_config(match), "head_bias": head[0].full,
        }  # fmt: skip

    @classmethod
    def settings_told(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """torchmil's files hold only tensors; PathForge's files beside them call the activation ``att_act``."""
        return super(ABMILGeneral, cls).settings_told(settings)

"""Attention over patches with the key names of public repositories, and the roles of these names."""

from collections.abc import Collection
from typing import Literal, TypeAlias, cast

import torch
from torch import Tensor, nn

from mil_heatmaps.layers.roles import Match, OneOf, Role, below
from mil_heatmaps.layers.steps import activate

AttentionKind: TypeAlias = Literal["gated", "plain", "single"]

GATED_ROLES = (
    Role("attention.first", below("- attention. attention_net.", "attention_V.0 attention_a.0"), "A E"),
    Role("attention.gate", below("- attention. attention_net.", "attention_U.0 attention_b.0"), "A E"),
    Role("attention.out", below("- attention. attention_net.", "attention_weights attention_w attention_c"), "K A"),
)
_PLAIN = "attention. attention.attention. attention_net. attention_net.attention."
PLAIN_ROLES = (
    Role("attention.first", below(_PLAIN, "0"), "A E"),
    Role("attention.out", below(_PLAIN, "2 3"), "K A"),  # 3 if a Dropout takes a number
)
ATTENTION_ROLES = OneOf(
    "attention",
    {"gated": GATED_ROLES, "plain": PLAIN_ROLES, "single": (Role("attention.out", "attention", "K E"),)},
)
BLOCK_ROLES = (
    Role("blocks.{b}.block.0", below("dimreduction. dim_reduction. encoder. -", "resBlocks.{b}.block.0"), "E E",
         needed=False),
    Role("blocks.{b}.block.2", below("dimreduction. dim_reduction. encoder. -", "resBlocks.{b}.block.2"), "E E",
         needed=False),
)  # fmt: skip
"""The residual blocks of `DimReduction`."""


class PublicAttention(nn.Module):
    """Raw attention of embedded patches: ``out(act(first h) * sigmoid(gate h))``, the same without gate, or ``out(h)``.

    Parameters
    ----------
    in_dim, hidden, branches : int
    kind : "gated", "plain" or "single"
    without_bias : names among ``first``, ``gate``, ``out``
    activation : str
        Activation after `first`; tanh in nearly all code.
    """

    def __init__(
        self,
        in_dim: int,
        hidden: int,
        branches: int = 1,
        kind: AttentionKind = "gated",
        without_bias: Collection[str] = (),
        activation: str = "tanh",
    ) -> None:
        super().__init__()
        self.kind, self.activation = kind, activation
        if kind != "single":
            self.first = nn.Linear(in_dim, hidden, bias="first" not in without_bias)
        if kind == "gated":
            self.gate = nn.Linear(in_dim, hidden, bias="gate" not in without_bias)
        self.out = nn.Linear(in_dim if kind == "single" else hidden, branches, bias="out" not in without_bias)

    def forward(self, h: Tensor) -> Tensor:
        """Return raw attention (n, K) of embedded patches (n, E)."""
        if self.kind == "single":
            return cast(Tensor, self.out(h))
        found = activate(self.first(h), self.activation)
        if self.kind == "gated":
            found = found * torch.sigmoid(self.gate(h))
        return cast(Tensor, self.out(found))


def attention_config(match: Match, name: str = "attention") -> dict[str, object]:
    """Return the constructor arguments for a family's attention, from a match with roles named as here."""
    layers = ("first", "gate", "out")
    return {
        "attention_kind": match.choices.get(name, "gated"),
        "attention_dim": match.sizes.get("A", 0),
        "attention_without_bias": tuple(
            one for one in layers if match.has(f"{name}.{one}") and not match.biased(f"{name}.{one}")
        ),
    }

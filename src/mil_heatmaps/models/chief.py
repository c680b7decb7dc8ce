"""CHIEF (Wang et al. 2024): gated attention over the patches, whose weights pool their CTransPath features.

    a_i = W_c(tanh(W_a e_i + b_a) * sigmoid(W_b e_i + b_b)) + b_c  with  e_i = ReLU(W x_i + b)
    vector = sum_i softmax(a)_i x_i

The published code calls this vector ``WSI_feature``. The organ's text, which the code adds elsewhere, and the heads for
pretraining play no part in it.
"""

from typing import Any

import torch
from torch import Tensor, nn

from mil_heatmaps.layers.attention import GatedAttention
from mil_heatmaps.layers.roles import Layout, Match, Role

_NETS = "attention_net.3 attention_net.2"  # with and without dropout before it
LAYOUT = Layout(
    (
        Role("embed.0", "attention_net.0", "E D"),
        *(Role(f"attention.{part}", " ".join(f"{net}.{part}" for net in _NETS.split()), shape)
          for part, shape in (("attention_a.0", "A E"), ("attention_b.0", "A E"), ("attention_c", "1 A"))),
        Role("organ", "organ_embedding", "_ T", "tensor", training_only=True),
        Role("text", "text_to_vision.0", "E T", training_only=True),
    ),
    beside=("classifiers.", "instance_classifiers.", "att_head."),
)  # fmt: skip


class Chief(nn.Module):
    """CHIEF's pooling as a slide encoder: features (N, D) to a vector (D,), and the patches' weights (N,)."""

    def __init__(self, in_dim: int, embed_dim: int, attention_dim: int) -> None:
        super().__init__()
        self.in_dim = in_dim
        self.embed = nn.Sequential(nn.Linear(in_dim, embed_dim), nn.ReLU())
        self.attention = GatedAttention(embed_dim, attention_dim)

    @classmethod
    def of(cls, match: Match) -> "Chief":
        """Return the encoder with the weights that a match of `LAYOUT` holds."""
        made = cls(match.sizes["D"], match.sizes["E"], match.sizes["A"])
        made.load_state_dict({key: value for key, value in match.tensors.items() if key in made.state_dict()})
        return made

    def forward(self, features: Tensor) -> dict[str, Any]:
        """Return ``vector`` (D,) and ``attention`` (N,), which sums to 1."""
        weights = torch.softmax(self.attention(self.embed(features)).reshape(-1), dim=0)
        return {"vector": weights @ features, "attention": weights}

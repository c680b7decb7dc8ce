"""What models of other public repositories share: they are recognised by a `Layout`, and take one bag at a time."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from mil_heatmaps.layers.roles import Layout, Match
from mil_heatmaps.models.base import MILModel, ScoreSpec

MEAN = ScoreSpec("attention_mean", "mean share of the patch over the branches")
CONTRIBUTION = ScoreSpec(
    "class_contribution", "what the patch adds to the logit of each class; sums to the logit less its constant", "class"
)
Columns = Literal["one", "class", "head"]


def attention_spec(columns: Columns = "one") -> ScoreSpec:
    """Return the spec of raw attention, one column per branch."""
    return ScoreSpec("attention_logit", "raw attention, before the softmax over the patches", columns, alone=True)


def shares_spec(columns: Columns = "one") -> ScoreSpec:
    """Return the spec of the softmax of raw attention, one column per branch."""
    return ScoreSpec("attention_softmax", "share of the slide's vector that comes from the patch; sums to 1", columns)


def note_embedding(match: Match, name: str = "embed") -> None:
    """Note that the user need not give the activation of the embedding if there is no embedding."""
    if not match.has(name):
        match.unasked["embed_activation"] = "the file has no layers before the attention"


class PublicModel(MILModel):
    """A family of models whose files `layout` recognises. See ARCHITECTURE.md, "Where do I add …"."""

    key_prefix = ""
    head_keys = ()
    layout: ClassVar[Layout]
    file_names: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Setting in `not_in_tensors` -> other names that files of the family have for it."""

    @classmethod
    def config_of(cls, match: Match) -> dict[str, Any] | None:
        """Return the constructor arguments that follow from a match, None if it is another model after all.

        The result holds `in_dim`, `num_classes` and every size; it leaves out what is in `not_in_tensors`.
        """
        raise NotImplementedError

    @classmethod
    def config_from_shapes(cls, shapes: Any) -> dict[str, Any] | None:
        """None: these models are recognised by their `layout`, after those of MIL-Lab, CLAM and TRIDENT."""
        return None

    @classmethod
    def settings_told(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings in `not_in_tensors` that the file tells, by our names."""
        found: dict[str, Any] = {}
        for name in cls.not_in_tensors:
            for other in (name, *cls.file_names.get(name, ())):
                if settings.get(other) is not None:
                    found.setdefault(name, settings[other])
        return found

    def bag_vectors(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the input of `forward_head` (1, ...) for one bag (N, D), and its attention (N, K), with gradients."""
        raise NotImplementedError

    def forward_features(
        self, h: Tensor, attn_mask: Tensor | None = None, return_attention: bool = False
    ) -> tuple[Tensor, dict[str, Any]]:
        """Return slide vectors (B, ...) of bags (B, N, D), and `attention` (B, K, N); `attn_mask` has 1 for valid."""
        if attn_mask is not None:
            bags = [bag[mask.reshape(-1) > 0] for bag, mask in zip(h, attn_mask, strict=True)]
        else:
            bags = list(h)
        made = [self.bag_vectors(bag) for bag in bags]
        weights = [weight.T for _, weight in made if weight is not None]
        same = len(weights) == len(made) and len({one.shape for one in weights}) == 1
        attention = torch.stack(weights) if return_attention and same else None
        return torch.cat([vectors for vectors, _ in made]), {"attention": attention}

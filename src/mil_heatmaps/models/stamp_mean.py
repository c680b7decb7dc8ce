"""STAMP's models on the mean of the patches: a linear layer, and layers with ReLU between them."""

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn

from mil_heatmaps.explain.additive import Additive
from mil_heatmaps.explain.answers import Form
from mil_heatmaps.explain.rows import Rows, wide
from mil_heatmaps.explain.vector_pooling import VectorPooling
from mil_heatmaps.layers.attention import map_rows
from mil_heatmaps.layers.roles import Chain, Layout, Match, Role
from mil_heatmaps.layers.steps import Steps, steps_of
from mil_heatmaps.models.base import Bag, BagResult, ScoreSpec
from mil_heatmaps.models.public import CONTRIBUTION, PublicModel
from mil_heatmaps.models.registry import register_model


class _OfTheMean(PublicModel):
    """logits = network(mean of the patches)."""

    def network(self, x: Tensor) -> Tensor:
        """Return logits (..., C) of features (..., D)."""
        raise NotImplementedError

    def bag_vectors(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the mean (1, D)."""
        return x.mean(dim=0, keepdim=True), None

    def forward_head(self, slide_feats: Tensor) -> Tensor:
        """Return logits (B, C) of means (B, D)."""
        return self.network(slide_feats)

    def mean_of(self, bag: Bag) -> Tensor:
        """Return the mean (1, D), summed chunk by chunk."""
        sums = [x.to(torch.promote_types(x.dtype, torch.float32)).sum(dim=0) for _, x in bag.chunks()]
        wide_sums = torch.stack(sums).double() if self.device.type != "mps" else torch.stack(sums)
        return (wide_sums.sum(dim=0) / len(bag)).to(self.dtype)[None]

    def refused_own_scores(self) -> dict[str, str]:
        """There is no attention in it."""
        return {"attention": "it classifies the mean of the patches and has no attention"}


@register_model("stamp_linear")
class StampLinear(_OfTheMean):
    """logits = W mean(x) + b: exactly a sum over the patches."""

    layout = Layout((Role("fc", "fc", "C D"),), beside=("class_weights", "valid_auroc"))

    def __init__(self, in_dim: int = 1024, num_classes: int = 2) -> None:
        super().__init__(in_dim=in_dim, num_classes=num_classes)
        self.fc = nn.Linear(in_dim, num_classes)

    @classmethod
    def config_of(cls, match: Match) -> dict[str, Any] | None:
        """Read the sizes."""
        return {"in_dim": match.sizes["D"], "num_classes": match.sizes["C"]}

    def network(self, x: Tensor) -> Tensor:
        """Return logits."""
        return cast(Tensor, self.fc(x))

    def score_specs(self) -> dict[str, ScoreSpec]:
        """What each patch adds."""
        return {"class_contribution": CONTRIBUTION}

    def explain_bag(self, bag: Bag, wanted: frozenset[str]) -> BagResult:
        """W x_i / N."""
        scores = {}
        if "class_contribution" in wanted:
            scores["class_contribution"] = map_rows(bag, lambda x: x @ self.fc.weight.T) / len(bag)
        return BagResult(self.network(self.mean_of(bag))[0], scores)

    def exact_form(self, rows: Rows) -> Form:
        """The mean is attention that is the same for all."""
        return Additive(rows, lambda x: (x @ self.fc.weight.T, x.new_zeros(len(x), 1)), wide(self.fc.bias))


@register_model("stamp_mlp")
class StampMLP(_OfTheMean):
    """logits = W_n ReLU(… ReLU(W_1 mean(x) + b_1) …) + b_n.

    Parameters
    ----------
    mlp : words
        Steps of the network, see `layers.steps`.
    """

    layout = Layout((Chain("mlp", "mlp.{n}", "D", "C"),), beside=("class_weights", "valid_auroc"))

    def __init__(
        self, in_dim: int = 1024, mlp: tuple[str, ...] = ("linear 512", "activation", "linear 2"), num_classes: int = 2
    ) -> None:
        super().__init__(in_dim=in_dim, num_classes=num_classes)
        self.mlp = Steps(in_dim, mlp)

    @classmethod
    def config_of(cls, match: Match) -> dict[str, Any] | None:
        """Read the sizes, and the layers by their numbers."""
        layers = match.chains["mlp"]
        if any(layer.kind != "linear" for layer in layers):
            match.misfit = match.misfit or "a batch norm among the layers of mlp"
            return None
        steps = steps_of(layers, last_active=False)
        return {"in_dim": match.sizes["D"], "num_classes": match.sizes["C"], "mlp": steps}

    def network(self, x: Tensor) -> Tensor:
        """Return logits."""
        return cast(Tensor, self.mlp(x))

    def score_specs(self) -> dict[str, ScoreSpec]:
        """The network on a patch alone: what it would say of a slide of such patches."""
        about = "what the network says of the patch alone, as of a slide that has no other"
        return {"instance_logit": ScoreSpec("instance_logit", about, "class", alone=True)}

    def refused_own_scores(self) -> dict[str, str]:
        """ReLU stands between the mean and the logit."""
        why = {"class_contribution": "layers with ReLU follow the mean, so the logit is not a sum over patches"}
        return super().refused_own_scores() | why

    def explain_bag(self, bag: Bag, wanted: frozenset[str]) -> BagResult:
        """The network on the mean, and on every patch."""
        scores = {"instance_logit": map_rows(bag, self.network)} if "instance_logit" in wanted else {}
        return BagResult(self.network(self.mean_of(bag))[0], scores)

    def exact_form(self, rows: Rows) -> Form:
        """The mean of any part follows from sums; the network runs once a part."""
        after = copy.deepcopy(self.mlp).to("cpu", torch.float64)
        return VectorPooling(
            rows, lambda x: x, lambda x: x.new_zeros(len(x), 1), lambda s: cast(Tensor, after(s.flatten(-2)))
        )

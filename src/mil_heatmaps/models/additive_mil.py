"""Additive MIL (Javed et al. 2022): patches, weighed by attention, are classified one by one; the logits add up.

    a_i = pointer(x_i),  w = softmax(a),  logit_c = sum_i classifier(w_i x_i)_c

Each contribution includes the last bias of the classifier, so the contributions sum to the logit itself.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor

from mil_heatmaps.layers.attention import map_rows, softmax_over_patches
from mil_heatmaps.layers.roles import Chain, Layout, Match
from mil_heatmaps.layers.steps import NORM_EPS, BatchNorm, Steps, activate, steps_of
from mil_heatmaps.models.base import Bag, BagResult, ScoreSpec
from mil_heatmaps.models.public import PublicModel, attention_spec, shares_spec
from mil_heatmaps.models.registry import register_model

LEAKY_SLOPE = 0.2
"""Slope of the pointer's leaky_relu in every published builder."""
PointerActivation = Literal["relu", "leaky_relu", "gelu", "tanh", "none"]


@register_model("additive_mil")
class AdditiveMIL(PublicModel):
    """See the module; `pointer` and `classifier` are steps, see `layers.steps`."""

    layout = Layout((
        Chain("pointer", "pointer.model.{n}", "D", "O"), Chain("classifier", "classifier.model.{n}", "D", "C"),
    ))  # fmt: skip
    not_in_tensors: ClassVar[Mapping[str, str]] = {
        "pointer_activation": "what follows each layer of the pointer but the last: leaky_relu (slope 0.2), relu, …"
    }

    def __init__(
        self,
        in_dim: int = 1024,
        pointer: tuple[str, ...] = ("linear 128", "norm", "activation", "linear 1"),
        classifier: tuple[str, ...] = ("linear 128", "activation", "linear 2"),
        num_classes: int = 2,
        pointer_activation: PointerActivation = "leaky_relu",
    ) -> None:
        super().__init__(in_dim=in_dim, num_classes=num_classes)
        self.pointer = Steps(in_dim, pointer, pointer_activation, LEAKY_SLOPE)
        self.classifier = Steps(in_dim, classifier)

    @classmethod
    def config_of(cls, match: Match) -> dict[str, Any] | None:
        """Read the layers of both Sequentials from their numbers."""
        pointer, classifier = match.chains["pointer"], match.chains["classifier"]
        if match.sizes["O"] != 1 or pointer[-1].kind != "linear" or classifier[-1].kind != "linear":
            match.misfit = match.misfit or "the pointer's last layer must be one output, the classifier's a Linear"
            return None
        if len(pointer) == 1:
            match.unasked["pointer_activation"] = "the file's pointer is one layer"
        return {
            "in_dim": match.sizes["D"], "num_classes": match.sizes["C"],
            "pointer": steps_of(pointer, last_active=False), "classifier": steps_of(classifier, last_active=False),
        }  # fmt: skip

    def score_specs(self) -> dict[str, ScoreSpec]:
        """The contribution to each class is the default: the model was made for it."""
        return {
            "class_contribution": ScoreSpec(
                "class_contribution", "what the patch adds to the logit of each class; sums to the logit", "class"
            ),
            "attention": attention_spec(),
            "attention_softmax": shares_spec(),
        }

    def bag_vectors(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the logits (1, C) and raw attention (N, 1)."""
        raw = self.pointer(x)
        return self.classifier(softmax_over_patches(raw) * x).sum(dim=0, keepdim=True), raw

    def forward_head(self, slide_feats: Tensor) -> Tensor:
        """Return logits (B, C): they are summed already."""
        return slide_feats

    def explain_bag(self, bag: Bag, wanted: frozenset[str]) -> BagResult:
        """Pass twice: the first pass gives the weights. Norms that take statistics of the slide need further passes."""
        raw = map_rows(bag, by_chunks(self.pointer, bag))
        shares = softmax_over_patches(raw)
        classify = by_chunks(self.classifier, bag, shares)
        made: Tensor | None = None
        for where, x in bag.chunks():
            part = classify(shares[where] * x)
            made = part.new_empty((len(bag), self.num_classes)) if made is None else made
            made[where] = part
        contributions = cast(Tensor, made)
        sums = torch.float32 if bag.device.type == "mps" else torch.float64
        logits = contributions.sum(dim=0, dtype=sums).to(contributions.dtype)
        return BagResult(
            logits, {"class_contribution": contributions, "attention": raw, "attention_softmax": shares}
        )


def by_chunks(steps: Steps, bag: Bag, weights: Tensor | None = None) -> Callable[[Tensor], Tensor]:
    """Return `steps` as a function of single rows; norms without stored statistics use those of the whole bag.

    `weights` (N, 1) are multiplied with the rows.
    """
    if steps.row_wise:
        return steps
    frozen: list[tuple[Tensor, Tensor]] = []
    sums = torch.float32 if bag.device.type == "mps" else torch.float64

    def run(x: Tensor) -> Tensor:
        """Run the steps up to the first norm whose statistics are not known yet."""
        layers, known = iter(steps), iter(frozen)
        for step in steps.steps:
            if step == "activation":
                x = activate(x, steps.activation, steps.slope)
                continue
            layer = next(layers)
            if step != "norm!":
                x = layer(x)
                continue
            found = next(known, None)
            if found is None:
                return x
            x = x * found[0] + found[1]
        return x

    for layer in steps:
        if isinstance(layer, BatchNorm) and not layer.stored:
            total, count = [], 0
            for where, x in bag.chunks():
                rows = run(x if weights is None else weights[where] * x).to(sums)
                total.append(torch.stack([rows.sum(dim=0), (rows**2).sum(dim=0)]))
                count += len(rows)
            mean, square = torch.stack(total).sum(dim=0) / count
            scale = layer.weight * torch.rsqrt((square - mean**2).clamp(min=0) + NORM_EPS)
            frozen.append((scale.to(bag.dtype), (layer.bias - mean * scale).to(bag.dtype)))
    return run

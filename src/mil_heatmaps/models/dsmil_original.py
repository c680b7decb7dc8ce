"""DSMIL as its authors publish it (Li et al. 2021), in the three versions of their code.

    c = i_classifier(x),  m(k) = argmax_i c_ik,  A_ik = softmax_i(q_i . q_m(k) / sqrt(width of q))
    B_k = sum_i A_ik v_i,  logits_o = sum_k W_ok . B_k + b_o

Each class has its own sigmoid. The logit comes from the bag alone, not from the best patch.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, TypeAlias, cast

import torch
from torch import Tensor, nn

from mil_heatmaps.explain.answers import Form
from mil_heatmaps.explain.critical_pooling import CriticalPooling
from mil_heatmaps.explain.rows import Rows
from mil_heatmaps.explain.vector_pooling import Straight
from mil_heatmaps.layers.attention import map_rows
from mil_heatmaps.layers.roles import Layout, Match, OneOf, Role
from mil_heatmaps.layers.streaming import OnlineAttention
from mil_heatmaps.models.base import Bag, BagResult, ScoreSpec
from mil_heatmaps.models.public import CONTRIBUTION, PublicModel
from mil_heatmaps.models.registry import register_model

Version: TypeAlias = Literal["linear", "shared", "deep"]
_VALUE = Role("value", "b_classifier.v.1", "V D", needed=False)


@register_model("dsmil_original")
class DSMILOriginal(PublicModel):
    """See the module.

    Parameters
    ----------
    version : "linear", "shared" or "deep"
        q is a Linear; tanh(q0 g) with g = ReLU(lin x), which the values read too; or tanh(q2 ReLU(q0 x)).
    query_dim, hidden_dim, value_dim : int
        Widths of q, of the layer before it (0 if q is linear) and of v (0 if v is x itself).
    """

    layout = Layout(
        (
            Role("instance", "i_classifier.fc.0 i_classifier.fc", "C D"),
            OneOf("query", {
                "shared": (Role("lin", "b_classifier.lin.0", "M D"), Role("query.0", "b_classifier.q.0", "A M"),
                           Role("value", "b_classifier.v.1", "V M")),
                "deep": (Role("query.0", "b_classifier.q.0", "M D"), Role("query.2", "b_classifier.q.2", "A M"),
                         _VALUE),
                "linear": (Role("query.0", "b_classifier.q", "A D"), _VALUE),
            }),
            Role("bag", "b_classifier.fcc", "C C V"),
        ),
        beside=("i_classifier.feature_extractor.",),
    )  # fmt: skip
    not_in_tensors: ClassVar[Mapping[str, str]] = {
        "value_relu": "a ReLU after the values of a linear query, a rare setting of the last version",
        "average": "the probability is the mean of the bag's and of the best patch's, as with the authors' --average",
    }
    independent = True

    def __init__(
        self,
        in_dim: int = 512,
        version: Version = "deep",
        query_dim: int = 128,
        hidden_dim: int = 128,
        value_dim: int = 0,
        num_classes: int = 2,
        value_relu: bool = False,
        average: bool = False,
    ) -> None:
        super().__init__(in_dim=in_dim, num_classes=num_classes)
        self.version, self.average = version, average
        self.chances_of_logits = not average
        self.value_relu = bool(value_dim) and (version == "deep" or (version == "linear" and value_relu))
        self.instance = nn.Linear(in_dim, num_classes)
        seen = in_dim
        if version == "shared":
            self.lin, seen = nn.Linear(in_dim, hidden_dim), hidden_dim
        between = [nn.ReLU(), nn.Linear(hidden_dim, query_dim)] if version == "deep" else []
        self.query = nn.Sequential(nn.Linear(seen, hidden_dim if version == "deep" else query_dim), *between)
        if value_dim:
            self.value = nn.Linear(seen, value_dim)
        self.bag = nn.Conv1d(num_classes, num_classes, kernel_size=value_dim or in_dim)
        self.scale = query_dim**-0.5

    @classmethod
    def config_of(cls, match: Match) -> dict[str, Any] | None:
        """Read the sizes and the version."""
        sizes, version = match.sizes, match.choices["query"]
        if not match.has("value") and sizes["V"] != sizes["D"]:
            reads = f"b_classifier.fcc reads {sizes['V']} numbers, where features have {sizes['D']}"
            match.misfit = match.misfit or reads
            return None
        if not match.has("value"):
            match.unasked["value_relu"] = "the file has no layer of values (b_classifier.v.1)"
        elif version != "linear":
            match.unasked["value_relu"] = f"the keys of this version tell it ({'' if version == 'deep' else 'no '}ReLU)"
        return {
            "in_dim": sizes["D"], "num_classes": sizes["C"], "version": version, "query_dim": sizes["A"],
            "hidden_dim": sizes.get("M", 0), "value_dim": sizes["V"] if match.has("value") else 0,
        }  # fmt: skip

    def score_specs(self) -> dict[str, ScoreSpec]:
        """Softmaxed attention per class is the default: it pools the slide's vector of that class."""
        return {
            "attention": ScoreSpec(
                "attention_softmax",
                "share of the class's slide vector: likeness to the class's critical patch; sums to 1", "class",
            ),
            "instance_logit": ScoreSpec(
                "instance_logit", "what the instance classifier says of the patch alone", "class", alone=True
            ),
            "class_contribution": CONTRIBUTION,
        }  # fmt: skip

    def _queries(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return queries (n, A) and values (n, V) of features (n, D)."""
        seen = torch.relu(self.lin(x)) if self.version == "shared" else x
        query = self.query(seen)
        values = self.value(seen) if hasattr(self, "value") else x
        query = query if self.version == "linear" else torch.tanh(query)
        return query, torch.relu(values) if self.value_relu else values

    def _bag_logits(self, pooled: Tensor) -> Tensor:
        """Return logits (..., C) of the classes' vectors (..., C, V)."""
        weight = self.bag.weight.to(pooled).flatten(1)  # a convolution over the whole width is one product
        return pooled.flatten(-2) @ weight.T + cast(Tensor, self.bag.bias).to(pooled)

    def bag_vectors(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the classes' vectors (1, C, V) and raw attention (N, C)."""
        queries, values = self._queries(x)
        critical = queries[self.instance(x).argmax(dim=0)]
        raw = queries @ critical.T * self.scale
        return (torch.softmax(raw, dim=0).T @ values)[None], raw

    def forward_head(self, slide_feats: Tensor) -> Tensor:
        """Return logits (B, C)."""
        return self._bag_logits(slide_feats)

    def explain_bag(self, bag: Bag, wanted: frozenset[str]) -> BagResult:
        """One thin pass finds the critical patches; a second compares all patches with them and pools."""
        instances = map_rows(bag, self.instance)
        critical = torch.cat([self._queries(bag.rows(i, i + 1))[0] for i in map(int, instances.argmax(dim=0))])
        pooling, raw, votes = OnlineAttention(), instances.new_empty(instances.shape), None
        if "class_contribution" in wanted:
            votes = instances.new_empty((len(bag), self.num_classes**2))
        weight = self.bag.weight.reshape(-1, self.bag.weight.shape[-1])  # (o, k), v
        for where, x in bag.chunks():
            queries, values = self._queries(x)
            scores = queries @ critical.T * self.scale
            pooling.update(scores.T, values)
            raw[where] = scores
            if votes is not None:
                votes[where] = values @ weight.T
        logits = self._bag_logits(pooling.pooled())
        shares = torch.softmax(raw, dim=0)
        scores_of = {"attention": shares, "instance_logit": instances}
        if votes is not None:
            by_class = votes.reshape(len(bag), self.num_classes, self.num_classes)
            scores_of["class_contribution"] = (by_class * shares[:, None]).sum(dim=2)
        chances = torch.sigmoid(logits)
        if self.average:
            chances = (chances + torch.sigmoid(instances.amax(dim=0))) / 2
        return BagResult(logits, scores_of, probabilities=chances)

    def exact_form(self, rows: Rows) -> Form:
        """The logits of any part of the bag follow from sums; the part's own critical patches set the attention.

        The head is linear, so the pooled numbers of a patch are what it adds to each logit through each class's vector.
        """
        classes, width = self.num_classes, cast(nn.Linear, self.query[-1]).out_features
        weight = self.bag.weight.reshape(classes * classes, -1)  # (o, k), v
        bias = cast(Tensor, self.bag.bias).detach().to("cpu", torch.float64)

        def embed(x: Tensor) -> Tensor:
            query, values = self._queries(x)
            return torch.cat([self.instance(x), query, values @ weight.T], dim=1)

        def direction(critical: Tensor) -> tuple[Tensor, Tensor]:
            query = critical[:, classes : classes + width] * self.scale
            before, after = critical.new_zeros(len(critical), classes), critical[:, classes + width :] * 0
            return torch.cat([before, query, after], dim=1), critical.new_zeros(len(critical))

        def votes(h: Tensor) -> Tensor:
            return h[..., classes + width :]

        def rest(pooled: Tensor) -> Tensor:
            return torch.einsum("...kok->...o", pooled.reshape(*pooled.shape[:-1], classes, classes)) + bias

        return CriticalPooling(
            rows, embed, lambda h: h[:, :classes], direction, lambda pooled: rest(votes(pooled)),
            Straight(votes, votes, rest), adds=0.0,
        )  # fmt: skip

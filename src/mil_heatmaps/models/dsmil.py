"""DSMIL: every patch compared with the critical patch of each class (Li et al. 2021), in MIL-Lab's form."""

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn

from mil_heatmaps.errors import ModelError
from mil_heatmaps.explain.answers import Form
from mil_heatmaps.explain.critical_pooling import CriticalPooling
from mil_heatmaps.explain.rows import Rows
from mil_heatmaps.explain.vector_pooling import Straight
from mil_heatmaps.layers.attention import map_rows, mask_scores, mlp
from mil_heatmaps.layers.bag import CHUNK_ROWS
from mil_heatmaps.layers.shapes import mlp_layers
from mil_heatmaps.layers.streaming import OVERHEAD_BYTES
from mil_heatmaps.models.base import Bag, BagResult, MILModel, Parts, ScoreSpec, Shapes
from mil_heatmaps.models.registry import register_model

UNUSED_CONV_CHANNELS = 3
"""Upstream keeps a Conv1d(3, 3) that nothing calls; its weights are in every checkpoint."""


@register_model("dsmil")
class DSMIL(MILModel):
    """h = mlp(x); c = W_i h; i*(k) = argmax c[:, k]; A[:, k] = softmax(q(h) . q(h_i*(k)) / sqrt(a)).

    The slide's vectors are B = LayerNorm(A^T V) (C, E) with V = v(h), and logits = (Conv1d(B) + max_i c_i)
    / 2.

    The query and value projections are linear and the columns of A sum to 1, so neither is applied to the
    patches: with ``u_k = W_q^T q(h_i*(k))`` the score is ``h . u_k`` plus a constant of the class, and
    ``A^T V = v(A^T h)``.
    """

    head_keys = ()  # without its instance classifier there is no attention either
    training_only = frozenset({"dropout", "dropout_v"})

    def __init__(
        self,
        in_dim: int = 1024,
        embed_dim: int = 512,
        num_fc_layers: int = 1,
        dropout: float = 0.25,
        attn_dim: int = 384,
        dropout_v: float = 0.0,
        num_classes: int = 2,
    ) -> None:
        super().__init__(in_dim=in_dim, num_classes=num_classes)
        if num_classes < 1:
            raise ModelError(
                "dsmil needs a class: its attention compares patches with each class's critical one"
            )
        self.model = Parts(
            patch_embed=mlp(in_dim, embed_dim, layers=num_fc_layers, dropout=dropout),
            i_classifier=Parts(inst_classifier=nn.Linear(embed_dim, num_classes)),
            b_classifier=Parts(
                q=nn.Linear(embed_dim, attn_dim),
                v=nn.Sequential(nn.Dropout(dropout_v), nn.Linear(embed_dim, embed_dim)),
                norm=nn.LayerNorm(embed_dim),
                fcc=nn.Conv1d(UNUSED_CONV_CHANNELS, UNUSED_CONV_CHANNELS, kernel_size=embed_dim),
            ),
            classifier=nn.Conv1d(num_classes, num_classes, kernel_size=embed_dim),
        )

    @classmethod
    def config_from_shapes(cls, shapes: Shapes) -> dict[str, Any] | None:
        """Read the sizes; the instance classifier tells the classes."""
        first, query = shapes.get("patch_embed.0.weight"), shapes.get("b_classifier.q.weight")
        instance = shapes.get("i_classifier.inst_classifier.weight")
        if first is None or query is None or instance is None:
            return None
        return {
            "in_dim": first[1],
            "embed_dim": query[1],
            "num_fc_layers": mlp_layers(shapes),
            "attn_dim": query[0],
            "num_classes": instance[0],
        }

    def score_specs(self) -> dict[str, ScoreSpec]:
        """Softmaxed attention per class is the default: it is what pools the slide's vector of that class."""
        return {
            "attention": ScoreSpec(
                "attention_softmax",
                "share of the class's slide vector: likeness to the class's critical patch; sums to 1",
                "class",
            ),
            "attention_logit": ScoreSpec(
                "attention_logit", "the same before the softmax over the patches", "class"
            ),
            "instance_logit": ScoreSpec(
                "instance_logit",
                "what the instance classifier says of the patch alone; half of the largest enters the logit",
                "class",
                alone=True,
            ),
        }

    def refused_own_scores(self) -> dict[str, str]:
        """A LayerNorm stands between the patches and the classifier."""
        return {
            "class_contribution": "a LayerNorm stands between pooling and classifier, so the logit is not a sum"
        }

    def memory_estimate(self, n: int, wanted: frozenset[str] = frozenset()) -> int:
        """Return the bytes that a bag of `n` patches takes beside its features."""
        width = int(self.model.b_classifier.norm.weight.numel())
        return OVERHEAD_BYTES + 4 * (
            n * (width + 4 * self.num_classes) + 3 * min(n, CHUNK_ROWS) * max(width, self.in_dim)
        )

    def head_logits(self, slide_feats: Tensor, log: dict[str, Any]) -> Tensor:
        """Return the logits of the slide's vectors and of the patches, which leave the log."""
        return self.forward_head(slide_feats, log.pop("instance_classes"))

    def forward_features(
        self, h: Tensor, attn_mask: Tensor | None = None, return_attention: bool = False
    ) -> tuple[Tensor, dict[str, Any]]:
        """Return slide vectors (B, C, E) and a log with `attention` and `instance_classes` (B, N, C).

        `attention` is the softmax over the patches. `attn_mask` (B, N) has 1 for valid patches; as upstream it does
        not keep a masked patch from being critical.
        """
        embedded = self.model.patch_embed(h)
        instances = self.model.i_classifier.inst_classifier(embedded)
        raw = self._compare(embedded, instances)
        raw = mask_scores(raw.transpose(1, 2), attn_mask).transpose(1, 2)
        attention = torch.softmax(raw, dim=1)
        log = {"attention": attention if return_attention else None, "instance_classes": instances}
        return self._pool(attention, embedded), log

    def forward_head(self, slide_feats: Tensor, instance_logits: Tensor | None = None) -> Tensor:
        """Return logits (B, C): mean of the bag's and the best patch's (`instance_logits` (B, N, C))."""
        if instance_logits is None:
            raise ModelError(
                "dsmil's logits need the instance logits too: forward_features(...)[1]['instance_classes']"
            )
        bag_logits: Tensor = self.model.classifier(slide_feats).squeeze(-1)
        logits: Tensor = 0.5 * (bag_logits + instance_logits.amax(dim=1))
        return logits

    def explain_bag(self, bag: Bag, wanted: frozenset[str]) -> BagResult:
        """Embed chunk by chunk; comparing and pooling then are two thin matrix products."""
        embedded = map_rows(bag, self.model.patch_embed).unsqueeze(0)
        instances = self.model.i_classifier.inst_classifier(embedded)
        raw = self._compare(embedded, instances)
        attention = torch.softmax(raw, dim=1)
        logits = self.forward_head(self._pool(attention, embedded), instances)
        return BagResult(
            logits[0], {"attention": attention[0], "attention_logit": raw[0], "instance_logit": instances[0]}
        )

    def exact_form(self, rows: Rows) -> Form:
        """Parts of the bag follow from sums, with the attention that each part's own critical patches make."""
        parts, after = self.model, copy.deepcopy(self.model).to("cpu", torch.float64)

        def classify(h: Tensor) -> Tensor:
            return 0.5 * cast(Tensor, parts.i_classifier.inst_classifier(h))

        def direction(critical: Tensor) -> tuple[Tensor, Tensor]:
            query = parts.b_classifier.q
            compared = query(critical) * float(query.out_features**-0.5)
            return compared @ query.weight, compared @ query.bias

        def rest(values: Tensor) -> Tensor:
            vectors = after.b_classifier.norm(values)
            weight = after.classifier.weight.flatten(1)  # a convolution over the whole width is one product
            return 0.5 * cast(Tensor, vectors.flatten(-2) @ weight.T + after.classifier.bias)

        def head(pooled: Tensor) -> Tensor:
            return rest(after.b_classifier.v(pooled))

        first = Straight(parts.b_classifier.v, after.b_classifier.v, rest)
        return CriticalPooling(rows, parts.patch_embed, classify, direction, head, first)

    def _compare(self, embedded: Tensor, instances: Tensor) -> Tensor:
        """Return how alike each patch and each class's critical patch are, (B, N, C), before the softmax."""
        query = self.model.b_classifier.q
        best = instances.argmax(dim=1, keepdim=True).transpose(1, 2)
        critical = query(embedded.gather(1, best.expand(-1, -1, embedded.shape[-1])))
        direction = critical @ query.weight
        constant = (critical @ query.bias).unsqueeze(1)
        raw: Tensor = embedded @ direction.transpose(1, 2) + constant
        return raw * float(query.out_features**-0.5)

    def _pool(self, attention: Tensor, embedded: Tensor) -> Tensor:
        """Return LayerNorm(A^T V), (B, C, E), of attention (B, N, C)."""
        dropout, value = cast("tuple[nn.Module, nn.Module]", tuple(self.model.b_classifier.v))
        pooled: Tensor = self.model.b_classifier.norm(value(attention.transpose(1, 2) @ dropout(embedded)))
        return pooled

"""STAMP's vision transformer, with and without ALiBi, whose attention uses patch coordinates in micrometres."""

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mil_heatmaps.errors import ModelError
from mil_heatmaps.explain.rows import Places
from mil_heatmaps.layers.alibi import AlibiBlock
from mil_heatmaps.layers.bag import Bag
from mil_heatmaps.layers.roles import Layout, Match, OneOf, Role
from mil_heatmaps.layers.streaming import rows_for
from mil_heatmaps.layers.transformer_block import GeluBlock
from mil_heatmaps.models.base import BagResult, ScoreSpec
from mil_heatmaps.models.public_transformer import PublicTransformer
from mil_heatmaps.models.registry import register_model

_LAYER, _OWN = "transformer.layers.{l}.0.mhsa", "blocks.{l}.attention"
_SHARES = ("in_proj_weight", "in_proj_bias")
_GIVE = "give PatchFeatures, or coords_l0 and mpp beside bare features (forward: coords_um)"
_FIRST_UNMASKED = (2, 2)
"""First version of STAMP in which patches read the class token at inference."""


@register_model("stamp_vit")
class StampViT(PublicTransformer):
    """t = [class token; GELU(project x)]; blocks; logits = head(LN(t)[0]).

    Parameters
    ----------
    head_dim, value_dim : int
        Widths in ALiBi, whose heads have separate projections; 0 without ALiBi.
    class_token_masked : bool
        Whether patches do not read the class token.
    """

    layout = Layout((
        Role("patch_embed.0", "project_features.0", "E D"), Role("cls_token", "class_token", "E", kind="tensor"),
        Role("blocks.{l}.norm", "transformer.layers.{l}.0.norm", "E", kind="norm"),
        OneOf("attention", {
            "alibi": (
                Role(f"{_OWN}.query.{{h}}", f"{_LAYER}.query_encoders.{{h}}", "K E"),
                Role(f"{_OWN}.key.{{h}}", f"{_LAYER}.key_encoders.{{h}}", "K E"),
                Role(f"{_OWN}.value.{{h}}", f"{_LAYER}.value_encoders.{{h}}", "V E"),
                Role(f"{_OWN}.scale.{{h}}", f"{_LAYER}.attentions.{{h}}.bias_scale", "1", kind="tensor"),
                Role(f"{_OWN}.mean_distance.{{h}}", f"{_LAYER}.attentions.{{h}}.scale_distance.running_mean", "1",
                     kind="tensor"),
                Role("seen", f"{_LAYER}.attentions.{{h}}.scale_distance.items_so_far", "1", kind="tensor",
                     needed=False, training_only=True),
                Role(f"{_OWN}.out_proj", f"{_LAYER}.fc", "E _"),
            ),
            "softmax": (
                *(Role(f"{_OWN}.{name}", f"{_LAYER}.{name}", shape, kind="tensor")
                  for name, shape in zip(_SHARES, ("3*E E", "3*E"), strict=True)),
                Role(f"{_OWN}.out_proj", f"{_LAYER}.out_proj", "E E"),
            ),
        }),
        Role("blocks.{l}.norm2", "transformer.layers.{l}.1.0", "E", kind="norm"),
        Role("blocks.{l}.mlp.0", "transformer.layers.{l}.1.1", "M E"),
        Role("blocks.{l}.mlp.3", "transformer.layers.{l}.1.4", "E M"),
        Role("norm", "transformer.norm", "E", kind="norm"), Role("classifier", "mlp_head.0", "C E"),
    ), beside=("class_weights", "valid_auroc"))  # fmt: skip
    not_in_tensors: ClassVar[Mapping[str, str]] = {
        "num_heads": "heads of every layer",
        "class_token_masked": "whether patches do not read the class token (STAMP before 2.2)",
    }
    file_names: ClassVar[Mapping[str, tuple[str, ...]]] = {"num_heads": ("n_heads",)}

    def __init__(
        self,
        in_dim: int = 1024,
        embed_dim: int = 512,
        num_layers: int = 2,
        mlp_dim: int = 2048,
        num_classes: int = 2,
        num_heads: int = 8,
        head_dim: int = 0,
        value_dim: int = 0,
        class_token_masked: bool = False,
    ) -> None:
        masked = class_token_masked
        blocks = [
            AlibiBlock(embed_dim, num_heads, mlp_dim, head_dim=head_dim, value_dim=value_dim, masked=masked)
            if head_dim > 0
            else GeluBlock(embed_dim, num_heads, mlp_dim, masked=masked)
            for _ in range(num_layers)
        ]
        super().__init__(in_dim, embed_dim, num_heads, mlp_dim, num_classes, nn.GELU(), blocks, token_shape=())
        self.alibi = self.asks_um = head_dim > 0

    @classmethod
    def config_of(cls, match: Match) -> dict[str, Any] | None:
        """Read every size, and the number of heads where each has its own projections."""
        config = cls.sizes_of(match)
        if config is not None and match.choices["attention"] == "alibi":
            heads = sum(bool(re.fullmatch(r"blocks\.0\.attention\.query\.\d+\.weight", key)) for key in match.tensors)
            config |= {"num_heads": heads, "head_dim": match.sizes["K"], "value_dim": match.sizes["V"]}
        return config

    @classmethod
    def settings_told(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The version tells whether the class token was masked."""
        told = super().settings_told(settings)
        numbers = re.findall(r"\d{1,9}", str(settings.get("stamp_version") or ""))
        if numbers and "class_token_masked" not in told:
            told["class_token_masked"] = tuple(map(int, numbers[:2])) < _FIRST_UNMASKED
        return told

    def score_specs(self) -> dict[str, ScoreSpec]:
        """With ALiBi, attention rows are not shares and may be negative."""
        specs = super().score_specs()
        if not self.alibi:
            return specs
        about = {name: spec.about.partition(";")[0] + ", less its distance; signed" for name, spec in specs.items()}
        return {
            name: ScoreSpec("attention_gate", about[name], spec.columns)
            for name, spec in specs.items()
            if name != "rollout"
        }

    def refused_own_scores(self) -> dict[str, str]:
        """Rollout multiplies shares, which ALiBi does not give."""
        why = {"rollout": "with ALiBi attention is less a distance, so its rows are no shares that could be multiplied"}
        return super().refused_own_scores() | (why if self.alibi else {})

    def memory_estimate(self, n: int, wanted: frozenset[str] = frozenset()) -> int:
        """Return the bytes that a bag of `n` patches takes; distances come in chunks, one of them in float64."""
        chunk = rows_for(n, share=0.25) * (n + 1)
        return super().memory_estimate(n, wanted) + (12 * chunk if self.alibi else 0)

    def explain_bag(self, bag: Bag, wanted: frozenset[str]) -> BagResult:
        """As `Transformer`; with ALiBi, give the blocks the coordinates of the patches first."""
        self._place(bag.places)
        try:
            return super().explain_bag(bag, wanted)
        finally:
            self._forget()

    def differentiable_logits(self, x: Tensor, places: Places | None = None) -> Tensor:
        """Return the logits (C,) of features (N, D), with gradients."""
        self._place(places)
        try:
            return super().differentiable_logits(x, places)
        finally:
            self._forget()

    def forward(self, h: Tensor, *args: Any, coords_um: Tensor | None = None, **options: Any) -> Any:
        """As `MILModel.forward`; with ALiBi `coords_um` (N, 2) of one bag is needed."""
        if coords_um is None:
            return super().forward(h, *args, **options)
        self._place(Places(coords_um.long().cpu().numpy(), coords_um.double().cpu().numpy()))
        try:
            return super().forward(h, *args, **options)
        finally:
            self._forget()

    def _place(self, places: Places | None) -> None:
        if self.alibi:
            if places is None:
                raise ModelError(f"{self.title} with ALiBi asks where patches lie: {_GIVE}")
            corners = torch.from_numpy(places.in_um(f"{self.title} with ALiBi").copy())
            corners = corners.to(torch.float32 if self.device.type == "mps" else torch.float64).to(self.device)
            for block in self.model.blocks:
                block.place(corners)

    def _forget(self) -> None:
        for block in self.model.blocks if self.alibi else ():
            block.place(None)

"""TransMIL as its authors, STAMP, slideflow and torchmil save it: MIL-Lab's arithmetic under other keys.

The authors' version has eight heads and one embedding layer. torchmil's has four heads, no activation after the
embedding, no projection of the attention's output and no residual convolution.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, cast

from torch import Tensor, nn

from mil_heatmaps.layers.roles import Chain, Layout, Match, OneOf, Role
from mil_heatmaps.layers.square import NystromBlock
from mil_heatmaps.layers.steps import Steps, steps_of
from mil_heatmaps.layers.streaming import add_rows, rows_for
from mil_heatmaps.layers.transformer_block import require_heads
from mil_heatmaps.models.abmil_general import EmbedActivation
from mil_heatmaps.models.base import ScoreSpec, Shapes
from mil_heatmaps.models.public import PublicModel, note_embedding
from mil_heatmaps.models.public_transformer import whole_layers
from mil_heatmaps.models.registry import register_model
from mil_heatmaps.models.transmil import TransMIL

_TOKENS = (
    Role("cls_token", "cls_token", "1 1 E", kind="tensor"),
    *(Role(f"pos_layer.{name}", f"pos_layer.{name}", f"E 1 {size} {size}")
      for name, size in (("proj", 7), ("proj1", 5), ("proj2", 3))),
    Role("norm", "norm", "E", kind="norm"),
)  # fmt: skip


def _block(number: int, key: str) -> tuple[Role, ...]:
    own = f"blocks.{number}"
    return (
        Role(f"{own}.norm", f"{key}.norm", "E", kind="norm"),
        Role(f"{own}.attention.to_qkv", f"{key}.attn.to_qkv", "3*E E"),
        Role(f"{own}.attention.to_out.0", f"{key}.attn.to_out.0", "E E"),
        Role(f"{own}.attention.res_conv", f"{key}.attn.res_conv", "H 1 33 1"),
    )


@register_model("transmil_original")
class TransMILOriginal(TransMIL, PublicModel):
    """TransMIL of its authors; STAMP's and slideflow's are the same."""

    key_prefix = "model."
    layout = Layout((
        Role("patch_embed.0", "_fc1.0", "E D"), *_TOKENS, *_block(0, "layer1"), *_block(1, "layer2"),
        Role("classifier", "_fc2", "C E"),
    ))  # fmt: skip

    def __init__(
        self, in_dim: int = 1024, embed_dim: int = 512, num_heads: int = 8, num_classes: int = 2, num_layers: int = 2
    ) -> None:
        super().__init__(
            in_dim, embed_dim, dropout=0.0, num_heads=num_heads, num_classes=num_classes,
            num_attention_layers=num_layers,
        )  # fmt: skip

    @classmethod
    def config_from_shapes(cls, shapes: Shapes) -> dict[str, Any] | None:
        """None: the model is recognised by its layout."""
        return None

    @classmethod
    def config_of(cls, match: Match) -> dict[str, Any] | None:
        """Read every size; the heads are the channels of the residual convolution."""
        sizes = match.sizes
        return {
            "in_dim": sizes["D"], "embed_dim": sizes["E"], "num_heads": sizes["H"], "num_classes": sizes["C"],
            "num_layers": 2,
        }  # fmt: skip

    def score_specs(self) -> dict[str, ScoreSpec]:
        """MIL-Lab's scores, without the similarity, which only MIL-Lab returns."""
        return {name: spec for name, spec in super().score_specs().items() if name != "similarity"}


class _TorchmilBlock(NystromBlock):
    """torchmil's block: t += Nystrom(LN t), and t += W2 GELU(W1 LN t) if it has those layers."""

    def __init__(self, dim: int, heads: int, mlp_dim: int) -> None:
        super().__init__(dim, heads, 0.0, plain=True)
        self.mlp_dim = mlp_dim
        if mlp_dim:
            self.norm2 = nn.LayerNorm(dim)
            self.mlp = nn.Sequential(nn.Linear(dim, mlp_dim), nn.GELU(), nn.Dropout(0.0), nn.Linear(mlp_dim, dim))

    def forward(self, tokens: Tensor, *, first_only: bool, row_weights: bool) -> tuple[Tensor, Tensor | None]:
        """As `NystromBlock`."""
        out, weights = super().forward(tokens, first_only=first_only, row_weights=row_weights)
        if self.mlp_dim:
            rows = rows_for(self.mlp_dim, share=1 / 8)
            out = add_rows(out, lambda start, stop: cast(Tensor, self.mlp(self.norm2(out[:, start:stop]))), rows)
        return out, weights


class _Embedding(nn.Module):
    """torchmil's embedding: the user's Linear layers with an activation, then a Linear without if the widths differ."""

    def __init__(self, in_dim: int, steps: tuple[str, ...], activation: str, dim: int) -> None:
        super().__init__()
        self.ext = Steps(in_dim, steps, activation)
        self.fc1 = nn.Linear(self.ext.width, dim) if dim else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens (..., E) of features (..., D)."""
        return cast(Tensor, self.fc1(self.ext(x)))


@register_model("torchmil_transmil")
class TransMILTorchmil(TransMILOriginal):
    """torchmil's TransMIL."""

    layout = Layout((
        Chain("patch_embed.ext", "feat_ext.{n} feat_ext", "D", "F", needed=False),
        Role("patch_embed.fc1", "fc1", "E F", needed=False), *_TOKENS,
        Role("blocks.{l}.norm", "layers.{l}.norm1", "E", kind="norm"),
        Role("blocks.{l}.attention.to_qkv", "layers.{l}.att_module.qkv_nn", "3*E E"),
        OneOf("mlp", {
            "mlp": (
                Role("blocks.{l}.norm2", "layers.{l}.norm2", "E", kind="norm"),
                Role("blocks.{l}.mlp.0", "layers.{l}.mlp_module.0", "M E"),
                Role("blocks.{l}.mlp.3", "layers.{l}.mlp_module.3", "E M"),
            ),
            "none": (Role("norm2", "layers.{l}.norm2", "E", kind="norm", needed=False, training_only=True),),
        }),
        Role("classifier", "classifier", "C E"),
    ))  # fmt: skip
    not_in_tensors: ClassVar[Mapping[str, str]] = {
        "num_heads": "heads of every layer",
        "embed_activation": "what follows each layer of feat_ext: relu, gelu, leaky_relu, tanh or none",
    }
    file_names: ClassVar[Mapping[str, tuple[str, ...]]] = {"num_heads": ("n_heads",)}

    def __init__(
        self,
        in_dim: int = 1024,
        embed_dim: int = 512,
        num_heads: int = 4,
        num_classes: int = 1,
        num_layers: int = 2,
        mlp_dim: int = 0,
        embed: tuple[str, ...] = (),
        embedded: bool = True,
        embed_activation: EmbedActivation = "relu",
    ) -> None:
        super().__init__(in_dim, embed_dim, require_heads(num_heads, embed_dim), num_classes, 0)
        parts = self.model
        parts.patch_embed = _Embedding(in_dim, embed, embed_activation, embed_dim if embedded else 0)
        parts.blocks = nn.ModuleList(_TorchmilBlock(embed_dim, num_heads, mlp_dim) for _ in range(num_layers))

    @classmethod
    def config_of(cls, match: Match) -> dict[str, Any] | None:
        """Read every size except the number of heads."""
        sizes, layers = match.sizes, whole_layers(match)
        embed, embedded = match.chains.get("patch_embed.ext", ()), match.has("patch_embed.fc1")
        widths_fit = embedded or sizes.get("F", sizes["E"]) == sizes["E"]
        if not layers:
            return None
        if any(layer.kind != "linear" for layer in embed) or not widths_fit:
            match.misfit = match.misfit or "feat_ext holds more than Linear layers, or does not give the tokens' width"
            return None
        note_embedding(match, "patch_embed.ext")
        return {
            "in_dim": sizes.get("D", sizes.get("F", sizes["E"])), "embed_dim": sizes["E"], "num_classes": sizes["C"],
            "num_layers": layers, "mlp_dim": sizes.get("M", 0), "embed": steps_of(embed), "embedded": embedded,
        }  # fmt: skip

"""torchmil's TransformerABMIL: transformer layers over all patches, then attention pooling."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, cast

from torch import Tensor, nn

from mil_heatmaps.layers.attention import softmax_over_patches
from mil_heatmaps.layers.bag import CHUNK_ROWS
from mil_heatmaps.layers.pooling import PublicAttention, attention_config
from mil_heatmaps.layers.roles import Layout, Match, OneOf, Role
from mil_heatmaps.layers.steps import Steps, steps_of
from mil_heatmaps.layers.streaming import OVERHEAD_BYTES, merge_heads, rows_for, stream_rows
from mil_heatmaps.layers.transformer_block import GeluBlock
from mil_heatmaps.models.abmil_general import EmbedActivation
from mil_heatmaps.models.base import Bag, BagResult, ScoreSpec
from mil_heatmaps.models.public import CONTRIBUTION, PublicModel, attention_spec, note_embedding, shares_spec
from mil_heatmaps.models.public_transformer import whole_layers
from mil_heatmaps.models.registry import register_model
from mil_heatmaps.models.torchmil_abmil import (
    ACTIVATION,
    EMBEDDED,
    FEAT_EXT,
    POOL,
    AttentionActivation,
)

_LAYER = "transformer_encoder.layers.{l}"


class _Layer(GeluBlock):
    """y = MHA(LN x) + skip(x); y += W2 GELU(W1 LN2 y); out(y). MHA has no output projection."""

    def __init__(self, dim: int, inner: int, heads: int, mlp_dim: int, *, skip: bool, out: bool) -> None:
        super().__init__(dim, heads, mlp_dim, inner=inner, bias=False, projected=False)
        self.skip = nn.Linear(dim, inner) if skip else nn.Identity()
        self.out = nn.Linear(inner, dim) if out else nn.Identity()

    def rows_after(self, rows: Tensor, keys: Tensor, values: Tensor, start: int) -> Tensor:
        """Return the layer's output for rows (B, c, E) from `start` on; `keys` and `values` are those of all rows."""
        y = self.skip(rows) + merge_heads(self._read(self._queries(rows), keys, values, start))
        if self.has_mlp:
            y = y + self.mlp(self.norm2(y))
        return cast(Tensor, self.out(y))


@register_model("torchmil_transformer_abmil")
class TransformerABMILTorchmil(PublicModel):
    """h = LN(layers(embed x)); a = attention(h); logits = head(sum_i softmax(a)_i h_i).

    With `add_self` the input of the encoder is added after every layer.
    """

    layout = Layout((
        FEAT_EXT,
        Role("layers.{l}.norm", f"{_LAYER}.norm1", "E", kind="norm"),
        Role("layers.{l}.attention.in_proj_weight", f"{_LAYER}.att_module.qkv_nn.weight", "3*I E", kind="tensor"),
        Role("layers.{l}.skip", f"{_LAYER}.att_proj", "I E", needed=False),
        OneOf("mlp", {
            "mlp": (
                Role("layers.{l}.norm2", f"{_LAYER}.norm2", "I", kind="norm"),
                Role("layers.{l}.mlp.0", f"{_LAYER}.mlp_module.0", "M I"),
                Role("layers.{l}.mlp.3", f"{_LAYER}.mlp_module.3", "I M"),
            ),
            "none": (Role("norm2", f"{_LAYER}.norm2", "I", kind="norm", needed=False, training_only=True),),
        }),
        Role("layers.{l}.out", f"{_LAYER}.out_proj", "E I", needed=False),
        Role("norm", "transformer_encoder.norm", "E", kind="norm"), POOL, Role("head", "last_layer", "C E"),
    ))  # fmt: skip
    not_in_tensors: ClassVar[Mapping[str, str]] = {
        "num_heads": "heads of every layer",
        "add_self": "whether the encoder's input is added after every layer",
        "attention_activation": ACTIVATION,
        "embed_activation": EMBEDDED,
    }
    file_names: ClassVar[Mapping[str, tuple[str, ...]]] = {"num_heads": ("n_heads",)}

    def __init__(
        self,
        in_dim: int = 1024,
        embed: tuple[str, ...] = (),
        inner_dim: int = 512,
        mlp_dim: int = 0,
        num_layers: int = 1,
        skip: bool = True,
        out: bool = True,
        attention_kind: Literal["gated", "plain"] = "plain",
        attention_dim: int = 128,
        attention_without_bias: tuple[str, ...] = ("out",),
        num_classes: int = 1,
        num_heads: int = 8,
        add_self: bool = True,
        attention_activation: AttentionActivation = "tanh",
        embed_activation: EmbedActivation = "relu",
    ) -> None:
        super().__init__(in_dim=in_dim, num_classes=num_classes)
        self.add_self = add_self
        self.embed = Steps(in_dim, embed, embed_activation)
        width = self.embed.width
        self.layers = nn.ModuleList(
            _Layer(width, inner_dim, num_heads, mlp_dim, skip=skip, out=out) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(width)
        self.attention = PublicAttention(
            width, attention_dim, 1, attention_kind, attention_without_bias, attention_activation
        )
        self.head = nn.Linear(width, num_classes)

    @classmethod
    def config_of(cls, match: Match) -> dict[str, Any] | None:
        """Read every size except the number of heads."""
        sizes, layers = match.sizes, whole_layers(match)
        skip, out = match.has("layers.{l}.skip"), match.has("layers.{l}.out")
        if sizes["I"] != sizes["E"] and not (skip and out):
            match.misfit = match.misfit or f"no att_proj and out_proj between widths {sizes['E']} and {sizes['I']}"
        embed = match.chains.get("embed", ())
        if match.misfit or any(layer.kind != "linear" for layer in embed):
            return None
        note_embedding(match)
        return {
            "in_dim": sizes.get("D", sizes["E"]), "embed": steps_of(embed), "inner_dim": sizes["I"],
            "mlp_dim": sizes.get("M", 0), "num_layers": layers, "skip": skip, "out": out,
            "num_classes": sizes["C"], **attention_config(match),
        }  # fmt: skip

    def score_specs(self) -> dict[str, ScoreSpec]:
        """The scores of attention pooling; a patch's numbers depend on the other patches, which the layers read."""
        raw = ScoreSpec("attention_logit", attention_spec().about)
        return {"attention": raw, "attention_softmax": shares_spec(), "class_contribution": CONTRIBUTION}

    def memory_estimate(self, n: int, wanted: frozenset[str] = frozenset()) -> int:
        """Return the bytes that a bag of `n` patches takes: its rows before, in and after a layer, keys and values."""
        first = cast(_Layer, self.layers[0])
        rows = n * (3 * first.dim + 2 * first.inner) + min(n, CHUNK_ROWS) * 2 * self.in_dim
        return OVERHEAD_BYTES + 4 * rows + 2**27

    def encoded(self, rows: Any, n: int) -> Tensor:
        """Return h (N, E) of features that `rows(start, stop)` returns as (1, c, D)."""
        whole = stream_rows(lambda start, stop: self.embed(rows(start, stop)[0])[None], n)
        x = whole
        for layer in self.layers:
            x = self._after(cast(_Layer, layer), x, whole if self.add_self else None)
        return stream_rows(lambda start, stop: cast(Tensor, self.norm(x[:, start:stop])), n)[0]

    def _after(self, layer: _Layer, x: Tensor, added: Tensor | None) -> Tensor:
        keys, values = layer.keys_and_values(x)

        def one(start: int, stop: int) -> Tensor:
            made = layer.rows_after(x[:, start:stop], keys, values, start)
            return made if added is None else made + added[:, start:stop]

        return stream_rows(one, x.shape[1], rows_for(max(layer.hidden, 3 * layer.inner), share=1 / 8))

    def bag_vectors(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the pooled vector (1, E) and raw attention (N, 1)."""
        h = self.encoded(lambda start, stop: x[None, start:stop], len(x))
        raw = self.attention(h)
        return softmax_over_patches(raw).T @ h, raw

    def forward_head(self, slide_feats: Tensor) -> Tensor:
        """Return logits (B, C) of (B, E)."""
        return cast(Tensor, self.head(slide_feats))

    def explain_bag(self, bag: Bag, wanted: frozenset[str]) -> BagResult:
        """Run the layers by chunks of queries over all keys, then pool once."""
        h = self.encoded(lambda start, stop: bag.rows(start, stop)[None], len(bag))
        raw = cast(Tensor, self.attention(h))
        shares = softmax_over_patches(raw)
        scores = {"attention": raw, "attention_softmax": shares}
        if "class_contribution" in wanted:
            scores["class_contribution"] = shares * (h @ self.head.weight.T)
        return BagResult(self.forward_head(shares.T @ h)[0], scores)

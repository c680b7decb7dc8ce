"""A slide encoder with a head as a model: features, corners, patch size and resolution to a vector, and to outputs.

The encoder is the user's own code; docs/how-to/slide_encoders.md has the contract. It is explained like any other model
of the user's (`CustomModel`): each part of the slide takes a forward.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mil_heatmaps.errors import ModelError
from mil_heatmaps.explain.rows import Places
from mil_heatmaps.explain.scores import check_steady
from mil_heatmaps.features.patch_features import PatchFeatures
from mil_heatmaps.models.custom import CustomModel
from mil_heatmaps.models.explanation import Explanation, Features, ScoreSpec
from mil_heatmaps.notices import Notice
from mil_heatmaps.weights.slide_head import SlideHead

DEFAULT_SCORE = "occlusion"
"""Score drawn when none is chosen: such encoders were not trained on slides of a single patch."""

_TOLD = ("coords", "patch_size_level0", "mpp")


@dataclass(frozen=True)
class SlideFacts:
    """What an encoder may need to know about the slide beside its patches.

    Attributes
    ----------
    mpp : float or None
        Micrometres per level-0 pixel.
    patch_size_l0 : int or None
        Side of a patch in level-0 pixels.
    """

    mpp: float | None = None
    patch_size_l0: int | None = None


class EncoderWithHead(nn.Module):
    """The user's encoder, and the head on its vector."""

    def __init__(self, encoder: Any, head: SlideHead, title: str) -> None:
        super().__init__()
        if not callable(encoder):
            raise ModelError(f"{title} returned a {type(encoder).__name__}, which cannot be called with features")
        self.num_classes = len(head.weight)
        self.in_dim = getattr(encoder, "in_dim", None)
        self.score_kind = getattr(encoder, "score_kind", "attention_softmax")
        self.score_columns = "head"
        self.encoder, self.title = encoder, title
        self.takes, self.needs = _arguments(encoder, title)
        self.facts = SlideFacts()
        self.seen: Tensor | None = None
        """The vector of the last forward."""
        self._cosine = head.cosine
        self.register_buffer("weight", torch.from_numpy(head.weight), persistent=False)
        self.register_buffer("bias", torch.from_numpy(head.bias), persistent=False)

    def forward(self, h: Tensor, coords: Tensor | None = None) -> tuple[Tensor, Any]:
        """Return logits (1, C) and the encoder's attention, if it gives any, for features (1, N, D)."""
        vector, attention = _vector_and_attention(self.encoder(h[0], **self._told(coords)), self.title)
        self.seen = vector.detach()
        return self._outputs(vector)[None], attention

    def _told(self, coords: Tensor | None) -> dict[str, Any]:
        known = {"coords": coords, "patch_size_level0": self.facts.patch_size_l0, "mpp": self.facts.mpp}
        for name in self.needs:
            if known[name] is None:
                raise ModelError(f"{self.title} needs {_MISSING[name]}")
        return {name: known[name] for name in self.takes if known[name] is not None}

    def _outputs(self, vector: Tensor) -> Tensor:
        weight: Tensor = self.weight  # type: ignore[assignment]
        bias: Tensor = self.bias  # type: ignore[assignment]
        wanted, flat = weight.shape[1], vector.reshape(-1).to(weight.dtype)
        if len(flat) != wanted:
            raise ModelError(
                f"{self.title} returned a vector of shape {tuple(vector.shape)}, {len(flat)} numbers, but the head "
                f"takes {wanted}; fit the head on vectors of this encoder, or choose its vector in your code"
            )
        if self._cosine:
            flat = flat / flat.norm()
        outputs: Tensor = weight @ flat + bias
        return outputs


_MISSING = {
    "coords": "the patches' corners: give PatchFeatures, or coords_l0",
    "patch_size_level0": "patch_size_level0: give PatchFeatures, or model.on_slide(patch_size_l0=...)",
    "mpp": "mpp, the micrometres a level-0 pixel, which the slide does not say: give data_arguments.slide_mpp, or a "
    "column mpp in the process list",
}


def _arguments(encoder: Any, title: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return which of `_TOLD` an encoder takes by name, and which of those it cannot do without."""
    function = encoder.forward if isinstance(encoder, nn.Module) else encoder
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError) as error:  # compiled code may not say
        raise ModelError(f"{title} does not say which arguments it takes: wrap it in a Python function") from error
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return _TOLD, ()
    takes = tuple(name for name in _TOLD if name in parameters)
    return takes, tuple(name for name in takes if parameters[name].default is inspect.Parameter.empty)


def _vector_and_attention(result: Any, title: str) -> tuple[Tensor, Any]:
    """Take apart what an encoder may return: a vector, (vector, attention), or a mapping of both."""
    vector, attention = result if isinstance(result, tuple) and len(result) == 2 else (result, None)
    if isinstance(vector, Mapping):
        returned: Mapping[str, Any] = vector
        vector, attention = returned.get("vector"), returned.get("attention", attention)
    if isinstance(attention, Mapping):
        attention = attention.get("attention")
    if isinstance(vector, np.ndarray):
        vector = torch.from_numpy(vector)
    if not isinstance(vector, Tensor) or vector.ndim not in (1, 2):
        shape = f" of shape {tuple(vector.shape)}" if isinstance(vector, Tensor) else ""
        raise ModelError(
            f"{title} returned a {type(result).__name__}{shape}: it must return a vector (E,) or (K, E), "
            "(vector, attention), or {'vector': ..., 'attention': ...}"
        )
    return vector, attention


class SlideEncoderModel(CustomModel):
    """A slide encoder with a head, as a `MILModel`."""

    inner: EncoderWithHead

    def __init__(self, encoder: Any, head: SlideHead, title: str) -> None:
        inner = EncoderWithHead(encoder, head, title)
        super().__init__(inner, title)
        self._asks = (frozenset({"coords"} & set(inner.takes)), frozenset())
        self.asks_corners = any(self._asks)
        self._steady = False
        self.vector: npt.NDArray[np.float64] | None = None
        """The vector (K·E,) of the last whole slide."""

    @property
    def default_score(self) -> str:
        """Occlusion."""
        return DEFAULT_SCORE

    def score_specs(self) -> dict[str, ScoreSpec]:
        """The attention that the encoder may return."""
        return {"attention": ScoreSpec(self._kind, f"as {self.title} returns it", "head")}

    @contextmanager
    def on_slide(self, *, mpp: float | None = None, patch_size_l0: int | None = None) -> Iterator[None]:
        """Give the encoder the slide's facts for as long as the block runs; PatchFeatures know their patch size."""
        before = self.inner.facts
        self.inner.facts = SlideFacts(mpp, patch_size_l0)
        try:
            yield
        finally:
            self.inner.facts = before

    def explain(self, features: Features, *args: Any, **kwargs: Any) -> Explanation:
        """See `MILModel.explain`."""
        with self._sized(features):
            return super().explain(features, *args, **kwargs)

    def faithfulness(self, features: Features, *args: Any, **kwargs: Any) -> Any:
        """See `MILModel.faithfulness`."""
        with self._sized(features):
            return super().faithfulness(features, *args, **kwargs)

    @contextmanager
    def _sized(self, features: Features) -> Iterator[None]:
        before = self.inner.facts
        if isinstance(features, PatchFeatures):
            self.inner.facts = replace(before, patch_size_l0=features.grid.size_l0[0])
        try:
            yield
        finally:
            self.inner.facts = before

    def _explain_own(
        self, features: Features, names: list[str], class_names: Sequence[str] | None, places: Places | None = None
    ) -> Explanation:
        found = super()._explain_own(features, names, class_names, places)
        if self.inner.seen is not None:
            self.vector = self.inner.seen.reshape(-1).to("cpu", torch.float64).numpy()
        if not self._steady and found.logits is not None:  # the first slide is run twice
            again = super()._explain_own(features, [], class_names, places).logits
            assert again is not None
            check_steady(found.logits.astype(np.float64), again.astype(np.float64), self.title)
            self._steady = True
        return found

    def _checked(self, name: str, values: Tensor | None, count: int) -> Tensor:
        """Return attention (N, K) after checking that it fits its kind."""
        checked = super()._checked(name, values, count)
        if self._kind != "attention_softmax":
            return checked
        sums = checked.double().sum(dim=0)
        if (checked < 0).any() or ((sums - 1).abs() > 0.02).any():
            raise ModelError(
                f"the attention that {self.title} returns is no share of 1 (it sums to {float(sums[0]):.4g}): return "
                "softmaxed weights, or say what it is by an attribute score_kind, such as 'attention_logit'"
            )
        return checked

    def remarks(self, names: Sequence[str]) -> list[Notice]:
        """Return the notices that belong to the scores asked for."""
        if "single" not in names:
            return []
        words = (
            f"single asks {self.title} about slides of one patch, which a slide encoder was not trained on: compare it "
            "with occlusion or mask_regression"
        )
        return [Notice("single_of_encoder", words)]

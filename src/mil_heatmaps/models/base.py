"""The base of every MIL model: MIL-Lab's `forward` for training, `explain` for logits and patch scores in one pass.

A model file holds one class with `@register_model`. It supplies the network (`forward_features`,
`forward_head`), the scores it can honestly give (`score_specs`) and one inference pass over a bag of any size
(`explain_bag`).
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mil_heatmaps.choices import Task
from mil_heatmaps.errors import FeatureError, ModelError
from mil_heatmaps.explain.rows import Places
from mil_heatmaps.explain.settings import EXPLANATIONS
from mil_heatmaps.layers.bag import Bag
from mil_heatmaps.layers.parts import Parts
from mil_heatmaps.layers.shapes import Shapes
from mil_heatmaps.models.explained import ExplainedModel
from mil_heatmaps.models.explanation import BagResult, Explanation, Features, ScoreSpec, grid_and_values
from mil_heatmaps.models.memory import require_memory
from mil_heatmaps.scores.patch_scores import PatchScores
from mil_heatmaps.slides.patch_grid import PatchGrid

__all__ = ["Bag", "BagResult", "Explanation", "Features", "MILModel", "Parts", "ScoreSpec", "Shapes"]


class MILModel(ExplainedModel):
    """A multiple-instance-learning model.

    A subclass sets `in_dim` and `num_classes` (0 without a classifier), keeps its layers in ``self.model =
    Parts(...)`` when its checkpoints' keys begin with ``model.``, and overrides the methods in the first
    group below.
    """

    name: ClassVar[str] = ""
    """Type name, set by `@register_model`."""
    key_prefix: ClassVar[str] = "model."
    """Prefix of this class's state-dict keys; `config_from_shapes` sees keys without it."""
    not_in_tensors: ClassVar[Mapping[str, str]] = {}
    """Constructor arguments that change results and that no tensor tells: name -> what it is."""
    training_only: ClassVar[frozenset[str]] = frozenset()
    """Configuration keys that are accepted but have no effect on what the trained network computes."""
    asks_corners: bool = False
    """Whether the network needs the coordinates of the patches on one slide, so that it cannot take several slides."""
    chances_of_logits: bool = True
    """Whether probabilities follow from the logits alone; if not, only logits are explained."""
    asks_um: bool = False
    """Whether its forward takes the coordinates of the patches in micrometres."""
    independent: ClassVar[bool] = False
    """Whether each class has an independent probability (a sigmoid), so that probabilities need not sum to 1."""
    class_names: tuple[str, ...] | None = None
    """Names of the outputs in the checkpoint file, in order; used unless the caller gives others."""
    stated_task: Task | None = None
    """The task that the checkpoint file states."""
    head_keys: ClassVar[tuple[str, ...]] = ("classifier.",)
    """Prefixes of the classifier's keys, without `key_prefix`: a checkpoint with none of them is headless."""

    def __init__(self, *, in_dim: int, num_classes: int) -> None:
        super().__init__()
        if in_dim < 1 or num_classes < 0:
            raise ModelError(f"in_dim must be at least 1 and num_classes at least 0, got {in_dim} and {num_classes}")
        self.in_dim = in_dim
        self.num_classes = num_classes

    # -- what a subclass supplies ------------------------------------------------------------------------------

    @classmethod
    def config_from_shapes(cls, shapes: Shapes) -> dict[str, Any] | None:
        """Return the constructor arguments that follow from tensor shapes, None if they belong to another architecture.

        `shapes` has keys in this class's current form (`canonical_key`), without `key_prefix`. The result holds
        `in_dim`, `num_classes` (0 without classifier keys) and every size; it leaves out what is in `not_in_tensors`.
        """
        raise NotImplementedError

    @classmethod
    def settings_told(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings in `not_in_tensors` that a file's settings give, by our names."""
        return {name: settings[name] for name in cls.not_in_tensors if settings.get(name) is not None}

    @classmethod
    def canonical_key(cls, key: str) -> str | None:
        """Return the current form of an older state-dict key (without `key_prefix`), None to drop it."""
        return key

    def score_specs(self) -> dict[str, ScoreSpec]:
        """Return the scores this instance can give, the default one first."""
        raise NotImplementedError

    def refused_own_scores(self) -> dict[str, str]:
        """Return scores a user may expect here and why this instance cannot honestly give them."""
        return {}

    def explain_bag(self, bag: Bag, wanted: frozenset[str]) -> BagResult:
        """Pass over `bag` once and return logits and at least the `wanted` scores. Runs without gradients."""
        raise NotImplementedError

    def forward_features(
        self, h: Tensor, attn_mask: Tensor | None = None, return_attention: bool = False
    ) -> tuple[Tensor, dict[str, Any]]:
        """Return the slide vectors of bags (B, N, D), and a log with `attention` (None unless asked for)."""
        raise NotImplementedError

    def forward_head(self, slide_feats: Tensor) -> Tensor:
        """Return the logits (B, C) of slide vectors: by the linear ``model.classifier`` unless overridden."""
        self.require_classifier()
        return cast(Tensor, cast(Any, self.model).classifier(slide_feats))

    def head_logits(self, slide_feats: Tensor, log: dict[str, Any]) -> Tensor:
        """Return the logits for `forward`; a head that needs more takes it out of the log of `forward_features`."""
        return self.forward_head(slide_feats)

    def add_loss(self, h: Tensor, loss_fn: Any, label: Tensor, results: dict[str, Any], log: dict[str, Any]) -> None:
        """Put the loss of bags `h` (B, N, D) into `results`, and its terms into `results` and `log`."""
        results["loss"] = loss_fn(results["logits"], label)

    def memory_estimate(self, n: int, wanted: frozenset[str] = frozenset()) -> int:
        """Return the bytes that explaining a bag of `n` patches takes beside its features; 0 means a few chunks."""
        return 0

    # -- what every model then has -----------------------------------------------------------------------------

    @property
    def title(self) -> str:
        """The type's name, for messages."""
        return self.name or type(self).__name__

    @property
    def default_score(self) -> str:
        """Name of the score drawn when none is chosen."""
        return next(iter(self.score_specs()))

    def score_names(self) -> dict[str, str]:
        """Return name -> what it is for every score this model can give: its own, then the explanations."""
        own = {name: spec.about for name, spec in self.score_specs().items()}
        return own | {name: about for name, about in EXPLANATIONS.items() if name not in self.refused_explanations()}

    def refused_scores(self) -> dict[str, str]:
        """Return name -> reason for scores a user may expect here but this instance cannot honestly give."""
        return self.refused_own_scores() | self.refused_explanations()

    def forward(
        self,
        h: Tensor,
        loss_fn: Any = None,
        label: Tensor | None = None,
        attn_mask: Tensor | None = None,
        return_attention: bool = False,
        return_slide_feats: bool = False,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return (results, log) of bags (B, N, D) or one bag (N, D), in MIL-Lab's form, with gradients.

        `results` holds `logits` (B, C) and `loss` (None without `loss_fn` and `label`); `log` holds `loss`
        (-1 if none), `attention` and, if asked for, `slide_feats`. `loss_fn` and `label` may change places.
        """
        h = self.as_batch(h)
        if isinstance(loss_fn, Tensor):  # MIL-Lab's clam, dftd, dsmil and ilra take the label first
            loss_fn, label = label, loss_fn
        slide_feats, log = self.forward_features(h, attn_mask=attn_mask, return_attention=return_attention)
        results: dict[str, Any] = {"logits": self.head_logits(slide_feats, log), "loss": None}
        if loss_fn is not None and label is not None:
            self.add_loss(h, loss_fn, label, results, log)
        log["loss"] = -1 if results["loss"] is None else results["loss"].item()
        if return_slide_feats:
            log["slide_feats"] = slide_feats
        return results, log

    def slide_logits(self, slide_feats: Tensor) -> Tensor | None:
        """Return the logits (C,) of one slide's vector (1, ...), None without a classifier."""
        return self.forward_head(slide_feats)[0] if self.num_classes else None

    def require_classifier(self) -> None:
        """Raise a `ModelError` if the model has no classifier, so that it gives no logits."""
        if not self.num_classes:
            raise ModelError(f"this {self.title} has no classifier (num_classes 0), so it gives no logits")

    def as_batch(self, h: Tensor) -> Tensor:
        """Return `h` as (B, N, D) in the weights' dtype, after checking its width and that no bag is empty."""
        if h.ndim == 2:
            h = h.unsqueeze(0)
        if h.ndim != 3:
            raise FeatureError(f"features must have shape (N, D) or (B, N, D), got {tuple(h.shape)}")
        self._check_bag(h.shape[1], h.shape[2])
        return h.to(self.dtype)  # features are often stored as float16

    def _check_bag(self, count: int, width: int) -> None:
        if width != self.in_dim:
            raise FeatureError(
                f"features are {width} wide, the model ({self.title}) expects {self.in_dim}; extract them "
                "with the encoder the model was trained on"
            )
        if count < 1:
            raise FeatureError("the bag is empty: a model needs at least one patch")

    def _check_features(self, features: Features) -> None:
        """Raise for features of the wrong width, or none."""
        _, values = grid_and_values(features)
        self._check_bag(len(values), int(values.shape[1]))

    def _explain_own(
        self, features: Features, names: list[str], class_names: Sequence[str] | None, places: Places | None = None
    ) -> Explanation:
        """Return logits and the model's own scores, all from one pass."""
        classes = self.class_columns(class_names)
        grid, values = grid_and_values(features)
        self._check_bag(len(values), int(values.shape[1]))
        bag = Bag(values, device=self.device, dtype=self.dtype, places=places)
        if needed := self.memory_estimate(len(bag), frozenset(names)):
            require_memory(needed, bag.device, f"{self.title} on {len(bag):,} patches")
        was_training = self.training
        self.eval()
        try:
            with torch.inference_mode():
                result = self.explain_bag(bag, frozenset(names))
        finally:
            self.train(was_training)
        return Explanation(
            self._finite_logits(result),
            {name: self._patch_scores(name, result, grid, classes, len(bag)) for name in names},
            None if result.probabilities is None else self._finite(result.probabilities, "probabilities"),
        )

    def patch_scores(
        self,
        features: Features,
        score: str | None = None,
        class_names: Sequence[str] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> PatchScores:
        """Return one score of every patch; see `explain`."""
        name = score or self.default_score
        return self.explain(features, [name], class_names, settings=settings).scores[name]

    def is_alone(self, name: str) -> bool:
        """Return whether a patch's score depends on that patch alone, so that it means the same in any bag."""
        return name == "single" or (name not in EXPLANATIONS and self.score_specs()[name].alone)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next((p.device for p in self.parameters()), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weights; float32 for a model without weights."""
        return next((p.dtype for p in self.parameters() if p.is_floating_point()), torch.float32)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load weights whose keys may come with or without `key_prefix`."""
        if self.key_prefix and not any(key.startswith(self.key_prefix) for key in state_dict):
            state_dict = {self.key_prefix + key: value for key, value in state_dict.items()}
        return super().load_state_dict(state_dict, strict=strict, assign=assign)

    def class_columns(self, class_names: Sequence[str] | None) -> tuple[str, ...]:
        """Return the names of the classes, ``class 0`` ... when none are given."""
        if class_names is None:
            return tuple(f"class {i}" for i in range(self.num_classes))
        if self.num_classes and len(class_names) != self.num_classes:
            raise ModelError(
                f"{len(class_names)} class names ({', '.join(map(str, class_names))}) for a model of "
                f"{self.num_classes} classes"
            )
        return tuple(map(str, class_names))

    def _chosen(self, scores: str | Sequence[str] | None) -> list[str]:
        if scores is None:
            return [self.default_score]
        names = [scores] if isinstance(scores, str) else list(dict.fromkeys(scores))
        self.check_scores(names)
        return names

    def check_scores(self, names: Sequence[str]) -> None:
        """Raise a `ModelError` for a score the model does not have, or cannot honestly give, with the reason."""
        offered, refused = list(self.score_names()), self.refused_scores()
        for name in names:
            if name in refused:
                raise ModelError(f"{self.title} cannot give the score {name!r}: {refused[name]}; choose from {offered}")
            if name not in offered:
                raise ModelError(f"{self.title} has no score {name!r}; choose from {offered}")

    def _finite_logits(self, result: BagResult) -> npt.NDArray[np.float32] | None:
        if result.logits is None:
            return None
        return self._finite(result.logits.reshape(-1), "logits")

    def _patch_scores(
        self, name: str, result: BagResult, grid: PatchGrid | None, classes: tuple[str, ...], count: int
    ) -> PatchScores:
        values = result.scores[name]
        values = values.reshape(len(values), -1)
        if len(values) != count:
            raise ModelError(f"{self.title} returned {len(values)} values of {name!r} for {count} patches")
        spec, width = self.score_specs()[name], values.shape[1]
        if name in result.columns:
            columns = result.columns[name]
        elif spec.columns == "class":
            columns = classes
        elif spec.columns == "head" and width > 1:
            columns = tuple(f"head {i}" for i in range(width))
        else:
            columns = (name,)
        return PatchScores(grid, self._finite(values, name), columns, spec.kind, name)

    def _finite(self, values: Tensor, what: str) -> npt.NDArray[np.float32]:
        array = values.detach().to("cpu", torch.float32).numpy()
        if bad := int(array.size - np.isfinite(array).sum()):
            raise ModelError(
                f"the model {self.title} gave {bad} NaN or infinite values of {array.size} in its {what}; "
                "check the checkpoint's weights and the features"
            )
        return np.ascontiguousarray(array)

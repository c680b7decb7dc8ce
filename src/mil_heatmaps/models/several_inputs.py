"""A model of the user's own that takes several bags of a slide, and numbers beside them.

Explanations are of one bag at a time, the *asked* bag. The user's forward gets parts of that bag and the other inputs,
which stay as they are. docs/how-to/own_model.md has the contract.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mil_heatmaps.errors import FeatureError, ModelError
from mil_heatmaps.explain.outputs import Outputs
from mil_heatmaps.explain.rows import Floats, wide
from mil_heatmaps.explain.scores import check_steady
from mil_heatmaps.features.patch_features import PatchFeatures
from mil_heatmaps.layers.bag import Bag
from mil_heatmaps.models.custom import CustomModel, arguments_of, logits_and_attention


@dataclass(frozen=True)
class SlideInputs:
    """All that a model is given of a slide.

    Attributes
    ----------
    bags : name -> PatchFeatures
        At least one; in the order of the config.
    extra : name -> (G,) numbers
    """

    bags: Mapping[str, PatchFeatures]
    extra: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)


class SeveralInputsModel(CustomModel):
    """The user's object, whose forward takes `bags` and perhaps `coords` and `extra`, as a `MILModel`."""

    def __init__(self, inner: Any, title: str) -> None:
        super().__init__(inner, title)
        if callable(self._patch_scores_of):
            raise ModelError(f"{title} takes bags, so its scores must come from forward, not from patch_scores")
        self._arguments = arguments_of(self._forward)
        self._widths = {name: int(width) for name, width in _mapping(getattr(inner, "in_dim", None)).items()}
        self._inputs: SlideInputs | None = None
        self._asked = ""
        self._held: dict[str, tuple[Tensor, Tensor]] = {}

    @contextmanager
    def on_slide(self, inputs: SlideInputs, asked: str | None = None) -> Iterator[None]:
        """Give the model the slide for as long as the block runs; `asked` is the bag to explain.

        Raises
        ------
        ModelError, FeatureError
            No such bag, or a bag whose width differs from the class's `in_dim`.
        """
        name = next(iter(inputs.bags)) if asked is None else asked
        if name not in inputs.bags:
            raise ModelError(f"{self.title} is not given a bag {name!r}; choose from {', '.join(inputs.bags)}")
        self.check_extra(tuple(inputs.extra))
        for bag, width in self._widths.items():
            if bag not in inputs.bags:
                raise ModelError(f"{self.title} needs a bag {bag!r}; h5_dir gives {', '.join(inputs.bags)}")
            if (given := inputs.bags[bag].features.shape[1]) != width:
                raise FeatureError(f"features of the bag {bag} are {given} wide, {self.title} expects {width}")
        before = self._inputs, self._asked, self._held
        self._inputs, self._asked = inputs, name
        self._held = {other: self._whole(bag) for other, bag in inputs.bags.items() if other != name}
        try:
            yield
        finally:
            self._inputs, self._asked, self._held = before

    def check_extra(self, names: Sequence[str]) -> None:
        """Raise a ModelError for numbers beside the bags that the class has no argument for."""
        if names and "extra" not in self._arguments:
            raise ModelError(f"{self.title} is given {', '.join(names)}, but its forward has no argument extra")

    def _whole(self, bag: PatchFeatures) -> tuple[Tensor, Tensor]:
        """Return features (N, D) and corners (N, 2) of a bag on the model's device."""
        features = Bag(bag.features, device=self.device, dtype=self.dtype).all()
        return features, torch.from_numpy(bag.grid.coords_l0).to(self.device)

    def _call_forward(self, x: Tensor, corners: dict[str, Tensor]) -> tuple[Tensor | None, Any]:
        given = self.inputs
        asked = (x, corners.get("coords", x[:, :0]))  # unused if the forward has no argument coords
        return self._ask({name: self._held.get(name, asked) for name in given.bags}, self._extra())

    def _ask(self, bags: Mapping[str, tuple[Tensor, Tensor]], extra: Mapping[str, Tensor]) -> tuple[Tensor | None, Any]:
        """Return logits and the scores of the asked bag, as far as the user's forward gives them."""
        assert self._forward is not None
        told: dict[str, Any] = {"bags": {name: features.unsqueeze(0) for name, (features, _) in bags.items()}}
        if "coords" in self._arguments:
            told["coords"] = {name: corners for name, (_, corners) in bags.items()}
        if "extra" in self._arguments:
            told["extra"] = dict(extra)
        logits, scores = logits_and_attention(self._forward(**told), self.title, of=self._asked)
        return logits, scores

    @property
    def inputs(self) -> SlideInputs:
        """All that the model is given of the slide; a ModelError outside `on_slide`."""
        if self._inputs is None:
            raise ModelError(
                f"{self.title} takes several bags of a slide: ask it within `with model.on_slide(SlideInputs(bags, "
                "extra)):`"
            )
        return self._inputs

    def _extra(self) -> dict[str, Tensor]:
        numbers = self.inputs.extra.items()
        return {name: torch.from_numpy(np.array(values)).to(self.device, self.dtype) for name, values in numbers}

    def effects(self, outputs: Outputs) -> dict[str, Floats]:
        """Return what each input adds to each target, (K,): f of the slide less f with this input set to zeros.

        Bags first, then the numbers beside them, in the order of the config. The other inputs stay as they are.

        Raises
        ------
        ModelError
            The class gives different answers from call to call.
        """
        given, extra = self.inputs, self._extra()
        bags = {name: self._held.get(name) or self._whole(bag) for name, bag in given.bags.items()}
        with torch.inference_mode():
            full, again = self._logits(bags, extra), self._logits(bags, extra)
            check_steady(full, again, self.title)
            f = outputs.of(full)
            found = {}
            for name, (features, corners) in bags.items():
                without = {**bags, name: (torch.zeros_like(features), corners)}
                found[name] = f - outputs.of(self._logits(without, extra))
            for name, values in extra.items():
                found[name] = f - outputs.of(self._logits(bags, {**extra, name: torch.zeros_like(values)}))
        return found

    def _logits(self, bags: Mapping[str, tuple[Tensor, Tensor]], extra: Mapping[str, Tensor]) -> Floats:
        logits = self._one_row(self._ask(bags, extra)[0])
        if logits is None:
            raise ModelError(f"{self.title} returned no logits, so there is no prediction to explain")
        return wide(logits)


def effects_words(effects: Mapping[str, Floats], targets: Sequence[str], column: int = 0) -> str:
    """Return what each input adds to a target, the largest first: ``genes: +0.31, x20: +0.12, x5: -0.02``."""
    ordered = sorted(effects.items(), key=lambda item: -abs(float(item[1][column])))
    told = ", ".join(f"{name}: {float(values[column]):+.2f}" for name, values in ordered)
    return f"what each input adds to {targets[column]}: {told}"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}

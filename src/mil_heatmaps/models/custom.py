"""A model of your own: any class with `forward` or `patch_scores`, wrapped so that it behaves like the others.

The contract, with an example, is in docs/how-to/own_model.md.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mil_heatmaps.errors import HeatmapError, ModelError
from mil_heatmaps.explain.rows import Places
from mil_heatmaps.layers.bag import Bag
from mil_heatmaps.models import explaining
from mil_heatmaps.models.base import BagResult, Explanation, Features, MILModel, ScoreSpec
from mil_heatmaps.models.explanation import grid_and_values
from mil_heatmaps.scores.patch_scores import PatchScores, ScoreKind
from mil_heatmaps.weights.import_own import ANYTHING
from mil_heatmaps.words import kind_and_text

_TRIED = 64
"""Number of patches on which the order of the scores is tested."""


class CustomModel(MILModel):
    """The user's object as a `MILModel`. Scores come from its `patch_scores`, else from its `forward`."""

    key_prefix = "inner."

    def __init__(self, inner: Any, title: str) -> None:
        super().__init__(in_dim=1, num_classes=_whole(inner, "num_classes", title))
        several = isinstance(getattr(inner, "in_dim", None), Mapping)  # one width per bag: `SeveralInputsModel`
        # 0: the class does not say, so features of any width are tried
        self.in_dim = 0 if several else _whole(inner, "in_dim", title)
        self._forward, self._patch_scores_of = _forward_of(inner), getattr(inner, "patch_scores", None)
        if self._forward is None and not callable(self._patch_scores_of):
            raise ModelError(f"{title} has neither forward nor patch_scores; see docs/how-to/own_model.md")
        self._asks = tuple(map(_asks_for, (self._forward, self._patch_scores_of)))
        self.asks_corners = any(self._asks)
        self._in_order = False
        self.inner = inner
        self.name = title  # type: ignore[misc]
        self._kind: ScoreKind = getattr(inner, "score_kind", "external")
        if self._kind not in get_args(ScoreKind):
            raise ModelError(f"{title}.score_kind is {self._kind!r}; choose from {list(get_args(ScoreKind))}")
        self._default = str(getattr(inner, "score_name", "attention"))
        self._meaning = getattr(inner, "score_columns", None)
        if self._meaning not in (None, "class", "head"):
            raise ModelError(f"{title}.score_columns is {self._meaning!r}; choose from ['class', 'head']")

    @property
    def default_score(self) -> str:
        """`score_name` of the class, ``attention`` without one."""
        return self._default

    def score_specs(self) -> dict[str, ScoreSpec]:
        """One score, of the class's `score_kind`."""
        return {self._default: ScoreSpec(self._kind, f"as {self.title} gives it", self._meaning or "class")}

    def _explain_own(
        self, features: Features, names: list[str], class_names: Sequence[str] | None, places: Places | None = None
    ) -> Explanation:
        """Run the user's code on the whole bag and check what it returns."""
        grid, values = grid_and_values(features)
        count, width = len(values), int(values.shape[1])
        self._check_bag(count, width if self.in_dim else 0)
        x = Bag(values, device=self.device, dtype=self.dtype).all()
        corners = self._corners(places)
        try:
            with torch.inference_mode():
                self._check_order(x, corners)
                logits, raw = self._run(x, corners)
        except HeatmapError:
            raise
        except ANYTHING as error:  # the user's own code
            raise ModelError(
                f"{self.title} failed on features of shape ({count}, {width}), {kind_and_text(error)}"
            ) from error
        made = {name: self._checked(name, raw, count) for name in names}
        outputs = self._finite_logits(BagResult(self._one_row(logits), {}))
        classes = self._classes(outputs, class_names)
        columns = {name: self._columns(value.shape[1], classes) for name, value in made.items()}
        return Explanation(
            outputs,
            {
                name: PatchScores(grid, self._finite(value, name), columns[name], self._kind, name)
                for name, value in made.items()
            },
        )

    def _corners(self, places: Places | None) -> dict[str, Tensor]:
        """Return the corners (N, 2) that the user's code takes: `coords`, int64, and `coords_um`, float64."""
        names = frozenset[str]().union(*self._asks)
        if not names:
            return {}
        if places is None:
            raise ModelError(f"{self.title} takes coords: give PatchFeatures, which hold them, instead of an array")
        made = {"coords": torch.from_numpy(places.coords_l0.copy()).to(self.device)}
        if "coords_um" in names:
            made["coords_um"] = torch.from_numpy(places.in_um(self.title).copy()).to(self.device)
        return {name: made[name] for name in names}

    def _check_order(self, x: Tensor, corners: dict[str, Tensor]) -> None:
        """Raise a ModelError if scores are not in the order of the patches; try a few patches once in both orders.

        Scores whose values change with the order prove nothing: a model may use positions in the bag.
        """
        some = slice(0, _TRIED)
        if self._in_order or len(x[some]) < 3:
            return
        self._in_order = True
        few, where = x[some], {name: values[some] for name, values in corners.items()}
        turned = few.flip(0), {name: values.flip(0) for name, values in where.items()}
        try:
            first, second = self._run(few, where)[1], self._run(*turned)[1]
        except ANYTHING:  # some classes need more patches; any other error comes again on the whole bag
            return
        if first is None or second is None:
            return
        one, two = (self._checked(self._default, scores, len(few)).float().cpu() for scores in (first, second))
        if one.shape != two.shape or torch.allclose(one, two.flip(0), rtol=1e-3, atol=1e-5):
            return
        if torch.allclose(one.sort(0)[0], two.sort(0)[0], rtol=1e-4, atol=1e-6):
            raise ModelError(
                f"{self.title} does not return scores in the order of the patches: {len(few)} patches in reverse order "
                "gave the same numbers, but not in reverse order; return row i of the scores for row i of the features"
            )

    def unexplained(self) -> str | None:
        """Only a forward gives a prediction."""
        return None if self._forward is not None else "the class has no forward, so there is no prediction to explain"

    def refused_explanations(self) -> dict[str, str]:
        """A class need not say in advance that it has a classifier, so only `unexplained` refuses."""
        return explaining.refused(False, self.unexplained())

    def _check_features(self, features: Features) -> None:
        _, values = grid_and_values(features)
        self._check_bag(len(values), int(values.shape[1]) if self.in_dim else 0)

    def bag_logits(self, bag: Bag, places: Places | None = None) -> Tensor:
        """Return the logits (C,) of a bag, as the user's forward gives them."""
        return self.differentiable_logits(bag.all(), places)

    def differentiable_logits(self, x: Tensor, places: Places | None = None) -> Tensor:
        """Return the logits (C,) of features (N, D), with gradients if the user's forward lets them through."""
        corners = self._corners(places)
        try:
            logits = self._one_row(self._call_forward(x, corners)[0])
        except HeatmapError:
            raise
        except ANYTHING as error:  # the user's own code
            raise ModelError(
                f"{self.title} failed on features of shape {tuple(x.shape)}, {kind_and_text(error)}"
            ) from error
        if logits is None:
            raise ModelError(f"{self.title} returned no logits, so there is no prediction to explain")
        return logits

    def _run(self, x: Tensor, corners: dict[str, Tensor]) -> tuple[Tensor | None, Tensor | None]:
        """Return (logits or None, scores or None) of features (N, D) and corners (N, 2) by argument."""
        logits, scores = self._call_forward(x, corners)
        if callable(self._patch_scores_of):
            scores = self._patch_scores_of(x, **{name: corners[name] for name in self._asks[1]})
        if scores is not None and not isinstance(scores, Tensor):
            scores = torch.from_numpy(np.array(scores, None if np.iscomplexobj(scores) else np.float32))
        for what, values in (("logits", logits), ("patch scores", scores)):
            if isinstance(values, Tensor) and values.is_complex():
                raise ModelError(f"{self.title} returned complex {what} ({values.dtype}); real numbers are needed")
        return logits, scores

    def _call_forward(self, x: Tensor, corners: dict[str, Tensor]) -> tuple[Tensor | None, Any]:
        """Return the logits and scores that the user's forward gives; None for each that it does not give."""
        if self._forward is None:
            return None, None
        to_forward = {name: corners[name] for name in self._asks[0]}
        return logits_and_attention(self._forward(x.unsqueeze(0), **to_forward), self.title)

    def _one_row(self, logits: Tensor | None) -> Tensor | None:
        """Return the logits after checking that they are one row for the slide and as many as `num_classes` says."""
        if logits is None:
            return None
        row = logits.reshape(-1)
        if logits.ndim and len(row) != logits.shape[-1]:
            raise ModelError(
                f"{self.title} returned logits of shape {tuple(logits.shape)}: one row for the slide is needed, "
                "(1, C) or (C,); scores of the patches are returned second"
            )
        if self.num_classes and len(row) != self.num_classes:
            raise ModelError(f"{self.title} returned {len(row)} logits, but its num_classes is {self.num_classes}")
        return row

    def _checked(self, name: str, values: Tensor | None, count: int) -> Tensor:
        """Return scores (N, K) after checking that there is one row per patch."""
        if values is None:
            raise ModelError(
                f"{self.title} returned no patch scores: forward must return (logits, attention), or "
                "the class must have patch_scores(features); see docs/how-to/own_model.md"
            )
        shape = tuple(values.shape)
        while values.ndim > 2 and values.shape[0] == 1:
            values = values[0]
        if values.ndim == 2 and values.shape[0] != count == values.shape[1]:
            values = values.T  # (heads, N), as attention is often returned
        if values.ndim not in (1, 2) or values.shape[0] != count:
            raise ModelError(
                f"{self.title} returned {name} of shape {shape} for {count} patches: ({count},) or ({count}, K) is "
                "needed, one number or one row per patch"
            )
        return values.reshape(count, -1)

    def _classes(
        self, outputs: npt.NDArray[np.float32] | None, class_names: Sequence[str] | None
    ) -> tuple[str, ...]:
        """Return the names of the model's outputs, however many there are."""
        if class_names is not None:
            return tuple(map(str, class_names))
        return tuple(f"class {i}" for i in range(self.num_classes if outputs is None else len(outputs)))

    def _columns(self, width: int, classes: tuple[str, ...]) -> tuple[str, ...]:
        """Return the names of the columns: the classes if their number fits, otherwise heads."""
        if width == 1:
            return (self._default,)
        if self._meaning == "class" and width != len(classes):
            raise ModelError(
                f"{self.title}.score_columns is 'class', but it returned {width} columns of {self._default} for "
                f"{len(classes)} classes"
            )
        if width == len(classes) and self._meaning != "head":
            return classes
        return tuple(f"head {i}" for i in range(width))


def _whole(inner: Any, name: str, title: str) -> int:
    """Return an optional whole number that the user's object has, 0 if it has none."""
    value = getattr(inner, name, None)
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
        raise ModelError(f"{title}.{name} is {value!r}; a whole number is needed, or leave it out")
    return int(value)


def _asks_for(function: Any) -> frozenset[str]:
    """Return which of `coords` and `coords_um` the user's function takes; for a module, its forward."""
    return frozenset(("coords", "coords_um")) & arguments_of(function)


def arguments_of(function: Any) -> frozenset[str]:
    """Return the argument names of the user's function, or of a module's forward; none if unknown."""
    if isinstance(function, nn.Module):
        function = function.forward
    if not callable(function):
        return frozenset()
    try:
        return frozenset(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # compiled code may not say
        return frozenset()


def takes_bags(inner: Any) -> bool:
    """Whether the forward of the user's object takes several bags of a slide."""
    return "bags" in arguments_of(_forward_of(inner))


def _forward_of(inner: Any) -> Callable[..., Any] | None:
    """Return the function that calls the user's object, None if it has no forward."""
    if isinstance(inner, nn.Module):
        return inner if type(inner).forward is not nn.Module.forward else None
    forward = getattr(inner, "forward", None) or (inner if callable(inner) else None)
    return forward if callable(forward) else None


def logits_and_attention(result: Any, title: str, of: str = "attention") -> tuple[Tensor | None, Any]:
    """Take apart what `forward` may return: logits, (logits, attention), or MIL-Lab's (results, log).

    `of` names the bag whose attention is wanted where there are several.
    """
    first, second = result if isinstance(result, tuple) and len(result) == 2 else (result, None)
    if isinstance(first, Mapping):
        results: Mapping[str, Any] = first
        first, second = results.get("logits"), results.get("attention", second)
    for key in ("attention", of):
        if isinstance(second, Mapping):
            second = second.get(key, second if key != of else None)
    if isinstance(first, np.ndarray):
        first = torch.from_numpy(first)
    if first is not None and not isinstance(first, Tensor):
        raise ModelError(
            f"forward of {title} returned a {type(result).__name__}: it must return logits, "
            "(logits, attention) or ({'logits': ...}, {'attention': ...})"
        )
    return first, second

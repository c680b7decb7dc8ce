"""Which public family tensors are, by the layouts of the families; and for unknown ones the family they come nearest.

Recognition is strict: every role there, shapes that chain, and no layer left over, because the reference may use it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from mil_heatmaps.layers.roles import Match, attempt, left_over
from mil_heatmaps.models.public import PublicModel

_TRAINS_ONLY = re.compile("loss|criterion|metric|auroc|auc|confmat", re.IGNORECASE)
"""What stands in the names of tensors that a training keeps beside its model."""
_LAYER_ENDS = (".weight", ".bias", ".running_mean", ".running_var")
_MOST_PREFIXES = 12
_LAYERS_OF_A_MODEL = 3
"""Fewer may be a lone Linear that another model has beside it."""


@dataclass(frozen=True)
class Candidate:
    """A family held against the tensors below one prefix.

    Attributes
    ----------
    cls : type
    prefix : str
        What the keys in the file begin with.
    match : Match
    left : tuple of str
        Layers, by their keys in the file, that the family does not explain.
    beside : tuple of str
        Other keys in the file that are no part of the model.
    """

    cls: type[PublicModel]
    prefix: str
    match: Match
    left: tuple[str, ...]
    beside: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether the tensors are this family, whole and nothing but it."""
        return self.match.fits and not self.left

    @property
    def problem(self) -> str:
        """The first thing that does not fit, in words; "" if all does."""
        if self.match.misfit:
            first = self.match.misfit.partition(" ")[0]  # a key of the file, or the beginning of a sentence
            return f"{'' if first in ('the', 'a') or first.isdecimal() else self.prefix}{self.match.misfit}"
        if self.match.missing:
            return f"it lacks {', '.join(self.match.missing[:4])}"
        if self.left:
            return f"it also holds {', '.join(self.left[:8])}, which may change its predictions"
        return ""


    @property
    def sample(self) -> str:
        """The key in the file of one of its layers."""
        return self.prefix + min(key for key in self.match.explained if key.endswith(".weight"))


def is_layer(key: str, value: Tensor) -> bool:
    """Say whether a tensor may take part in a prediction, unlike state of losses and metrics."""
    return value.ndim >= 2 and value.is_floating_point() and _TRAINS_ONLY.search(key) is None


def below_prefixes(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Return the tensors below every place a model may hang in the keys, the outermost first, by prefix."""
    found: dict[str, dict[str, Tensor]] = {"": {}}
    for key, value in tensors.items():
        parts = key.split(".")
        for depth in range(len(parts)):
            prefix = "".join(f"{part}." for part in parts[:depth])
            found.setdefault(prefix, {})[key[len(prefix) :]] = value
    return {prefix: found[prefix] for prefix in sorted(found, key=lambda prefix: (prefix.count("."), prefix))}


def fitting(tensors: Mapping[str, Tensor], families: Sequence[type[PublicModel]]) -> list[Candidate]:
    """Return the families that the tensors are, each at the outermost place it fits."""
    found: dict[type[PublicModel], Candidate] = {}
    layers = [key for key, value in tensors.items() if is_layer(key, value)]
    for prefix, inside in below_prefixes(tensors).items():
        if not all(key.startswith(prefix) for key in layers):  # such a place leaves a layer unexplained
            continue
        for cls in families:
            candidate = compared(cls, prefix, inside, tensors)
            if candidate.fits and cls not in found and cls.config_of(candidate.match) is not None:
                found[cls] = candidate
    return list(found.values())


def side_by_side(tensors: Mapping[str, Tensor], families: Sequence[type[PublicModel]]) -> list[Candidate]:
    """Return whole families that lie beside one another and explain every layer together; none where they do not."""
    layers = {key for key, value in tensors.items() if is_layer(key, value)}
    held: list[tuple[set[str], Candidate]] = []
    for prefix, inside in _largest_places(tensors):
        for cls in families:
            one = Candidate(cls, prefix, attempt(cls.layout, inside), (), ())
            if one.match.fits and cls.config_of(one.match) is not None:
                held.append(({prefix + key for key in one.match.explained} & layers, one))
    found: list[Candidate] = []
    for mine, one in sorted(held, key=lambda item: -len(item[0])):
        if len(mine) >= _LAYERS_OF_A_MODEL and mine <= layers:
            found.append(one)
            layers -= mine
    return [] if layers else found


def nearest(tensors: Mapping[str, Tensor], families: Sequence[type[PublicModel]]) -> Candidate | None:
    """Return the family that explains most of the tensors, None where none explains a layer."""
    places = _largest_places(tensors)
    tried = [compared(cls, prefix, inside, tensors) for prefix, inside in places for cls in families]

    def rank(one: Candidate) -> tuple[int, int, int]:
        met = len([key for key in one.match.explained if one.prefix + key in tensors])
        return met - 2 * len(one.match.missing), -len(one.match.missing), -len(one.left)

    best = max(tried, key=rank, default=None)
    if best is None or not best.match.roles:
        return None
    if best.fits:
        best.cls.config_of(best.match)  # says what does not fit
    return best


def _largest_places(tensors: Mapping[str, Tensor]) -> list[tuple[str, dict[str, Tensor]]]:
    return sorted(below_prefixes(tensors).items(), key=lambda item: -len(item[1]))[:_MOST_PREFIXES]


def compared(
    cls: type[PublicModel], prefix: str, inside: Mapping[str, Tensor], tensors: Mapping[str, Tensor]
) -> Candidate:
    """Return how a family compares with the tensors `inside`, those of `tensors` below `prefix`."""
    match = attempt(cls.layout, inside)
    rest = [prefix + key for key in left_over(cls.layout, match, inside)]
    left = [key for key in rest if _counts(key, tensors[key])]
    left += [key for key, value in tensors.items() if not key.startswith(prefix) and is_layer(key, value)]
    known = {prefix + key for key in match.explained if key not in match.training_only} | set(left)
    return Candidate(cls, prefix, match, tuple(left), tuple(key for key in tensors if key not in known))


def _counts(key: str, value: Tensor) -> bool:
    """Say whether a tensor within the model is a layer: of two dimensions, or named as a layer's (a norm, a bias)."""
    if is_layer(key, value):
        return True
    named = value.ndim == 1 and key.endswith(_LAYER_ENDS)
    return named and value.is_floating_point() and _TRAINS_ONLY.search(key) is None

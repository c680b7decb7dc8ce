"""Recognise the public family of tensors by the families' layouts; for unknown tensors, find the nearest family.

Recognition is strict. Every role must be there, shapes must chain, and no layer may be left over, because the reference
may use it.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from mil_heatmaps.layers.roles import Match, attempt, left_over
from mil_heatmaps.models.public import PublicModel

_TRAINS_ONLY = re.compile("loss|criterion|metric|auroc|auc|confmat", re.IGNORECASE)
"""Words in the names of tensors that a training keeps beside its model."""
_LAYER_ENDS = (".weight", ".bias", ".running_mean", ".running_var")
_MOST_PREFIXES = 12
_DEEPEST_PREFIX = 32
_LAYERS_OF_A_MODEL = 3
"""Fewer layers may be a single Linear that belongs beside another model."""


@dataclass(frozen=True)
class Candidate:
    """A family compared with the tensors below one prefix.

    Attributes
    ----------
    cls : type
    prefix : str
        Prefix of the keys in the file.
    match : Match
    left : tuple of str
        Layers that the family does not explain, by their keys in the file.
    beside : tuple of str
        Other keys in the file that are not part of the model.
    """

    cls: type[PublicModel]
    prefix: str
    match: Match
    left: tuple[str, ...]
    beside: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether the tensors are a complete model of this family and nothing else."""
        return self.match.fits and not self.left

    @property
    def problem(self) -> str:
        """The first thing that does not fit, in words; "" if everything fits."""
        if self.match.misfit:
            first = self.match.misfit.partition(" ")[0]  # a key in the file, or the start of a sentence
            return f"{'' if first in ('the', 'a') or first.isdecimal() else self.prefix}{self.match.misfit}"
        if self.match.missing:
            return f"it lacks {', '.join(self.match.missing[:4])}"
        if self.left:
            return f"it also holds {', '.join(self.left[:8])}, which may change its predictions"
        return ""

    @property
    def sample(self) -> str:
        """The key of one of its layers in the file."""
        return self.prefix + min(key for key in self.match.explained if key.endswith(".weight"))


def is_layer(key: str, value: Tensor) -> bool:
    """Say whether a tensor may take part in a prediction, unlike the state of losses and metrics."""
    return value.ndim >= 2 and value.is_floating_point() and _TRAINS_ONLY.search(key) is None


def below_prefixes(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Return prefix -> tensors below it, for every prefix that a model's keys may have, the outermost first."""
    found: dict[str, dict[str, Tensor]] = {"": {}}
    for key, value in tensors.items():
        parts = key.split(".")
        for depth in range(min(len(parts), _DEEPEST_PREFIX)):
            prefix = "".join(f"{part}." for part in parts[:depth])
            found.setdefault(prefix, {})[key[len(prefix) :]] = value
    return {prefix: found[prefix] for prefix in sorted(found, key=lambda prefix: (prefix.count("."), prefix))}


def fitting(tensors: Mapping[str, Tensor], families: Sequence[type[PublicModel]]) -> list[Candidate]:
    """Return the families that the tensors fit, each at the outermost prefix where it fits."""
    found: dict[type[PublicModel], Candidate] = {}
    layers = _layers(tensors)
    needed = layers or tuple(tensors)
    counted = {key for key, value in tensors.items() if _counts(key, value)}
    for prefix, inside in below_prefixes(tensors).items():
        if not all(key.startswith(prefix) for key in needed):  # such a prefix leaves a layer unexplained
            continue
        for cls in families:
            candidate = _compared(cls, prefix, inside, tensors, layers, counted)
            if candidate.fits and cls not in found and cls.config_of(candidate.match) is not None:
                found[cls] = candidate
    return list(found.values())


def side_by_side(tensors: Mapping[str, Tensor], families: Sequence[type[PublicModel]]) -> list[Candidate]:
    """Return complete families that lie side by side and together explain every layer; empty if they do not."""
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
    """Return the family that explains most of the tensors, None if no family explains a layer."""
    places = _largest_places(tensors)
    layers, counted = _layers(tensors), {key for key, value in tensors.items() if _counts(key, value)}
    tried = [_compared(cls, prefix, inside, tensors, layers, counted) for prefix, inside in places for cls in families]

    def rank(one: Candidate) -> tuple[int, int, int]:
        met = len([key for key in one.match.explained if one.prefix + key in tensors])
        return met - 2 * len(one.match.missing), -len(one.match.missing), -len(one.left)

    best = max(tried, key=rank, default=None)
    if best is None or not best.match.roles:
        return None
    if best.fits:
        best.cls.config_of(best.match)  # sets the misfit
    return best


def _largest_places(tensors: Mapping[str, Tensor]) -> list[tuple[str, dict[str, Tensor]]]:
    return sorted(below_prefixes(tensors).items(), key=lambda item: -len(item[1]))[:_MOST_PREFIXES]


def _layers(tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
    return tuple(key for key, value in tensors.items() if is_layer(key, value))


def _compared(
    cls: type[PublicModel],
    prefix: str,
    inside: Mapping[str, Tensor],
    tensors: Collection[str],
    layers: Collection[str],
    counted: Collection[str],
) -> Candidate:
    """Return how a family compares with `inside`, the tensors below `prefix` in `tensors`.

    `layers` and `counted` are those of `tensors` for which `is_layer` and `_counts` hold, found once for all families.
    """
    match = attempt(cls.layout, inside)
    rest = [prefix + key for key in left_over(cls.layout, match, inside)]
    left = [key for key in rest if key in counted]
    left += [key for key in layers if not key.startswith(prefix)]
    known = {prefix + key for key in match.explained if key not in match.training_only} | set(left)
    return Candidate(cls, prefix, match, tuple(left), tuple(key for key in tensors if key not in known))


def _counts(key: str, value: Tensor) -> bool:
    """Say whether a tensor in the model is a layer: it has two dimensions, or a layer's name (a norm, a bias)."""
    if is_layer(key, value):
        return True
    named = value.ndim == 1 and key.endswith(_LAYER_ENDS)
    return named and value.is_floating_point() and _TRAINS_ONLY.search(key) is None

"""Recognise a network by its tensors: the roles of its layers, their keys in files, and sizes that must agree.

A `Layout` lists roles. A `Role` gives a layer's name in the family's own state dict, its keys in files (the first one
present counts), and the shape of its weight in letters. Every letter stands for one size throughout the layout, so that
shapes chain: ``"E D"`` then ``"A E"``. A `Chain` is a Sequential, whose numbers also reveal layers without tensors.
`OneOf` is a choice between groups of roles. `attempt` compares a layout with tensors and says what it found.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from math import prod
from typing import Literal

from torch import Tensor

_NUMBER = re.compile(r"\{(\w)\}")
_STATISTICS = ("running_mean", "running_var")
_COUNTER = ".num_batches_tracked"
"""Counter of a batch norm in training: it is accounted for, but no part of the network."""


@dataclass(frozen=True)
class Role:
    """A layer, or one layer for each number that stands for ``{n}`` in its keys.

    Attributes
    ----------
    name : str
        Its key in the family's own state dict, with as many ``{n}`` as `keys` have; numbers are kept.
    keys : str
        Alternative keys in files, separated by blanks: the layer's key without ``.weight``, or a tensor's full key.
    shape : str
        Shape of the weight, by dimension: a letter is a size of the network, a number stands for itself, ``_`` for
        anything, ``K*E`` for a product.
    kind : "layer", "norm" or "tensor"
        A weight and perhaps a bias; the same with one dimension, with or without running statistics; a single tensor.
    needed : bool
        Whether the family needs it.
    training_only : bool
        Whether only training uses it: it is accounted for, checked and then left out.
    """

    name: str
    keys: str
    shape: str = "_ _"
    kind: Literal["layer", "norm", "tensor"] = "layer"
    needed: bool = True
    training_only: bool = False


@dataclass(frozen=True)
class Chain:
    """Linear layers one after another, with batch norms between them, numbered as in a Sequential.

    The layers become ``name.0``, ``name.1`` … by position; `Match.chains` has their numbers in the file. `first` and
    `last` are the letters of the input and output widths. A key without a number is a chain of one Linear.
    """

    name: str
    keys: str
    first: str
    last: str
    needed: bool = True
    training_only: bool = False


@dataclass(frozen=True)
class OneOf:
    """A choice: the first alternative whose needed roles are all there; `Match.choices` has its name."""

    name: str
    alternatives: Mapping[str, tuple["Role | Chain", ...]]
    needed: bool = True


@dataclass(frozen=True)
class Layout:
    """What files of a family hold.

    Attributes
    ----------
    roles : tuple
    beside : tuple of str
        Prefixes of keys that may lie beside the network without being part of it, such as an encoder's.
    """

    roles: tuple["Role | Chain | OneOf", ...]
    beside: tuple[str, ...] = ()


@dataclass(frozen=True)
class ChainLayer:
    """A layer of a `Chain`: its number in the file, kind and width, and whether it has a bias (a norm: statistics)."""

    number: int
    kind: Literal["linear", "norm"]
    width: int
    full: bool


@dataclass
class Match:
    """What `attempt` found. It fits when nothing is `missing` and there is no `misfit`.

    Attributes
    ----------
    tensors : dict
        By the family's own keys.
    sizes : dict
        Letter -> size.
    numbers : dict
        Name of a role with ``{n}`` -> the numbers found for its first ``{n}``, sorted.
    chains, choices : dict
        Name of a `Chain` -> its layers. Name of a `OneOf` -> the alternative.
    roles : dict
        Role -> the key it has in the file, with ``{n}``.
    missing : list of str
        What is not there, in words.
    misfit : str
        The first tensor whose shape does not fit, in words; "" if none.
    explained : set of str
        Keys in the file that some role accounts for.
    training_only : list of str
    unasked : dict
        Settings of the family for which nothing is assumed here -> why a given value would change nothing (there is no
        such layer), or "" if a value may be given.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    numbers: dict[str, tuple[int, ...]] = field(default_factory=dict)
    chains: dict[str, tuple[ChainLayer, ...]] = field(default_factory=dict)
    choices: dict[str, str] = field(default_factory=dict)
    roles: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    misfit: str = ""
    explained: set[str] = field(default_factory=set)
    training_only: list[str] = field(default_factory=list)
    unasked: dict[str, str] = field(default_factory=dict)

    @property
    def fits(self) -> bool:
        """Whether every needed role is there with shapes that agree; the caller checks for tensors left over."""
        return not self.missing and not self.misfit

    def count(self, name: str) -> int:
        """Return how many layers a role with ``{n}`` has."""
        return len(self.numbers.get(name, ()))

    def has(self, name: str) -> bool:
        """Say whether a role is there."""
        return name in self.roles

    def biased(self, name: str) -> bool:
        """Say whether the layer with this key in the family's own state dict has a bias."""
        return f"{name}.bias" in self.tensors


def below(prefixes: str, keys: str) -> str:
    """Return every key below every prefix, in the form of `Role.keys`; the prefix ``-`` is empty."""
    return " ".join(f"{'' if p == '-' else p}{key}" for p in prefixes.split() for key in keys.split())


def attempt(layout: Layout, tensors: Mapping[str, Tensor]) -> Match:
    """Return which roles of `layout` are in `tensors`."""
    match, products = Match(), []
    for role in layout.roles:
        chosen: tuple[Role | Chain, ...] = (role,) if not isinstance(role, OneOf) else _choose(role, tensors, match)
        for one in chosen:
            if isinstance(one, Chain):
                _take_chain(one, tensors, match)
            else:
                products += _take(one, tensors, match)
    for key, value, shape in products:
        _agree(match, key, tuple(value.shape), shape, last=True)
    return match


def left_over(layout: Layout, match: Match, tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the keys that no role of the layout explains and that are not known to lie beside it."""
    return [key for key in tensors if key not in match.explained and not key.startswith(layout.beside or ("\0",))]


def _choose(choice: OneOf, tensors: Mapping[str, Tensor], match: Match) -> "tuple[Role | Chain, ...]":
    begun: tuple[int, tuple[Role | Chain, ...]] = (0, ())
    for name, roles in choice.alternatives.items():
        needed = [_key_of(role, tensors) is not None for role in roles if role.needed]
        if all(needed):
            match.choices[choice.name] = name
            return roles
        begun = max(begun, (sum(needed), roles), key=lambda one: one[0])
    if choice.needed and not begun[0]:
        match.missing.append(f"{choice.name} ({' or '.join(choice.alternatives)})")
    return begun[1] if choice.needed else ()  # the caller then says which of its roles are missing


@cache
def _pattern(key: str, tail: str) -> re.Pattern[str]:
    text = re.escape(key).replace(r"\{", "{").replace(r"\}", "}")
    return re.compile(_NUMBER.sub(r"(\\d{1,9})", text) + tail)


def _places(key: str, tensors: Mapping[str, Tensor], tail: str) -> Iterator[tuple[tuple[int, ...], str]]:
    """Yield (numbers, key of the layer) for every tensor that matches `key` with this tail."""
    if "{" not in key:
        if key + tail in tensors:
            yield (), key
        return
    pattern, begin = _pattern(key, re.escape(tail)), key.partition("{")[0]
    for name in tensors:
        if name.startswith(begin) and (found := pattern.fullmatch(name)):
            yield tuple(map(int, found.groups())), name[: len(name) - len(tail)]


def _tail(role: "Role | Chain") -> str:
    return "" if isinstance(role, Role) and role.kind == "tensor" else ".weight"


def _key_of(role: "Role | Chain", tensors: Mapping[str, Tensor]) -> str | None:
    """Return the first of a role's keys that is there with the right number of dimensions, None if there is none."""
    dims = _dims(role)
    for key in role.keys.split():
        places = _places(key, tensors, _tail(role))
        if any(tensors[name + _tail(role)].ndim in dims for _, name in places):
            return key
    return None


def _dims(role: "Role | Chain") -> tuple[int, ...]:
    if isinstance(role, Chain):
        return (1, 2)
    return (1,) if role.kind == "norm" else (len(role.shape.split()),)


def _take(role: Role, tensors: Mapping[str, Tensor], match: Match) -> list[tuple[str, Tensor, str]]:
    """Take a role's tensors into `match`; return (key, tensor, shape) where a product is still to be compared."""
    key = _key_of(role, tensors)
    if key is None:
        if role.needed:
            match.missing.append(f"{role.name} ({' or '.join(role.keys.split()[:4])})")
        return []
    places = sorted(_places(key, tensors, _tail(role)))
    match.roles[role.name] = key
    if "{" in key:
        match.numbers[role.name] = tuple(dict.fromkeys(numbers[0] for numbers, _ in places))
    products = []
    for numbers, name in places:
        own = role.name
        for number in numbers:
            own = _NUMBER.sub(str(number), own, count=1)
        match.explained.add(name + _COUNTER)
        for tail, shape in _parts(role):
            if (value := tensors.get(name + tail)) is None:
                continue
            match.explained.add(name + tail)
            if role.training_only:
                match.training_only.append(name + tail)
            else:
                match.tensors[own + tail] = value
            _agree(match, name + tail, tuple(value.shape), shape)
            products.append((name + tail, value, shape))
    return products if "*" in role.shape else []


def _parts(role: Role) -> list[tuple[str, str]]:
    """Return (end of the key, shape) of the tensors that a layer of this kind may have."""
    if role.kind == "tensor":
        return [("", role.shape)]
    width = role.shape.split()[0]
    parts = [(".weight", role.shape), (".bias", width)]
    if role.kind == "norm":
        parts += [(f".{extra}", width) for extra in _STATISTICS]
    return parts


def _agree(match: Match, key: str, shape: tuple[int, ...], letters: str, *, last: bool = False) -> None:
    """Note a shape that disagrees with sizes seen before; letters not seen yet get their size.

    A product is compared once all letters are known (`last`). If one of its letters is still unknown, the product gives
    its size.
    """
    wanted = letters.split()
    known = "*" in letters and not last
    if len(shape) != len(wanted):
        _note(match, key, shape, letters)
        return
    for size, letter in zip(shape, wanted, strict=True):
        if letter == "_" or (known and "*" in letter):
            continue
        factors = letter.split("*")
        values = [int(one) if one.isdecimal() else match.sizes.get(one) for one in factors]
        unknown = [one for one, value in zip(factors, values, strict=True) if value is None]
        rest = prod(value for value in values if value is not None)
        if len(unknown) == 1 and rest and size % rest == 0:
            match.sizes[unknown[0]] = size // rest
        elif unknown or size != rest:
            _note(match, key, shape, letters)


def _note(match: Match, key: str, shape: tuple[int, ...], letters: str) -> None:
    sizes = ", ".join(f"{letter} {size}" for letter, size in match.sizes.items() if letter in letters)
    match.misfit = match.misfit or (
        f"{key} has shape {shape}, where ({', '.join(letters.split())}) is needed{f' with {sizes}' if sizes else ''}"
    )


def _take_chain(chain: Chain, tensors: Mapping[str, Tensor], match: Match) -> None:
    key = _key_of(chain, tensors)
    if key is None:
        if chain.needed:
            match.missing.append(f"{chain.name} ({' or '.join(chain.keys.split()[:4])})")
        return
    match.roles[chain.name] = key
    layers: list[ChainLayer] = []
    width: int | None = match.sizes.get(chain.first)
    for position, (numbers, name) in enumerate(sorted(_places(key, tensors, ".weight"))):
        weight = tensors[f"{name}.weight"]
        norm = weight.ndim == 1
        match.explained.add(name + _COUNTER)
        for tail in (".weight", ".bias", *(f".{extra}" for extra in _STATISTICS if norm)):
            if (value := tensors.get(name + tail)) is not None:
                match.explained.add(name + tail)
                if chain.training_only:
                    match.training_only.append(name + tail)
                else:
                    match.tensors[f"{chain.name}.{position}{tail}"] = value
        if weight.ndim not in (1, 2):
            _note(match, f"{name}.weight", tuple(weight.shape), "out in")
            return
        given = int(weight.shape[-1])
        if width is None:
            width = match.sizes[chain.first] = given
        if given != width:
            _note(match, f"{name}.weight", tuple(weight.shape), f"out {width}")
        width = int(weight.shape[0])
        full = f"{name}.running_mean" in tensors if norm else f"{name}.bias" in tensors
        layers.append(ChainLayer(numbers[0] if numbers else 0, "norm" if norm else "linear", width, full))
    match.chains[chain.name] = tuple(layers)
    if width is not None and match.sizes.setdefault(chain.last, width) != width:
        _note(match, f"the last layer of {key}", (width,), chain.last)

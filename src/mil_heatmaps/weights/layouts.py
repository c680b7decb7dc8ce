"""Find the state dict in a file, whatever else a training script saved around it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from torch import Tensor

from mil_heatmaps.errors import CheckpointError
from mil_heatmaps.files.inert import Record
from mil_heatmaps.weights.stated import SETTINGS_NAMES

EMA_NAMES = (
    "state_dict_ema",
    "model_ema",
    "ema_state_dict",
    "model_ema_state_dict",
    "ema_model",
    "ema",
    "ema_weights",
)
"""Names of averaged weights, which are preferred: such a training evaluates them."""
WRAPPER_NAMES = (
    "state_dict",
    "model",
    "model_state_dict",
    "net",
    "network",
    "model_state",
    "net_state_dict",
    "weights",
    "params",
    "teacher",
)
"""Names around the weights, best first (MIL-Lab's order begins the same way)."""
_NOT_WEIGHTS = ("optim", "sched", "scaler", "callbacks", "loops", "rng", "criterion", "loss")
_LONGEST_NAME = 1000
"""Characters of a tensor's name: a longer one costs time and memory wherever names are compared."""
_MOST_TENSORS = 5000
"""The largest encoders have about 700, in as many parts; every layout is compared with all of them, in every part."""
_DEEPEST = 5
_MOST_NODES = 2000


@dataclass(frozen=True)
class Found:
    """One dict of tensors in a checkpoint.

    Attributes
    ----------
    wrapper : tuple of str
        The names of `EMA_NAMES` and `WRAPPER_NAMES` around it, outermost first.
    inner : tuple of str
        The other names around it, below the wrapper: ``("encoder",)`` for a model saved in parts.
    tensors : dict
    objects : dict
        Other objects among the tensors that are not plain values.
    """

    wrapper: tuple[str, ...]
    inner: tuple[str, ...]
    tensors: dict[str, Tensor]
    objects: dict[str, Record] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Where it was, for messages."""
        return ".".join(self.wrapper + self.inner) or "top level"


def best_candidates(content: Any) -> tuple[list[Found], list[str]]:
    """Return the dicts of tensors from the best place in `content`, and the titles of the others.

    Usually there is one dict. Several mean a model saved in parts, or several models: the caller must decide.
    """
    found = [item for item in _walk(content, (), set()) if item.tensors]
    if not found:
        return [], []
    best = min(_rank(item) for item in found)
    chosen = [item for item in found if _rank(item) == best]
    for item in chosen:
        _refuse_objects(item)
        if (longest := max(map(len, item.tensors), default=0)) > _LONGEST_NAME:
            raise CheckpointError(f"a tensor's name has {longest:,} characters; no model has names above 1,000")
    if (count := sum(len(item.tensors) for item in chosen)) > _MOST_TENSORS:
        raise CheckpointError(f"holds {count:,} tensors; no model has more than {_MOST_TENSORS:,}")
    places: set[str] = set()
    for key in (key for item in chosen for key in item.tensors):
        places.update(_places(key))
        if len(places) > _MOST_TENSORS:
            raise CheckpointError(f"names more than {_MOST_TENSORS:,} parts of a model; no model has so many")
    return chosen, [item.title for item in found if _rank(item) != best]


def _places(key: str) -> Iterator[str]:
    """Yield the parts of a model that a tensor's name lies in: ``a`` and ``a.b`` for ``a.b.weight``."""
    return accumulate(key.split(".")[:-1], "{}.{}".format)


def joined(candidates: list[Found]) -> dict[str, Tensor]:
    """Return the tensors of one candidate as they are; several are parts of a model, and their names are prepended.

    If all keys of a part begin with DataParallel's ``module.``, it is removed.
    """
    if len(candidates) == 1:
        return candidates[0].tensors
    return {
        ".".join((*item.inner, key)): value
        for item in candidates
        for key, value in _without_parallel(item.tensors).items()
    }


def _without_parallel(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    whole = all(key.startswith("module.") for key in tensors)
    return {key.removeprefix("module."): value for key, value in tensors.items()} if whole else tensors


def _walk(node: Any, path: tuple[str, ...], seen: set[int]) -> Iterator[Found]:
    """Yield every mapping with tensors, each object once, because a file may refer to itself."""
    if not isinstance(node, Mapping) or id(node) in seen or len(path) > _DEEPEST or len(seen) > _MOST_NODES:
        return
    seen.add(id(node))
    tensors = {str(key): value for key, value in node.items() if isinstance(value, Tensor)}
    if any(value.ndim for value in tensors.values()):  # lone numbers are counters and metrics
        objects = {str(key): value for key, value in node.items() if isinstance(value, Record)}
        yield _split(path, _plain_names(tensors), objects)
    for key, value in node.items():
        if not any(word in str(key).lower() for word in _NOT_WEIGHTS) and str(key) not in SETTINGS_NAMES:
            yield from _walk(value, (*path, str(key)), seen)


def _refuse_objects(found: Found) -> None:
    """Raise a `CheckpointError` for an object among the weights: a state dict holds plain tensors."""
    for key, value in found.objects.items():
        if key not in SETTINGS_NAMES:
            raise CheckpointError(
                f"{key!r} is not a tensor but an object of {value.record_name} among the weights, which was not made: "
                "save the model's state dict again, as plain tensors"
            )


def _split(path: tuple[str, ...], tensors: dict[str, Tensor], objects: dict[str, Record]) -> Found:
    known = EMA_NAMES + WRAPPER_NAMES
    depth = max((i + 1 for i, name in enumerate(path) if name in known), default=0)
    return Found(path[:depth], path[depth:], tensors, objects)


def _plain_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors without the names that torch.compile, FSDP and weight averaging add."""
    plain = {
        key.replace("_orig_mod.", "").replace("_fsdp_wrapped_module.", ""): value for key, value in tensors.items()
    }
    for counter in ("n_averaged", "initted", "step"):
        if counter in plain and plain[counter].numel() == 1:
            del plain[counter]
    return plain


def _rank(item: Found) -> tuple[int, tuple[int, ...]]:
    """Order places: averaged weights, then named wrappers in their order, then anything else."""
    if any(name in EMA_NAMES for name in item.wrapper):
        return 0, ()
    if item.wrapper:
        return 1, tuple(WRAPPER_NAMES.index(name) for name in item.wrapper if name in WRAPPER_NAMES)[:1]
    return 2, ()

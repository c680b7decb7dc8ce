"""What a checkpoint says about its model beside the tensors: settings, class names, task."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from mil_heatmaps.choices import Task
from mil_heatmaps.files.inert import Record, release_of
from mil_heatmaps.weights.pathforge_package import package_settings

SETTINGS_NAMES = ("hyper_parameters", "hparams", "config", "model_config", "args", "opt", "cfg")
"""Names of the settings that files hold beside their weights."""
_CLASS_NAMES = ("categories", "outcome_labels")
_DEEPEST = 5
_MOST_NODES = 2000


@dataclass(frozen=True)
class Stated:
    """What a file, or a file beside it, says about a model.

    Attributes
    ----------
    settings : dict
        Plain values and lists of them. Nested values go by their last name, versions are texts, and ambiguous values
        are left out.
    class_names : tuple of str or None
        Names of the outputs, in order.
    task : Task or None
    """

    settings: dict[str, Any] = field(default_factory=dict)
    class_names: tuple[str, ...] | None = None
    task: Task | None = None


def stated(nodes: Mapping[str, Any] | None) -> Stated:
    """Return what settings say, however deeply they are nested."""
    values: dict[str, tuple[int, Any]] = {}
    ambiguous: set[str] = set()
    names: tuple[str, ...] | None = None
    for depth, key, value in _items(nodes, 0, set()):
        if key in _CLASS_NAMES:
            names = _class_names(value) or names
        if isinstance(value, Mapping):
            continue
        if key not in values or depth < values[key][0]:  # outer values win over nested ones
            values[key] = depth, value
            ambiguous.discard(key)
        elif depth == values[key][0] and value != values[key][1]:
            ambiguous.add(key)
    outermost = {str(key): value for key, value in (nodes or {}).items() if value is not None}
    settings = outermost | {key: value for key, (_, value) in values.items() if key not in ambiguous}
    task = settings.get("task")
    return Stated(settings, names, task if task in get_args(Task) else None)


def stated_in(content: Any) -> Stated:
    """Return the facts from the settings that a training script stored beside its weights."""
    found = {name: content[name] for name in SETTINGS_NAMES if name in content} if isinstance(content, Mapping) else {}
    return stated(found | package_settings(content))


def _items(node: Any, depth: int, seen: set[int]) -> Iterator[tuple[int, str, Any]]:
    """Yield (depth, name, plain value) for all values below a node; mappings of `_CLASS_NAMES` stay whole."""
    found = _mapping(node)
    if found is None or id(node) in seen or depth > _DEEPEST or len(seen) > _MOST_NODES:
        return
    seen.add(id(node))  # not that of what `_mapping` made: the next one may get the same id
    for key, value in found.items():
        plain = _plain(value)
        if plain is not None:
            yield depth, str(key), plain
        elif key in _CLASS_NAMES and isinstance(value, Mapping):
            yield depth, str(key), value
        else:
            yield from _items(value, depth + 1, seen)


def _mapping(node: Any) -> Mapping[Any, Any] | None:
    if isinstance(node, Record):
        return node.attributes
    found = node if isinstance(node, Mapping) else getattr(node, "__dict__", None)
    return found if isinstance(found, Mapping) else None


def _plain(value: Any) -> Any:
    """Return a plain value or a list of them, a version as text, a NumPy number as Python's, or else None."""
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple) and value and all(isinstance(one, bool | int | float | str) for one in value):
        return list(value)
    if isinstance(value, Record):
        release = release_of(value)
        return None if release is None else ".".join(map(str, release))
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        return _plain(value.item())
    return None


def _class_names(value: Any) -> tuple[str, ...] | None:
    """Return names in the order of the outputs, from a list or {"0": name, "1": name, …}; None for anything else."""
    if isinstance(value, Mapping):
        try:
            by_number = {int(key): str(name) for key, name in value.items()}
        except (TypeError, ValueError):
            return None
        whole = set(by_number) == set(range(len(by_number)))
        return tuple(by_number[i] for i in range(len(by_number))) if whole else None
    return tuple(map(str, value)) if isinstance(value, list) else None

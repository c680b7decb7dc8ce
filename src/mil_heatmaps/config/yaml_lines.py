"""Read YAML safely, and remember on which line each key stands."""

import copy
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from mil_heatmaps.config.section_types import shown
from mil_heatmaps.errors import ConfigError
from mil_heatmaps.files.stand_ins import refuse_stand_in
from mil_heatmaps.words import said_by

KeyPath = tuple[str | int, ...]
LineMap = dict[KeyPath, int]

# YAML 1.1 takes `1e-3` for text as it has no dot; people mean the number.
_EXPONENT = re.compile(r"^[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+$")


_MOST_ALIASES = 1_000
_MOST_MERGED = 10_000
"""Pairs that ``<<`` may copy in all: mappings that merge one another grow without end."""

_MOST_BITS = 1_024
_MOST_REPEATED = 20


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which makes plain values only, reads ``1e-3`` as a number and ``1:30`` as text."""

    def __init__(self, text: str, name: str) -> None:
        super().__init__(text)
        self.name = name
        self.aliases = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Return the next node; ConfigError when there are too many aliases."""
        self.aliases += self.check_event(yaml.AliasEvent)
        if self.aliases > _MOST_ALIASES:
            raise ConfigError(f"{self.name} holds more than {_MOST_ALIASES:,} aliases (*name): a config needs none")
        node: yaml.Node | None = super().compose_node(parent, index)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Return the value of a node; ConfigError, with its place, when it is not what its tag says."""
        try:
            value = super().construct_object(node, deep)
        except (KeyError, AttributeError, TypeError, ValueError, OverflowError) as error:
            if isinstance(error, ConfigError):
                raise
            tag = node.tag.rpartition(":")[2]
            raise ConfigError(f"bad YAML at {self._place(node)}: {shown(node.value)} is no {tag}") from error
        if isinstance(value, int) and value.bit_length() > _MOST_BITS:
            raise ConfigError(f"bad YAML at {self._place(node)}: a number of {len(node.value):,} digits")
        return value

    def _place(self, node: yaml.Node) -> str:
        return f"line {node.start_mark.line + 1}, column {node.start_mark.column + 1} of {self.name}"


def _without_base_60(tag: str, pattern: "re.Pattern[str]") -> "re.Pattern[str]":
    """Return the pattern of numbers without those such as ``1:30``, which nobody means by 90."""
    if tag not in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float"):
        return pattern
    return re.compile(r"(?!.*:)(?:" + pattern.pattern + ")", re.VERBOSE)


_Loader.yaml_implicit_resolvers = {
    sign: [(tag, _without_base_60(tag, pattern)) for tag, pattern in known]
    for sign, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+0123456789"))


def parse_yaml(text: str, name: str) -> tuple[dict[str, Any], LineMap]:
    """Return the mapping that `text` holds and the 1-based line of each of its keys.

    Parameters
    ----------
    text : str
        One YAML document.
    name : str
        What to call it in messages, usually the file's name.

    Raises
    ------
    ConfigError
        When it is not YAML, holds a key twice, asks for anything but plain values, or is not a mapping.
    """
    try:
        loader = _Loader(text, name)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(
            f"{name} is not YAML: line {line} holds the control character {text[error.position]!r}"
        ) from error
    try:
        node = loader.get_single_node()
        if node is None:
            raise ConfigError(f"{name} is empty; heatmaps/configs/config_template.yaml shows every key")
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(
                f"{name} must hold sections such as data_arguments, not {_kind(node)} (line 1)"
            )
        lines: LineMap = {}
        repeated = [f"{message} of {name})" for message in _walk(node, (), lines, set())]
        if repeated:
            more = [f"and {len(repeated) - _MOST_REPEATED} more"] if len(repeated) > _MOST_REPEATED else []
            raise ConfigError("\n".join(repeated[:_MOST_REPEATED] + more))
        if _copied(node, {}) > _MOST_MERGED:
            raise ConfigError(f"{name} merges (<<) more than {_MOST_MERGED:,} pairs: mappings that merge one another")
        value = loader.construct_document(node)
    except ConfigError:  # is a ValueError, too
        raise
    except yaml.MarkedYAMLError as error:
        raise ConfigError(_bad_yaml(error, name)) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{name} is not YAML: {said_by(error)}") from error
    except (ValueError, RecursionError) as error:  # 2024-13-45 as a date, a mapping nested without end
        raise ConfigError(f"{name} is not YAML this program can read: {said_by(error)}") from error
    finally:
        loader.dispose()
    return value, lines


def read_yaml(path: Path) -> tuple[dict[str, Any], LineMap]:
    """Return the mapping in the file at `path` and the line of each key; see `parse_yaml`."""
    refuse_stand_in(path, ConfigError)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not a text file in UTF-8 (byte {error.start})") from error
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or said_by(error)}") from error
    value, lines = _last_parsed(text, str(path))
    return copy.deepcopy(value), lines


# A command looks for some keys before it loads the config.
_last_parsed = lru_cache(maxsize=1)(parse_yaml)


def line_of(path: KeyPath, lines: LineMap) -> int | None:
    """Return the line of the key at `path`, or of the closest mapping around it, or None."""
    for length in range(len(path), 0, -1):
        if path[:length] in lines:
            return lines[path[:length]]
    return None


def _walk(node: yaml.Node, path: KeyPath, lines: LineMap, seen: set[int]) -> Iterator[str]:
    """Fill `lines` and yield a message for each key that stands twice in one mapping."""
    if id(node) in seen:  # an alias: its first place is enough, and `&a [*a]` would never end
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines[(*path, index)] = item.start_mark.line + 1
            yield from _walk(item, (*path, index), lines, seen)
    elif isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            line = key.start_mark.line + 1
            if key.value in first:
                where = ".".join(map(str, path)) or "the file"
                yield f"key {key.value!r} stands twice in {where} (lines {first[key.value]} and {line}"
            first.setdefault(key.value, line)
            lines[(*path, key.value)] = line
            yield from _walk(value, (*path, key.value), lines, seen)


def _copied(node: yaml.Node, flat: dict[int, int]) -> int:
    """Return how many pairs PyYAML copies for the merges (``<<``) of a node and of all in it.

    `flat` is filled with the pairs that each mapping comes to, its merges included.
    """
    if id(node) in flat:
        return 0
    flat[id(node)] = 0  # one that merges itself adds nothing
    if isinstance(node, yaml.SequenceNode):
        copied = sum(_copied(item, flat) for item in node.value)
        flat[id(node)] = min(sum(flat[id(item)] for item in node.value), 10 * _MOST_MERGED)
        return copied
    if not isinstance(node, yaml.MappingNode):
        return 0
    copied = sum(_copied(value, flat) for _, value in node.value)
    merged = sum(flat[id(value)] for key, value in node.value if key.tag == "tag:yaml.org,2002:merge")
    flat[id(node)] = min(len(node.value) + merged, 10 * _MOST_MERGED)
    return copied + merged


def _bad_yaml(error: yaml.MarkedYAMLError, name: str) -> str:
    mark = error.problem_mark or error.context_mark
    where = f"line {mark.line + 1}, column {mark.column + 1} of {name}" if mark else name
    problem = error.problem or "cannot be read"
    hint = ""
    if "\\t" in problem:
        hint = "; indent with spaces, not tabs"
    elif "could not determine a constructor" in problem:
        hint = "; only plain values are read, no tags"
    elif "another document" in problem:
        hint = "; a config is one document, without a line of ---"
    elif "mapping values are not allowed" in problem:
        hint = "; text that holds ': ' needs quotes, and keys of one section the same indent"
    return f"bad YAML at {where}: {problem}{hint}"


def _kind(node: yaml.Node) -> str:
    return "a list" if isinstance(node, yaml.SequenceNode) else "a single value"

"""Read YAML safely, and remember on which line each key stands."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from mil_heatmaps.errors import ConfigError
from mil_heatmaps.files.stand_ins import refuse_stand_in
from mil_heatmaps.words import said_by

KeyPath = tuple[str | int, ...]
LineMap = dict[KeyPath, int]

# YAML 1.1 takes `1e-3` for text as it has no dot; people mean the number.
_EXPONENT = re.compile(r"^[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+$")


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which makes plain values only, and reads ``1e-3`` as a number."""


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
        When it is no YAML, holds a key twice, asks for anything but plain values, or is not a mapping.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            raise ConfigError(f"{name} is empty; heatmaps/configs/config_template.yaml shows every key")
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(
                f"{name} must hold sections such as data_arguments, not {_kind(node)} (line 1)"
            )
        lines: LineMap = {}
        repeated = list(_walk(node, (), lines, set()))
        if repeated:
            raise ConfigError("\n".join(f"{message} of {name})" for message in repeated))
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
    return parse_yaml(text, str(path))


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

"""Write the two files made from the config's models: the JSON Schema and the reference of all keys.

Run ``python -m mil_heatmaps.config.key_reference`` after a change to a section.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from mil_heatmaps.config.schema import Config, config_schema
from mil_heatmaps.config.validation_errors import model_in
from mil_heatmaps.files.atomic import write_text
from mil_heatmaps.words import one_line

ROOT = Path(__file__).resolve().parents[3]
SCHEMA_FILE = ROOT / "heatmaps" / "configs" / "schema.json"
KEYS_FILE = ROOT / "docs" / "reference" / "config_keys.md"

_INTRODUCTION = """# Every key of the config

Made from the program's own definitions by `python -m mil_heatmaps.config.key_reference`; do not edit.

A key that is left out takes its default. Keys marked *New* are not in CLAM; all others mean what they mean
in CLAM, whose config files run as they are. `heatmaps/configs/config_template.yaml` holds the same keys ready
to be copied, and `create_heatmaps.py --schema` prints them as JSON Schema for editors.

- Paths are tried as given (from the folder the program was started in), then from the config's folder;
  process lists also in `heatmaps/process_lists`, presets in `presets`. `~` and `$VARIABLES` are expanded.
- An unknown key, a value of the wrong kind or out of range, a key written twice, or a missing file is an
  error before any work, with the line of the file; all errors of a file are shown at once.
"""

_NAMES = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
_LIMITS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "multipleOf": "a multiple of {}",
}


def schema_text() -> str:
    """Return the JSON Schema as it stands in ``heatmaps/configs/schema.json``."""
    return json.dumps(config_schema(), indent=1, ensure_ascii=False) + "\n"


def keys_text() -> str:
    """Return the reference of all keys, in Markdown."""
    definitions = config_schema()["$defs"]
    parts = [_INTRODUCTION]
    for name, info in Config.model_fields.items():
        model = model_in(info.annotation)
        if model is not None:
            parts += [f"\n## {name}\n\n{_plain(model.__doc__)}\n", _table(model, definitions)]
            for key, field in model.model_fields.items():
                inner = model_in(field.annotation)
                if inner is not None and inner.model_fields:
                    parts += [f"\n### {name}.{key}\n\n{_plain(inner.__doc__)}\n", _table(inner, definitions)]
    return "\n".join(parts)


def _table(model: type[BaseModel], definitions: dict[str, Any]) -> str:
    properties = definitions[model.__name__]["properties"]
    lines = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for key, info in model.model_fields.items():
        kind = _kind(properties[key], definitions)
        meaning = _plain(info.description)
        lines.append(f"| `{key}` | {kind} | {_default(info)} | {meaning} |".replace("  ", " "))
    return "\n".join(lines) + "\n"


def _plain(text: str | None) -> str:
    """Return a description on one line, the mark of new keys in italics."""
    joined = one_line(text or "").replace("|", "\\|")
    return joined.replace("New:", "*New:*", 1)


def _kind(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    """Return the kinds of value a property takes, in words."""
    limits = [text.format(schema[name]) for name, text in _LIMITS.items() if name in schema]
    if "anyOf" in schema:
        kinds = [_kind(part, definitions) for part in schema["anyOf"]]
        if "number" in kinds and "whole number" in kinds:
            kinds.remove("whole number")
        return " ".join([" or ".join(dict.fromkeys(kinds)), *limits])
    if "$ref" in schema:
        target = schema["$ref"].rsplit("/", 1)[1]
        return "mapping of options" if definitions[target].get("properties") else "{}"
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type")
    if kind == "array":
        inner = _kind(schema["items"], definitions) if "items" in schema else "values"
        return f"list ({inner})"
    if kind == "object":
        values = schema.get("additionalProperties")
        return f"mapping (to {_kind(values, definitions)})" if isinstance(values, dict) else "mapping"
    return " ".join([_NAMES.get(str(kind), str(kind)), *limits])


def _default(info: FieldInfo) -> str:
    """Return the default as one would write it in YAML."""
    if info.is_required():
        return "**needed**"
    value = info.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined or value is None:
        return "null"
    return f"`{_yaml(value)}`"


def _yaml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, BaseModel):
        return (
            "{" + ", ".join(f"{key}: {_yaml(getattr(value, key))}" for key in type(value).model_fields) + "}"
        )
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_yaml(item) for item in value) + "]"
    return str(value)


def write_all() -> None:
    """Write both files."""
    write_text(SCHEMA_FILE, schema_text())
    write_text(KEYS_FILE, keys_text())


if __name__ == "__main__":
    write_all()

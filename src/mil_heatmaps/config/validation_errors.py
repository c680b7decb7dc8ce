"""Turn what pydantic found wrong into sentences that name the key, its line and what would do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from mil_heatmaps.config.section_types import shown
from mil_heatmaps.config.yaml_lines import KeyPath, LineMap, line_of
from mil_heatmaps.words import did_you_mean, near


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a config: the key it concerns, and the rest of a sentence that begins with it."""

    path: tuple[str, ...]
    message: str


class Places:
    """Where each key was written: a line of the file, or the command line.

    Parameters
    ----------
    name : str
        The file, as shown in messages.
    lines : mapping from key path to 1-based line
    overridden : paths of the keys given outside the file, and how they were given
    """

    def __init__(self, name: str, lines: LineMap, overridden: Mapping[KeyPath, str]) -> None:
        self.name = name
        self.lines = lines
        self.overridden = overridden

    def __call__(self, path: KeyPath) -> str:
        """Return ``line 12 of x.yaml`` for a key."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.overridden:
                return self.overridden[path[:length]]
        line = line_of(path, self.lines)
        return f"line {line} of {self.name}" if line else f"in {self.name}"

    def line(self, path: KeyPath) -> int:
        """Return the line of a key for sorting; 0 when it is not in the file."""
        return 0 if path[:2] in self.overridden else line_of(path, self.lines) or 0


# Names people carry over from other programs, where spelling alone does not lead to ours.
_SYNONYMS = {
    "colormap": "cmap", "colourmap": "cmap", "color_map": "cmap", "opacity": "alpha", "transparency": "alpha",
    "level": "vis_level", "model": "model_name", "checkpoint": "ckpt_path", "checkpoint_path": "ckpt_path",
    "features_dir": "h5_dir", "feature_dir": "h5_dir", "feat_dir": "h5_dir", "slide_dir": "data_dir",
    "wsi_dir": "data_dir", "extension": "slide_ext", "wsi_ext": "slide_ext", "labels": "label_dict",
    "class_names": "label_dict", "num_classes": "n_classes", "encoder": "model_name",
    "normalise": "normalize", "normalization": "normalize", "convert_to_percentiles": "normalize",
    "ref_scores": "use_ref_scores", "thresh": "binary_thresh", "num_workers": "workers", "gpus": "devices",
    "output_dir": "production_save_dir", "save_dir": "production_save_dir", "dropout": "drop_out",
}  # fmt: skip


def unknown_key(
    key: str, section: str, keys: Sequence[str], elsewhere: Mapping[str, Sequence[str]], place: str
) -> str:
    """Return the message for a key that `section` does not have."""
    synonym = _SYNONYMS.get(key.lower())
    homes = [name for name, others in elsewhere.items() if key in others and name != section]
    best = synonym if synonym in keys else None if homes else near(key, keys)
    if best:
        hint = f"did you mean {best!r}?"
    else:
        hint = f"it belongs to {homes[0]}." if homes else "no key is named alike."
    return f"unknown key {key!r} in {section} ({place}); {hint} Choose from {', '.join(sorted(keys))}"


def describe(error: Mapping[str, Any], root: type[BaseModel], places: Places) -> str:
    """Return the sentence for one entry of pydantic's ``ValidationError.errors()``."""
    path: KeyPath = tuple(error["loc"])
    key, owner = str(path[-1]), _dotted(path[:-1])
    kind, given = error["type"], error["input"]
    if kind == "extra_forbidden":
        sections = {name: sorted(fields_of(root, (name,))) for name in root.model_fields}
        if len(path) == 1:
            guess = did_you_mean(key, sections) or "no section is named alike. "
            return f"unknown section {key!r} ({places(path)}); {guess}Choose from {', '.join(sections)}"
        return unknown_key(key, owner, sorted(fields_of(root, path[:-1])), sections, places(path))
    if kind == "missing":
        return (
            f"{_dotted(path)} is needed ({places(path[:-1])}): {fields_of(root, path[:-1])[key].description}"
        )
    if kind == "value_error" and len(path) == 1:  # a check over several keys; it begins with the key to blame
        reason = str(error["ctx"]["error"])
        return f"{_dotted(path)}: {reason} ({places((*path, reason.split()[0]))})"
    return f"{_dotted(path)} {_reason(kind, error, given)} ({places(path)})"


def describe_cell(error: Mapping[str, Any]) -> str:
    """Return the sentence for one entry of ``ValidationError.errors()`` about the cells of a table."""
    if not error["loc"]:  # a check over several cells; it begins with the one to blame
        return str(error["ctx"]["error"])
    return f"{error['loc'][0]} {_reason(error['type'], error, error['input'])}"


def fields_of(root: type[BaseModel], path: KeyPath) -> dict[str, Any]:
    """Return the fields of the model at `path` below `root`; empty when there is none."""
    model: Any = root
    for part in path:
        if isinstance(part, int):
            continue
        info = model.model_fields.get(part)
        model = model_in(info.annotation) if info else None
        if model is None:
            return {}
    return dict(model.model_fields)


def model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the first model that an annotation such as ``list[Sample]`` or ``PngExport | None`` names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        if found := model_in(inner):
            return found
    return None


_BOUNDS = {
    "greater_than_equal": ("ge", "at least"), "greater_than": ("gt", "more than"),
    "less_than_equal": ("le", "at most"), "less_than": ("lt", "less than"),
}  # fmt: skip
_WANTED = {
    "int": "a whole number", "float": "a number", "bool": "true or false", "string": "text",
    "dict": "a mapping", "list": "a list", "model": "a section with keys below it",
    "finite": "a finite number", "tuple": "a list",
}  # fmt: skip


def _reason(kind: str, error: Mapping[str, Any], given: Any) -> str:
    context = error.get("ctx", {})
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return f"must be {words} {context[name]:g}, got {shown(given)}"
    if kind == "literal_error":
        choices = [choice.strip("' ") for choice in context["expected"].replace(" or ", ", ").split(",")]
        guess = did_you_mean(str(given), choices, before=", ", after="")
        return f"must be one of {', '.join(choices)}; got {shown(given)}{guess}"
    if kind == "value_error":
        return str(context["error"])
    if kind == "multiple_of":
        return f"must be a multiple of {context['multiple_of']:g}, got {shown(given)}"
    return f"must be {_WANTED.get(kind.split('_')[0], error['msg'])}, got {_shown(given)}"


def _shown(given: Any) -> str:
    return "nothing (null)" if given is None else shown(given)


def _dotted(path: KeyPath) -> str:
    """Return ``sample_arguments.samples[2].k``."""
    text = ""
    for part in path:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text

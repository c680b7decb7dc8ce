"""Load a config: one YAML file with CLAM's seven sections and a few of our own, checked before any work.

cfg = load_config("heatmaps/configs/config_abmil_panda.yaml")
cfg.heatmap_arguments.cmap          # keys are attributes, under their YAML names
cfg.inputs.checkpoint               # the files and folders it names, found
"""

import copy
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from mil_heatmaps.config.cross_checks import cross_checks
from mil_heatmaps.config.find_inputs import find_inputs, portable_values
from mil_heatmaps.config.input_paths import resolve_input_path
from mil_heatmaps.config.own_models import default_of_encoders
from mil_heatmaps.config.schema import Config
from mil_heatmaps.config.tissue_parameters import cohort_params
from mil_heatmaps.config.validation_errors import Places, Problem, describe
from mil_heatmaps.config.yaml_lines import KeyPath, LineMap, read_yaml
from mil_heatmaps.errors import ConfigError

__all__ = ["Config", "effective_yaml", "load_config", "make_config"]

_MOST_MESSAGES = 50
"""Each takes a search for the name that was meant."""


def load_config(
    path: str | os.PathLike[str],
    overrides: Mapping[str, Any] | None = None,
    *,
    check_files: bool = True,
) -> Config:
    """Return the config in the YAML file at `path`.

    Parameters
    ----------
    path : str or path
        The file; a bare name is also looked for in ``heatmaps/configs``.
    overrides : mapping, optional
        Values that replace the file's, by dotted key: ``{"exp_arguments.save_exp_code": "X"}``.
    check_files : bool
        Look for every file and folder named and keep them in `Config.inputs`; False for reading a config that
        belongs to another machine.

    Raises
    ------
    ConfigError
        With every problem of the file at once, each with the key and its line.
    """
    found = resolve_input_path(path, None, "config")
    values, lines = read_yaml(found)
    return make_config(values, overrides, source=found, lines=lines, check_files=check_files)


def make_config(
    values: Mapping[str, Any],
    overrides: Mapping[str, Any] | None = None,
    *,
    source: Path | None = None,
    lines: LineMap | None = None,
    check_files: bool = True,
) -> Config:
    """Return the config in a mapping shaped like the YAML file; see `load_config`."""
    raw = {str(key): _section(value) for key, value in values.items()}
    raw.setdefault("data_arguments", {})
    overridden: dict[KeyPath, str] = {}
    for dotted, value in (overrides or {}).items():
        section, _, key = dotted.partition(".")
        if isinstance(raw.setdefault(section, {}), dict):
            raw[section][key] = value
        overridden[(section, key)] = "given on the command line"
    places = Places(source.name if source else "the config", lines or {}, overridden)
    _default_by_context(raw)
    cfg, failed, messages = _validate(raw, places)
    problems: list[Problem] = []
    if cfg is not None:
        problems = cross_checks(cfg)
        cfg._source = source
        if check_files:
            cfg._inputs, missing = find_inputs(cfg, source.parent if source else None)
            problems += [*missing, *_preset(cfg)]
    # A problem that follows from a wrong key would only repeat the first message.
    problems = [p for p in problems if p.path not in failed and p.path[:1] not in failed]
    messages += [
        (places.line(p.path), f"{'.'.join(p.path[:2])} {p.message} ({places(p.path)})") for p in problems
    ]
    if messages or cfg is None:
        raise ConfigError(_joined(messages, str(source or places.name)))
    return cfg


def effective_yaml(cfg: Config) -> str:
    """Return the config with its defaults filled in, as YAML that loads to the same config.

    Paths stay as they were given, except that those found only from the config's own folder are absolute.
    """
    plain = cfg.model_dump(mode="json")
    for section, key, value in portable_values(cfg):
        plain[section][key] = value
    layers = ("segmentation_arguments", "visualization_arguments")  # only what overrides the preset
    given = cfg.model_dump(mode="json", include=set(layers), exclude_unset=True)
    plain |= {section: given.get(section, {}) for section in layers}
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=110)


def _section(value: Any) -> Any:
    """Return a copy of a section, its keys as text; an empty section becomes {}."""
    if isinstance(value, Mapping):
        return {str(key): copy.deepcopy(entry) for key, entry in value.items()}
    return {} if value is None else copy.deepcopy(value)


def _default_by_context(raw: dict[str, Any]) -> None:
    """Fill in the three defaults that depend on other sections, in place.

    calc_heatmap is false with h5_dir or scores_dir: they are drawn rather than every patch encoded again. Without them
    it is true, as in CLAM. A bag of several slides is drawn on one scale. n_classes is the number of names: of the
    labels in a classification, else of output_names.
    """
    data = raw.get("data_arguments")
    if not isinstance(data, dict):
        return
    heatmap, experiment = raw.setdefault("heatmap_arguments", {}), raw.setdefault("exp_arguments", {})
    if isinstance(heatmap, dict) and (data.get("h5_dir") or data.get("scores_dir")):
        heatmap.setdefault("calc_heatmap", False)
    if isinstance(heatmap, dict) and data.get("bag") == "case":
        heatmap.setdefault("scale", "case")
    default_of_encoders(raw)
    if isinstance(experiment, dict) and experiment.get("n_classes") is None:
        experiment["n_classes"] = _number_of_names(raw.get("model_arguments"), data.get("label_dict"))


def _number_of_names(model: Any, labels: Any) -> int | None:
    """Return how many outputs the config names, None when it names none."""
    model = model if isinstance(model, dict) else {}
    if model.get("task", "classification") != "classification":
        names = model.get("output_names")
        return len(names) if isinstance(names, list) and names else None
    given = map(str, labels.values()) if isinstance(labels, dict) else ()
    numbers = [int(number) for number in given if number.isdecimal() and len(number) < 10]
    return max(numbers) + 1 if numbers else None


def _validate(
    raw: dict[str, Any], places: Places
) -> tuple[Config | None, set[KeyPath], list[tuple[int, str]]]:
    """Return the config, the keys that are wrong, and what is wrong with them, each with its line.

    Wrong keys are left out and the rest tried again, so that checks over several keys can still be made.
    """
    try:
        return Config.model_validate(raw), set(), []
    except ValidationError as error:
        entries = error.errors(include_url=False)
    entries.sort(key=lambda entry: places.line(tuple(entry["loc"])))
    messages = [
        (places.line(tuple(entry["loc"])), describe(entry, Config, places)) for entry in entries[:_MOST_MESSAGES]
    ]
    if len(entries) > _MOST_MESSAGES:
        messages.append((sys.maxsize, f"and {len(entries) - _MOST_MESSAGES:,} more"))
    failed = {tuple(entry["loc"]) for entry in entries}
    rest = copy.deepcopy(raw)
    for path in failed:
        _drop(rest, path)
    data = rest.setdefault("data_arguments", {})
    if isinstance(data, dict):
        data.setdefault("data_dir", os.curdir)
    _default_by_context(rest)
    try:
        return Config.model_validate(rest), failed, messages
    except ValidationError:
        return None, failed, messages


def _preset(cfg: Config) -> list[Problem]:
    """Return what is wrong with the preset's table."""
    try:
        cohort_params(cfg)
    except ConfigError as error:
        return [Problem(("data_arguments", "preset"), f"cannot be used: {error}")]
    return []


def _drop(raw: dict[str, Any], path: KeyPath) -> None:
    """Remove the key at `path`; a path inside a section's key removes that key."""
    section = raw.get(str(path[0]))
    if len(path) == 1:
        raw.pop(str(path[0]), None)
    elif isinstance(section, dict):
        section.pop(path[1], None)


def _joined(messages: list[tuple[int, str]], name: str) -> str:
    """Return one message, or all of them in the order of the file."""
    if len(messages) == 1:
        return messages[0][1]
    capped = any(line == sys.maxsize for line, _ in messages)
    count = f"more than {len(messages) - 1}" if capped else str(len(messages))
    return f"{count} problems in {name}:\n" + "\n".join(f"- {text}" for _, text in sorted(messages))

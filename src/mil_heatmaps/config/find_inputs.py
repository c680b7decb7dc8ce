"""Find all files and folders that a config names."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mil_heatmaps.config.input_paths import FolderMap, InputPaths, Kind, resolve_input_path
from mil_heatmaps.config.own_models import head_facts
from mil_heatmaps.config.schema import Config
from mil_heatmaps.config.validation_errors import Problem
from mil_heatmaps.errors import ConfigError, HeatmapError
from mil_heatmaps.weights.hub import download, is_hub_name, name_of_weights


def find_inputs(cfg: Config, config_dir: Path | None) -> tuple[InputPaths, list[Problem]]:
    """Return the paths of all inputs of `cfg`, and a problem for each that is missing."""
    problems: list[Problem] = []

    def one(section: str, key: str, kind: Kind) -> Path | None:
        value = getattr(getattr(cfg, section), key)
        return None if value is None else named(value, (section, key), kind)

    def named(value: str, path: tuple[str, ...], kind: Kind) -> Path | None:
        try:
            return resolve_input_path(value, config_dir, kind)
        except ConfigError as error:
            problems.append(Problem(path, f"names {error}"))
            return None

    def folders(key: str) -> FolderMap:
        value = getattr(cfg.data_arguments, key)
        found: FolderMap = {}
        for name, entry in (value if isinstance(value, dict) else {} if value is None else {"": value}).items():
            path = ("data_arguments", key, *((name,) if name else ()))
            paths = [named(folder, path, "folder") for folder in ([entry] if isinstance(entry, str) else entry)]
            found[name] = tuple(place for place in paths if place is not None)
        return found

    concepts = cfg.data_arguments.concepts
    concept_file = None if concepts is None else concepts.file
    head_file = cfg.model_arguments.head_file
    head = None if head_file is None else named(head_file, ("model_arguments", "head"), "file")
    head_names, said = head_facts(cfg, head)
    problems += said
    inputs = InputPaths(
        slides=folders("data_dir"),
        features=folders("h5_dir"),
        tissue=folders("tissue_dir"),
        coords=folders("coords_dir"),
        scores=folders("scores_dir"),
        roi=folders("roi_dir"),
        qc=folders("qc_dir"),
        beside=folders("beside_dir"),
        process_list=one("data_arguments", "process_list", "process_list"),
        preset=one("data_arguments", "preset", "preset"),
        checkpoint=_checkpoint_on_hub(cfg, problems) or one("model_arguments", "ckpt_path", "checkpoint"),
        encoder_weights=one("encoder_arguments", "weights", "checkpoint") or _weights_of_environment(cfg),
        baseline=None if cfg.explanation_arguments.baseline in ("zero", "mean") else one(
            "explanation_arguments", "baseline", "file"
        ),
        cases=one("data_arguments", "cases", "file"),
        concepts=None if concept_file is None else named(concept_file, ("data_arguments", "concepts"), "file"),
        head=head,
        head_names=head_names,
        slide_vectors=one("data_arguments", "slide_vectors_dir", "folder"),
        extra={
            name: path for name, value in (cfg.data_arguments.extra or {}).items()
            if isinstance(value, str) and (path := named(value, ("data_arguments", "extra"), "file")) is not None
        },
    )  # fmt: skip
    return inputs, problems


def _checkpoint_on_hub(cfg: Config, problems: list[Problem]) -> Path | None:
    """Download the checkpoint if it is one of the hub, and return its folder; None for a checkpoint on this machine."""
    model = cfg.model_arguments
    name = name_of_weights(model.model_name) if model.ckpt_path is None else model.ckpt_path
    if name is None or not is_hub_name(name):
        return None
    try:
        return download(name)
    except HeatmapError as error:
        key = "model_name" if model.ckpt_path is None else "ckpt_path"
        problems.append(Problem(("model_arguments", key), str(error)))
        return Path(name)  # so that it is not also reported as a missing file


def _weights_of_environment(cfg: Config) -> Path | None:
    """Return the weight file that the encoder's environment variable names, so that all workers use the same file.

    None when the variable leads nowhere: loading the encoder says so, if the run needs it.
    """
    from mil_heatmaps.encoders.catalogue import ENCODERS
    from mil_heatmaps.encoders.weight_files import named_weights

    spec = ENCODERS.get(cfg.encoder_arguments.model_name or "")
    path = named_weights(spec) if spec is not None and cfg.encoder_arguments.weights is None else None
    return path if path is not None and path.exists() else None


def portable_values(cfg: Config) -> Iterator[tuple[str, str, Any]]:
    """Yield section, key and value of each input that is found only from the config's own folder, made absolute."""
    inputs = cfg.inputs
    files: list[tuple[str, str, Kind, Path | None]] = [
        ("data_arguments", "process_list", "process_list", inputs.process_list),
        ("data_arguments", "preset", "preset", inputs.preset),
        ("model_arguments", "ckpt_path", "checkpoint", inputs.checkpoint),
        ("encoder_arguments", "weights", "checkpoint", inputs.encoder_weights),
        ("explanation_arguments", "baseline", "file", inputs.baseline),
        ("data_arguments", "cases", "file", inputs.cases),
        ("data_arguments", "slide_vectors_dir", "folder", inputs.slide_vectors),
    ]
    for section, key, kind, path in files:
        given = getattr(getattr(cfg, section), key)
        if given is not None and path is not None and not is_hub_name(given) and _portable(given, path, kind) != given:
            yield section, key, str(path)
    named = cfg.data_arguments.concepts
    if named is not None and named.file is not None and inputs.concepts is not None:
        found_from = _portable(named.file, inputs.concepts, "file")
        if found_from != named.file:
            yield "data_arguments", "concepts", {**named.model_dump(mode="json"), "file": found_from}
    head, found_head = cfg.model_arguments.head_file, inputs.head
    if head is not None and found_head is not None and _portable(head, found_head, "file") != head:
        whole = {"cosine_to": str(found_head)} if isinstance(cfg.model_arguments.head, dict) else str(found_head)
        yield "model_arguments", "head", whole
    if tables := {name: str(path) for name, path in inputs.extra.items()}:
        given_extra = cfg.data_arguments.extra or {}
        if any(_portable(str(given_extra[name]), inputs.extra[name], "file") != given_extra[name] for name in tables):
            yield "data_arguments", "extra", {**given_extra, **tables}
    folders = {"data_dir": inputs.slides, "h5_dir": inputs.features, "tissue_dir": inputs.tissue}
    folders |= {"coords_dir": inputs.coords, "scores_dir": inputs.scores, "roi_dir": inputs.roi, "qc_dir": inputs.qc}
    folders["beside_dir"] = inputs.beside
    for key, found in folders.items():
        given = getattr(cfg.data_arguments, key)
        if isinstance(given, dict):
            values: Any = {name: _folder_values(entry, found.get(name, ())) for name, entry in given.items()}
        else:
            values = _folder_values(given, found.get("", ()))
        if values != given:
            yield "data_arguments", key, values


def _folder_values(given: Any, found: tuple[Path, ...]) -> Any:
    if isinstance(given, str):
        return _portable(given, found[0], "folder") if found else given
    if isinstance(given, list) and found:
        return [_portable(value, path, "folder") for value, path in zip(given, found, strict=True)]
    return given


def _portable(given: str, found: Path, kind: Kind) -> str:
    """Return `given` if it leads to `found` without the config's folder, else the absolute path."""
    try:
        return given if resolve_input_path(given, None, kind) == found else str(found)
    except ConfigError:
        return str(found)

"""Slide encoders with a head, and models with several inputs: what their keys need of one another, and what follows."""

from pathlib import Path
from typing import Any

from mil_heatmaps.choices import KNOWN_ENCODER, SUM
from mil_heatmaps.config.labels import class_names_by_number
from mil_heatmaps.config.schema import Config
from mil_heatmaps.config.validation_errors import Problem
from mil_heatmaps.errors import CheckpointError

_MODELS = ("model_class", "model_name", "model_type", "slide_encoder")
_ASKED = ("occlusion", "mask_regression")
"""Scores of a slide encoder that are made where none is chosen: the first is drawn."""


def own_models(cfg: Config) -> list[Problem]:
    """Return what is wrong with slide_encoder, head, bags and extra."""
    return [*_encoder(cfg), *_several(cfg)]


def _encoder(cfg: Config) -> list[Problem]:
    model, problems = cfg.model_arguments, []

    def wrong(key: str, text: str) -> None:
        problems.append(Problem(("model_arguments", key), text))

    if model.slide_encoder is None:
        if model.head is not None:
            wrong("head", "belongs to slide_encoder, which is not given, nor a ckpt_path whose keys tell one")
        if cfg.data_arguments.slide_vectors_dir is not None:
            text = "is what the vectors of model_arguments.slide_encoder are compared with, which is not given"
            problems.append(Problem(("data_arguments", "slide_vectors_dir"), text))
        return problems
    for key in _MODELS[:-1]:
        if getattr(model, key) is not None:
            wrong("slide_encoder", f"give {key} or slide_encoder, not both")
    if model.slide_encoder == KNOWN_ENCODER and model.ckpt_path is None:
        wrong("slide_encoder", "is auto, the one that the keys of ckpt_path tell, which is not given")
    if model.head is None:
        wrong("slide_encoder", "makes a vector, and needs a head that makes outputs of it: give model_arguments.head")
    if isinstance(model.head, dict) and model.task != "regression":
        wrong("head", f"cosine_to gives values, but task is {model.task}; set task: regression, or leave it out")
    if cfg.bags:
        text = "is a mapping of bags, but a slide_encoder takes one bag a slide; name one folder, or wrap a model_class"
        problems.append(Problem(("data_arguments", "h5_dir"), text))
    return problems


def _several(cfg: Config) -> list[Problem]:
    data, problems = cfg.data_arguments, []
    key = "h5_dir" if cfg.bags else "extra" if data.extra else None
    if key is None or (key == "h5_dir" and cfg.model_arguments.slide_encoder is not None):
        return []
    if cfg.model_arguments.model_class is None:
        text = "gives a model several inputs, which only a model_class takes: forward(bags, coords, extra)"
        if key == "h5_dir":
            text = f"is a mapping, but data_dir is none whose keys it could have; of several bags, it {text}"
        problems.append(Problem(("data_arguments", key), text))
    if not cfg.bags:
        text = "needs bags with names: write h5_dir as a mapping, such as {patches: DIR}"
        problems.append(Problem(("data_arguments", "extra"), text))
    if twice := sorted(set(cfg.bags) & set(data.extra or ())):
        problems.append(Problem(("data_arguments", "extra"), f"names {twice[0]!r}, which is a bag of h5_dir too"))
    for name in cfg.bags:
        if name == SUM or not name.replace("_", "").replace("-", "").replace(".", "").isalnum():
            text = f"names a bag {name!r}: letters, digits, _ . and - make the names of its files, and {SUM} is taken"
            problems.append(Problem(("data_arguments", "h5_dir"), text))
    if cfg.bags and cfg.heatmap_arguments.calc_heatmap:
        text = "makes a finer grid of one bag, and the model takes several; set it to false"
        problems.append(Problem(("heatmap_arguments", "calc_heatmap"), text))
    if cfg.bags and data.coords_dir is not None:
        text = "says where the patches of one bag are, but h5_dir has several; put coordinates beside the features"
        problems.append(Problem(("data_arguments", "coords_dir"), text))
    if cfg.bags and data.scores_dir is not None:
        text = "brings scores, but h5_dir gives bags to a model that would make them; leave one of them out"
        problems.append(Problem(("data_arguments", "scores_dir"), text))
    if cfg.bags and data.patch_size_level0 is not None and len(cfg.bags) > 1:
        text = "is one size, but bags have patches of their own sizes: leave it out, their files must say it"
        problems.append(Problem(("data_arguments", "patch_size_level0"), text))
    return problems


def head_facts(cfg: Config, path: Path | None) -> tuple[tuple[str, ...] | None, list[Problem]]:
    """Return the names of the outputs of the head at `path`, None where it has none, and what is wrong with it."""
    from mil_heatmaps.weights.slide_head import read_head

    model, key = cfg.model_arguments, ("model_arguments", "head")
    if path is None or model.slide_encoder is None:
        return None, []
    try:
        head = read_head(path, cosine=isinstance(model.head, dict))
        head.check_task(model.task)
    except CheckpointError as error:
        return None, [Problem(key, f"cannot be used: {error}")]
    if head.names is None or model.task != "classification" or cfg.data_arguments.label_dict is None:
        given = model.output_names
        if given is not None and head.names is not None and tuple(given) != head.names:
            text = f"calls its outputs {', '.join(head.names)}, but output_names says {', '.join(given)}"
            return None, [Problem(key, text)]
        if model.task == "classification" and head.names is not None and len(head) == len(head.names) == 1:
            return None, []  # the name of the second of two classes
        return head.names, []
    by_number = class_names_by_number(cfg.data_arguments.label_dict)
    labels = tuple(by_number[number] for number in sorted(by_number))
    if len(head) == 1 and len(head.names) == 1:
        labels = labels[-1:]
    if labels != head.names:
        text = f"calls its classes {', '.join(head.names)}, in this order, but label_dict says {', '.join(labels)}"
        return None, [Problem(key, text)]
    return head.names if len(head.names) > 1 else None, []


def default_of_encoders(raw: dict[str, Any]) -> None:
    """Fill in what follows from a slide encoder, in place.

    Occlusion is drawn and mask regression kept beside it, since such an encoder has no map of its own; a cosine is a
    value.
    """
    model = raw.get("model_arguments")
    if not isinstance(model, dict):
        return
    if model.get("head") and model.get("ckpt_path") and not any(model.get(key) for key in _MODELS):
        model["slide_encoder"] = KNOWN_ENCODER
    if not model.get("slide_encoder"):
        return
    if isinstance(model.get("head"), dict):
        model.setdefault("task", "regression")
    heatmap, explained = raw.setdefault("heatmap_arguments", {}), raw.setdefault("explanation_arguments", {})
    if not isinstance(heatmap, dict) or not isinstance(explained, dict) or heatmap.get("score") is not None:
        return
    heatmap["score"] = _ASKED[0]
    heatmap.setdefault("calc_heatmap", False)
    most, masks = explained.get("max_forwards", 2000), explained.get("masks", 512)
    if isinstance(most, int) and isinstance(masks, int) and masks <= most:
        explained.setdefault("scores", list(_ASKED[1:]))

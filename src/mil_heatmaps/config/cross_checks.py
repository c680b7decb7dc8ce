"""Check keys of different sections that need, exclude or contradict each other."""

from mil_heatmaps.choices import CONCEPT_SCORES
from mil_heatmaps.config.drawing_sections import HeatmapArguments
from mil_heatmaps.config.own_models import own_models
from mil_heatmaps.config.schema import Config
from mil_heatmaps.config.validation_errors import Problem
from mil_heatmaps.errors import ModelError
from mil_heatmaps.explain.settings import EXPLANATIONS, check_output
from mil_heatmaps.words import did_you_mean, whole_number


def cross_checks(cfg: Config) -> list[Problem]:
    """Return every contradiction between the sections; each section by itself is sound."""
    checks = (_model, own_models, _labels, _inputs, _cases, _drawing, _explanations, _faithfulness)
    return [problem for check in checks for problem in check(cfg)]


def _model(cfg: Config) -> list[Problem]:
    model, problems = cfg.model_arguments, []
    brings_scores = cfg.data_arguments.scores_dir is not None
    compared = cfg.heatmap_arguments.score in CONCEPT_SCORES
    if compared and cfg.data_arguments.concepts is None:
        text = f"is {cfg.heatmap_arguments.score}, which compares patches with vectors: give data_arguments.concepts"
        problems.append(Problem(("heatmap_arguments", "score"), text))
    if cfg.data_arguments.concepts is not None and brings_scores:
        text = "are compared with features, but scores_dir brings the scores; leave one of them out"
        problems.append(Problem(("data_arguments", "concepts"), text))
    if not cfg.names_model and not brings_scores and not compared:
        problems.append(
            Problem(
                ("model_arguments", "ckpt_path"),
                "is needed, or data_arguments.scores_dir to draw scores of your own without a model",
            )
        )
    if model.model_name is not None and model.model_class is not None:
        problems.append(
            Problem(("model_arguments", "model_class"), "give model_name or model_class, not both")
        )
    if model.init_args and model.own_code is None:
        text = "belongs to model_class or slide_encoder, and neither is given"
        problems.append(Problem(("model_arguments", "init_args"), text))
    if model.overrides and model.own_code is not None:
        key = "model_class" if model.model_class is not None else "slide_encoder"
        problems.append(Problem(("model_arguments", "overrides"), f"has no effect on {key}; use init_args"))
    asked = cfg.exp_arguments.n_classes
    if model.n_classes is not None and asked is not None and model.n_classes != asked:
        problems.append(
            Problem(
                ("model_arguments", "n_classes"),
                f"is {model.n_classes}, but exp_arguments.n_classes is {asked}",
            )
        )
    return [*problems, *_outputs(cfg)]


def _outputs(cfg: Config) -> list[Problem]:
    names, n_classes, path = cfg.model_arguments.output_names, cfg.n_classes, ("model_arguments", "output_names")
    if names is None:
        return []
    if cfg.model_arguments.task == "classification":
        text = "are those of a regression or survival model, but task is classification; name classes in label_dict"
        return [Problem(path, text)]
    if n_classes is not None and n_classes != len(names):
        return [Problem(path, f"names {len(names)} outputs, but n_classes is {n_classes}")]
    return []


def _labels(cfg: Config) -> list[Problem]:
    labels, n_classes = cfg.data_arguments.label_dict, cfg.exp_arguments.n_classes
    if labels is None or n_classes is None or cfg.model_arguments.task != "classification":
        return []  # of a regression or survival model label_dict names groups of slides, not outputs
    path, problems = ("data_arguments", "label_dict"), []
    if labels and min(labels.values()) > 0:
        given = ", ".join(f"{name}: {number}" for name, number in labels.items())
        shifted = ", ".join(f"{name}: {number - min(labels.values())}" for name, number in labels.items())
        said = f"has numbers that begin at {min(labels.values())} ({given}), but those of a model's outputs begin at 0"
        return [Problem(path, f"{said}: {{{shifted}}}")]
    for name, number in labels.items():
        if not 0 <= number < n_classes:
            problems.append(
                Problem(
                    (*path, name),
                    f"gives {name!r} the number {number}, but n_classes is {n_classes}: 0 to {n_classes - 1}",
                )
            )
    if unnamed := sorted(set(range(n_classes)) - set(labels.values())):
        numbers = ", ".join(map(str, unnamed))
        # Without n_classes in the config it is the largest number and one, which nobody gave.
        gap = unnamed[-1] < max(labels.values())
        why = "and numbers follow one another from 0" if gap else f"but n_classes is {n_classes}"
        problems.append(Problem(path, f"gives no name to class {numbers}, {why}"))
    return problems


def _inputs(cfg: Config) -> list[Problem]:
    data, problems = cfg.data_arguments, []
    if isinstance(data.data_dir, dict):
        for key in ("h5_dir", "tissue_dir", "coords_dir", "roi_dir", "qc_dir", "beside_dir", "scores_dir"):
            folders = getattr(data, key)
            if isinstance(folders, dict) and (unknown := sorted(set(folders) - set(data.data_dir))):
                problems.append(
                    Problem(
                        ("data_arguments", key, unknown[0]),
                        f"{unknown[0]!r} is not a source of data_dir; choose from {', '.join(data.data_dir)}",
                    )
                )
    if data.qc_drop and data.qc_dir is None:
        problems.append(Problem(("data_arguments", "qc_drop"), "needs the masks in qc_dir, which is not given"))
    makes_map = cfg.heatmap_arguments.calc_heatmap and data.scores_dir is None
    makes_features = data.h5_dir is None and data.scores_dir is None
    needs = (
        "the slides have no features (no h5_dir)" if makes_features else "calc_heatmap encodes patches again"
    )
    if cfg.encoder_arguments.model_name is None and (makes_features or makes_map):
        cure = "" if makes_features else ", or set calc_heatmap: false to draw the scores of the bag"
        problems.append(
            Problem(
                ("encoder_arguments", "model_name"),
                f"is needed, as {needs}; name the one the model was trained on, such as resnet50_trunc{cure}",
            )
        )
    if data.scores_dir is not None and cfg.heatmap_arguments.calc_heatmap:
        problems.append(
            Problem(
                ("heatmap_arguments", "calc_heatmap"),
                "makes scores, but scores_dir brings them; set it to false",
            )
        )
    patching = cfg.patching_arguments
    if patching.mpp is not None and patching.magnification is not None:
        problems.append(
            Problem(("patching_arguments", "magnification"), "give mpp or magnification, not both")
        )
    if patching.grid == "features" and makes_features and data.coords_dir is None:
        problems.append(
            Problem(
                ("patching_arguments", "grid"),
                "is features, but there are no files that bring patches (h5_dir or coords_dir); use clam",
            )
        )
    return problems


def _cases(cfg: Config) -> list[Problem]:
    """Return what is wrong with bags of several slides."""
    data, problems = cfg.data_arguments, []
    if data.bag == "case" and data.scores_dir is not None:
        text = "is case, which asks a model about all slides of a case at once, but scores_dir brings the scores and "
        problems.append(Problem(("data_arguments", "bag"), f"{text}no model is run; leave bag out, or use scale: case"))
    if data.bag == "case" and len(cfg.bags) > 1:
        text = "is case, but a model of several bags is asked about one slide at a time; numbers beside one bag do go"
        problems.append(Problem(("data_arguments", "bag"), text))
    if data.bag == "case" and data.slide_vectors_dir is not None:
        text = "has vectors of slides, but bag is case, of which there is one vector; leave one of them out"
        problems.append(Problem(("data_arguments", "slide_vectors_dir"), text))
    if data.bag == "case" and data.qc_drop:
        text = "leaves patches out slide by slide and asks the model again, which bag: case does once a case"
        problems.append(Problem(("data_arguments", "qc_drop"), text))
    if data.cases is not None and not cfg.knows_cases:
        text = "says which slides belong together, which matters with bag: case or heatmap_arguments.scale: case only"
        problems.append(Problem(("data_arguments", "cases"), text))
    if data.cases is None and data.process_list is None and cfg.knows_cases:
        key = ("data_arguments", "bag") if data.bag == "case" else ("heatmap_arguments", "scale")
        text = "is case, but nothing says which slides belong together: give data_arguments.cases, or a process_list "
        problems.append(Problem(key, f"{text}with a column case_id"))
    return problems


def _chosen_outputs(cfg: Config) -> list[Problem]:
    """Return what is wrong with `classes`, as far as the names of the outputs are known."""
    given, names, task = cfg.heatmap_arguments.classes, cfg.output_names, cfg.model_arguments.task
    path, noun = ("heatmap_arguments", "classes"), "class" if task == "classification" else "output"
    words = [] if isinstance(given, list) else ["predicted", "label", "all"]
    chosen = given if isinstance(given, list) else [given]
    if task != "classification":
        words = [word for word in words if word != "label"]
        if "label" in chosen:
            others = ", ".join([*words, *(names or ["an output"])])
            return [Problem(path, f"label chooses a class, and a {task} model has none; choose from {others}")]
    if names is None:
        return []
    choices, problems = [*words, *names], []
    for name in chosen:
        number = whole_number(name)
        if name not in choices and (number is None or number >= len(names)):
            guess = did_you_mean(name, choices)
            problems.append(Problem(path, f"no {noun} {name!r}; {guess}choose from {', '.join(choices)}"))
    return problems


def _explanations(cfg: Config) -> list[Problem]:
    """Return what is wrong with what is to be explained."""
    explained, heatmap, problems = cfg.explanation_arguments, cfg.heatmap_arguments, []
    try:
        check_output(explained.output, cfg.model_arguments.task)
    except ModelError as error:
        problems.append(Problem(("explanation_arguments", "output"), str(error).removeprefix("output ")))
    if cfg.data_arguments.scores_dir is not None and explained.scores:
        text = "asks a model, but scores_dir brings the scores and no model is run; leave one of them out"
        problems.append(Problem(("explanation_arguments", "scores"), text))
    if heatmap.score in EXPLANATIONS and heatmap.score != "single" and heatmap.calc_heatmap:
        text = (
            f"is {heatmap.score}, which asks the model of the slide's own bag and has no finer map; draw single, or "
            "set calc_heatmap: false"
        )
        problems.append(Problem(("heatmap_arguments", "score"), text))
    return problems


def _center(heatmap: HeatmapArguments) -> list[Problem]:
    """Return why a middle that is asked for would not be drawn."""
    text = ""
    method = heatmap.normalize or ("percentile" if heatmap.compat == "clam" else "robust")
    if method not in ("minmax", "robust", "none"):
        why = f"normalize: {method}" if heatmap.normalize else "compat: clam, which draws percentiles"
        text = f"has no effect with {why}, as ranks and shares have no middle; use normalize: robust, minmax or none"
    elif heatmap.vmin is not None and heatmap.vmax is not None:
        text = "has no effect, as vmin and vmax set both ends; leave one of them out"
    return [Problem(("heatmap_arguments", "center"), text)] if text and heatmap.center != "auto" else []


def _drawing(cfg: Config) -> list[Problem]:
    heatmap, problems = cfg.heatmap_arguments, _chosen_outputs(cfg)
    if heatmap.normalize == "percentile_ref" and not heatmap.calc_heatmap:
        problems.append(
            Problem(
                ("heatmap_arguments", "normalize"),
                "percentile_ref ranks a fine map among the bag, but calc_heatmap is false; use percentile",
            )
        )
    problems += _center(heatmap)
    if heatmap.save_ext in ("jpg", "jpeg") and heatmap.max_size is not None and heatmap.max_size > 65500:
        problems.append(
            Problem(
                ("heatmap_arguments", "max_size"),
                "a JPEG has at most 65500 pixels a side; use export_arguments.ome_tiff",
            )
        )
    return problems


def _faithfulness(cfg: Config) -> list[Problem]:
    data, measured = cfg.data_arguments, cfg.faithfulness_arguments.wanted
    problems = []
    if cfg.heatmap_arguments.evidence != "none" and not measured:
        problems.append(
            Problem(
                ("heatmap_arguments", "evidence"),
                "is outline, but evidence sets come from measuring: add faithfulness_arguments: {level: quick}",
            )
        )
    if measured and data.scores_dir is not None and cfg.names_model and data.h5_dir is None:
        problems.append(
            Problem(
                ("faithfulness_arguments", "level"),
                "measures the scores of scores_dir by the model, which needs the features of their patches: give "
                "data_arguments.h5_dir",
            )
        )
    return problems

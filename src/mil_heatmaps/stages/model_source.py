"""The model of a run: its identity for the records, checks before any work, loading only when a slide needs it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mil_heatmaps.choices import CONCEPT_SCORES
from mil_heatmaps.errors import CheckpointError, ConfigError, ModelError
from mil_heatmaps.files.digests import fingerprint, sha256_file, sha256_files
from mil_heatmaps.numpy_later import np
from mil_heatmaps.stages.last_loaded import LastLoaded
from mil_heatmaps.stages.named_concepts import concepts_identity
from mil_heatmaps.words import whole_number

if TYPE_CHECKING:
    from mil_heatmaps.config.config import Config
    from mil_heatmaps.models.base import MILModel
    from mil_heatmaps.scores.concepts import Concepts

PER_CLASS_SCORES = ("class_contribution", "instance_probability", "instance_logit")
"""What speaks for which class. The first of these that the model has is kept beside the drawn score."""


def named_targets(targets: str | list[str], names: Sequence[str]) -> str | list[str | int]:
    """Return the config's targets, which are text; digits become output numbers unless an output has that name."""
    if targets in ("all", "predicted"):
        return str(targets)
    given = [targets] if isinstance(targets, str) else targets
    numbers = [None if one in names else whole_number(one) for one in given]
    return [one if number is None else number for one, number in zip(given, numbers, strict=True)]


_LAST: LastLoaded[MILModel] = LastLoaded()


class ModelSource:
    """The model of a config, created on first use and kept for all slides of the process.

    It can be sent to another process: only its description is sent, and the model is loaded there.
    """

    def __init__(self, config: Config, checkpoint: Path | None) -> None:
        self._config = config
        self.checkpoint = checkpoint

    @property
    def external(self) -> bool:
        """Whether scores come from the user's own files, so that no model is run."""
        return self._config.data_arguments.scores_dir is not None

    @cached_property
    def checkpoint_sha256(self) -> str | None:
        """SHA-256 of the weights file, or over the digests of all its parts; None without a checkpoint."""
        from mil_heatmaps.weights.checkpoint_paths import checkpoint_parts

        return None if self.checkpoint is None else sha256_files(checkpoint_parts(self.checkpoint))

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Everything a score depends on besides the features; the device is left out."""
        if self.external:
            return {"external": True}
        concepts = concepts_identity(self._config)
        return self.weights_identity if concepts is None else {**self.weights_identity, "concepts": concepts}

    @cached_property
    def concepts(self) -> Concepts | None:
        """The named vectors that patches are compared with; ScoreError or ModelError when they cannot be made."""
        from mil_heatmaps.stages.named_concepts import concepts_of

        return concepts_of(self._config)

    @property
    def has_model(self) -> bool:
        """Whether the config names a model, even if the user provides the scores."""
        return self._config.names_model

    @cached_property
    def weights_identity(self) -> dict[str, Any]:
        """Identity of the model, also where it only measures scores that the user provides."""
        model = self._config.model_arguments
        came_later = {name for name in ("slide_encoder", "head") if getattr(model, name) is None}
        no_part = {"device", "ckpt_path", "initiate_fn", "drop_out", "n_classes", "output_names", *came_later}
        dump = self._config.model_dump(mode="json", include={"model_arguments"}, exclude={"model_arguments": no_part})
        config = self._checkpoint_config_sha256()
        return {
            "arguments": dump["model_arguments"],
            "checkpoint_sha256": self.checkpoint_sha256,
            **({} if config is None else {"checkpoint_config_sha256": config}),
            **({} if self._config.inputs.head is None else {"head_sha256": sha256_file(self._config.inputs.head)}),
            "code_sha256": self._code_sha256(),
            "n_classes": self._config.n_classes,
            "class_names": list(self.output_names or ()),
            "score": self._config.heatmap_arguments.score,
        }

    def load(self, device: str | None = None) -> MILModel:
        """Return the model on its device, in eval mode; `CheckpointError` or `ModelError` when it does not fit.

        A process keeps the last model it loaded, whichever source asks for it.
        """
        where = device or self._config.model_arguments.device
        key = {"model": self.weights_identity, "device": where}
        return _LAST.get(lambda: fingerprint(key), lambda: self._load(where))

    def _load(self, device: str) -> MILModel:
        from mil_heatmaps.stages.load_model import load_model

        try:
            model = load_model(self._config, self.checkpoint, device)
        except CheckpointError as error:
            raise CheckpointError(self._about_labels(str(error))) from error
        self._check_outputs(model)
        return model

    def _checkpoint_config_sha256(self) -> str | None:
        """SHA-256 of the config.json beside the weights, which holds settings that the tensors do not show."""
        from mil_heatmaps.weights.checkpoint_paths import config_of

        path = None if self.checkpoint is None else config_of(self.checkpoint)
        return None if path is None else sha256_file(path)

    def _code_sha256(self) -> str | None:
        """SHA-256 over the user's model file and the user's files that it imports: results change with them."""
        from mil_heatmaps.weights.own_code import file_digest, module_file

        named = self._config.model_arguments.own_code
        if not named:
            return None
        where = named.rpartition(":")[0]
        path, module = Path(where), ""
        if path.suffix != ".py":
            module = where
            path = module_file(where) or path  # a missing file is reported when the model is loaded
        return file_digest(path, module) if path.suffix == ".py" and path.is_file() else None

    @cached_property
    def training_median(self) -> float | None:
        """Median prediction of a survival or regression model over its training set, where it is known."""
        from mil_heatmaps.checkpoints.training_facts import training_median

        if self.checkpoint is None or self._config.model_arguments.task not in ("survival", "regression"):
            return None
        return training_median(self.checkpoint)

    @property
    def output_names(self) -> list[str] | None:
        """Names of the model's outputs, in its order, or None when the config has none."""
        return self._config.output_names

    def column_names(self, device: str | None = None) -> Sequence[str] | None:
        """Return the column names of a score with one column per output, as `infer` gives them."""
        from mil_heatmaps.models.inference import column_names

        return column_names(self.load(device), self.output_names, self._config.model_arguments.task)

    def scores_wanted(self, device: str | None = None) -> list[str]:
        """Return the names of the scores to compute: the drawn one first, a per-class one for the viewer, then
        those that the config asks for as well.
        """
        model = self.load(device)
        asked = self._config.heatmap_arguments.score
        first = model.default_score if asked is None or asked in CONCEPT_SCORES else asked
        offered = model.score_names()
        extra = [name for name in PER_CLASS_SCORES if name in offered and name != first][:1]
        return list(dict.fromkeys([first, *extra, *self._config.explanation_arguments.scores]))

    def _about_labels(self, message: str) -> str:
        """Add to a message where the number of outputs came from, if names in the config gave it."""
        names = self.output_names
        if names is None or "classes" not in message:
            return message
        told = f"{self._names_key} names {len(names)}: {', '.join(names)}"
        counted = f"num_classes (n_classes) says {len(names)}"  # a number nobody gave
        return message.replace(counted, told) if counted in message else f"{message} ({told})"

    @property
    def _names_key(self) -> str:
        classes = self._config.model_arguments.task == "classification"
        return "data_arguments.label_dict" if classes else "model_arguments.output_names"

    def _check_outputs(self, model: MILModel) -> None:
        names, classes = self.output_names, self._config.model_arguments.task == "classification"
        one_logit = classes and model.num_classes == 1 and len(names or ()) == 2
        what = f"the model {model.title}" if self.checkpoint is None else f"the checkpoint {self.checkpoint}"
        if names is not None and model.num_classes and len(names) != model.num_classes and not one_logit:
            raise ConfigError(
                f"{self._names_key} names {len(names)} {'classes' if classes else 'outputs'} ({', '.join(names)}) "
                f"but {what} has {model.num_classes} outputs"
            )
        stated = model.class_names if names is None and classes else None
        if stated and model.num_classes and len(stated) != max(model.num_classes, 2):
            raise ConfigError(
                f"{what} names {len(stated)} classes ({', '.join(stated)}) but has "
                f"{model.num_classes} outputs: name them in data_arguments.label_dict"
            )
        score = self._config.heatmap_arguments.score
        compared = score in CONCEPT_SCORES
        for key, wanted in (
            ("heatmap_arguments.score", [] if score is None or self.external or compared else [score]),
            ("explanation_arguments.scores", self._config.explanation_arguments.scores),
        ):
            try:
                model.check_scores(wanted)
            except ModelError as error:
                raise ConfigError(f"{key}: {error}") from error
        if not compared:
            self._check_centre(model)
        self._check_targets(model)
        self._check_baseline(model)

    def _check_centre(self, model: MILModel) -> None:
        """Raise a ConfigError if `center` is set but the drawn score has no sign."""
        from mil_heatmaps.explain.settings import EXPLANATIONS
        from mil_heatmaps.scores.patch_scores import SIGNED_KINDS

        heatmap = self._config.heatmap_arguments
        name = heatmap.score or model.default_score
        if heatmap.center == "auto" or name in EXPLANATIONS or model.score_specs()[name].kind in SIGNED_KINDS:
            return
        raise ConfigError(
            f"heatmap_arguments.center is {heatmap.center}, but {name} has no sign, so its map has no middle; leave it "
            "at auto, or draw a score that speaks for and against"
        )

    def _check_baseline(self, model: MILModel) -> None:
        """Raise a ConfigError for a baseline that does not fit the model."""
        path, width = self._config.inputs.baseline, getattr(model, "in_dim", 0)
        if path is None or not width:
            return
        from mil_heatmaps.explain.settings import baseline_numbers
        from mil_heatmaps.models.explaining import chosen_settings

        try:
            baseline_numbers(chosen_settings({"baseline": str(path)}).baseline, width)
        except ModelError as error:
            raise ConfigError(f"explanation_arguments.baseline: {path}: {error}") from error

    def _check_targets(self, model: MILModel) -> None:
        """Raise a ConfigError for a target of explanations that the model lacks, as far as its outputs are known."""
        from mil_heatmaps.explain.outputs import choose_outputs, output_names
        from mil_heatmaps.models.inference import column_names

        explained, task = self._config.explanation_arguments, self._config.model_arguments.task
        if explained.targets == "drawn" or not model.num_classes:
            return
        names = column_names(model, self.output_names, task) or output_names(model.num_classes, task)
        targets = named_targets(explained.targets, names)
        try:
            choose_outputs(np.zeros(len(names)), names, task=task, output=explained.output, targets=targets)
        except ModelError as error:
            raise ConfigError(f"explanation_arguments.targets: {error}") from error

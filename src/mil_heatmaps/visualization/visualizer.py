"""`MILLabVisualizer`: load a model once, then slide and features in, scores and pictures out.

    from mil_heatmaps.visualization.visualizer import MILLabVisualizer

    visualizer = MILLabVisualizer("model.pt", class_names=["LUAD", "LUSC"])
    heatmap = visualizer.visualize("slide.svs", "features/slide.h5")
    heatmap.prediction, heatmap.picture, heatmap.top_patches(5)

It draws what generate_heatmaps.py draws, from the same functions, and writes no files.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mil_heatmaps.choices import TASKS, CoordsFrame, CoordsUnit, Task
from mil_heatmaps.devices import choose_device
from mil_heatmaps.errors import ModelError
from mil_heatmaps.features.patch_features import PatchFeatures
from mil_heatmaps.files.names import names_of_slide
from mil_heatmaps.notices import Notice
from mil_heatmaps.slides.slide_space import SlideSpace
from mil_heatmaps.slides.tissue import TissueMask
from mil_heatmaps.visualization.slide_heatmap import SlideHeatmap

if TYPE_CHECKING:
    from mil_heatmaps.models.base import MILModel

PathLike = str | os.PathLike[str]

TISSUE: dict[str, Any] = {"a_t": 0.1, "a_h": 0.1, "max_n_holes": 100}
"""Which pieces of tissue and which holes count, in squares of 512 x 512 level-0 pixels. CLAM's 50 and 8, made for
whole resections to be cut into patches, would leave nothing of a biopsy and colour the glass inside of it; here the
patches are given, so that a speck which is kept does no harm: it has no colour unless it has features."""


class MILLabVisualizer:
    """A model, ready to explain slides.

    Parameters
    ----------
    checkpoint : path, optional
        The trained model. Its family, the width of its features and its classes are read from the file.
    model : MILModel, optional
        A model in memory, in place of a checkpoint.
    model_name : str, optional
        MIL-Lab's name, such as ``abmil.base.uni_v2.none``, if the checkpoint does not say.
    num_classes : int, optional
    class_names : names of the outputs in the model's order, optional
        Names of classes, of a regression's values, or of a survival model's intervals.
    task : ``classification``, ``multilabel``, ``regression`` or ``survival``, optional
        What the outputs are. Default: what the checkpoint says, otherwise classification.
    score : str, optional
        Which of the model's scores to draw; `score_names` lists them.
    settings : dict, optional
        Keys of the config's `explanation_arguments`: ``{"output": "probability", "steps": 64}``.
    device : ``auto``, ``cpu``, ``cuda`` or ``cuda:N``
    **overrides
        Settings of the model that neither name nor checkpoint gives.

    Raises
    ------
    CheckpointError, ModelError
        The checkpoint is missing, damaged, or does not fit the other arguments; the score or device does not exist.
    """

    def __init__(
        self,
        checkpoint: PathLike | None = None,
        *,
        model: "MILModel | None" = None,
        model_name: str | None = None,
        num_classes: int | None = None,
        class_names: Sequence[str] | None = None,
        task: Task | None = None,
        score: str | None = None,
        settings: Mapping[str, Any] | None = None,
        device: str = "auto",
        **overrides: Any,
    ) -> None:
        if (checkpoint is None) == (model is None):
            raise ModelError("give a checkpoint, or a model in memory; not both")
        from mil_heatmaps.models.explaining import chosen_settings

        if model is None:
            from mil_heatmaps.checkpoints.builder import create_model

            model = create_model(model_name, num_classes, checkpoint, **overrides)
        self.model: MILModel = model.to(choose_device(device)).eval()
        self.class_names = None if class_names is None else list(class_names)
        task = task or model.stated_task or "classification"
        if task not in TASKS:
            raise ModelError(f"unknown task {task!r}; choose from {list(TASKS)}")
        self.task: Task = task
        one_logit = task == "classification" and model.num_classes == 1
        if self.class_names is not None and not one_logit and model.num_classes not in (0, len(self.class_names)):
            raise ModelError(
                f"{len(self.class_names)} class names ({', '.join(self.class_names)}) for a model with "
                f"{model.num_classes} outputs"
            )
        self.score = score or model.default_score
        model.check_scores([self.score])
        self.settings = {**(settings or {}), "task": task}
        chosen_settings(self.settings)

    def __repr__(self) -> str:
        noun = "classes" if self.task == "classification" else f"outputs ({self.task})"
        outputs = f"{self.model.num_classes} {noun}" if self.model.num_classes else "no classifier"
        width = f"{self.model.in_dim} wide" if self.model.in_dim else "any width"
        return f"MILLabVisualizer({self.model.title}, {width}, {outputs}, score={self.score!r})"

    @property
    def score_names(self) -> dict[str, str]:
        """Every score the model can give, and what it is."""
        return self.model.score_names()

    def visualize(
        self,
        slide: PathLike,
        h5: PathLike | PatchFeatures,
        *,
        tissue: PathLike | TissueMask | None = None,
        segment: bool = True,
        classes: str | int | Sequence[str | int] = "predicted",
        head: str | int = "mean",
        label: str | None = None,
        patch_size_level0: int | None = None,
        coords_dir: PathLike | None = None,
        coords_frame: CoordsFrame = "auto",
        coords_unit: CoordsUnit = "auto",
        mpp: float | None = None,
        **options: Any,
    ) -> SlideHeatmap:
        """Return the slide's scores and prediction, ready to be drawn.

        Parameters
        ----------
        slide : path
            A file, or the folder of a DICOM series.
        h5 : path or PatchFeatures
            The slide's features (TRIDENT, CLAM, ``.pt``), or the folder they are in.
        tissue : path or TissueMask, optional
            Outlines that limit the colours (GeoJSON from TRIDENT or QuPath, or CLAM's mask.pkl). Default: the tissue
            is segmented.
        segment : bool
            False colours whole patches.
        classes, head
            Which column of the score, if it has several; see `mil_heatmaps.scores.select.select_columns`. If several
            are chosen, the first is drawn.
        label : str, optional
            The slide's true class, for the figure and ``classes="label"``.
        patch_size_level0, coords_dir : optional
            For feature files that hold no patch size, or no coordinates.
        coords_frame, coords_unit
            Frame and unit of the coordinates, as in the config's keys of the same names.
        mpp : float, optional
            Resolution of the slide in micrometres per level-0 pixel. Default: what the slide says.
        **options
            Of `draw_heatmap`: ``vis_level``, ``cmap``, ``alpha``, ``normalize``, ``smooth``, ...

        Raises
        ------
        SlideError, FeatureError, TissueError, ScoreError, ModelError
            Each says which file, what is wrong with it, and what would do.
        """
        from mil_heatmaps.explain.remarks import remarks
        from mil_heatmaps.models.inference import infer
        from mil_heatmaps.scores.select import select_columns, wanted_targets
        from mil_heatmaps.slides.reader import open_slide

        path = Path(slide)
        with open_slide(path, mpp=mpp) as opened:
            space, about_slide = opened.space(coords_frame, coords_unit), opened.resolution.notes
            mask, notes = _tissue(opened, tissue, space) if segment else (None, [])
        features = _features(h5, names_of_slide(path.name), patch_size_level0, space, coords_dir)
        prediction, found = infer(
            self.model, features, scores=[self.score], class_names=self.class_names, task=self.task,
            settings=self.settings, targets=lambda told, outputs: wanted_targets(told, outputs, label, classes),
        )  # fmt: skip
        scores = found[self.score]
        explained = scores.explained
        told = [] if explained is None else remarks(self.score, scores.names, explained.checks, scores.values)
        column = select_columns(scores, prediction, label=label, classes=classes, head=head)[0]
        return SlideHeatmap(
            slide_path=path,
            scores=scores,
            values=column.scores,
            column=column.name,
            prediction=prediction,
            tissue=mask,
            options=options,
            label=label,
            model=self.model.title,
            notes=(*about_slide, *notes, *features.notes, *told),
            mpp=mpp,
        )


def _tissue(
    slide: Any, given: PathLike | TissueMask | None, space: SlideSpace
) -> tuple[TissueMask, list[Notice]]:
    from mil_heatmaps.slides.frames import place_mask
    from mil_heatmaps.slides.segmentation_params import SegmentationParams
    from mil_heatmaps.slides.tissue import segment_tissue
    from mil_heatmaps.slides.tissue_files import read_mask

    if given is None:
        return segment_tissue(slide, SegmentationParams(**TISSUE)), []
    return (given, []) if isinstance(given, TissueMask) else place_mask(read_mask(Path(given)), space)


def _features(
    given: PathLike | PatchFeatures,
    names: Sequence[str],
    patch_size: int | None,
    space: SlideSpace,
    coords_dir: PathLike | None,
) -> PatchFeatures:
    from mil_heatmaps.features.find import FeatureIndex
    from mil_heatmaps.features.read import read_features

    if isinstance(given, PatchFeatures):
        return given
    path = Path(given)
    if path.is_dir():
        beside = path / f"{names[0]}.h5"
        path = beside if beside.is_file() else FeatureIndex([path]).find(*names)
    return read_features(path, patch_size_l0=patch_size, space=space, coords_dir=coords_dir)

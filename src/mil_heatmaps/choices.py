"""The words that users choose from. No heavy imports: the command lines list these words in ``--help``."""

from typing import Literal, get_args

STATUSES = ("tbp", "running", "processed", "failed", "skipped")
"""Status of a slide; tbp is CLAM's "to be processed"."""

STAGE_NAMES = (
    "segment", "coords", "features", "attention", "fine_features", "fine", "faithfulness", "heatmap", "samples",
    "exports", "video", "report",
)  # fmt: skip
"""The stages of a slide, in order."""

EXPORTS = ("png", "jpeg", "webp", "ome_tiff", "deepzoom", "geojson", "csv", "npz", "anndata", "ome_zarr", "dicom",
           "annotation_store", "wsidata")  # fmt: skip
"""The formats of `export_arguments`."""

ContourTest = Literal["basic", "center", "four_pt", "four_pt_hard"]
CONTOUR_TESTS: tuple[str, ...] = get_args(ContourTest)
"""When a patch belongs to a piece of tissue: `segmentation_arguments.contour_fn`."""

FaithfulnessLevel = Literal["none", "quick", "full"]
"""How thoroughly the faithfulness of maps is measured: `faithfulness_arguments.level`."""

Method = Literal["percentile", "percentile_ref", "minmax", "robust", "softmax", "none"]
METHODS: tuple[str, ...] = get_args(Method)
"""How scores become colours: `heatmap_arguments.normalize`."""

ColorProfile = Literal["convert", "embed", "ignore"]
COLOR_PROFILES: tuple[str, ...] = get_args(ColorProfile)
"""What pictures do with a slide's ICC profile: `heatmap_arguments.color_profile`."""

FigureFormat = Literal["png", "pdf", "svg"]
FIGURE_FORMATS: tuple[str, ...] = get_args(FigureFormat)
FigurePreset = Literal["journal_single", "journal_double", "slide_16_9"]
FIGURE_PRESETS: tuple[str, ...] = get_args(FigurePreset)
"""How the figure is made: `heatmap_arguments.figure`."""

Task = Literal["classification", "multilabel", "regression", "survival"]
TASKS: tuple[str, ...] = get_args(Task)
"""Meaning of a model's outputs: logits of exclusive classes, logits of labels that are not exclusive, plain values, or
hazards of successive intervals."""

TASKS_WITH_CHANCES: frozenset[str] = frozenset({"classification", "multilabel"})
"""Tasks whose outputs are probabilities of classes or labels."""

FilmMode = Literal["none", "sweep", "tour", "fade"]
FILM_MODES: tuple[str, ...] = get_args(FilmMode)
"""What a film shows: `video_arguments.mode`."""

FilmFormat = Literal["mp4", "gif", "webp"]
"""File format of a film: `video_arguments.format`."""

Bag = Literal["slide", "case"]
BAGS: tuple[str, ...] = get_args(Bag)
"""The unit that a model receives at once: `data_arguments.bag`."""

KNOWN_ENCODER = "auto"
"""Value of `model_arguments.slide_encoder`: the encoder is recognised by the keys of the checkpoint."""

CONCEPT_SCORES = ("similarity_to", "concept_probability", "concept_class")
"""Scores that compare patches with named vectors (`data_arguments.concepts`); they need no model."""

CASE_COLUMNS = ("case_id", "patient_id", "patient")
"""Columns of a table that say which slides belong together; the first one present is used."""

SUM = "sum"
"""Stands for a bag's name where the sum of all bags is meant, such as in names of files; no bag may have it."""

Isolate = Literal["auto", "always", "never"]
"""Whether each slide has a separate process, which a damaged file may end: `run_arguments.isolate`."""

CoordsFrame = Literal["slide", "bounds", "auto"]
COORDS_FRAMES: tuple[str, ...] = get_args(CoordsFrame)
"""Origin of coordinates in files: `data_arguments.coords_frame`."""

CoordsUnit = Literal["auto", "px", "um"]
COORDS_UNITS: tuple[str, ...] = get_args(CoordsUnit)
"""Unit of coordinates whose file does not state it: `data_arguments.coords_unit`."""

Artefact = Literal["fold", "dark", "pen", "edge", "blur"]
ARTEFACTS: tuple[str, ...] = get_args(Artefact)
"""Artefacts in quality-control masks: folds, dark spots, pen marks, edges or bubbles, out of focus."""

"""Where things are and what is run: the config sections of experiment, data, patches, encoder and model.

The attribute names are the YAML names. CLAM's keys keep CLAM's meaning; "New:" in a description marks all others.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from mil_heatmaps.choices import KNOWN_ENCODER, Artefact, Bag, CoordsFrame, CoordsUnit, Task
from mil_heatmaps.config.concept_section import Concepts, as_concepts
from mil_heatmaps.config.section_types import (
    AsWritten,
    Extensions,
    Float,
    Folders,
    Int,
    Section,
    Text,
    as_written,
    experiment_name,
    extra_inputs,
    shown,
)
from mil_heatmaps.files.names import SLIDE_EXTENSIONS
from mil_heatmaps.slides.resolution import MPP_BELIEVED
from mil_heatmaps.words import repeated

_DEVICE = re.compile(r"^(auto|cpu|cuda(:\d+)?)$")


def _label_dict(value: Any) -> Any:
    if not isinstance(value, dict) or not value:
        raise ValueError(f"must map class names to numbers, such as LUAD: 0; got {shown(value)}")
    return {str(name): number for name, number in value.items()}


def _output_names(names: list[str]) -> list[str]:
    """Refuse a name that stands twice, and one that `heatmap_arguments.classes` could not choose."""
    if twice := repeated(names):
        raise ValueError(f"names {twice[0]!r} twice")
    for name in names:
        if name in ("predicted", "label", "all") or name.isdigit():
            raise ValueError(f"cannot call an output {shown(name)}, which heatmap_arguments.classes takes otherwise")
    return names


def _head(value: Any) -> Any:
    """Check a file, or a mapping of the one key cosine_to."""
    named = value.get("cosine_to") if isinstance(value, dict) and list(value) == ["cosine_to"] else value
    if not isinstance(named, str) or not named.strip():
        raise ValueError(f"must be a file, or {{cosine_to: FILE}}; got {shown(value)}")
    return value


def check_device(value: Any) -> Any:
    """Return a device name in lower case."""
    if not isinstance(value, str) or not _DEVICE.match(value.strip().lower()):
        raise ValueError(f"must be auto, cpu, cuda or cuda:N, got {shown(value)}")
    return value.strip().lower()


class ExpArguments(Section):
    """The experiment: its name, its folders, and how many classes the model tells apart."""

    n_classes: Int | None = Field(
        default=None,
        ge=1,
        description="Outputs of the model. Left out: counted from label_dict, or read from the checkpoint.",
    )
    save_exp_code: Annotated[Text, AfterValidator(experiment_name)] = Field(
        default="HEATMAP_OUTPUT",
        description="Name of this run; the folder below both result folders.",
    )
    raw_save_dir: Text = Field(
        default="heatmaps/heatmap_raw_results",
        description="Folder for scores, features, masks, records and the run's own process list.",
    )
    production_save_dir: Text = Field(
        default="heatmaps/heatmap_production_results",
        description="Folder for the finished pictures and sampled patches.",
    )
    results_dir: Text = Field(
        default="heatmaps/results",
        description="New: folder for the CSV of predictions.",
    )
    batch_size: Int = Field(
        default=256,
        ge=1,
        description="Patches at work in an encoder at once; left out: as many as fit on a GPU, 8 a core on the "
        "processor.",
    )
    layout: Literal["clam", "flat"] = Field(
        default="clam",
        description="New: clam keeps CLAM's tree of folders and names; flat puts S_heatmap.png of every slide "
        "and heatmap_results.csv side by side into production_save_dir, as generate_heatmaps.py does.",
    )


class DataArguments(Section):
    """The slides, what was computed of them before, and which of them to do."""

    data_dir: Folders = Field(
        description="Folder of the slides; or a list of folders; or a mapping from a value of the "
        "process list's data_dir_key column to a folder.",
    )
    data_dir_key: Text = Field(
        default="source",
        description="Process-list column that chooses the folder when data_dir is a mapping.",
    )
    process_list: Text | None = Field(
        default=None,
        description="CSV of the slides to process. null: every slide below data_dir.",
    )
    preset: Text | None = Field(
        default=None,
        description="CSV whose first row replaces the built-in segmentation parameters.",
    )
    slide_ext: Extensions = Field(
        default=SLIDE_EXTENSIONS,
        description="Extension of the slides, or a list of them. Left out: every format that can be opened.",
    )
    bag: Bag = Field(
        default="slide",
        description="New: what the model is asked about at once: a slide, or a case (a patient); docs/how-to/cases.md.",
    )
    cases: Text | None = Field(
        default=None,
        description="New: CSV of slide_id and case_id (or patient_id, patient), where the list has no such column.",
    )
    concepts: Annotated[Concepts | None, BeforeValidator(as_concepts, json_schema_input_type=str | Concepts | None)] = (
        Field(
            default=None,
            description="New: named vectors for score: similarity_to: a file, or {prompts: ..., model: ...}.",
        )
    )
    label_dict: Annotated[dict[str, Annotated[Int, Field(ge=0)]], BeforeValidator(_label_dict)] | None = (
        Field(
            default=None,
            description="Class names and their numbers, from 0. Needed for names in pictures and tables.",
        )
    )
    recursive: bool = Field(
        default=True,
        description="New: also look in folders inside data_dir, h5_dir and the like.",
    )
    h5_dir: Folders | None = Field(
        default=None,
        description="New: folder of patch features (TRIDENT, CLAM .h5 or .pt); same forms as data_dir. "
        "null: features are computed with the encoder.",
    )
    tissue_dir: Folders | None = Field(
        default=None,
        description="New: folder of tissue outlines (GeoJSON of TRIDENT or QuPath, or CLAM's "
        "mask.pkl) used instead of segmenting.",
    )
    coords_dir: Folders | None = Field(
        default=None,
        description="New: folder of patch coordinates (TRIDENT or CLAM). Without h5_dir patches are encoded there, "
        "read as the files say; with h5_dir it serves feature files that hold no coordinates.",
    )
    roi_dir: Folders | None = Field(
        default=None,
        description="New: folder of regions of interest (GeoJSON of QuPath, any polygon), by slide; used with "
        "heatmap_arguments.use_roi in place of the process list's box.",
    )
    scores_dir: Folders | None = Field(
        default=None,
        description="New: folder of your own scores (blockmap .h5 or CSV) to draw; no model is run.",
    )
    qc_dir: Folders | None = Field(
        default=None,
        description="New: folder of masks of quality control (GrandQC's S.svs_mask.png, or HistoQC's), by slide: what "
        "of the attention lies on folds, dark spots, pen marks, edges and bubbles, or out of focus.",
    )
    beside_dir: Folders | None = Field(
        default=None,
        description="New: folder of second slides (another stain) that figures show beside the first: S.svs, or any "
        "other format, and S.npy, 3 x 3 from level-0 pixels of S to those of the second.",
    )
    qc_drop: list[Artefact] = Field(
        default_factory=list,
        description="New: leave out patches at least half of which is one of these: fold, dark, pen, edge, blur.",
    )
    patch_size_level0: Int | None = Field(
        default=None, ge=1,
        description="New: side of a patch in level-0 pixels, when the feature files do not say or say it wrong.",
    )  # fmt: skip
    coords_frame: CoordsFrame = Field(
        default="auto",
        description="New: where coordinates of features, scores, outlines and regions count from, on slides of which "
        "only an area was scanned (MRXS, SCN, BIF). slide: the slide's corner, as CLAM and TRIDENT do. bounds: the "
        "scanned area's, as QuPath does. auto: as each file shows.",
    )
    coords_unit: CoordsUnit = Field(
        default="auto",
        description="New: what coordinates of patches are in, where their file does not say: px (level-0 pixels) or um "
        "(micrometres, which need the slide's resolution). auto: px, unless it shows otherwise.",
    )
    feature_extractor: Text | None = Field(
        default=None,
        description="New: whose features to take of files that hold those of several encoders (PathForge's), as they "
        "are called there.",
    )
    features_cache: Text | Literal[False] | None = Field(
        default=None,
        description="New: folder in which features that are encoded here are shared between runs of the same slides, "
        "encoder and patching; null takes features_cache beside raw_save_dir, false shares nothing.",
    )
    slide_vectors_dir: Text | None = Field(
        default=None,
        description="New: folder of slide vectors (TRIDENT's slide_features_...), with which those that "
        "model_arguments.slide_encoder makes are compared.",
    )
    extra: Annotated[dict[str, str | list[str]] | None, BeforeValidator(extra_inputs)] = Field(
        default=None,
        description="New: numbers beside the patches, for a model_class whose forward takes extra: columns of the "
        "process list as a list, a CSV by slide_id or case_id, or a mapping from names to either.",
    )
    slide_mpp: Float | None = Field(
        default=None, ge=MPP_BELIEVED[0], le=MPP_BELIEVED[1],
        description="New: µm per level-0 pixel of slides that do not say it; the process list's column mpp says it "
        "slide by slide.",
    )  # fmt: skip


class PatchingArguments(Section):
    """How slides are cut into patches."""

    patch_size: Int = Field(default=256, ge=1, description="Side of a patch, in pixels of patch_level.")
    overlap: AsWritten = Field(
        default=0.5,
        ge=0,
        lt=1,
        description="Share by which neighbouring patches of the fine map overlap; the bag has no overlap.",
    )
    patch_level: Int = Field(default=0, ge=0, description="Pyramid level patches are read from.")
    custom_downsample: Int = Field(
        default=1, ge=1, description="Read a patch this many times larger and shrink it to patch_size."
    )
    mpp: Float | None = Field(
        default=None, gt=0, description="New: cut patches at this many µm per pixel, whatever levels a slide has."
    )
    magnification: Float | None = Field(
        default=None,
        gt=0,
        description="New: cut patches at this magnification (20 is 0.5 µm per pixel).",
    )
    grid: Literal["clam", "features"] | None = Field(
        default=None,
        description="New: grid of the fine map. clam lays CLAM's own grid in the tissue; features keeps the patches of "
        "the feature or coordinates files and puts more between them. Left out: features when h5_dir or coords_dir is "
        "given, else clam.",
    )


class EncoderArguments(Section):
    """The network that turns patches into features, when there is no h5_dir or a fine map is wanted."""

    model_name: Text | None = Field(
        default=None,
        description="Encoder the MIL model was trained on: resnet50_trunc, uni_v1, uni_v2, "
        "conch_v1_5, ... null: none.",
    )
    target_img_size: Int | None = Field(
        default=None,
        description="Side patches are resized to before encoding; 0 or less: not at all. Left out: "
        "the encoder's own.",
    )
    weights: Text | None = Field(
        default=None,
        description="New: file of the encoder's weights, when they are not downloaded.",
    )


class ModelArguments(Section):
    """The MIL model and its checkpoint."""

    ckpt_path: Text | None = Field(default=None, description="Checkpoint of the trained model.")
    model_type: Literal["clam_sb", "clam_mb", "mil"] | None = Field(
        default=None,
        description="CLAM's name of the model. Left out: model_name, or what the checkpoint says.",
    )
    initiate_fn: Literal["initiate_model"] = Field(
        default="initiate_model",
        description="Kept for CLAM's files; has one value.",
    )
    model_size: Literal["small", "big"] = Field(default="small", description="Size of a CLAM model.")
    drop_out: Annotated[bool | float, BeforeValidator(lambda v: v if isinstance(v, bool) else as_written(v))] = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Kept for CLAM's files; drop-out is off when a model is applied.",
    )
    embed_dim: Int = Field(default=1024, ge=1, description="Width of the features a CLAM model takes.")
    n_classes: Int | None = Field(
        default=None,
        ge=1,
        description="As CLAM copies it here; must equal exp_arguments.n_classes.",
    )
    model_name: Text | None = Field(
        default=None,
        description="New: MIL-Lab's name of the model, such as abmil.base.uni_v2.none.",
    )
    model_class: Text | None = Field(
        default=None,
        description="New: your own model, as module:Class or file.py:Class.",
    )
    slide_encoder: Text | None = Field(
        default=None,
        description="New: your own code that makes one vector of a slide, as module:factory or file.py:factory; or "
        "auto, the encoder that the keys of ckpt_path tell (CHIEF). Left out: auto where there is a head.",
    )
    head: Annotated[str | dict[Literal["cosine_to"], str], BeforeValidator(_head)] | None = Field(
        default=None,
        description="New: file (.npz, .csv, .safetensors) of a linear, logistic or Cox model on the vector of "
        "slide_encoder; or {cosine_to: FILE}, a vector that it is compared with.",
    )
    init_args: dict[str, Any] = Field(
        default_factory=dict, description="New: arguments for model_class or slide_encoder."
    )
    overrides: dict[str, Any] = Field(
        default_factory=dict,
        description="New: changes to the model's own settings, such as embed_dim: 256.",
    )
    device: Annotated[str, BeforeValidator(check_device)] = Field(
        default="auto",
        description="New: auto (a GPU if there is one), cpu, cuda or cuda:N.",
    )
    task: Task = Field(
        default="classification",
        description="New: what the outputs mean. Left out: as the checkpoint says, else classification.",
    )
    output_names: Annotated[list[Text], AfterValidator(_output_names)] | None = Field(
        default=None,
        min_length=1,
        description="New: names of a multilabel model's labels, a regression's outputs, or of a survival model's "
        "intervals, in the model's order. Classes are named in label_dict.",
    )

    @property
    def own_code(self) -> str | None:
        """What names code of the user's own, if that is the model: model_class or slide_encoder."""
        return self.model_class or (None if self.slide_encoder == KNOWN_ENCODER else self.slide_encoder)

    @property
    def head_file(self) -> str | None:
        """The file that `head` names."""
        return self.head["cosine_to"] if isinstance(self.head, dict) else self.head

"""Save the patches worth a look as pictures, with a table and a contact sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mil_heatmaps.notices import Notice
from mil_heatmaps.numpy_later import np
from mil_heatmaps.records.slide_record import relative
from mil_heatmaps.stages.base import SlideWork, StageResult
from mil_heatmaps.stages.figure import shown_label
from mil_heatmaps.stages.figure_foot import evidence_of, foot_inputs
from mil_heatmaps.stages.score_columns import coarse_columns

if TYPE_CHECKING:
    import numpy.typing as npt

    from mil_heatmaps.stages.planned_map import DrawnColumn
    from mil_heatmaps.visualization.sampling import SampledPatch

EVIDENCE = "evidence"
"""Name of the folder of the evidence set."""
_EVIDENCE_SHOWN = 60
"""Most patches of the set that are saved as pictures: the most relevant."""


def model_side_px(work: SlideWork) -> int | None:
    """Return the side of a patch in pixels as the model saw it, maybe fewer than at level 0; None if not known."""
    if work.job.scores_path is not None:
        return None
    if work.features_path.suffix == ".pt":
        return None
    from mil_heatmaps.features.read import feature_info

    attributes = feature_info(work.features_path, work.space).attributes
    # CLAM's patch_size is in pixels of its patch_level; TRIDENT's in those of the target magnification.
    side = attributes.get("patch_size")
    return int(side) if side and float(side) >= 1 else None


def shown(image: npt.NDArray[np.uint8], side_px: int | None) -> npt.NDArray[np.uint8]:
    """Return a level-0 patch at the model's magnification, shrunk as CLAM and TRIDENT shrink; never enlarged."""
    if side_px is None or side_px >= image.shape[1]:
        return image
    from PIL import Image

    height = max(1, round(image.shape[0] * side_px / image.shape[1]))
    return np.asarray(Image.fromarray(image).resize((side_px, height), Image.Resampling.BICUBIC))


def _label_and_class(work: SlideWork) -> tuple[str, int | None]:
    """Return the parts of the folder's name: CLAM's label and predicted class; for other tasks the group and no class.

    The label of a regression or survival model is a value of each slide, which would give one folder per slide.
    """
    row, prediction = work.job.row, work.score_file.prediction
    if work.config.model_arguments.task != "classification":
        return row.group, None
    classes = prediction is not None and prediction.task == "classification"
    return row.label, prediction.predicted if prediction is not None and classes else None


_MODES = {"topk": "highest patches", "reverse_topk": "lowest patches", "range_sample": "patches drawn at random"}


def _facts(work: SlideWork, column: DrawnColumn, shown_patches: int) -> list[str]:
    """Return the lines of a contact sheet's head: which patches, of what size, by which score of which model."""
    from mil_heatmaps.scores.score_words import score_words

    told, size_l0, mpp = work.score_file, column.grid.size_l0, work.slide.mpp
    size = f"{size_l0[0]} × {size_l0[1]} px at level 0"
    if mpp is not None:
        size = f"{size_l0[0] * mpp:.0f} × {size_l0[1] * mpp:.0f} µm ({size})"
    classes = told.prediction is not None and column.name in told.prediction.classes
    several = len(told.scores.names) > 1
    score = score_words(told.scores.score, column.kind, column.name if several else None, of_class=classes)
    made = [f"model {told.model}" if told.model else "", f"checkpoint {(told.checkpoint_sha256 or '')[:8]}"]
    label = shown_label(work)
    predicted = "" if told.prediction is None else f"predicted {told.prediction.summary}"
    said = [f"label {label}" if label else "", predicted]
    return [
        f"{score}  ·  {shown_patches} of {len(column.scores)} patches of {size}  ·  percentiles within the slide",
        "  ·  ".join(part for part in (*(made if told.checkpoint_sha256 else made[:1]), *said) if part),
    ]


class SamplesStage:
    """Writes ``P/E/sampled_patches/label_<label>_pred_<class>/<name>/...`` in CLAM's names."""

    name = "samples"
    version = 3
    uses_model = False

    def applies(self, work: SlideWork) -> bool:
        """When the config asks for any sample, or for the evidence set."""
        config = work.config
        return config.heatmap_arguments.evidence != "none" or any(s.sample for s in config.sample_arguments.samples)

    def inputs(self, work: SlideWork) -> dict[str, Any]:
        """The score file's content, the slide, the samples to take, and the column they are taken from."""
        job, config = work.job, work.config
        drawing = work.settings.section("heatmap_arguments")
        evidence = {} if config.heatmap_arguments.evidence == "none" else {"evidence": foot_inputs(work)}
        return {
            **evidence,
            "version": self.version,
            "slide": work.slide_inputs(),
            "scores_sha256": work.scores_sha256,
            "samples": work.settings.section("sample_arguments"),
            "column": {key: drawing[key] for key in ("classes", "head")},
            **{key: drawing[key] for key in ("color_profile",) if key in drawing},
            "label": job.row.label,
            **({} if config.model_arguments.task == "classification" else {"folder": job.row.group}),
            "to": relative(job.paths.sampled_patches, job.paths.raw),
        }

    def run(self, work: SlideWork) -> StageResult:
        """Choose, cut, write."""
        from mil_heatmaps.slides.colour_profile import embedded_profile, srgb_converter
        from mil_heatmaps.visualization.sample_files import write_samples
        from mil_heatmaps.visualization.sampling import patches_at, sample_patches

        job, settings = work.job, work.config.sample_arguments
        column = coarse_columns(work)[0]
        label, predicted = _label_and_class(work)
        result, side_px = StageResult([]), model_side_px(work)
        how, profile = work.config.heatmap_arguments.for_people, work.slide.icc_profile
        converter = srgb_converter(profile) if how == "convert" else None
        in_srgb = converter or (lambda image: image)

        def write(name: str, patches: Sequence[SampledPatch], words: str) -> None:
            result.paths += write_samples(
                job.paths.sample_dir(label, predicted, name),
                job.slide_id,
                [replace(patch, image=in_srgb(shown(patch.image, side_px))) for patch in patches],
                title=f"{job.slide_id} · {words}",
                score_name="",
                facts=_facts(work, column, len(patches)),
                icc_profile=embedded_profile(profile, how),
                table=settings.csv,
                sheet=settings.contact_sheet,
            )

        for sample in settings.samples:
            if not sample.sample:
                continue
            patches = sample_patches(
                column.scores, column.grid, work.slide, sample.choice, size_px=column.grid.size_l0
            )
            if not patches:
                text = f"sample {sample.name!r}: no patch lies in its window"
                result.notes.append(Notice("empty_sample", text))
                continue
            write(sample.name, patches, _MODES[sample.mode])
        if (evidence := evidence_of(work)) is not None:
            shown_most = evidence.patches[:_EVIDENCE_SHOWN]
            patches = patches_at(shown_most, column.scores, column.grid, work.slide, size_px=column.grid.size_l0)
            cut = len(evidence.patches) > len(patches)
            more = f", the first {len(patches)} of {len(evidence.patches)}" if cut else ""
            write(EVIDENCE, patches, f"evidence set, sufficient for this model{more}")
        return result

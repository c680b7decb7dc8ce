"""What a user's model gets of a slide besides its patches, and how its slide vector compares with a stored one."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from mil_heatmaps.errors import CheckpointError, ModelError
from mil_heatmaps.notices import Notice
from mil_heatmaps.numpy_later import np
from mil_heatmaps.stages.bags import slide_inputs
from mil_heatmaps.words import fine_share, number_words, reason_of

if TYPE_CHECKING:
    from mil_heatmaps.features.patch_features import PatchFeatures
    from mil_heatmaps.models.base import MILModel
    from mil_heatmaps.stages.base import SlideWork
    from mil_heatmaps.stages.case_bag import CaseBag

SAME_MPP = 1.01
"""Ratio of two resolutions up to which they count as equal within a case: scanners measure them to three digits."""
SAME_VECTOR = 0.01
"""Relative difference up to which two vectors are the same, apart from half precision."""


def told_of(work: SlideWork, model: MILModel, first: PatchFeatures | None = None) -> AbstractContextManager[Any]:
    """Return the context in which the model can run on this slide; `first` is its bag, if it has been read."""
    from mil_heatmaps.models.several_inputs import SeveralInputsModel
    from mil_heatmaps.models.slide_encoder import SlideEncoderModel

    if isinstance(model, SlideEncoderModel):
        return model.on_slide(mpp=work.slide.mpp)
    if isinstance(model, SeveralInputsModel):
        return model.on_slide(slide_inputs(work, first))
    return nullcontext()


def check_case(model: MILModel, bag: CaseBag) -> None:
    """Raise a ModelError if the model needs a fact about its slide that a case of several slides does not have."""
    from mil_heatmaps.models.slide_encoder import SlideEncoderModel

    if len(bag.slides) < 2:
        return
    one_slide = "its code takes one slide at a time, so data_arguments.bag must be slide"
    if model.asks_corners:
        raise ModelError(
            f"{model.title} asks where patches lie, and those of several slides lie on no one slide: {one_slide}"
        )
    takes = model.inner.takes if isinstance(model, SlideEncoderModel) else ()
    for name, of_slides, same in (("patch_size_level0", bag.sizes_l0, 1.0), ("mpp", bag.mpps, SAME_MPP)):
        known = [value for value in of_slides if value is not None]
        alike = len(known) in (0, len(of_slides)) and (not known or max(known) <= same * min(known))
        if name in takes and not alike:
            told = ", ".join(f"{slide}: {value}" for slide, value in zip(bag.slides, of_slides, strict=True))
            raise ModelError(f"{model.title} asks for {name}, which differs within the case ({told}): {one_slide}")


def vector_inputs(work: SlideWork) -> dict[str, Any]:
    """Return the stored vector that is compared, for a stage's inputs; empty where none is asked for."""
    path, config = work.job.slide_vector, work.config
    if path is None and (config.data_arguments.slide_vectors_dir is None or config.inputs.slide_vectors is None):
        return {}
    return {"slide_vector": None if path is None else work.fingerprint(path)}


def compare_vector(work: SlideWork, model: MILModel) -> list[Notice]:
    """Record the difference between the slide's vector and the stored one; return a notice if they differ."""
    from mil_heatmaps.models.slide_encoder import SlideEncoderModel
    from mil_heatmaps.weights.slide_head import read_slide_vectors

    work.record.summary.pop("slide_vector", None)
    if work.config.inputs.slide_vectors is None or not isinstance(model, SlideEncoderModel) or model.vector is None:
        return []
    path = work.job.slide_vector
    if path is None:
        folder = work.config.data_arguments.slide_vectors_dir
        return [Notice("slide_vector", f"slide_vectors_dir {folder} has no vector of this slide to compare with")]
    try:
        stored = read_slide_vectors(path).reshape(-1)
    except CheckpointError as error:
        return [Notice("slide_vector", f"the slide's vector was not compared: {reason_of(error)}")]
    made = model.vector
    if len(stored) != len(made):
        words = f"the slide's vector has {len(made)} numbers, that of {path.name} {len(stored)}: another encoder"
        return [Notice("slide_vector", words)]
    size = float(np.linalg.norm(stored))
    off = float(np.linalg.norm(made - stored)) / (size or 1.0)
    both = float(np.linalg.norm(made)) * size
    cosine = float(made @ stored) / both if both else 0.0
    work.record.summary |= {"slide_vector": {"difference": off, "cosine": cosine, "file": path.name}}
    told = f"the slide's vector differs from that of {path.name} by {fine_share(off)} (cosine {number_words(cosine)})"
    work.lines.append(told)
    if off <= SAME_VECTOR:
        return []
    return [Notice("slide_vector", f"{told}: other weights, patches, coordinates or units than it was made with")]

"""The bag of a case: the features of its slides, one after the other, read together or streamed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from mil_heatmaps import machine
from mil_heatmaps.cohort.slide_job import SlideJob
from mil_heatmaps.errors import FeatureError, HeatmapError
from mil_heatmaps.features.stacked import StackedRows
from mil_heatmaps.records.slide_record import SlideRecord
from mil_heatmaps.stages.base import SlideWork, coords_file_of
from mil_heatmaps.words import reason_of

if TYPE_CHECKING:
    from mil_heatmaps.features.patch_features import PatchFeatures
    from mil_heatmaps.slides.patch_grid import PatchGrid

IN_MEMORY = 0.25
"""Share of the free memory that the features of a case may take before they are streamed from their files."""


@dataclass(frozen=True)
class CaseBag:
    """The features of a case, as a model takes them.

    Attributes
    ----------
    features : PatchFeatures
        Of all slides; the grid lays them side by side, in the first slide's steps.
    slides : ids of the slides in the bag, in its order
    patches : of each
    sizes_l0, mpps : side of a patch in level-0 pixels, and micrometres a level-0 pixel, of each slide
    lacking : slides that could not be read, each with the reason
    """

    features: PatchFeatures
    slides: tuple[str, ...]
    patches: tuple[int, ...]
    sizes_l0: tuple[int, ...]
    mpps: tuple[float | None, ...]
    lacking: tuple[str, ...] = ()

    def without(self, number: int) -> PatchFeatures:
        """Return the bag without one slide, counted from 1."""
        from dataclasses import replace

        start = sum(self.patches[: number - 1])
        rows = np.r_[0:start, start + self.patches[number - 1] : len(self.features)]
        values: Any = StackedRows(
            [n for k, n in enumerate(self.patches, 1) if k != number], self.features.features.shape[1],
            self.features.features.dtype, _Others(self, number),
        )  # fmt: skip
        coords_um = None if self.features.coords_um is None else self.features.coords_um[rows]
        return replace(self.features, grid=self.features.grid.take(rows), features=values, coords_um=coords_um)


@dataclass(frozen=True)
class _Others:
    """Rows of the slides of a bag but one, by their number among the others."""

    bag: CaseBag
    left_out: int

    def __call__(self, number: int) -> Any:
        place = number if number < self.left_out - 1 else number + 1
        start = sum(self.bag.patches[:place])
        return self.bag.features.features[start : start + self.bag.patches[place]]


def case_inputs(work: SlideWork) -> dict[str, Any]:
    """Return what the scores of a case depend on beside the model: the features of every slide, in their order.

    HeatmapError where a slide's are missing, unless the case may do without.
    """
    case = work.job.case
    assert case is not None
    slides = []
    for job in case.slides:
        try:
            slides.append({"slide_id": job.slide_id, **_features_inputs(work, job)})
        except HeatmapError as error:
            if not _may_lack(work) or job.slide_id == work.job.slide_id:
                raise HeatmapError(f"case {case.case_id} lacks {job.slide_id}: {reason_of(error)}") from error
            slides.append({"slide_id": job.slide_id, "lacks": True})
    lacking = {"lacking": list(case.lacking)} if case.lacking else {}
    return {"case_id": case.case_id, "slides": slides, "partial": work.config.run_arguments.partial_cases, **lacking}


def _features_inputs(work: SlideWork, job: SlideJob) -> dict[str, Any]:
    if job.features_path is not None:
        return _of_file(work, job, job.features_path)
    if not job.paths.features_h5.is_file():
        raise HeatmapError(f"{job.paths.features_h5.name} is not there: run the stage 'features' first")
    return {"features_sha256": _member(work, job).record.output_sha256(job.paths.features_h5)}


def _of_file(work: SlideWork, job: SlideJob, path: Path) -> dict[str, Any]:
    """Return what features that are brought are; of a file that did not change it is found once a run.

    What is known of it goes into this slide's record, too: its own need not be read for that.
    """
    seen = work.files.status(path)
    key = str(path)
    last = work.settings.case_inputs.get(key)
    if last is not None and last[0] == seen:
        return last[1]
    coords_file = work.coords_file if job.slide_id == work.job.slide_id else \
        coords_file_of(job, work.settings, work.files)  # fmt: skip
    told: dict[str, Any] = {"features": work.fingerprint(path), "coords_file": coords_file}
    if job.row.mpp is not None:
        told["mpp"] = job.row.mpp
    work.settings.case_inputs[key] = seen, told
    return told


def _member(work: SlideWork, job: SlideJob) -> SlideWork:
    """Return a slide of the case as its own stages see it; what is known of its files goes into this slide's record."""
    if job.slide_id == work.job.slide_id:
        return work
    member = SlideWork(job, work.settings, SlideRecord.load(job.paths.record, job.slide_id))
    member.files = work.files
    return member


def _may_lack(work: SlideWork) -> bool:
    return work.config.run_arguments.partial_cases == "use"


def read_case(work: SlideWork) -> CaseBag:
    """Read the bag of the case. Features that are large for the memory are checked now and streamed later.

    Raises
    ------
    FeatureError
        A slide that cannot be read, unless the case may do without; different widths or encoders.
    """
    case = work.job.case
    assert case is not None
    found: list[tuple[SlideJob, PatchFeatures]] = []
    mpps: list[float | None] = []
    lacking, total, budget = list(case.lacking), 0, _budget()
    for job in case.slides:
        member = _member(work, job)
        try:
            features = member.bag_features()
            mpps.append(member.slide.mpp)
        except HeatmapError as error:
            if not _may_lack(work) or job.slide_id == work.job.slide_id:
                raise FeatureError(f"case {case.case_id}: {job.slide_id} cannot be read: {reason_of(error)}") from error
            lacking.append(f"{job.slide_id} ({reason_of(error)})")
            continue
        finally:
            if member is not work:
                member.close()
        total += features.features.nbytes
        found.append((job, features if total <= budget else _emptied(features)))
    if total > budget:
        found = [(job, _emptied(features)) for job, features in found]
    _check_alike(case.case_id, found)
    patches = [len(features.grid) for _, features in found]
    first = found[0][1]
    if total > budget:
        values = StackedRows(patches, first.features.shape[1], np.result_type(*(f.features for _, f in found)),
                             _Reader(work, [job for job, _ in found]))  # fmt: skip
    else:
        values = StackedRows.of([features.features for _, features in found])
    from mil_heatmaps.features.patch_features import PatchFeatures

    notes = tuple(dict.fromkeys(note for job, features in found for note in features.notes
                                if job.slide_id == work.job.slide_id))  # fmt: skip
    grid = side_by_side([features.grid for _, features in found])
    # A network that asks for distances (STAMP's) was given each slide's own micrometres, as they are.
    known = [features.coords_um for _, features in found if features.coords_um is not None]
    coords_um = np.concatenate(known) if len(known) == len(found) else None
    bag = PatchFeatures(grid, cast("Any", values), first.encoder, first.source, notes, coords_um)
    sizes_l0 = tuple(features.grid.size_l0[0] for _, features in found)
    ids = tuple(job.slide_id for job, _ in found)
    return CaseBag(bag, ids, tuple(patches), sizes_l0, tuple(mpps), tuple(lacking))


def _budget() -> float:
    free = machine.available_bytes()
    return float("inf") if free is None else IN_MEMORY * free


def _emptied(features: PatchFeatures) -> PatchFeatures:
    """Return features whose numbers take no memory: shape and type are kept, and rows must be read again."""
    from dataclasses import replace

    held = np.broadcast_to(np.zeros((), features.features.dtype), features.features.shape)
    return replace(features, features=held)


@dataclass(frozen=True)
class _Reader:
    """Reads the features of one slide of a case again."""

    work: SlideWork
    jobs: list[SlideJob]

    def __call__(self, number: int) -> Any:
        member = _member(self.work, self.jobs[number])
        try:
            return member.bag_features().features
        finally:
            if member is not self.work:
                member.close()


def _check_alike(case_id: str, found: Sequence[tuple[SlideJob, PatchFeatures]]) -> None:
    """Raise a FeatureError for features of different encoders or widths, which are no one bag."""
    if not found:
        raise FeatureError(f"case {case_id}: none of its slides can be read")
    job, first = found[0]
    for other, features in found[1:]:
        if features.features.shape[1] != first.features.shape[1]:
            widths = f"{first.features.shape[1]} wide, of {other.slide_id} {features.features.shape[1]}"
            raise FeatureError(f"case {case_id}: features of {job.slide_id} are {widths}; one encoder is needed")
        if None not in (first.encoder, features.encoder) and features.encoder != first.encoder:
            raise FeatureError(
                f"case {case_id}: features of {job.slide_id} are of {first.encoder}, of {other.slide_id} of "
                f"{features.encoder}; one encoder is needed"
            )


def side_by_side(grids: Sequence[PatchGrid]) -> PatchGrid:
    """Return the patches of several slides as one grid, in the first one's steps, far enough apart not to touch.

    A slide alone keeps its own coordinates.
    """
    from mil_heatmaps.slides.patch_grid import PatchGrid

    if len(grids) == 1:
        return grids[0]
    size, step = grids[0].size_l0, np.asarray(grids[0].step_l0)
    placed, left = [], 0
    for grid in grids:
        cells = (grid.coords_l0 - grid.coords_l0.min(axis=0)) / np.asarray(grid.step_l0)
        placed.append(np.rint((cells + np.array([left, 0])) * step).astype(np.int64))
        wide, high = np.ceil(cells.max(axis=0)).astype(int) + 1
        left += 2 * int(max(wide, high)) + 1  # an occluding square is never wider than the slide
    return PatchGrid(np.concatenate(placed), size, (int(step[0]), int(step[1])))

"""The bag of a case: the features of its slides, one after the other, read as a model asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from mil_heatmaps import machine
from mil_heatmaps.cohort.slide_job import SlideJob
from mil_heatmaps.errors import FeatureError, HeatmapError
from mil_heatmaps.features.stacked import StackedRows
from mil_heatmaps.numpy_later import np
from mil_heatmaps.records.slide_record import SlideRecord
from mil_heatmaps.stages.base import SlideWork, coords_file_of
from mil_heatmaps.stages.run_settings import state_of
from mil_heatmaps.words import reason_of

if TYPE_CHECKING:
    from pathlib import Path

    from mil_heatmaps.features.patch_features import PatchFeatures
    from mil_heatmaps.slides.patch_grid import PatchGrid
    from mil_heatmaps.slides.slide_space import SlideSpace

IN_MEMORY = 0.25
"""Share of the free memory that the features of a case may take; those of larger ones are read for every pass."""


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
    planned = work.planned if len(case.slides) > 1 else None  # nobody else asks about a slide alone
    if planned is not None and (known := planned.get(case.case_id)) is not None:
        return known
    slides, whole = [], True
    for job in case.slides:
        try:
            slides.append({"slide_id": job.slide_id, **_features_inputs(work, job)})
        except HeatmapError as error:
            if not _may_lack(work) or job.slide_id == work.job.slide_id:
                raise HeatmapError(f"case {case.case_id} lacks {job.slide_id}: {reason_of(error)}") from error
            slides.append({"slide_id": job.slide_id, "lacks": True})
            whole = False
    found = {"case_id": case.case_id, "slides": slides, "partial": work.config.run_arguments.partial_cases}
    if case.lacking:
        found["lacking"] = list(case.lacking)
    if planned is not None and whole:
        planned.clear()  # the slides of a case come one after the other
        planned[case.case_id] = found
    return found


def _features_inputs(work: SlideWork, job: SlideJob) -> dict[str, Any]:
    """Return what the features of a slide are; of a file that did not change it is found once a run.

    What is known of features that are brought goes into this slide's record, too: their own need not be read for that.
    """
    path, known_of = job.features_path, work.settings.known_of
    if path is None:
        made = job.paths.features_h5
        return known_of(
            made, state_of(made), lambda: {"features_sha256": _member(work, job).artifact(made, "features")}
        )
    if work.job.case is not None and len(work.job.case.slides) == 1:  # nobody else asks
        return _brought(work, job, path, own=True)
    own = job.slide_id == work.job.slide_id
    return known_of(path, work.files.status(path), lambda: _brought(work, job, path, own=own))


def _brought(work: SlideWork, job: SlideJob, path: Path, *, own: bool) -> dict[str, Any]:
    """Return what the features in a slide's own file are."""
    coords_file = work.coords_file if own else coords_file_of(job, work.settings, work.files)
    told = {"features": work.files.fingerprint(path), "coords_file": coords_file}
    return told if job.row.mpp is None else {**told, "mpp": job.row.mpp}


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
    """Return the bag of the case, whose numbers are read, and checked, as they are asked for.

    Where the case may do without slides, all are read now: what is in the bag must be known before a model is asked.

    Raises
    ------
    FeatureError
        A slide that cannot be read, unless the case may do without; different widths or encoders. Asking for the
        numbers raises it, too.
    """
    case = work.job.case
    assert case is not None
    found: list[_Member] = []
    lacking, total, budget = list(case.lacking), 0, _budget()
    for job in case.slides:
        member = _member(work, job)
        # A .pt file does not say how many rows it has before all of it is read.
        whole = _may_lack(work) or member.features_path.suffix == ".pt"
        try:
            features = member.stored_features(numbers=whole)
            total += features.features.nbytes
            found.append(_Member(job.slide_id, features, member.features_space, member.slide.mpp, whole))
        except HeatmapError as error:
            if not _may_lack(work) or job.slide_id == work.job.slide_id:
                raise _unreadable(case.case_id, job.slide_id, error) from error
            lacking.append(f"{job.slide_id} ({reason_of(error)})")
            continue
        finally:
            if member is not work:
                member.close()
        if total > budget:
            found = [each.emptied() for each in found]
    _check_alike(case.case_id, found)
    patches = [len(each.features) for each in found]
    first = found[0].features
    dtype = np.result_type(*(each.features.features for each in found))
    values = StackedRows(patches, first.features.shape[1], dtype, _Reader(case.case_id, found), hold=total <= budget)
    from mil_heatmaps.features.patch_features import PatchFeatures

    notes = tuple(dict.fromkeys(note for each in found for note in each.features.notes
                                if each.slide_id == work.job.slide_id))  # fmt: skip
    grid = side_by_side([each.features.grid for each in found])
    # A network that asks for distances (STAMP's) was given each slide's own micrometres, as they are.
    known = [each.features.coords_um for each in found if each.features.coords_um is not None]
    coords_um = np.concatenate(known) if len(known) == len(found) else None
    bag = PatchFeatures(grid, cast("Any", values), first.encoder, first.source, notes, coords_um)
    sizes_l0 = tuple(each.features.grid.size_l0[0] for each in found)
    ids, mpps = tuple(each.slide_id for each in found), tuple(each.mpp for each in found)
    return CaseBag(bag, ids, tuple(patches), sizes_l0, mpps, tuple(lacking))


def _unreadable(case_id: str, slide_id: str, error: HeatmapError) -> FeatureError:
    return FeatureError(f"case {case_id}: {slide_id} cannot be read: {reason_of(error)}")


def _budget() -> float:
    free = machine.available_bytes()
    return float("inf") if free is None else IN_MEMORY * free


@dataclass(frozen=True)
class _Member:
    """A slide of the bag: its features, whose numbers are there only if `held`, and how to read those."""

    slide_id: str
    features: PatchFeatures
    space: SlideSpace
    mpp: float | None
    held: bool

    def emptied(self) -> _Member:
        """Return the slide without its numbers."""
        from mil_heatmaps.features.checks import zeros

        if not self.held:
            return self
        left = zeros(self.features.features.shape, self.features.features.dtype)
        return replace(self, features=replace(self.features, features=left), held=False)


@dataclass(frozen=True)
class _Reader:
    """Reads the numbers of one slide of a case."""

    case_id: str
    members: list[_Member]

    def __call__(self, number: int) -> Any:
        from mil_heatmaps.features.read import read_values

        member = self.members[number]
        expected = member.features.features
        if member.held:
            return expected
        try:
            values, _ = read_values(member.features.source, member.space)
            if values.shape != expected.shape:
                raise FeatureError(f"{member.features.source} was written to while the case was read")
        except HeatmapError as error:
            raise _unreadable(self.case_id, member.slide_id, error) from error
        return values


def _check_alike(case_id: str, found: Sequence[_Member]) -> None:
    """Raise a FeatureError for features of different encoders or widths, which are no one bag."""
    if not found:
        raise FeatureError(f"case {case_id}: none of its slides can be read")
    one, first = found[0].slide_id, found[0].features
    for other in found[1:]:
        features = other.features
        if features.features.shape[1] != first.features.shape[1]:
            widths = f"{first.features.shape[1]} wide, of {other.slide_id} {features.features.shape[1]}"
            raise FeatureError(f"case {case_id}: features of {one} are {widths}; one encoder is needed")
        if None not in (first.encoder, features.encoder) and features.encoder != first.encoder:
            raise FeatureError(
                f"case {case_id}: features of {one} are of {first.encoder}, of {other.slide_id} of "
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

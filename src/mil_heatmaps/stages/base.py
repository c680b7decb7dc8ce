"""What every stage is given and what it gives back."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from mil_heatmaps.cohort.slide_job import SlideJob
from mil_heatmaps.config.fine_map import makes_fine_map
from mil_heatmaps.errors import HeatmapError, SlideError, TissueError
from mil_heatmaps.notices import Notice
from mil_heatmaps.records.input_files import InputFiles
from mil_heatmaps.records.layout import BLOCKMAP, COORDS, MASK, safe_name
from mil_heatmaps.records.slide_record import SlideRecord
from mil_heatmaps.slides.resolution import LISTED, OTHERWISE
from mil_heatmaps.stages.run_settings import RunSettings

if TYPE_CHECKING:
    from mil_heatmaps.encoders.encoding_progress import EncodingProgress
    from mil_heatmaps.features.patch_features import PatchFeatures
    from mil_heatmaps.progress.encoding_signs import EncodingSign
    from mil_heatmaps.scores.score_file import ScoreFile
    from mil_heatmaps.slides.reader import Slide
    from mil_heatmaps.slides.roi import Roi
    from mil_heatmaps.slides.slide_space import SlideSpace
    from mil_heatmaps.slides.tissue import TissueMask
    from mil_heatmaps.stages.planned_map import PlannedMap


KEPT_LEVELS_BYTES = 96 << 20
"""Memory for decoded levels while a slide is processed: outlines and maps are mostly drawn on the same level."""


@dataclass
class StageResult:
    """The files a stage wrote and what the user should know about it.

    With `again` the next run repeats the stage, for example after a failed measurement.
    """

    paths: list[Path]
    notes: list[Notice] = field(default_factory=list)
    again: bool = False


class Stopped(Exception):  # not an error: the run was asked to end
    """The run was asked to stop before the stage began, or during a stage that can be resumed."""


def coords_file_of(job: SlideJob, settings: RunSettings, files: InputFiles) -> dict[str, Any] | None:
    """Return `SlideWork.coords_file` of a job, even one that is not being processed."""
    from mil_heatmaps.features.slideflow import config_beside

    features = job.features_path
    if features is None:
        return None if job.coords_path is None else files.fingerprint(job.coords_path)
    path = settings.coords_file(features, job.coords_dir)
    if path is None:
        return None
    return {**files.fingerprint(path), **{file.name: files.fingerprint(file) for file in config_beside(path)}}


class SlideWork:
    """One slide being processed: its job, its record and the objects that several stages share.

    Artifacts are always read back from the files that earlier stages wrote, so a resumed run sees the same as an
    uninterrupted one.
    """

    def __init__(
        self,
        job: SlideJob,
        settings: RunSettings,
        record: SlideRecord,
        on_stage: Callable[[str], None] | None = None,
        should_stop: Callable[[], bool] = lambda: False,
        sign: EncodingSign | None = None,
    ) -> None:
        self.job = job
        self.settings = settings
        self.config = settings.config
        self.record = record
        self.on_stage = on_stage
        self.should_stop = should_stop
        self._sign = sign
        self._slide: Slide | None = None
        self._slide_inputs: dict[str, Any] | None = None
        self.files = InputFiles(record.files)
        self.bag = ""
        """Name of the bag, for a model that takes several; empty for the first bag."""
        self.maps: list[PlannedMap] | None = None
        """The finished maps, once they are planned; see `score_columns.planned_maps`."""
        self.forced = False
        """Whether the user named the current stage, so that it reuses nothing of an earlier run."""
        self.planned: dict[str, dict[str, Any]] | None = None
        """While slides are surveyed: what the scores of the case that was last asked for depend on, by its name."""
        self.lines: list[str] = []
        """Lines of run.log about this slide; the coordinator writes them, wherever the slide is processed."""

    @property
    def slide(self) -> Slide:
        """The slide, opened on first use."""
        if self._slide is None:
            from mil_heatmaps.slides.reader import open_slide

            self._slide = open_slide(
                self.job.slide_path,
                threads=self.settings.slide_threads,
                keep_bytes=KEPT_LEVELS_BYTES,
                mpp=self.job.row.mpp,
                default_mpp=self.config.data_arguments.slide_mpp,
            )
        return self._slide

    @property
    def opened(self) -> Slide | None:
        """The slide, if any stage has used it."""
        return self._slide

    @property
    def bag_suffix(self) -> str:
        """Suffix of the file names of a bag other than the first; empty for the first."""
        return f"_{safe_name(self.bag)}" if self.bag else ""

    @property
    def space(self) -> SlideSpace:
        """Frame and unit of coordinates in the user's files; the run's files use the slide's pixels and frame."""
        data = self.config.data_arguments
        return replace(self.slide.space(data.coords_frame, data.coords_unit), extractor=data.feature_extractor)

    def space_inputs(self, *names: str) -> dict[str, Any]:
        """Return the coordinate settings in `names`, by default frame, unit and feature extractor.

        Defaults are left out, so that records of earlier versions, which lack these keys, stay up to date.
        """
        return self.settings.told_space(names or ("coords_frame", "coords_unit", "feature_extractor"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close what was opened."""
        if self._slide is not None:
            self._slide.close()
            self._slide = None

    def slide_inputs(self) -> dict[str, Any]:
        """Return the slide for a stage's inputs: its file, and a manually given resolution where it is used."""
        if self._slide_inputs is None:  # most stages ask
            file, listed, otherwise = self.fingerprint(self.job.slide_path), self.job.row.mpp, self._slide_mpp()
            mpp = otherwise if listed is None else listed
            self._slide_inputs = file if mpp is None else {**file, "mpp": mpp}
        return self._slide_inputs

    def _slide_mpp(self) -> float | None:
        """Return `slide_mpp` if the slide file has no resolution; open the slide only if the record does not tell."""
        given = self.config.data_arguments.slide_mpp
        if given is None or self.job.row.mpp is not None:
            return None
        source = self.record.summary.get("resolution", {}).get("source")
        if source in (None, "", LISTED):
            source = self.slide.resolution.source
        return given if source == OTHERWISE else None

    def note_resolution(self) -> None:
        """Put the slide's resolution and its source on record."""
        resolution = self.slide.resolution
        self.record.summary |= {"resolution": {"mpp": resolution.mpp, "source": resolution.source}}

    def fingerprint(self, path: Path) -> dict[str, Any]:
        """Return the fingerprint of an input file; see `InputFiles`."""
        return self.files.fingerprint(path)

    def artifact(self, path: Path | str, stage: str) -> str:
        """SHA-256 of a file that `stage` writes; says which stage to run when it is not there."""
        try:
            return self.record.output_sha256(path)
        except FileNotFoundError as error:
            folder, name = os.path.split(path)
            raise HeatmapError(f"{name} is not there: run the stage {stage!r} first (in {folder})") from error

    @property
    def mask_sha256(self) -> str:
        """SHA-256 of the outlines' file."""
        return self.artifact(self.job.paths.raw_text(MASK), "segment")

    @property
    def coords_sha256(self) -> str:
        """SHA-256 of the file with the coordinates."""
        return self.artifact(self.job.paths.raw_text(COORDS), "coords")

    @property
    def scores_sha256(self) -> str:
        """SHA-256 of the score file."""
        return self.artifact(self.job.paths.raw_text(BLOCKMAP), "attention")

    @cached_property
    def mask(self) -> TissueMask:
        """The tissue, as the segment stage wrote it."""
        from mil_heatmaps.slides.tissue_files import read_mask

        path = self.job.paths.mask_pkl
        if not path.is_file():
            raise TissueError(f"{path.name} is not there: run the stage 'segment' first (in {path.parent})")
        return read_mask(path)

    @cached_property
    def score_file(self) -> ScoreFile:
        """The scores, as the attention stage (or another program) wrote them."""
        from mil_heatmaps.scores.score_schema import read_scores

        return read_scores(self.job.paths.blockmap_h5)

    @cached_property
    def fine_file(self) -> ScoreFile:
        """The scores of the fine map."""
        from mil_heatmaps.scores.score_schema import read_scores

        return read_scores(self.fine_scores_path)

    @property
    def wants_fine_map(self) -> bool:
        """Whether the config asks for a fine map and there is an encoder to make it with."""
        calc_heatmap, encoder = self.config.heatmap_arguments.calc_heatmap, self.config.encoder_arguments.model_name
        return makes_fine_map(calc_heatmap=calc_heatmap, encoder=encoder, own_scores=self.job.scores_path)

    @property
    def fine_features_path(self) -> Path:
        """Where the features of the fine map are."""
        return self.job.paths.fine_features_h5(*self._fine_name)

    @property
    def fine_scores_path(self) -> Path:
        """Where the scores of the fine map are."""
        return self.job.paths.fine_scores_h5(*self._fine_name)

    @property
    def _fine_name(self) -> tuple[float | int, bool]:
        return self.config.patching_arguments.overlap, self.config.heatmap_arguments.use_roi

    def bag_features(self) -> PatchFeatures:
        """Read the features of the bag; not kept, for they may be large."""
        return self.stored_features(numbers=True)

    def stored_features(self, *, numbers: bool) -> PatchFeatures:
        """Read the slide's features as `read_features` does, with their numbers or without."""
        from mil_heatmaps.features.read import read_features

        return read_features(
            self.features_path,
            patch_size_l0=self.config.data_arguments.patch_size_level0,
            space=self.features_space,
            coords_dir=self.job.coords_dir,
            numbers=numbers,
        )

    @property
    def features_space(self) -> SlideSpace:
        """What coordinates in the bag's file mean on the slide."""
        from mil_heatmaps.slides.slide_space import SlideSpace

        return self.space if self.job.features_path else SlideSpace(self.slide.dimensions_l0, mpp=self.slide.mpp)

    @property
    def features_path(self) -> Path:
        """Path of the bag's features: the user's file, or that of the features stage."""
        return self.job.features_path or self.job.paths.features_h5

    @property
    def patches_path(self) -> Path | None:
        """The user's file with the places of the bag's patches; None when the coords stage lays them."""
        return self.job.features_path or self.job.coords_path

    @cached_property
    def coords_file(self) -> dict[str, Any] | None:
        """Fingerprint of the file with the coordinates, or with coordinates or patch size that the features lack."""
        features = self.job.features_path
        of_case = None if features is None else self.settings.case_inputs.get(str(features))
        if of_case is not None and features is not None and of_case[0] == self.files.status(features):
            found: dict[str, Any] | None = of_case[1]["coords_file"]  # another slide of the case asked for it
            return found
        return coords_file_of(self.job, self.settings, self.files)

    @cached_property
    def roi(self) -> Roi | None:
        """The region of interest, None when the config does not ask for one."""
        if not self.config.heatmap_arguments.use_roi:
            return None
        from mil_heatmaps.slides.roi import read_roi, roi_from_box

        if self.job.roi_path is not None:
            return read_roi(self.job.roi_path, self.space)
        if self.job.row.roi is None:
            raise SlideError(f"{self.job.slide_id} has no region of interest: give x1, y1, x2, y2 or a file in roi_dir")
        return roi_from_box(self.job.row.roi, self.space)

    def roi_inputs(self) -> Any:
        """Return what the region of interest depends on, None when none is asked for."""
        if not self.config.heatmap_arguments.use_roi:
            return None
        region = self.job.row.roi if self.job.roi_path is None else self.fingerprint(self.job.roi_path)
        frame = self.space_inputs("coords_frame")
        return {"region": region, **frame} if frame else region

    def on_encoding(self, progress: EncodingProgress) -> None:
        """Report the progress of an encoding or explanation; stop it when asked to, as it can be resumed."""
        if self.should_stop():
            raise Stopped
        if self._sign is not None:
            self._sign.tell(progress)
        if self.on_stage is not None:
            self.on_stage(progress.words)

    def forget_artifacts(self, written: Collection[Path]) -> None:
        """Drop cached artifacts that a stage has just rewritten, and everything derived from them."""
        paths, config = self.job.paths, self.config
        fine = paths.fine_scores_h5(config.patching_arguments.overlap, config.heatmap_arguments.use_roi)
        for name, path in (("mask", paths.mask_pkl), ("score_file", paths.blockmap_h5), ("fine_file", fine)):
            if path in written:
                self.__dict__.pop(name, None)
                self.maps = None


class Stage(Protocol):
    """One step of processing a slide."""

    name: str
    version: int
    """Increased when the stage's result changes for the same inputs, so that old results are redone."""
    uses_model: bool
    """Whether the stage runs on the GPU, where there is one."""

    def applies(self, work: SlideWork) -> bool:
        """Whether the config asks for this stage at all."""
        ...

    def inputs(self, work: SlideWork) -> dict[str, Any]:
        """Return everything the result depends on, as JSON values. Raises when a needed file is missing."""
        ...

    def run(self, work: SlideWork) -> StageResult:
        """Write the artifacts."""
        ...

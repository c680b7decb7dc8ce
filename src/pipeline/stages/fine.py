"""The fine map: patches with overlap, encoded, and scored by the model.

These are two stages, so that a new checkpoint scores the features that are there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from src.errors import FeatureError
from src.pipeline.encoding import clam_options, encode, encoder_identity
from src.pipeline.stages.base import SlideWork, StageResult

if TYPE_CHECKING:
    from src.features.patch_features import PatchFeatures
    from src.slides.patch_grid import PatchGrid


def wants_fine_map(work: SlideWork) -> bool:
    """Whether the config asks for a fine map and there is an encoder to make it with."""
    config = work.config
    return (
        config.heatmap_arguments.calc_heatmap
        and config.encoder_arguments.model_name is not None
        and work.job.scores_path is None
    )


class FineFeaturesStage:
    """Writes ``S_<overlap>_roi_<bool>_features.h5``."""

    name = "fine_features"
    version = 1
    uses_model = True

    def applies(self, work: SlideWork) -> bool:
        """When a fine map is wanted."""
        return wants_fine_map(work)

    def inputs(self, work: SlideWork) -> dict[str, Any]:
        """The slide, where the patches are, how they are read, the encoder; not the model."""
        job, config = work.job, work.config
        inputs: dict[str, Any] = {
            "version": self.version,
            "slide": work.fingerprint(job.slide_path),
            "mask_sha256": work.artifact(job.paths.mask_pkl, "segment"),
            "patching": {**config.patching_arguments.model_dump(mode="json"), "grid": config.patch_grid},
            "use_center_shift": config.heatmap_arguments.use_center_shift,
            "roi": roi_inputs(work),
            "encoder": encoder_identity(config),
        }
        if config.patch_grid == "features":
            inputs["coords_sha256"] = work.artifact(job.paths.coords_h5, "coords")
        return inputs

    def run(self, work: SlideWork) -> StageResult:
        """Lay the grid and encode it, going on where a killed run stopped."""
        like_features = work.config.patch_grid == "features"
        grid = _fine_grid(work)
        if not len(grid):
            raise FeatureError(f"the fine map of {work.job.slide_id} has no patches: no tissue takes a whole one")
        overlap, use_roi = work.config.patching_arguments.overlap, work.config.heatmap_arguments.use_roi
        path = work.job.paths.fine_features_h5(overlap, use_roi)
        encode(work, grid, path, like_features=like_features)
        return StageResult([path])


def roi_inputs(work: SlideWork) -> Any:
    """Return what the region of interest depends on, None when none is asked for."""
    if not work.config.heatmap_arguments.use_roi:
        return None
    if work.job.roi_path is not None:
        return work.fingerprint(work.job.roi_path)
    return work.job.row.roi


def _fine_grid(work: SlideWork) -> PatchGrid:
    """CLAM's grid in the tissue, or the grid of the features made finer; in the region of interest if there is one."""
    from src.features.read import read_coords
    from src.slides.contour_grid import region_grid
    from src.slides.patch_grid import PatchGrid
    from src.slides.refined_grid import refine_grid
    from src.slides.roi import patches_in_roi

    config, roi = work.config, work.roi
    overlap = float(config.patching_arguments.overlap)
    if config.patch_grid == "features":
        grid = refine_grid(read_coords(work.job.paths.coords_h5), overlap)
    else:
        grid = region_grid(
            work.mask,
            work.slide,
            overlap=overlap,
            use_center_shift=config.heatmap_arguments.use_center_shift,
            top_left=roi.top_left_l0 if roi is not None else None,
            bot_right=roi.bot_right_l0 if roi is not None else None,
            **clam_options(config, work.slide),
        )
    if roi is None or (config.patch_grid == "clam" and roi.polygons is None):
        return grid
    kept = patches_in_roi(grid, roi)
    return PatchGrid(grid.coords_l0[kept], grid.size_l0, grid.step_l0)


class FineScoresStage:
    """Writes ``S_<overlap>_roi_<bool>.h5``: CLAM's two datasets, percentiles or raw, and the raw scores besides."""

    name = "fine"
    version = 1
    uses_model = True

    def applies(self, work: SlideWork) -> bool:
        """When a fine map is wanted."""
        return wants_fine_map(work)

    def inputs(self, work: SlideWork) -> dict[str, Any]:
        """The fine features, the model, and the bag's scores they are ranked among."""
        job, config = work.job, work.config
        overlap, use_roi = config.patching_arguments.overlap, config.heatmap_arguments.use_roi
        return {
            "version": self.version,
            "model": work.settings.model.identity,
            "features_sha256": work.artifact(job.paths.fine_features_h5(overlap, use_roi), "fine_features"),
            "scores_sha256": work.artifact(job.paths.blockmap_h5, "attention"),
            "use_ref_scores": config.heatmap_arguments.use_ref_scores,
            "column": config.heatmap_arguments.model_dump(mode="json", include={"classes", "head"}),
            "label": job.row.label,
        }

    def run(self, work: SlideWork) -> StageResult:
        """Score every patch, then rank among the bag's if asked."""
        import src
        from src.features.read import read_features
        from src.pipeline.drawn_scores import coarse_columns, columns_of
        from src.scores.percentiles import reference_percentiles
        from src.scores.score_file import ScoreFile, write_scores

        job, config, bag = work.job, work.config, work.score_file
        overlap, use_roi = config.patching_arguments.overlap, config.heatmap_arguments.use_roi
        features = read_features(job.paths.fine_features_h5(overlap, use_roi))
        scores, notes = score_fine_map(work, features)
        raw = ScoreFile(grid=features.grid, scores=scores, prediction=bag.prediction)
        column = columns_of(work, raw)[0].values
        if config.heatmap_arguments.use_ref_scores:
            column = reference_percentiles(column, coarse_columns(work)[0].values)
        path = job.paths.fine_scores_h5(overlap, use_roi)
        write_scores(
            path,
            ScoreFile(
                grid=features.grid,
                scores=scores,
                attention=column.astype(np.float32),
                prediction=bag.prediction,
                slide_id=job.slide_id,
                slide_size_l0=bag.slide_size_l0,
                level0_mpp=bag.level0_mpp,
                model=bag.model,
                checkpoint_sha256=bag.checkpoint_sha256,
                features_file=features.source.name,
                encoder=features.encoder,
                program_version=src.__version__,
            ),
        )
        return StageResult([path], notes)


def score_fine_map(work: SlideWork, features: PatchFeatures) -> tuple[Any, list[str]]:
    """Return the drawn score of every fine patch, and a note when it had to be computed phase by phase.

    A score that depends on the patch alone is taken from one pass. Any other would change with the bag: overlapping
    patches count the same tissue several times, which no training bag does. Such a map is cut into its phases, the
    subsets without overlap that are each laid like the model's own bag, and every phase is scored as a bag of its own.
    """
    from dataclasses import replace

    from src.features.patch_features import PatchFeatures
    from src.slides.patch_grid import PatchGrid

    source, device = work.settings.model, work.settings.device
    model, name = source.load(device), source.scores_wanted(device)[0]
    if model.score_specs()[name].alone:
        return model.patch_scores(features, name, source.column_names(device)), []
    grid = features.grid
    phases = phase_numbers(grid)
    values: npt.NDArray[np.float32] | None = None
    for phase in np.unique(phases):
        rows = np.flatnonzero(phases == phase)
        part = PatchFeatures(
            PatchGrid(grid.coords_l0[rows], grid.size_l0, grid.step_l0),
            features.features[rows],
            features.encoder,
            features.source,
        )
        scored = model.patch_scores(part, name, source.column_names(device))
        if values is None:
            values = np.empty((len(grid), scored.values.shape[1]), np.float32)
        values[rows] = scored.values
    assert values is not None  # there is at least one patch
    count = len(np.unique(phases))
    note = f"the score {name!r} depends on the whole bag: the fine map is scored as {count} bags without overlap"
    return replace(scored, grid=grid, values=values), [note] if count > 1 else []


def phase_numbers(grid: PatchGrid) -> npt.NDArray[np.int64]:
    """Return for each patch, (N,), which of the grid's subsets without overlap it belongs to."""
    (width, height), (step_x, step_y) = grid.size_l0, grid.step_l0
    across, down = max(1, -(-width // step_x)), max(1, -(-height // step_y))
    column, row = grid.coords_l0[:, 0] // step_x % across, grid.coords_l0[:, 1] // step_y % down
    numbers: npt.NDArray[np.int64] = row * across + column
    return numbers

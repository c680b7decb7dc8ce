"""The fine map: patches with overlap, encoded, and scored by the model.

There are two stages, so that a new checkpoint can score existing features.
"""

from __future__ import annotations

import glob
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

from mil_heatmaps.choices import CONCEPT_SCORES
from mil_heatmaps.errors import FeatureError, ModelError
from mil_heatmaps.explain.settings import EXPLANATIONS
from mil_heatmaps.notices import Notice, distinct
from mil_heatmaps.numpy_later import np
from mil_heatmaps.stages.base import SlideWork, StageResult
from mil_heatmaps.stages.case_scores import has_case_bag
from mil_heatmaps.stages.explanations import explanation_inputs, outputs_of, settings_of
from mil_heatmaps.stages.patch_grids import bag_reading, clam_reading, lay_clam_grid, note_if_unlike_bag
from mil_heatmaps.stages.run_encoder import encode, encoder_identity, load_encoder
from mil_heatmaps.stages.slide_facts import told_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from mil_heatmaps.features.patch_features import PatchFeatures
    from mil_heatmaps.scores.patch_scores import PatchScores
    from mil_heatmaps.slides.patch_grid import PatchGrid


class FineFeaturesStage:
    """Writes ``S_<overlap>_roi_<bool>_features.h5``."""

    name = "fine_features"
    version = 2
    uses_model = True

    def applies(self, work: SlideWork) -> bool:
        """When a fine map is wanted."""
        return work.wants_fine_map

    def inputs(self, work: SlideWork) -> dict[str, Any]:
        """The slide, the patches, how they are read, and the encoder; not the model."""
        config = work.config
        inputs: dict[str, Any] = {
            "version": self.version,
            "slide": work.slide_inputs(),
            "mask_sha256": work.mask_sha256,
            "patching": {**work.settings.section("patching_arguments"), "grid": config.patch_grid},
            "use_center_shift": config.heatmap_arguments.use_center_shift,
            "roi": work.roi_inputs(),
            "encoder": encoder_identity(config),
        }
        if config.patch_grid == "features":
            inputs["coords_sha256"] = work.coords_sha256
            if work.patches_path is not None:
                inputs["read_as"] = [work.fingerprint(work.patches_path), work.coords_file]
        return inputs

    def run(self, work: SlideWork) -> StageResult:
        """Lay the grid and encode it, going on where a killed run stopped."""
        from mil_heatmaps.features.read import read_coords

        fine = lay_fine_grid(work)
        if not len(fine.grid):
            raise FeatureError(_no_patches(work))
        if work.config.patch_grid == "features":
            reading, notes = bag_reading(work, fine.grid)
        else:
            reading = clam_reading(work.config, work.slide, fine.grid)
            notes = note_if_unlike_bag(work, read_coords(work.job.paths.coords_h5))
        path = work.fine_features_path
        # Different overlaps may give the same grid (0.25 and 0.5 do), and no overlap may give the bag's grid.
        alike = path.parent.glob(f"{glob.escape(work.job.slide_id)}_*_features.h5")
        left_out = encode(work, fine.grid, path, reading, [work.job.paths.features_h5, *sorted(alike)])
        return StageResult([path], [*fine.notes, *notes, *left_out, *_other_encoder(work)])


def _no_patches(work: SlideWork) -> str:
    """Return why the fine map is empty."""
    if (roi := work.roi) is None:
        return f"the fine map of {work.job.slide_id} has no patches: no tissue takes a whole one"
    return f"no patch lies in the ROI {roi.top_left_l0} to {roi.bot_right_l0} ({roi.source}): no tissue takes one there"


def _other_encoder(work: SlideWork) -> list[Notice]:
    """Return a notice when the features of bag and fine map come from encoders with different names."""
    from mil_heatmaps.features.read import feature_info

    path = work.job.features_path
    said = feature_info(path, work.space).encoder if path is not None and path.suffix != ".pt" else None
    own = load_encoder(work.config, work.settings.device).name
    if said is None or _plain(said) == _plain(own):
        return []
    text = f"{path} was made with {said}, the fine map with {own}: unless they are one encoder, it means nothing"
    return [Notice("encoder", text)]


def _plain(name: str) -> str:
    """Return an encoder's name for comparison: conch_v15 and conch_v1_5 are the same."""
    return "".join(character for character in name.lower() if character.isalnum())


@dataclass(frozen=True)
class FineGrid:
    """The patches of the fine map, the number of each patch's subset without overlap, and notices."""

    grid: PatchGrid
    phases: npt.NDArray[np.int64]
    notes: tuple[Notice, ...] = ()


def lay_fine_grid(work: SlideWork) -> FineGrid:
    """Return CLAM's grid in the tissue, or the bag's grid refined; only the region of interest if there is one."""
    from mil_heatmaps.features.read import read_coords
    from mil_heatmaps.slides.refined_grid import refine_grid
    from mil_heatmaps.slides.roi import patches_in_roi

    config, roi = work.config, work.roi
    overlap = float(config.patching_arguments.overlap)
    notes: tuple[Notice, ...] = ()
    if config.patch_grid == "features":
        fine = refine_grid(read_coords(work.job.paths.coords_h5), overlap)
        grid, phases = fine.grid, fine.phases
        if abs(fine.overlap - overlap) > 0.01:
            text = (
                f"the fine map overlaps by {fine.overlap:.3g}, not {overlap:g}: only steps of 1/n of the bag's keep its"
                " patches in a regular map"
            )
            notes = (Notice("overlap", text),)
    else:
        grid = lay_clam_grid(work, overlap, roi)
        phases = phase_numbers(grid)
    if roi is None or (config.patch_grid == "clam" and roi.polygons is None):
        return FineGrid(grid, phases, notes)
    kept = patches_in_roi(grid, roi, rule="reach" if roi.polygons is None else None)
    return FineGrid(grid.take(kept), phases[kept], notes)


class FineScoresStage:
    """Writes ``S_<overlap>_roi_<bool>.h5``: CLAM's two datasets (percentiles or raw), and the raw scores."""

    name = "fine"
    version = 2
    uses_model = True

    def applies(self, work: SlideWork) -> bool:
        """When a fine map is wanted."""
        return work.wants_fine_map

    def inputs(self, work: SlideWork) -> dict[str, Any]:
        """The fine features, the model, and the bag's scores for ranking."""
        job, config = work.job, work.config
        drawing = work.settings.section("heatmap_arguments")
        return {
            "version": self.version,
            "model": work.settings.model.identity,
            "features_sha256": work.artifact(work.fine_features_path, "fine_features"),
            "scores_sha256": work.scores_sha256,
            "use_ref_scores": config.heatmap_arguments.use_ref_scores,
            "column": {key: drawing[key] for key in ("classes", "head")},
            "label": job.row.label,
            **({"explanation": explanation_inputs(work)} if config.heatmap_arguments.score in EXPLANATIONS else {}),
            "to": work.fine_scores_path.name,  # features of two overlaps may be the same bytes
        }

    def run(self, work: SlideWork) -> StageResult:
        """Score every patch, then rank the scores among the bag's if asked."""
        from mil_heatmaps.features.read import read_features
        from mil_heatmaps.scores.percentiles import reference_percentiles
        from mil_heatmaps.scores.score_file import ScoreFile
        from mil_heatmaps.scores.score_schema import write_scores
        from mil_heatmaps.slides.slide_space import SlideSpace
        from mil_heatmaps.stages.score_columns import coarse_columns, columns_of
        from mil_heatmaps.version import __version__

        job, config, bag = work.job, work.config, work.score_file
        features = read_features(work.fine_features_path, space=SlideSpace(mpp=bag.level0_mpp))
        with told_of(work, work.settings.model.load(work.settings.device)):
            scores, how = score_fine_map(work, features)
        raw = ScoreFile(grid=features.grid, scores=scores, prediction=bag.prediction)
        column = columns_of(work, raw)[0].scores
        if config.heatmap_arguments.use_ref_scores:
            column = reference_percentiles(column, coarse_columns(work)[0].scores)
        path = work.fine_scores_path
        said = Notice("fine_map", f"fine map: {how}")
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
                program_version=__version__,
                scored_as=how,
                notices=distinct((*work.record.notices_of("fine_features"), said)),
            ),
        )
        return StageResult([path], [said])


def score_fine_map(work: SlideWork, fine: PatchFeatures) -> tuple[PatchScores, str]:
    """Return the drawn score of every fine patch, and in words how it was computed.

    A score that depends only on the patch takes one pass. Any other score changes with the bag, so fine patches are
    scored in the places of the bag's own patches: see `mil_heatmaps.models.replaced_patches`.
    """
    from mil_heatmaps.models.replaced_patches import score_in_place

    source, device = work.settings.model, work.settings.device
    if (drawn := work.config.heatmap_arguments.score) in CONCEPT_SCORES:
        assert source.concepts is not None
        source.concepts.check(fine)
        return source.concepts.scores(fine.features, fine.grid)[str(drawn)], "each patch compared on its own"
    model, name = source.load(device), source.scores_wanted(device)[0]
    if model.is_alone(name):
        settings = {**settings_of(work), "task": work.config.model_arguments.task}
        names = source.column_names(device)
        if name in EXPLANATIONS:  # for the same outputs as the bag's scores
            targets, prediction = list(work.score_file.scores.names), work.score_file.prediction
            outputs = names if prediction is None else outputs_of(model, prediction)
            found = model.explain(fine, [name], outputs, targets=targets, settings=settings).scores[name]
        else:
            found = model.patch_scores(fine, name, names)
        return found, "each patch scored on its own"
    if name in EXPLANATIONS:
        raise ModelError(
            f"{name} asks the model of the slide's own bag and has no finer map; draw single with calc_heatmap: true, "
            f"or {name} without it"
        )
    if has_case_bag(work):
        raise ModelError(
            f"the score {name} depends on the whole bag, which is that of a case, so it has no finer map: set "
            "calc_heatmap: false, or draw a score of the patch alone"
        )
    laid = lay_fine_grid(work)
    at = {(x, y): i for i, (x, y) in enumerate(laid.grid.coords_l0.tolist())}
    # All patches, except those on unreadable tiles of the slide.
    places = [at.get((x, y), -1) for x, y in fine.grid.coords_l0.tolist()]
    if -1 in places or sorted(places) != places:
        raise FeatureError(f"{fine.source.name} holds other patches than the fine map has: run fine_features again")
    phases = laid.phases[places]
    scores = score_in_place(model, work.bag_features(), fine, phases, name, source.column_names(device))
    count = len(np.unique(phases))
    bags = f"{count} bags, each set without overlap" if count > 1 else "one bag"
    return scores, f"scored in {bags} in the place of the bag's own patches"


def phase_numbers(grid: PatchGrid) -> npt.NDArray[np.int64]:
    """Return for each patch the number of its subset without overlap, shape (N,).

    Up to a twentieth of a step does not count as overlap: half of an odd size was rounded.
    """
    step_x, step_y = grid.step_l0
    across, down = (max(1, ceil(size / step - 0.05)) for size, step in zip(grid.size_l0, grid.step_l0, strict=True))
    column, row = grid.coords_l0[:, 0] // step_x % across, grid.coords_l0[:, 1] // step_y % down
    numbers: npt.NDArray[np.int64] = row * across + column
    return numbers

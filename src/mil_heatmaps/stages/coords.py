"""Where the patches are: from the feature file, or laid in the tissue."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mil_heatmaps.errors import FeatureError
from mil_heatmaps.notices import Notice
from mil_heatmaps.stages.base import SlideWork, StageResult
from mil_heatmaps.stages.patch_grids import bag_grid_inputs, lay_bag_grid

if TYPE_CHECKING:
    from mil_heatmaps.slides.patch_grid import PatchGrid


class CoordsStage:
    """Writes ``S_coords.h5``: coordinates and patch size, in the form TRIDENT and CLAM read."""

    name = "coords"
    version = 1
    uses_model = False

    def applies(self, work: SlideWork) -> bool:
        """Always, unless the user provides scores, which have their own coordinates."""
        return work.job.scores_path is None

    def inputs(self, work: SlideWork) -> dict[str, Any]:
        """The feature or coordinates file, or the mask and how patches are cut."""
        data = work.config.data_arguments
        if work.patches_path is not None:
            return {
                "version": self.version,
                "slide": work.slide_inputs(),
                "features": work.fingerprint(work.patches_path),
                "coords_file": work.coords_file,
                "patch_size_level0": data.patch_size_level0,
                **work.space_inputs(),
            }
        return {
            "version": self.version,
            "slide": work.slide_inputs(),
            "mask_sha256": work.mask_sha256,
            "patching": work.settings.section("patching_arguments", exclude=("overlap", "grid")),
            **bag_grid_inputs(work),
        }

    def run(self, work: SlideWork) -> StageResult:
        """Read or lay the grid and write it."""
        from mil_heatmaps.features.write_coords import write_coords

        job = work.job
        path, notes = work.patches_path, list[Notice]()
        grid = _grid_of_file(work, path, notes) if path is not None else lay_bag_grid(work)
        if not len(grid):
            source = path.name if path is not None else "the tissue found"
            raise FeatureError(f"there are no patches in {source} for {job.slide_id}")
        write_coords(job.paths.coords_h5, grid, work.slide)
        return StageResult([job.paths.coords_h5], notes)


def _grid_of_file(work: SlideWork, path: Path, notes: list[Notice]) -> PatchGrid:
    """Read the coordinates of a feature or coordinates file; skip the features where the file has both."""
    from mil_heatmaps.features.read import feature_info, place_coords

    if path == work.job.coords_path or (path.suffix != ".pt" and feature_info(path, work.space).has_coords):
        grid, found = place_coords(path, work.space, patch_size_l0=work.config.data_arguments.patch_size_level0)
        notes += found
        return grid
    features = work.bag_features()
    notes += features.notes
    return features.grid

"""Features of the bag, if the user provides none: encode the patches of `S_coords.h5`."""

from __future__ import annotations

from typing import Any

from mil_heatmaps.files.atomic import atomic_path
from mil_heatmaps.stages.base import SlideWork, StageResult
from mil_heatmaps.stages.patch_grids import bag_reading
from mil_heatmaps.stages.run_encoder import encode, encoder_identity


class FeaturesStage:
    """Writes ``S.h5`` (TRIDENT's layout, which CLAM reads too) and ``S.pt`` (CLAM's)."""

    name = "features"
    version = 2
    uses_model = True

    def applies(self, work: SlideWork) -> bool:
        """Only if the user provides neither features nor scores."""
        return work.job.features_path is None and work.job.scores_path is None

    def inputs(self, work: SlideWork) -> dict[str, Any]:
        """The slide, the patches, how they are read, the encoder."""
        job, config = work.job, work.config
        read_as = {} if job.coords_path is None else {"coords_file": work.coords_file}
        return read_as | {
            "version": self.version,
            "slide": work.slide_inputs(),
            "coords_sha256": work.coords_sha256,
            "patching": work.settings.section("patching_arguments", exclude=("overlap", "grid")),
            "encoder": encoder_identity(config),
        }

    def run(self, work: SlideWork) -> StageResult:
        """Encode, going on where a killed run stopped."""
        import torch

        from mil_heatmaps.features.read import read_coords, read_features

        paths = work.job.paths
        grid = read_coords(paths.coords_h5)
        reading, notes = bag_reading(work, grid)
        notes += encode(work, grid, paths.features_h5, reading)
        features = read_features(paths.features_h5).features
        # Write to an open file: given a path, torch would store its temporary name in the file.
        with atomic_path(paths.features_pt) as partial, partial.open("wb") as file:
            torch.save(torch.from_numpy(features), file)
        return StageResult([paths.features_h5, paths.features_pt], notes)

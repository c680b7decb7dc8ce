"""Write what other programs open; each format on its own switch."""

from __future__ import annotations

from typing import Any

from mil_heatmaps.stages.base import SlideWork, StageResult


class ExportsStage:
    """Writes ``P/E/G/exports/S...`` for every format that `export_arguments` switches on."""

    name = "exports"
    version = 2
    uses_model = False

    def applies(self, work: SlideWork) -> bool:
        """When any export is switched on."""
        return bool(work.settings.section("export_arguments", filled=True))

    def inputs(self, work: SlideWork) -> dict[str, Any]:
        """What the map depends on, and the switches."""
        from mil_heatmaps.stages.heatmap import HeatmapStage

        inputs = HeatmapStage().inputs(work)
        geojson, mask = work.config.export_arguments.geojson, work.job.paths.mask_pkl
        if geojson is not None and geojson.tissue and mask.is_file():
            inputs["mask_sha256"] = work.artifact(mask, "segment")
        return {
            **inputs,
            "version": self.version,
            "exports": work.settings.section("export_arguments", filled=True),
        }

    def run(self, work: SlideWork) -> StageResult:
        """Write each."""
        from mil_heatmaps.stages.write_exports import export_all

        return export_all(work)

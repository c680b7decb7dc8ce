"""Write files for other programs; each format has a switch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mil_heatmaps.stages.base import SlideWork, StageResult
from mil_heatmaps.stages.figure_foot import foot_inputs, kept_outputs

if TYPE_CHECKING:
    from mil_heatmaps.config.export_section import GeojsonExport

_TELLING = (".ome.tif", ".geojson", ".geojson.gz", ".h5ad", ".dcm", ".db")
_TELLING_KEYS = ("ome_tiff", "geojson", "anndata", "ome_zarr", "dicom", "annotation_store", "wsidata")
"""Exports whose metadata hold the faithfulness of the map: their file endings and their keys."""


_LATER_GEOJSON = ("objects", "most_objects")
"""Options that earlier versions lacked; at their defaults they are left out, so that earlier runs are reused."""


def _without_later_defaults(options: dict[str, Any], section: GeojsonExport) -> dict[str, Any]:
    defaults = type(section).model_fields
    return {k: v for k, v in options.items() if k not in _LATER_GEOJSON or v != defaults[k].default}


def _is_telling(key: str) -> bool:
    return key.endswith(_TELLING) or ".zarr/" in key


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
        inputs.pop("figure_foot", None)
        inputs.pop("beside", None)  # of the figure alone
        if len(work.config.bags) > 1:
            inputs["of_every_bag"] = True  # earlier versions exported the first bag only
        if self._tells(work) and (foot := foot_inputs(work)):
            inputs["metadata"] = foot
        geojson, store = work.config.export_arguments.geojson, work.config.export_arguments.annotation_store
        if any(one is not None and one.tissue for one in (geojson, store)) and work.job.paths.mask_pkl.is_file():
            inputs["mask_sha256"] = work.mask_sha256
        exports = work.settings.section("export_arguments", filled=True)
        if geojson is not None:
            exports["geojson"] = _without_later_defaults(exports["geojson"], geojson)
        return {**inputs, "version": self.version, "exports": exports}

    @staticmethod
    def _tells(work: SlideWork) -> bool:
        """Whether the config asks for a format whose metadata hold the faithfulness of the map."""
        exports = work.config.export_arguments
        return any(getattr(exports, key) is not None for key in _TELLING_KEYS)

    def run(self, work: SlideWork) -> StageResult:
        """Write each format; if only the faithfulness has changed, write only the formats whose metadata hold it."""
        from mil_heatmaps.stages.write_exports import export_all

        kept = kept_outputs(work, self.name, self.inputs(work), "metadata", _is_telling)
        result = export_all(work, only_telling=kept is not None)
        result.paths += kept or []
        return result

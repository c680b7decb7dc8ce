"""What a run measured of its maps, for the viewer: verdict and sentence beside a map's name, the evidence set."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mil_heatmaps.explain.curves import most_relevant_first
from mil_heatmaps.export.regions import merge_patches
from mil_heatmaps.records.layout import FAITHFULNESS
from mil_heatmaps.scores.select import column_of_target
from mil_heatmaps.stages.figure_foot import EVIDENCE_SETS, read_document
from mil_heatmaps.viewer.layers import ScoreLayer


def measured(layers: list[ScoreLayer], slide_id: str, *, outlines: bool = False) -> list[dict[str, Any]]:
    """Return what is told of each layer of one score file besides its scores; empty where nothing was measured.

    Parameters
    ----------
    outlines : bool
        With the outline of each map's evidence set, as flat x, y lists of level-0 pixels.
    """
    if not layers:
        return []
    document = read_document(layers[0].named.path.with_name(f"{slide_id}{FAITHFULNESS}"))
    maps = {} if document is None else document["maps"]
    told: list[dict[str, Any]] = []
    for layer in layers:
        entry = maps.get(layer.scores.score) or maps.get(layer.scores.names[0])  # a column of somebody's table
        if document is None or entry is None:
            told.append({})
            continue
        about = {
            "verdict": entry.get("verdict", entry["status"]),
            "sentence": entry["foot"],
            "method": entry.get("method", ""),
            "target": document["target"]["name"],
        }
        rings = _rings(layer, document, entry) if outlines and entry.get("drawn") else []
        told.append({"faithfulness": about | ({"evidence": rings} if rings else {})})
    return told


def _rings(layer: ScoreLayer, document: Mapping[str, Any], entry: Mapping[str, Any]) -> list[list[int]]:
    found, target = entry.get("evidence") or {}, document["target"]["name"]
    kind = next((kind for kind in EVIDENCE_SETS if found.get(kind)), None)
    order = most_relevant_first(np.empty(0))
    if kind is not None:
        prediction = layer.source.prediction
        targets = prediction.classes if prediction is not None and target in prediction.classes else (target,)
        order = most_relevant_first(column_of_target(layer.scores, targets, targets.index(target)))
    if kind is None or len(order) != entry["scored_patches"]:  # a finer map, or patches that were not measured
        return []
    chosen = np.zeros(len(layer.scores), bool)
    chosen[order[: found[kind]["patches"]]] = True
    regions = merge_patches(layer.source.grid, chosen)
    return [ring[:-1].reshape(-1).tolist() for region in regions for ring in region.rings_l0]

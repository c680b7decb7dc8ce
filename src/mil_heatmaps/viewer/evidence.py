"""The evidence set of a drawn map as outlines: the patches that alone are sufficient for the model."""

import numpy as np

from mil_heatmaps.export.regions import merge_patches
from mil_heatmaps.scores.select import column_of_target, most_relevant_first
from mil_heatmaps.stages.figure_foot import EVIDENCE_SETS, read_document
from mil_heatmaps.viewer.layers import ScoreLayer


def evidence_outlines(layer: ScoreLayer) -> list[list[int]]:
    """Return the outline of the set of one layer as closed rings, flat x, y lists of level-0 pixels.

    Empty where nothing was measured, for maps that are not drawn, and for a fine map, which has other patches.
    """
    document = read_document(layer.named.faithfulness)
    entry = None if document is None else document["maps"].get(layer.scores.score)
    if document is None or entry is None or not entry.get("drawn"):
        return []
    found, target = entry.get("evidence") or {}, document["target"]["name"]
    kind = next((kind for kind in EVIDENCE_SETS if found.get(kind)), None)
    if kind is None:
        return []
    prediction = layer.source.prediction
    targets = prediction.classes if prediction is not None and target in prediction.classes else (target,)
    order = most_relevant_first(column_of_target(layer.scores, targets, targets.index(target)))
    if len(order) != entry["scored_patches"]:
        return []
    chosen = np.zeros(len(layer.scores), bool)
    chosen[order[: found[kind]["patches"]]] = True
    regions = merge_patches(layer.source.grid, chosen)
    return [ring[:-1].reshape(-1).tolist() for region in regions for ring in region.rings_l0]

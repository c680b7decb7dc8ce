"""More like this: how similar the patches of a slide are to a chosen one, by their features.

The numbers equal those of `heatmap_arguments.score: similarity_to` with the chosen patch's features as the concept.
"""

import threading
from collections import OrderedDict
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from mil_heatmaps.errors import FeatureError
from mil_heatmaps.features.find import FeatureIndex
from mil_heatmaps.features.patch_features import PatchFeatures
from mil_heatmaps.features.read import read_values
from mil_heatmaps.scores.concepts import Concepts
from mil_heatmaps.slides.slide_space import SlideSpace
from mil_heatmaps.viewer.changed import Changed
from mil_heatmaps.viewer.layers import ScoreLayer
from mil_heatmaps.viewer.stamps import stamp_of

MOST_BYTES = 1 << 30
"""Maximum bytes of features kept in memory, so that a second click need not read them again."""


@lru_cache(maxsize=16)
def _index(folders: tuple[Path, ...]) -> FeatureIndex:
    return FeatureIndex(folders, recursive=True)


def features_path(layer: ScoreLayer, slide_id: str) -> Path | None:
    """Return the file with the features of the scored patches; None where it is not found."""
    name = layer.source.features_file
    if name is None:
        return None
    own = layer.named.path.with_name(name)  # features that the run made itself
    if own.is_file():
        return own
    folders = tuple(folder for folder in layer.named.feature_dirs if folder.is_dir())
    try:
        found = _index(folders).get(slide_id, Path(name).stem) if folders else None
    except FeatureError:  # several files that it could be
        return None
    return found if found is not None and found.name == name and found.is_file() else None


class Likes:
    """Compares patches; keeps the most recently read features. Safe to share between threads."""

    def __init__(self) -> None:
        self._held: OrderedDict[tuple[Path, str], PatchFeatures] = OrderedDict()
        self._lock = threading.Lock()

    def layer(self, layer: ScoreLayer, slide_id: str, of: ScoreLayer, of_slide: str, patch: int) -> ScoreLayer:
        """Return the cosine of every patch of `layer` with one patch of the layer `of`, as a layer.

        Raises
        ------
        FeatureError
            A slide has no features, or the two come from different encoders or have different widths.
        LookupError
            There is no such patch.
        """
        chosen = self._features(of, of_slide)
        if patch >= len(chosen.features):
            raise LookupError(patch)
        encoders, name = (chosen.encoder,) if chosen.encoder else (), f"patch {patch} of {of_slide}"
        concept = Concepts.of({name: chosen.features[patch]}, name, encoders=encoders)
        others = self._features(layer, slide_id)
        concept.check(others)
        return replace(layer, scores=concept.scores(others.features, others.grid)["similarity_to"])

    def _features(self, layer: ScoreLayer, slide_id: str) -> PatchFeatures:
        path = features_path(layer, slide_id)
        if path is None:
            raise FeatureError(f"the features of the patches of {slide_id} are not found")
        size = (layer.source.features_fingerprint or {}).get("size")
        if size is not None and size != path.stat().st_size:
            raise Changed(f"{path.name} was written anew after the scores were made; run the slide again")
        key = path, stamp_of(path)
        with self._lock:
            if (held := self._held.get(key)) is not None:
                self._held.move_to_end(key)
                return held
        values, encoder = read_values(path, SlideSpace(name=slide_id))
        if len(values) != len(layer.source.grid):
            raise Changed(f"{path.name} has {len(values)} patches, the scores {len(layer.source.grid)}; run it again")
        read = PatchFeatures(layer.source.grid, values, encoder or layer.source.encoder, path)
        with self._lock:
            self._held[key] = read
            while len(self._held) > 1 and sum(one.features.nbytes for one in self._held.values()) > MOST_BYTES:
                self._held.popitem(last=False)
        return read

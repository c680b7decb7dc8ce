"""Clusters of patches by their features: k-means on the directions of feature vectors.

Features are divided by their length, reduced to 50 principal components and clustered. Components are fitted on at
most 20,000 patches, the number of clusters on at most 2,000; the words say so. The same seed gives the same result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.errors import FeatureError
from mil_heatmaps.insight.feature_rows import unit_rows
from mil_heatmaps.insight.packages import needed

COMPONENTS, FITTED, JUDGED = 50, 20_000, 2_000
CHOICES = range(2, 13)
MOST = 20
"""Maximum number of clusters, because a map has this many colours."""

_BLOCK = 8192


@dataclass(frozen=True, repr=False, eq=False)
class Phenotypes:
    """Clusters of features.

    Attributes
    ----------
    k : int
    labels : (N,) int32
        Cluster of each patch, from 0, the largest first.
    distances : (N,) float32
        Distance of each patch to its centre.
    silhouettes : k -> mean silhouette
        Empty where k was given.
    words : str
        How the clusters were made.
    """

    k: int
    labels: npt.NDArray[np.int32]
    distances: npt.NDArray[np.float32]
    silhouettes: dict[int, float]
    words: str
    mean: npt.NDArray[np.float32]
    axes: npt.NDArray[np.float32]
    centres: npt.NDArray[np.float32]

    def assign(self, features: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """Return the nearest cluster of each patch and its distance. FeatureError for features of another width."""
        if features.shape[1] != len(self.mean):
            raise FeatureError(f"features are {features.shape[1]} wide, the clusters are of {len(self.mean)}")
        return _nearest(_reduced(features, self.mean, self.axes), self.centres)


def cluster(features: npt.NDArray[Any], k: int | None = None, seed: int = 1) -> Phenotypes:
    """Return clusters of features (N, D).

    Parameters
    ----------
    k : int, optional
        Number of clusters, 2 to 20. By default, the number from 2 to 12 with the highest mean silhouette.

    Raises
    ------
    FeatureError
        Fewer patches than clusters, or numbers that are not finite.
    """
    kmeans = needed("sklearn.cluster", "phenotypes").KMeans
    count, width = features.shape
    if k is not None and not 2 <= k <= MOST:
        raise FeatureError(f"k is {k}: give 2 to {MOST} clusters")
    if count < (least := 3 if k is None else k):
        raise FeatureError(f"{count} patches are too few for {k or 'any'} clusters: at least {least}")
    rng = np.random.default_rng(seed)
    sample = features if count <= FITTED else features[np.sort(rng.choice(count, FITTED, replace=False))]
    unit = unit_rows(sample)
    if not np.isfinite(unit).all():
        raise FeatureError("features that are not finite cannot be clustered")
    parts = min(COMPONENTS, width, len(unit))
    pca = needed("sklearn.decomposition", "phenotypes").PCA(parts, svd_solver="randomized", random_state=seed).fit(unit)
    mean, axes = pca.mean_.astype(np.float32), pca.components_.astype(np.float32)
    reduced = _reduced(features, mean, axes)
    scores: dict[int, float] = {}
    if k is None:
        scores = _silhouettes(reduced, seed)
        k = max(scores, key=lambda number: scores[number])
    model = kmeans(k, n_init=4, random_state=seed).fit(reduced)
    order = np.argsort(-np.bincount(model.labels_, minlength=k), kind="stable")
    centres = np.ascontiguousarray(model.cluster_centers_[order], np.float32)
    labels, distances = _nearest(reduced, centres)
    chosen = f"k = {k} has the highest mean silhouette of 2 to {max(scores)}" if scores else f"k = {k} was given"
    fitted = "" if count <= FITTED else f" found on {FITTED} of {count} patches"
    words = f"k-means on {parts} principal components{fitted}, rows of length 1; {chosen}; seed {seed}"
    return Phenotypes(k, labels, distances, scores, words, mean, axes, centres)


def _silhouettes(reduced: npt.NDArray[np.float32], seed: int) -> dict[int, float]:
    """Return the mean silhouette for each number of clusters, on a sample."""
    kmeans = needed("sklearn.cluster", "phenotypes").KMeans
    score = needed("sklearn.metrics", "phenotypes").silhouette_score
    rng = np.random.default_rng(seed)
    count = len(reduced)
    some = reduced if count <= JUDGED else reduced[np.sort(rng.choice(count, JUDGED, replace=False))]
    found = {}
    for number in CHOICES:
        if number < len(some):
            labels = kmeans(number, n_init=2, random_state=seed).fit_predict(some)
            if len(np.unique(labels)) > 1:
                found[number] = float(score(some, labels))
    if not found:
        raise FeatureError("the patches' features are all alike: there are no clusters in them")
    return found


def _reduced(features: npt.NDArray[Any], mean: Any, axes: Any) -> npt.NDArray[np.float32]:
    """Return the principal components of features, block by block."""
    out = np.empty((len(features), len(axes)), np.float32)
    for start in range(0, len(features), _BLOCK):
        unit = unit_rows(features[start : start + _BLOCK])
        unit -= mean
        out[start : start + _BLOCK] = unit @ axes.T
    return out


def _nearest(
    reduced: npt.NDArray[np.float32], centres: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    squares = (reduced**2).sum(1)[:, None] - 2 * reduced @ centres.T + (centres**2).sum(1)
    labels = squares.argmin(1).astype(np.int32)
    return labels, np.sqrt(np.maximum(squares[np.arange(len(labels)), labels], 0)).astype(np.float32)

"""Clusters of features: found again, chosen by a rule, the same with one seed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mil_heatmaps.cli.create_heatmaps import main
from mil_heatmaps.errors import FeatureError
from mil_heatmaps.insight.phenotype_study import nearest_patches, phenotype_table, take_patches
from mil_heatmaps.insight.phenotypes import cluster
from mil_heatmaps.scores.score_schema import read_scores
from mil_heatmaps.viewer.content import Content
from mil_heatmaps.viewer.run_folder import catalog_of_runs
from mil_heatmaps.visualization.palette import colour_table
from tests.helpers.cohort import make_small_cohort, write_features


@pytest.fixture(scope="module")
def planted() -> tuple[np.ndarray, np.ndarray]:
    """600 features in three directions, of different lengths, and which direction each has."""
    rng = np.random.default_rng(0)
    truth = rng.choice(3, 600, p=[0.5, 0.3, 0.2])
    features = np.eye(3, 24)[truth] + 0.05 * rng.normal(size=(600, 24))
    return (features * rng.uniform(0.5, 2, (600, 1))).astype(np.float32), truth


def test_planted_clusters_are_found_their_number_by_silhouette_the_largest_first(
    planted: tuple[np.ndarray, np.ndarray]
) -> None:
    features, truth = planted
    found = cluster(features)
    assert found.k == 3
    np.testing.assert_array_equal(found.labels, truth)
    assert max(found.silhouettes, key=lambda k: found.silhouettes[k]) == 3
    assert "k = 3 has the highest mean silhouette of 2 to 12; seed 1" in found.words


def test_one_seed_gives_one_result_and_new_patches_go_to_the_nearest_centre(
    planted: tuple[np.ndarray, np.ndarray]
) -> None:
    features, truth = planted
    first, second = cluster(features.astype(np.float16), 4, seed=7), cluster(features.astype(np.float16), 4, seed=7)
    np.testing.assert_array_equal(first.labels, second.labels)
    found = cluster(features, 3)
    np.testing.assert_array_equal(found.assign(features[:50])[0], truth[:50])
    with pytest.raises(FeatureError, match="features are 23 wide, the clusters are of 24"):
        found.assign(features[:, 1:])


@pytest.mark.parametrize(
    ("count", "k", "message"), [(2, None, "too few"), (3, 5, "too few for 5"), (30, 40, "2 to 20")]
)
def test_what_cannot_be_clustered_is_refused(count: int, k: int | None, message: str) -> None:
    with pytest.raises(FeatureError, match=message):
        cluster(np.random.default_rng(0).normal(size=(count, 8)).astype(np.float32), k)


def test_high_and_low_patches_are_taken_and_unscored_ones_never() -> None:
    scores = np.append(np.arange(100.0), np.nan)
    taken = take_patches(scores, 0.05, 200, contrast=True, seed=1)
    assert taken.rows.tolist() == [95, 96, 97, 98, 99, 0, 1, 2, 3, 4]
    assert taken.high.tolist() == [True] * 5 + [False] * 5
    assert take_patches(scores, 0.5, 3, contrast=False, seed=1).high.tolist() == [True] * 3


def test_shares_are_of_the_high_patches_by_label_and_outcome() -> None:
    patches = pd.DataFrame({
        "slide_id": list("aabbc"), "label": list("xxyyx"), "predicted": list("xxxxx"),
        "right": [True, True, False, False, True], "cluster": [0, 0, 0, 1, 1],
        "high": [True, True, True, True, False], "rank": [1.0, 0.9, 0.8, 0.7, 0.1], "distance": [1, 2, 3, 4, 5.0],
    })  # fmt: skip
    table = phenotype_table(patches, 2)
    assert table["share_high"].tolist() == [0.75, 0.25]
    assert table["share_label_x"].tolist() == [1, 0]
    assert table["share_label_y"].tolist() == table["share_wrong"].tolist() == [0.5, 0.5]
    assert table["patches_low"].tolist() == [0, 1]
    assert nearest_patches(patches, 2, 5)[0]["slide_id"].tolist() == ["a", "a", "b"]


def test_a_run_gets_tables_a_sheet_and_maps_that_are_drawn_with_a_legend(tmp_path: Path) -> None:
    cohort = make_small_cohort(tmp_path, {"insight_arguments": {"phenotypes": {"k": 3, "nearest": 2, "top": 0.2}}})
    write_features(cohort.features / "s3.h5", 3, width=16)
    assert main(["--config", str(cohort.write())]) == 0
    out = cohort.production / "insight"
    table = pd.read_csv(out / "phenotypes.csv")
    assert table["patches_high"].sum() == 3 * 10
    assert table["share_high"].sum() == pytest.approx(1)
    told = json.loads((out / "phenotypes.json").read_text())
    assert (told["slides"], len(told["clusters"])) == (["s1", "s2", "s3"], 3)
    content = Content(catalog_of_runs([cohort.raw]))
    assert [(one["title"], len(one["patches"])) for one in content.lists()] == [
        (f"phenotype {cluster['number']}", len(cluster["patches"])) for cluster in told["clusters"]
    ]
    layers = content.describe(0)["layers"]
    content.close()
    assert [layer["title"] for layer in layers].count("phenotypes") == 1
    made = read_scores(cohort.raw / "phenotypes" / "s1.h5")
    assert made.scores.kind == "cluster"
    assert set(np.unique(made.scores.values)) <= {0, 1, 2}
    cohort.config["data_arguments"]["scores_dir"] = str(cohort.raw / "phenotypes")
    cohort.config["heatmap_arguments"].update(figure=True, alpha=1.0)  # the bar shows colours as blended
    for section in ("insight_arguments", "model_arguments"):
        del cohort.config[section]
    del cohort.config["data_arguments"]["h5_dir"]
    assert main(["--config", str(cohort.write()), "--save_exp_code", "maps", "--slides", "s1"]) == 0
    picture = np.asarray(Image.open(tmp_path / "prod" / "maps" / "a" / "s1_figure.png").convert("RGB")).reshape(-1, 3)
    colours = [tuple(colour) for colour in colour_table("tab20")[:3].tolist()]
    seen = set(map(tuple, picture.tolist()))
    assert all(colour in seen for colour in colours)  # the squares of the legend

"""Spots and cells on patches; correlation against shifted maps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr

from mil_heatmaps.errors import MissingDependencyError, ScoreError
from mil_heatmaps.insight import spatial_null
from mil_heatmaps.insight.spatial_null import correlations
from mil_heatmaps.insight.spots import on_patches, read_spots
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.slide_space import SlideSpace
from tests.helpers.features import grid_coords

GRID = PatchGrid(grid_coords(4, 3, 100), (100, 100), (100, 100))


def test_genes_are_averaged_on_the_patch_that_holds_the_spot(tmp_path: Path) -> None:
    pd.DataFrame({"barcode": ["A", "B", "C", "D"], "x": [10, 99.5, 100, 5000], "y": [10, 10, 50, 0],
                  "EPCAM": [1.0, 3, 5, 9]}).to_csv(tmp_path / "s.csv", index=False)  # fmt: skip
    spots = read_spots(tmp_path / "s.csv")
    assert (spots.names, spots.are_types) == (("EPCAM",), False)
    counts, means = on_patches(spots, GRID)
    assert counts[:3].tolist() == [2, 1, 0]
    assert means[:2, 0].tolist() == [2, 5]
    assert np.isnan(means[2, 0])


def test_cell_types_are_shares_and_micrometres_need_a_resolution(tmp_path: Path) -> None:
    table = pd.DataFrame({"x_um": [5.0, 6, 7, 60], "y_um": [5.0, 6, 7, 5], "cell_type": ["T", "T", "B", "B"]})
    table.to_csv(tmp_path / "s.csv", index=False)
    spots = read_spots(tmp_path / "s.csv", space=SlideSpace(mpp=0.5))
    counts, means = on_patches(spots, GRID)
    assert (spots.names, counts[:2].tolist()) == (("B", "T"), [3, 1])
    np.testing.assert_allclose(means[0], [1 / 3, 2 / 3])
    with pytest.raises(ScoreError, match="µm, but the slide's resolution"):
        read_spots(tmp_path / "s.csv")


def test_cells_of_qupath_are_read_from_points_and_outlines(tmp_path: Path) -> None:
    ring = [[100, 0], [120, 0], [120, 20], [100, 20], [100, 0]]
    cells = [({"type": "Point", "coordinates": [5, 5]}, "T"), ({"type": "Polygon", "coordinates": [ring]}, "B")]
    features = [{"type": "Feature", "geometry": g, "properties": {"classification": {"name": n}}} for g, n in cells]
    (tmp_path / "s.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    spots = read_spots(tmp_path / "s.geojson")
    assert spots.points_l0.tolist() == [[5, 5], [110, 10]]
    assert spots.names == ("B", "T")


def test_cells_that_count_from_the_scanned_areas_corner_are_moved(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("x,y,CD3\n5,5,1\n150,20,2\n")
    spots = read_spots(tmp_path / "s.csv", space=SlideSpace((4000, 4000), scanned_l0=(1000, 2000, 400, 300)))
    assert spots.points_l0.tolist() == [[1005, 2005], [1150, 2020]]
    assert [notice.code for notice in spots.notices] == ["frame"]


def test_h5ad_has_its_positions_in_obsm_spatial(tmp_path: Path) -> None:
    anndata = pytest.importorskip("anndata")
    from scipy.sparse import csr_matrix

    anndata.settings.allow_write_nullable_strings = True
    data = anndata.AnnData(np.array([[1.0, 2], [3, 4]], np.float32), var=pd.DataFrame(index=["g1", "g2"]))
    data.obsm["spatial"] = np.array([[5.0, 5], [105, 5]])
    data.write_h5ad(tmp_path / "s.h5ad")
    spots = read_spots(tmp_path / "s.h5ad")
    assert spots.names == ("g1", "g2")
    assert on_patches(spots, GRID)[1][:2].tolist() == [[1, 2], [3, 4]]
    data.X = csr_matrix(data.X)
    data.write_h5ad(tmp_path / "s.h5ad")
    np.testing.assert_array_equal(read_spots(tmp_path / "s.h5ad").values, [[1, 2], [3, 4]])
    data.obsm.clear()
    data.write_h5ad(tmp_path / "s.h5ad")
    with pytest.raises(ScoreError, match="no obsm"):
        read_spots(tmp_path / "s.h5ad")


def test_a_table_without_positions_or_numbers_says_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ScoreError, match="no columns x and y; it has a, b"):
        read_spots(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text("x,y,note\n1,2,k\n")
    with pytest.raises(ScoreError, match="neither a column of cell types"):
        read_spots(tmp_path / "b.csv")
    (tmp_path / "c.parquet").write_bytes(b"PAR1")
    with pytest.raises((ScoreError, MissingDependencyError)):
        read_spots(tmp_path / "c.parquet")


def test_a_map_that_goes_with_a_gene_is_told_from_one_that_is_only_as_smooth() -> None:
    rng = np.random.default_rng(4)
    grid = PatchGrid(grid_coords(30, 30, 100), (100, 100), (100, 100))
    fields = [gaussian_filter(rng.normal(size=(30, 30)), 3, mode="wrap").ravel() for _ in range(41)]
    scores, others = fields[0], np.stack([fields[0] + 0.3 * np.std(fields[0]) * rng.normal(size=900), *fields[1:]], 1)
    found = correlations(scores, others, grid, shifts=199)
    assert found.spearman[0] == pytest.approx(spearmanr(scores, others[:, 0]).statistic, abs=1e-12)
    assert found.p[0] == pytest.approx(1 / 200)
    # Patches that are shuffled would call most of the smooth maps significant.
    naive = np.mean([spearmanr(scores, others[:, k]).pvalue < 0.05 for k in range(1, 41)])
    shifted = np.mean(found.p[1:] < 0.05)
    assert naive > 0.5
    assert shifted < 0.2
    again = correlations(scores, others, grid, shifts=199)
    np.testing.assert_array_equal(found.p, again.p)


def test_difference_is_the_mean_of_the_highest_tenth_less_that_of_the_lowest() -> None:
    grid = PatchGrid(grid_coords(20, 1, 100), (100, 100), (100, 100))
    column = np.arange(20.0)[:, None] ** 2
    found = correlations(np.arange(20.0), column, grid, shifts=9)
    assert found.difference[0] == (18**2 + 19**2) / 2 - (0 + 1) / 2
    assert np.isnan(correlations(np.arange(5.0), column[:5], grid.take(np.arange(5)), shifts=9).spearman[0])


def test_a_large_slide_is_judged_in_parts_with_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    grid, scores = PatchGrid(grid_coords(12, 9, 100), (100, 100), (100, 100)), rng.normal(size=108)
    others = rng.normal(size=(108, 5)) + scores[:, None] * np.arange(5) / 4
    at_once = correlations(scores, others, grid, shifts=60)
    monkeypatch.setattr(spatial_null, "_AT_ONCE_BYTES", 2 * 8 * 108)
    in_parts = correlations(scores, others, grid, shifts=60)
    assert at_once.shifts == in_parts.shifts == 60
    assert 1 / 61 in at_once.p
    np.testing.assert_array_equal(in_parts.p, at_once.p)
    np.testing.assert_allclose(in_parts.spearman, at_once.spearman, rtol=0, atol=1e-12)

"""AnnData read back with anndata; drawn by squidpy and scanpy where they are installed."""

import sys
from pathlib import Path

import numpy as np
import pytest

from mil_heatmaps.errors import MissingDependencyError, ScoreError
from mil_heatmaps.export.anndata_file import join_h5ad, to_anndata, write_h5ad
from mil_heatmaps.scores.patch_scores import PatchScores
from tests.helpers.scores import example

anndata = pytest.importorskip("anndata")
THUMBNAIL = np.full((80, 100, 3), 200, np.uint8)


def test_scores_places_and_what_squidpy_needs_read_back(tmp_path: Path) -> None:
    file = example()
    write_h5ad(tmp_path / "s.h5ad", file, thumbnail=THUMBNAIL)
    data = anndata.read_h5ad(tmp_path / "s.h5ad")
    assert data.shape == (20, 0)
    np.testing.assert_array_equal(data.obs["contribution LUAD"], file.scores.values[:, 0])
    np.testing.assert_array_equal(data.obs["weights"], file.extra[0].values[:, 0])
    np.testing.assert_array_equal(data.obsm["spatial"], file.grid.coords_l0 + 128)
    np.testing.assert_array_equal(data.obsm["corners_l0"], file.grid.coords_l0)
    np.testing.assert_allclose(data.obsm["spatial_um"], (file.grid.coords_l0 + 128) * 0.2527)
    slide = data.uns["spatial"]["TCGA-1.ä"]
    np.testing.assert_array_equal(slide["images"]["hires"], THUMBNAIL)
    factors = slide["scalefactors"]
    assert (factors["spot_diameter_fullres"], factors["tissue_hires_scalef"]) == (256, 100 / 5000)
    told = data.uns["mil_heatmaps"]["TCGA-1.ä"]
    assert told["prediction"]["summary"] == "LSCC (p 0.700)"
    assert data.obs["slide_id"].unique().tolist() == ["TCGA-1.ä"]


def test_a_cohort_is_one_file_with_every_slide_in_its_order(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, n in (("b", 20), ("a", 10)):
        file = example(n, slide_id=name, extra=())
        write_h5ad(tmp_path / f"{name}.h5ad", file, features=rng.normal(size=(n, 4)), thumbnail=THUMBNAIL)
    join_h5ad(tmp_path / "cohort.h5ad", [tmp_path / "b.h5ad", tmp_path / "a.h5ad"])
    data = anndata.read_h5ad(tmp_path / "cohort.h5ad")
    assert data.obs["slide_id"].tolist() == ["b"] * 20 + ["a"] * 10
    assert data.obs_names.is_unique
    one = anndata.read_h5ad(tmp_path / "a.h5ad")
    np.testing.assert_array_equal(data.X[20:], one.X)
    np.testing.assert_array_equal(data.obsm["spatial"][20:], one.obsm["spatial"])
    assert set(data.uns["spatial"]) == set(data.uns["mil_heatmaps"]) == {"a", "b"}
    np.testing.assert_array_equal(data.uns["spatial"]["b"]["images"]["hires"], THUMBNAIL)


def test_slides_with_other_scores_are_joined_and_have_none_of_these(tmp_path: Path) -> None:
    write_h5ad(tmp_path / "a.h5ad", example(slide_id="a"))
    write_h5ad(tmp_path / "b.h5ad", example(slide_id="b", extra=()))
    join_h5ad(tmp_path / "cohort.h5ad", [tmp_path / "a.h5ad", tmp_path / "b.h5ad"])
    data = anndata.read_h5ad(tmp_path / "cohort.h5ad")
    assert data.obs["contribution LUAD"].notna().all()
    assert data.obs["weights"].isna().tolist() == [False] * 20 + [True] * 20


def test_names_with_a_slash_are_no_folders_and_no_column_is_lost(tmp_path: Path) -> None:
    file = example(extra=())
    scores = PatchScores(file.grid, file.scores.values, ("a/b", "a_b"), "external", "x")
    write_h5ad(tmp_path / "s.h5ad", example(extra=(), scores=scores))
    data = anndata.read_h5ad(tmp_path / "s.h5ad")
    assert {"x a_b", "x a_b_"} <= set(data.obs.columns)


def test_what_does_not_fit_and_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ScoreError, match="20 patches have scores, but there are 3 rows of features"):
        to_anndata(example(), features=np.zeros((3, 4)))
    with pytest.raises(ScoreError, match="the slide's size is not known"):
        to_anndata(example(slide_size_l0=None), thumbnail=THUMBNAIL)
    monkeypatch.setitem(sys.modules, "anndata", None)
    with pytest.raises(MissingDependencyError, match=r"pip install -e '\.\[interop\]'"):
        to_anndata(example())


def test_scanpy_and_squidpy_draw_it() -> None:
    squidpy = pytest.importorskip("squidpy", reason="squidpy is not installed")
    data = to_anndata(example(), thumbnail=THUMBNAIL)
    squidpy.pl.spatial_scatter(data, color="contribution LUAD", library_id="TCGA-1.ä")

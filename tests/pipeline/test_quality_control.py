"""Masks of GrandQC and HistoQC in a run: columns, notices, p without artefacts, patches that are dropped."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mil_heatmaps.cli.create_heatmaps import main
from mil_heatmaps.errors import TissueError
from mil_heatmaps.insight.qc import on_artefacts, qc_files, qc_notices, read_qc_mask
from mil_heatmaps.models.inference import infer
from mil_heatmaps.scores.score_schema import read_scores
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.slide_space import SlideSpace
from tests.helpers.cohort import SIZE, SmallCohort, grid_coords, make_small_cohort

GRID = PatchGrid(grid_coords(), (128, 128), (128, 128))


def _grand_qc(path: Path, *, pen: slice = slice(0, 8)) -> np.ndarray:
    """A mask at 1/16: tissue everywhere, pen marks on the first patches of the first row, glass in the last."""
    mask = np.ones((48, 64), np.uint8)
    mask[:8, pen.start * 8 // 1 : pen.stop * 8] = 4
    mask[40:] = 7
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)
    return mask


def _rows(path: Path) -> dict[str, dict[str, str]]:
    with path.open(newline="") as file:
        return {row["slide_id"]: row for row in csv.DictReader(file)}


@pytest.fixture
def cohort(tmp_path: Path) -> SmallCohort:
    found = make_small_cohort(tmp_path, {"data_arguments": {"qc_dir": str(tmp_path / "qc")}})
    _grand_qc(tmp_path / "qc" / "s1.tif_mask.png", pen=slice(0, 2))
    found.rows = found.rows[:2]
    return found


def test_shares_of_tissue_attention_and_top_are_in_the_runs_list_and_not_in_clams(cohort: SmallCohort) -> None:
    assert main(["--config", str(cohort.write())]) == 0
    row = _rows(cohort.raw / "process_list.csv")["s1"]
    scores = read_scores(cohort.raw / "a" / "s1" / "s1_blockmap.h5")
    mass = np.exp(scores.attention - scores.attention.max(), dtype=np.float64)
    assert float(row["qc_pen_tissue"]) == pytest.approx(2 / 40, rel=1e-5)
    assert float(row["qc_pen_attention"]) == pytest.approx(float((mass / mass.sum())[:2].sum()), rel=1e-5)
    top = np.argsort(-scores.attention)[:3]
    assert float(row["qc_pen_top"]) == pytest.approx(float((top < 2).mean()), abs=1e-6)
    assert float(row["attention_gini"]) > 0
    clam = (cohort.root / "results" / "list.csv").read_text()
    assert "qc_" not in clam
    assert "gini" not in clam
    assert "qc_dir has no mask of the slide" in _rows(cohort.raw / "process_list.csv")["s2"]["notes"]


def test_p_without_an_artefact_is_the_models_answer_to_the_other_patches(cohort: SmallCohort) -> None:
    assert main(["--config", str(cohort.write()), "--slides", "s1"]) == 0
    import torch

    from mil_heatmaps.features.read import read_features
    from mil_heatmaps.models.abmil import ABMIL

    model = ABMIL(in_dim=16, embed_dim=8, attn_dim=8, num_classes=2)
    model.load_state_dict(torch.load(cohort.checkpoint))
    features = read_features(cohort.features / "s1.h5").features
    whole, _ = infer(model.eval(), features)
    part, _ = infer(model.eval(), features[2:])
    assert whole is not None
    assert part is not None
    row = _rows(cohort.raw / "process_list.csv")["s1"]
    assert float(row["qc_pen_p_without"]) == pytest.approx(float(part.probabilities[whole.predicted]), abs=1e-5)


def test_dropped_patches_are_left_out_and_said_and_a_run_again_reuses_them(
    cohort: SmallCohort, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort.config["data_arguments"]["qc_drop"] = ["pen", "fold"]
    assert main(["--config", str(cohort.write()), "--slides", "s1"]) == 0
    row = _rows(cohort.raw / "process_list.csv")["s1"]
    assert "2 of 48 patches lie on pen, fold and were left out (qc_drop)" in row["notes"]
    scores = read_scores(cohort.raw / "a" / "s1" / "s1_blockmap.h5")
    assert len(scores) == 46
    capsys.readouterr()
    assert main(["--config", str(cohort.write()), "--slides", "s1"]) == 0
    assert "0 processed, 1 reused" in capsys.readouterr().out
    _grand_qc(cohort.root / "qc" / "s1.tif_mask.png", pen=slice(0, 3))
    assert main(["--config", str(cohort.write()), "--slides", "s1"]) == 0
    assert len(read_scores(cohort.raw / "a" / "s1" / "s1_blockmap.h5")) == 45


def test_a_notice_says_where_attention_exceeds_tissue(tmp_path: Path) -> None:
    _grand_qc(tmp_path / "s_mask.png", pen=slice(0, 1))
    mask = read_qc_mask(tmp_path / "s_mask.png", SlideSpace(SIZE))
    values = np.full(48, 0.1)
    values[0] = 9.0
    found = on_artefacts(values, "attention_softmax", mask.patch_shares(GRID), mask.tissue_shares)
    assert found["pen"].tissue == pytest.approx(1 / 40)
    assert [str(notice) for notice in qc_notices(found)] == [
        "66 % of the attention lies on pen marks, which are 2 % of the tissue"
    ]
    evenly = on_artefacts(np.ones(48), "attention_softmax", mask.patch_shares(GRID), {"pen": 1 / 48})
    assert qc_notices({"pen": evenly["pen"].__class__(1 / 48, 1 / 48, 1 / 48)}) == []


def test_the_scale_comes_from_the_two_sizes_and_another_shape_is_another_slide(tmp_path: Path) -> None:
    _grand_qc(tmp_path / "s_mask.png")
    assert read_qc_mask(tmp_path / "s_mask.png", SlideSpace(SIZE)).downsample == (16, 16)
    with pytest.raises(TissueError, match="not the shape of the slide"):
        read_qc_mask(tmp_path / "s_mask.png", SlideSpace((768, 1024)))
    Image.fromarray(np.full((48, 64), 200, np.uint8)).save(tmp_path / "t_mask.png")
    with pytest.raises(TissueError, match="not a mask of GrandQC"):
        read_qc_mask(tmp_path / "t_mask.png", SlideSpace(SIZE))


def test_histo_qcs_masks_are_put_together(tmp_path: Path) -> None:
    use, pen = np.zeros((48, 64), np.uint8), np.zeros((48, 64), np.uint8)
    use[8:], pen[:8] = 255, 255
    for name, mask in (("mask_use", use), ("pen_markings", pen)):
        Image.fromarray(mask).save(tmp_path / f"s.svs_{name}.png")
    path = tmp_path / "s.svs_mask_use.png"
    assert len(qc_files(path)) == 2
    mask = read_qc_mask(path, SlideSpace(SIZE))
    assert mask.tissue_shares["pen"] == pytest.approx(1 / 6)
    assert mask.patch_shares(GRID)["pen"].sum() == 8


def test_dropping_without_masks_is_a_mistake_of_the_config(
    cohort: SmallCohort, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort.config["data_arguments"].pop("qc_dir")
    cohort.config["data_arguments"]["qc_drop"] = ["pen"]
    assert main(["--config", str(cohort.write())]) == 2
    assert "data_arguments.qc_drop needs the masks in qc_dir" in capsys.readouterr().err

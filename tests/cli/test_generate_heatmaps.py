"""What `generate_heatmaps.py` leaves: pictures, a table, figures; by the config too, and when it is called again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from mil_heatmaps.cli.create_heatmaps import main as create_heatmaps
from mil_heatmaps.cli.generate_heatmaps import main
from tests.helpers.cohort import SmallCohort, make_small_cohort
from tests.helpers.simple_face import flags, pictures, table


@pytest.fixture
def cohort(tmp_path: Path) -> SmallCohort:
    return make_small_cohort(tmp_path / "c")


def test_pictures_lie_side_by_side_with_a_table_of_all(cohort: SmallCohort) -> None:
    out = cohort.root / "O"
    assert main(flags(cohort, "--class_names", "a", "b", "--top_patches", "2")) == 0
    assert {path.name for path in out.iterdir()} == {
        "s1_heatmap.png", "s2_heatmap.png", "s3_heatmap.png",
        "heatmap_results.csv", "run.yaml", "run.log", "top_patches", "work",
    }  # fmt: skip
    assert len(list((out / "top_patches" / "s1").glob("[01]_s1_x_*.png"))) == 2
    header = (out / "heatmap_results.csv").read_text().splitlines()[0]
    assert header == (
        "slide_id,num_patches,prediction,probabilities,attention_mean,attention_std,heatmap_path,status,error,"
        "uncoloured,unreadable,notes,effective_patches,top_tenth_share,weight_ratio,attention_gini,attention_entropy,"
        "attention_top_1_percent,attention_top_5_percent,attention_clusters"
    )
    from mil_heatmaps.scores.score_schema import read_scores

    for slide_id, row in table(out).items():
        scores = read_scores(out / "work" / slide_id / f"{slide_id}_blockmap.h5")
        assert scores.prediction is not None
        assert row["num_patches"] == str(len(scores.grid))
        assert row["prediction"] == "ab"[scores.prediction.predicted]
        assert json.loads(row["probabilities"]) == pytest.approx(scores.prediction.probabilities.tolist(), abs=1e-6)
        assert float(row["attention_mean"]) == pytest.approx(float(scores.attention.mean()), rel=1e-4)
        assert float(row["attention_std"]) == pytest.approx(float(scores.attention.std()), rel=1e-4)
        assert (out / row["heatmap_path"]).is_file()
        assert (row["status"], row["error"]) == ("processed", "")


def test_without_names_a_prediction_is_the_number_of_its_class(cohort: SmallCohort) -> None:
    assert main(flags(cohort)) == 0
    for row in table(cohort.root / "O").values():
        assert row["prediction"] == str(int(np.argmax(json.loads(row["probabilities"]))))


def test_the_saved_config_does_the_same_work(
    cohort: SmallCohort, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = cohort.root / "O"
    assert main(flags(cohort, "--cmap", "viridis", "--vis_level", "0", "--export", "csv")) == 0
    saved, before = (out / "run.yaml").read_bytes(), pictures(out)
    capsys.readouterr()
    assert create_heatmaps(["--config", str(out / "run.yaml")]) == 0
    assert "0 processed, 3 reused, 0 failed" in capsys.readouterr().out
    assert ((out / "run.yaml").read_bytes(), pictures(out)) == (saved, before)
    elsewhere = yaml.safe_load(saved)
    for key in ("production_save_dir", "results_dir"):
        elsewhere["exp_arguments"][key] = str(tmp_path / "again")
    elsewhere["exp_arguments"]["raw_save_dir"] = str(tmp_path / "again" / "work")
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(elsewhere))
    assert create_heatmaps(["--config", str(tmp_path / "other.yaml")]) == 0
    assert pictures(tmp_path / "again") == before


def test_both_faces_draw_the_same_pixels(cohort: SmallCohort) -> None:
    assert main(flags(cohort, "--vis_level", "0", "--no_segment", "--alpha", "0.7")) == 0
    cohort.config["heatmap_arguments"] = {
        "vis_level": 0, "alpha": 0.7, "segment": False, "save_ext": "png", "figure": False
    }  # fmt: skip
    assert create_heatmaps(["--config", str(cohort.write())]) == 0
    for slide_id in ("s1", "s2", "s3"):
        [other] = (cohort.production / "a").glob(f"{slide_id}_0.0_roi_*.png")
        simple = np.asarray(Image.open(cohort.root / "O" / f"{slide_id}_heatmap.png"))
        np.testing.assert_array_equal(simple, np.asarray(Image.open(other)))


def test_the_same_command_continues_and_redoes_only_what_changed(
    cohort: SmallCohort, capsys: pytest.CaptureFixture[str]
) -> None:
    out = cohort.root / "O"
    assert main(flags(cohort, "--limit", "1")) == 0
    assert set(table(out)) == {"s1"}
    assert main(flags(cohort)) == 0
    assert "2 processed, 1 reused" in capsys.readouterr().out
    assert set(table(out)) == {"s1", "s2", "s3"}
    assert main(flags(cohort, "--cmap", "magma")) == 0
    err = capsys.readouterr().err
    assert "s2: heatmap in" in err
    assert "attention" not in err
    assert main(flags(cohort, "--cmap", "magma", "--overwrite")) == 0
    assert "segment, coords, attention, heatmap in" in capsys.readouterr().err


def test_a_failed_slide_is_a_row_with_its_reason_and_the_others_are_done(
    cohort: SmallCohort, capsys: pytest.CaptureFixture[str]
) -> None:
    (cohort.slides / "s2.svs").write_bytes(b"no slide")
    assert main(flags(cohort)) == 1
    rows = table(cohort.root / "O")
    assert [rows[s]["status"] for s in ("s1", "s2", "s3")] == ["processed", "failed", "processed"]
    assert "s2.svs" in rows["s2"]["error"]
    assert (rows["s2"]["heatmap_path"], rows["s2"]["prediction"]) == ("", "")
    assert "the same command tries the failed slides again\n" in capsys.readouterr().out


def test_rows_of_pictures_that_are_there_outlive_a_narrower_run(cohort: SmallCohort) -> None:
    out, chosen = cohort.root / "O", cohort.root / "one.csv"
    assert main(flags(cohort)) == 0
    (out / "s2_heatmap.png").unlink()
    chosen.write_text("slide_id\ns3\n")
    assert main(flags(cohort, "--csv", str(chosen))) == 0
    assert list(table(out)) == ["s3", "s1"]


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(
    cohort: SmallCohort, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(cohort.root.rglob("*"))
    assert main(flags(cohort, "--dry_run", "--limit", "2")) == 0
    out = capsys.readouterr().out
    assert "s1\n  mpp        0.5 µm per pixel (openslide.mpp)\n  segment    compute    not done yet" in out
    assert "s3" not in out
    assert sorted(cohort.root.rglob("*")) == before


def test_real_slides_give_rows_and_pictures(shared: Path, tmp_path: Path) -> None:
    data = shared / "data"
    assert main([
        "--checkpoint", str(data / "checkpoints" / "clam_demo_s_0_checkpoint.pt"),
        "--h5_dir", str(data / "features" / "resnet50_trunc"), "--slide_dir", str(data / "slides"),
        "--output_dir", str(tmp_path / "O"), "--class_names", "LUAD", "LSCC",
    ]) == 0  # fmt: skip
    assert set(table(tmp_path / "O")) == {"CMU-1-Small-Region", "TCGA-CR-7395-01A-01-TS1"}


def test_a_figure_for_people_lies_beside_the_map_when_asked_for(cohort: SmallCohort) -> None:
    from mil_heatmaps.visualization.visualizer import MILLabVisualizer

    chosen = cohort.root / "one.csv"
    chosen.write_text("slide_id,label\ns1,a\n")
    assert main(flags(cohort, "--figure", "--csv", str(chosen), "--class_names", "a", "b")) == 0
    visualizer = MILLabVisualizer(cohort.checkpoint, class_names=["a", "b"])
    expected = visualizer.visualize(cohort.slides / "s1.tif", cohort.features, label="a").figure
    figure = Image.open(cohort.root / "O" / "s1_figure.png")
    assert figure.info["Run"] == "O"  # the run has no name, so its folder's
    drawn = np.asarray(figure)
    last_line_px = 40  # where the scores come from: the run and its day are known to the command alone
    np.testing.assert_array_equal(drawn[:-last_line_px], np.asarray(expected)[:-last_line_px])


def test_the_figure_of_a_region_shows_the_scores_of_that_region(cohort: SmallCohort) -> None:
    cohort.config["heatmap_arguments"] |= {"figure": True, "use_roi": True}
    cohort.rows = [{"slide_id": "s1", "label": "a", "x1": "128", "y1": "128", "x2": "640", "y2": "512"}]
    assert create_heatmaps(["--config", str(cohort.write())]) == 0
    assert (cohort.production / "a" / "s1_figure.png").is_file()

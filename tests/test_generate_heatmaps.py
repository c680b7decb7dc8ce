"""`generate_heatmaps.py` as a user calls it: outputs, the same work by the config, what it finds and what it says."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from src.cli.create_heatmaps import main as create_heatmaps
from src.cli.generate_heatmaps import main
from tests.cohort_for_tests import SmallCohort, make_small_cohort, write_abmil, write_features
from tests.slides_for_tests import make_single_level

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def cohort(tmp_path: Path) -> SmallCohort:
    return make_small_cohort(tmp_path / "c")


def flags(cohort: SmallCohort, *more: str) -> list[str]:
    return [
        "--checkpoint", str(cohort.checkpoint), "--h5_dir", str(cohort.features), "--slide_dir", str(cohort.slides),
        "--output_dir", str(cohort.root / "O"), *more,
    ]  # fmt: skip


def table(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "heatmap_results.csv").open(newline="") as file:
        return {row["slide_id"]: row for row in csv.DictReader(file)}


def pictures(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*_heatmap*.png"))}


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
        "slide_id,num_patches,prediction,probabilities,attention_mean,attention_std,heatmap_path,status,error"
    )
    from src.scores.score_file import read_scores

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


def test_a_table_chooses_the_slides_and_its_label_is_kept(cohort: SmallCohort) -> None:
    chosen = cohort.root / "train.csv"
    chosen.write_text("image_id,label,other\nsub/s3.tif,b,x\ns1,a,y\n")
    assert main(flags(cohort, "--csv", str(chosen), "--class_names", "a", "b")) == 0
    rows = table(cohort.root / "O")
    assert [(name, row["label"]) for name, row in rows.items()] == [("s3", "b"), ("s1", "a")]


def test_a_slide_of_the_table_that_is_missing_fails_alone(cohort: SmallCohort) -> None:
    chosen = cohort.root / "some.csv"
    chosen.write_text("slide_id\ns1\ns9\n")
    assert main(flags(cohort, "--csv", str(chosen))) == 1
    rows = table(cohort.root / "O")
    assert [rows[s]["status"] for s in ("s1", "s9")] == ["processed", "failed"]
    assert "no slide for 's9'" in rows["s9"]["error"]


def test_rows_of_pictures_that_are_there_outlive_a_narrower_run(cohort: SmallCohort) -> None:
    out, chosen = cohort.root / "O", cohort.root / "one.csv"
    assert main(flags(cohort)) == 0
    (out / "s2_heatmap.png").unlink()
    chosen.write_text("slide_id\ns3\n")
    assert main(flags(cohort, "--csv", str(chosen))) == 0
    assert list(table(out)) == ["s3", "s1"]


def test_nested_folders_several_extensions_and_names_with_dots_are_found(
    cohort: SmallCohort, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "TCGA-AA-0001-01Z-00-DX1.811E11E7-FA67.1"
    nested = cohort.slides / "2024" / name
    nested.mkdir(parents=True)
    make_single_level(nested / f"{name}.tiff", (1024, 768))
    write_features(cohort.features / f"{name}.h5", 4)
    write_features(cohort.features / "alone.h5", 5)
    make_single_level(cohort.slides / "bare.tif", (512, 512))
    assert main(flags(cohort)) == 0
    assert (cohort.root / "O" / f"{name}_heatmap.png").is_file()
    out = capsys.readouterr().out
    assert "4 slides with features (found 5 slides, 5 feature files)" in out
    assert "1 feature file has no slide: alone" in out
    assert "1 slide has no features: bare" in out
    assert main(flags(cohort, "--slide_ext", "svs", "--dry_run")) == 0
    assert "1 slide with features" in capsys.readouterr().out


def test_what_a_run_wrote_is_no_input_of_the_next(cohort: SmallCohort, capsys: pytest.CaptureFixture[str]) -> None:
    inside = [*flags(cohort)[:-1], str(cohort.features / "results")]
    assert main(inside) == 0
    capsys.readouterr()
    assert main(inside) == 0
    out = capsys.readouterr().out
    assert "(found 3 slides, 3 feature files)" in out
    assert "have no slide" not in out


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(
    cohort: SmallCohort, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(cohort.root.rglob("*"))
    assert main(flags(cohort, "--dry_run", "--limit", "2")) == 0
    out = capsys.readouterr().out
    assert "s1\n  segment    compute    not done yet" in out
    assert "s3" not in out
    assert sorted(cohort.root.rglob("*")) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"--h5_dir": "nowhere"}, "no such folder: nowhere (--h5_dir)"),
        ({"--checkpoint": "nope.pt"}, "no such checkpoint: nope.pt"),
        ({"--csv": "nope.csv"}, "no such table: nope.csv"),
        ({"--alpha": "3"}, "--alpha must be at most 1, got 3.0"),
        ({"--cmap": "jett"}, "did you mean 'jet'"),
        ({"--score": "atention"}, "--score: abmil has no score 'atention'; choose from"),
        ({"--class_names": "x"}, "has 2 classes, --class_names or --num_classes says 1"),
        ({"--coords_dir": "20x"}, "--coords_dir belongs to --job_dir"),
        ({"--model_name": "clam_sb.small.uni_v2.none"}, "is not a clam_sb"),
        ({"--device": "tpu"}, "--device must be auto, cpu, cuda or cuda:N"),
    ],
)
def test_a_wrong_flag_is_named_and_nothing_is_left_behind(
    cohort: SmallCohort, capsys: pytest.CaptureFixture[str], changes: dict[str, str], message: str
) -> None:
    arguments = flags(cohort)
    for flag, value in changes.items():
        if flag in arguments:
            arguments[arguments.index(flag) + 1] = value
        else:
            arguments += [flag, value]
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
    assert not (cohort.root / "O").exists()


def test_names_without_a_match_stop_the_run_with_examples_of_both(
    cohort: SmallCohort, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (1, 2, 3):
        (cohort.features / f"s{number}.h5").rename(cohort.features / f"s{number}_patches.h5")
    assert main(flags(cohort)) == 2
    err = capsys.readouterr().err
    assert "no slide has features: 3 slides" in err
    assert "'s1', 's2', 's3'; 3 feature files" in err
    assert "'s1_patches', 's2_patches', 's3_patches'" in err
    assert "hold coordinates" in err


def test_wrong_folder_width_and_extension_say_what_would_do(
    cohort: SmallCohort, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*flags(cohort), "--slide_ext", ".ndpi"]) == 2
    assert "nothing there ends with .ndpi; it holds 2 .tif, 1 .svs" in capsys.readouterr().err
    swapped = flags(cohort)
    swapped[swapped.index("--h5_dir") + 1] = str(cohort.slides)
    assert main(swapped) == 2
    assert "no features in" in capsys.readouterr().err
    write_abmil(cohort.checkpoint, width=24)
    assert main(flags(cohort)) == 2
    assert "takes features 24 wide, but those in" in capsys.readouterr().err
    for number in (1, 2, 3):
        write_features(cohort.features / "other" / f"s{number}.h5", 1)
        (cohort.features / f"s{number}.h5").rename(cohort.features / "other" / f"x{number}.h5")
        write_features(cohort.features / "more" / f"s{number}.h5", 1)
    assert main(flags(cohort)) == 2
    assert "every slide has 2 feature files; give the folder of one encoder" in capsys.readouterr().err


def test_a_trident_job_is_found_by_its_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cohort = make_small_cohort(tmp_path / "c")
    job = tmp_path / "job"
    (job / "20.0x_128px_0px_overlap").mkdir(parents=True)
    cohort.features.rename(job / "20.0x_128px_0px_overlap" / "features_uni_v2")
    (job / "_config_segmentation.json").write_text(json.dumps({"wsi_source": str(cohort.slides)}))
    base = ["--checkpoint", str(cohort.checkpoint), "--job_dir", str(job)]
    assert main([*base, "--patch_encoder", "uni_v1"]) == 2
    assert "no features of --patch_encoder 'uni_v1'" in capsys.readouterr().err
    assert main([*base, "--coords_dir", "10x_128px_0px_overlap"]) == 2
    assert "it has some in: 20.0x_128px_0px_overlap" in capsys.readouterr().err
    assert main([*base, "--coords_dir", "20x_128px_0px_overlap", "--patch_encoder", "uni_v2"]) == 0
    out = job / "20.0x_128px_0px_overlap" / "heatmaps_abmil"
    assert set(pictures(out)) == {"s1_heatmap.png", "s2_heatmap.png", "s3_heatmap.png"}
    (job / "20.0x_128px_0px_overlap" / "features_conch").mkdir()
    assert main(base) == 2
    assert "several folders of features" in capsys.readouterr().err


def test_a_golden_trident_job_runs_with_its_own_outlines(golden: Path, tmp_path: Path) -> None:
    write_abmil(tmp_path / "m.pt", width=1536)
    job = golden / "trident" / "job_dir"
    arguments = ["--checkpoint", str(tmp_path / "m.pt"), "--job_dir", str(job), "--patch_encoder", "uni_v2"]
    folders = ["--wsi_dir", str(golden / "trident" / "wsis"), "--output_dir", str(tmp_path / "O")]
    assert main([*arguments, "--coords_dir", "20x_256px_0px_overlap", *folders]) == 0
    rows = table(tmp_path / "O")
    assert {name: row["num_patches"] for name, row in rows.items()} == {"synth_20x": "149", "synth_40x": "163"}
    config = yaml.safe_load((tmp_path / "O" / "run.yaml").read_text())
    assert config["data_arguments"]["tissue_dir"] == str(job / "contours_geojson")


def test_real_slides_give_rows_and_pictures(shared: Path, tmp_path: Path) -> None:
    data = shared / "data"
    assert main([
        "--checkpoint", str(data / "checkpoints" / "clam_demo_s_0_checkpoint.pt"),
        "--h5_dir", str(data / "features" / "resnet50_trunc"), "--slide_dir", str(data / "slides"),
        "--output_dir", str(tmp_path / "O"), "--class_names", "LUAD", "LSCC",
    ]) == 0  # fmt: skip
    assert set(table(tmp_path / "O")) == {"CMU-1-Small-Region", "TCGA-CR-7395-01A-01-TS1"}


def test_help_is_instant_and_free_of_heavy_imports() -> None:
    code = (
        "import sys; from src.cli.generate_heatmaps import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print({'torch', 'numpy', 'pydantic', 'cv2', 'h5py'} & set(sys.modules))"
    )
    started = time.perf_counter()
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert shown.endswith("set()\n")
    assert "examples:" in shown
    assert time.perf_counter() - started < 2.0  # 0.1 s on an idle machine; the tests share theirs
    for name in ("inputs and output", "a TRIDENT job", "model", "picture", "more outputs", "what to do"):
        assert f"\n{name}" in shown


def test_a_misspelt_flag_names_the_right_one(cohort: SmallCohort, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(flags(cohort, "--colormap", "jet"))
    assert leaving.value.code == 2
    assert "no flag --colormap; did you mean --cmap?" in capsys.readouterr().err


def test_every_option_is_in_the_document() -> None:
    from src.cli.simple_parser import build_parser

    text = (ROOT / "HEATMAPS_README.md").read_text(encoding="utf-8")
    for action in build_parser()._actions:
        long = [flag for flag in action.option_strings if flag.startswith("--") and flag != "--help"]
        assert not long or any(flag in text for flag in long), long


def test_the_example_script_only_uses_flags_there_are() -> None:
    import re

    from src.cli.simple_parser import build_parser

    known = {flag for action in build_parser()._actions for flag in action.option_strings}
    text = (ROOT / "example_generate_heatmaps.sh").read_text(encoding="utf-8")
    assert set(re.findall(r"(?<=\s)--\w+", text)) <= known
    subprocess.run(["bash", "-n", str(ROOT / "example_generate_heatmaps.sh")], check=True)


def test_a_figure_for_people_lies_beside_the_map_when_asked_for(cohort: SmallCohort) -> None:
    from src.visualization import MILLabVisualizer

    chosen = cohort.root / "one.csv"
    chosen.write_text("slide_id,label\ns1,a\n")
    assert main(flags(cohort, "--figure", "--csv", str(chosen), "--class_names", "a", "b")) == 0
    visualizer = MILLabVisualizer(cohort.checkpoint, class_names=["a", "b"])
    expected = visualizer.visualize(cohort.slides / "s1.tif", cohort.features, label="a").figure
    drawn = np.asarray(Image.open(cohort.root / "O" / "s1_figure.png"))
    np.testing.assert_array_equal(drawn, np.asarray(expected))


def test_the_figure_of_a_region_shows_the_scores_of_that_region(cohort: SmallCohort) -> None:
    cohort.config["heatmap_arguments"] |= {"figure": True, "use_roi": True}
    cohort.rows = [{"slide_id": "s1", "label": "a", "x1": "128", "y1": "128", "x2": "640", "y2": "512"}]
    assert create_heatmaps(["--config", str(cohort.write())]) == 0
    assert (cohort.production / "a" / "s1_figure.png").is_file()

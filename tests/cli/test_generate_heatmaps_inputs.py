"""What `generate_heatmaps.py` finds by its flags, and what it says of flags and folders that do not fit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mil_heatmaps.cli.generate_heatmaps import main
from tests.helpers.cohort import SmallCohort, make_small_cohort, write_abmil, write_features
from tests.helpers.simple_face import flags, pictures, table
from tests.helpers.slides import make_single_level

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def cohort(tmp_path: Path) -> SmallCohort:
    return make_small_cohort(tmp_path / "c")


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


def test_features_named_with_the_slides_extension_and_the_tables_resolution_are_used(
    cohort: SmallCohort, capsys: pytest.CaptureFixture[str]
) -> None:
    (cohort.features / "s1.h5").rename(cohort.features / "s1.tif.h5")
    (cohort.features / "s2.h5").rename(cohort.features / "s2.tif.h5")  # the slide is s2.svs
    chosen = cohort.root / "some.csv"
    chosen.write_text("slide_id,mpp\ns1,0.25\ns3,\n")
    assert main(flags(cohort, "--dry_run")) == 0
    out = capsys.readouterr().out
    assert "2 slides with features (found 3 slides, 3 feature files)" in out
    assert "1 feature file has no slide: s2.tif" in out
    assert main(flags(cohort, "--csv", str(chosen), "--dry_run")) == 0
    out = capsys.readouterr().out
    assert "0.25 µm per pixel (process list)" in out
    assert "0.5 µm per pixel (" in out
    assert main(flags(cohort, "--slide_mpp", "20")) == 2
    assert "--slide_mpp" in capsys.readouterr().err


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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"--h5_dir": "nowhere"}, "no such folder: nowhere (--h5_dir)"),
        ({"--checkpoint": "nope.pt"}, "no such checkpoint: nope.pt"),
        ({"--csv": "nope.csv"}, "no such table: nope.csv"),
        ({"--alpha": "3"}, "--alpha must be at most 1, got 3.0"),
        ({"--cmap": "jett"}, "did you mean 'jet'"),
        ({"--score": "atention"}, "--score: abmil has no score 'atention'; choose from"),
        ({"--class_names": "x"}, "has 2 classes, --class_names names 1: x"),
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


def test_help_is_instant_and_free_of_heavy_imports() -> None:
    code = (
        "import sys; from mil_heatmaps.cli.generate_heatmaps import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print({'torch', 'numpy', 'pydantic', 'cv2', 'h5py'} & set(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert shown.endswith("set()\n")
    assert "examples:" in shown
    for name in ("inputs and output", "a TRIDENT job", "model", "picture", "more outputs", "what to do"):
        assert f"\n{name}" in shown


def test_a_misspelt_flag_names_the_right_one(cohort: SmallCohort, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(flags(cohort, "--colormap", "jet"))
    assert leaving.value.code == 2
    assert "no flag --colormap; did you mean --cmap?" in capsys.readouterr().err


def test_every_option_is_in_the_document() -> None:
    from mil_heatmaps.cli.simple_parser import build_parser

    text = (ROOT / "HEATMAPS_README.md").read_text(encoding="utf-8")
    for action in build_parser()._actions:
        long = [flag for flag in action.option_strings if flag.startswith("--") and flag != "--help"]
        assert not long or any(flag in text for flag in long), long


def test_the_example_script_only_uses_flags_there_are() -> None:
    import re

    from mil_heatmaps.cli.simple_parser import build_parser

    known = {flag for action in build_parser()._actions for flag in action.option_strings}
    text = (ROOT / "example_generate_heatmaps.sh").read_text(encoding="utf-8")
    assert set(re.findall(r"(?<=\s)--\w+", text)) <= known
    subprocess.run(["bash", "-n", str(ROOT / "example_generate_heatmaps.sh")], check=True)

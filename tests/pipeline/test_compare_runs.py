"""`create_heatmaps.py --compare`: two runs side by side."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import mil_heatmaps.visualization.compare as compare
from mil_heatmaps.cli.create_heatmaps import main
from mil_heatmaps.visualization.drawing import Drawing
from tests.helpers.cohort import SmallCohort, make_encoded, make_small_cohort, write_abmil


@pytest.fixture
def two_runs(tmp_path: Path) -> SmallCohort:
    """Experiments E and F of one cohort, with different checkpoints."""
    cohort = make_small_cohort(tmp_path)
    assert main(["--config", str(cohort.write())]) == 0
    write_abmil(cohort.checkpoint, seed=5)
    assert main(["--config", str(cohort.write()), "--save_exp_code", "F"]) == 0
    return cohort


def test_two_runs_are_drawn_side_by_side_with_their_rank_correlation(
    two_runs: SmallCohort, capsys: pytest.CaptureFixture[str]
) -> None:
    raw, out = two_runs.root / "raw", two_runs.root / "cmp"
    assert main(["--compare", str(raw / "E"), str(raw / "F"), "--output_dir", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "s1:" in printed
    assert printed.endswith(f"3 pictures and comparison.csv in {out}\n")
    with (out / "comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["slide_id"] for row in rows] == ["s1", "s2", "s3"]
    assert all(-1 <= float(row["spearman"]) < 1 for row in rows)
    assert Image.open(out / "s1_compare.png").width > 800


def test_a_run_compared_with_itself_agrees_entirely(two_runs: SmallCohort) -> None:
    raw, out = two_runs.root / "raw", two_runs.root / "same"
    assert main(["--compare", str(raw / "E"), str(raw / "E"), "--output_dir", str(out)]) == 0
    with (out / "comparison.csv").open() as file:
        assert {float(row["spearman"]) for row in csv.DictReader(file)} == {1.0}


def test_a_slide_one_run_did_not_get_to_is_a_row_with_its_reason(two_runs: SmallCohort) -> None:
    raw, out = two_runs.root / "raw", two_runs.root / "part"
    (raw / "F" / "a" / "s2" / "s2_blockmap.h5").unlink()
    assert main(["--compare", str(raw / "E"), str(raw / "F"), "--output_dir", str(out)]) == 1
    with (out / "comparison.csv").open() as file:
        assert [bool(row["error"]) for row in csv.DictReader(file)] == [False, True, False]


def test_the_end_of_a_comparison_without_pictures_claims_none(
    two_runs: SmallCohort, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for scores in (two_runs.root / "raw" / "F").rglob("*_blockmap.h5"):
        scores.unlink()
    monkeypatch.setattr("mil_heatmaps.cohort.experiments.usual_place", lambda: two_runs.root / "raw")
    monkeypatch.chdir(two_runs.root)
    assert main(["--compare", "E", "F"]) == 1
    end = capsys.readouterr().out.splitlines()[-1]
    assert end == "no picture was drawn; comparison.csv in compare_E_F; 3 could not be compared"
    assert [path.name for path in Path("compare_E_F").iterdir()] == ["comparison.csv"]


def test_a_folder_that_is_no_experiment_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--compare", str(tmp_path), str(tmp_path)]) == 2
    assert "is not an experiment" in capsys.readouterr().err


def test_range_and_threshold_of_the_runs_hold_for_their_comparison(
    two_runs: SmallCohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mil_heatmaps.visualization import compare

    two_runs.config["heatmap_arguments"].update(
        {"score": "class_contribution", "classes": "b", "vmin": -0.2, "vmax": 0.3, "threshold": 0.6}
    )
    for name in ("E", "F"):
        main(["--config", str(two_runs.write()), "--save_exp_code", name])
    drawn = []
    monkeypatch.setattr(compare, "write_comparison", lambda path, drawings, *rest, **more: drawn.append(drawings))
    raw = two_runs.root / "raw"
    assert main(["--compare", str(raw / "E"), str(raw / "F"), "--output_dir", str(two_runs.root / "c")]) == 0
    for first, second, difference in drawn:
        for drawing in (first, second):
            assert (drawing.scale.vmin, drawing.scale.vmax, drawing.threshold) == (-0.2, 0.3, 0.6)
            assert drawing.cmap == "BrBG_r"
        assert difference.threshold is None


def test_runs_ranked_among_their_coarse_maps_are_compared_by_rank(tmp_path: Path) -> None:
    encoded = make_encoded(tmp_path, "tests.helpers.stub_encoder:create", normalize="percentile_ref")
    encoded.rows = encoded.rows[:1]
    assert main(["--config", str(encoded.write())]) == 0
    assert main(["--compare", str(encoded.raw), str(encoded.raw), "--output_dir", str(tmp_path / "cmp")]) == 0
    assert (tmp_path / "cmp" / "s1_compare.png").is_file()


def test_the_compared_column_is_named_where_there_are_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = {"task": "regression", "output_names": ["Ki-67", "grade"]}
    cohort = make_small_cohort(
        tmp_path, {"model_arguments": model, "heatmap_arguments": {"score": "class_contribution"}}
    )
    assert main(["--config", str(cohort.write())]) == 0
    named: list[str] = []
    write = "mil_heatmaps.visualization.compare.write_comparison"
    monkeypatch.setattr(write, lambda *_, score_name, **__: named.append(score_name))
    raw = str(cohort.raw)
    assert main(["--compare", raw, raw, "--output_dir", str(tmp_path / "cmp")]) == 0
    assert named == ["class_contribution · Ki-67"] * 3


def test_slides_that_only_one_run_lists_are_named_and_a_list_changed_since_does_not_matter(
    two_runs: SmallCohort, capsys: pytest.CaptureFixture[str]
) -> None:
    own = two_runs.root / "raw" / "F" / "process_list.csv"
    lines = own.read_text().splitlines()
    own.write_text("\n".join(line for line in lines if not line.startswith("s2")) + "\n")
    for row in two_runs.rows:  # the list that both were given
        row["label"] = "b"
    two_runs.write()
    out = two_runs.root / "cmp"
    raw = two_runs.root / "raw"
    assert main(["--compare", str(raw / "E"), str(raw / "F"), "--output_dir", str(out)]) == 1
    with (out / "comparison.csv").open() as file:
        errors = {row["slide_id"]: row["error"] for row in csv.DictReader(file)}
    assert errors == {"s1": "", "s2": "F does not list it", "s3": ""}
    assert "not compared:\n  s2: F does not list it" in capsys.readouterr().out


def test_a_region_is_compared_alone_and_shown_with_its_outline_and_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort = make_small_cohort(tmp_path, {"heatmap_arguments": {"use_roi": True}})
    cohort.rows = cohort.rows[:1]
    rois = tmp_path / "rois"
    rois.mkdir()
    ring = [[100, 100], [600, 100], [600, 400], [100, 400], [100, 100]]
    feature = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]},
               "properties": {"name": "tumour"}}  # fmt: skip
    (rois / "s1.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    cohort.config["data_arguments"]["roi_dir"] = str(rois)
    assert main(["--config", str(cohort.write())]) == 0
    cohort.config["heatmap_arguments"] = {"use_roi": False, "vis_level": 0, "figure": False}
    assert main(["--config", str(cohort.write()), "--save_exp_code", "F"]) == 0
    told: list[tuple[tuple[str, ...], list[str], bool]] = []
    write = compare.write_comparison

    def spy(path: Path, drawings: tuple[Drawing, ...], *args: Any, **more: Any) -> None:
        told.append((more["region_names"], args[2], drawings[0].region is not None))
        write(path, drawings, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(compare, "write_comparison", spy)
    for first, second in (("E", "E"), ("F", "E")):
        out = tmp_path / f"cmp_{first}"
        raw = tmp_path / "raw"
        assert main(["--compare", str(raw / first), str(raw / second), "--output_dir", str(out)]) == 0
        with (out / "comparison.csv").open() as file:
            (row,) = csv.DictReader(file)
        assert int(row["patches"]) == 8  # those with centres at 192 to 576 and at 192 and 320
        assert Image.open(out / "s1_compare.png").width > 800
    assert [names for names, _, _ in told] == [("tumour",)] * 2
    assert all(outlined for _, _, outlined in told)
    assert told[1][1][0] == "the region is that of E; F draws the whole slide"
    assert not told[0][1][0].startswith("the region")


def test_a_sheet_holds_every_slide_of_a_run_on_one_scale(
    two_runs: SmallCohort, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = two_runs.root / "sheet.pdf"
    command = ["--sheet", str(two_runs.root / "raw" / "E"), "--sheet_file", str(sheet), "--sheet_width_mm", "180"]
    assert main(command) == 0
    assert capsys.readouterr().out == f"3 maps on {sheet}\n"
    assert sheet.read_bytes().startswith(b"%PDF")
    assert main([*command, "--slides", "nobody"]) == 2
    assert "no slide 'nobody' in the run" in capsys.readouterr().err

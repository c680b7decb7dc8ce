"""Sheets and tables over a finished run, at its end and with --insight."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from mil_heatmaps.cli.create_heatmaps import main
from mil_heatmaps.scores.score_schema import read_scores
from tests.helpers.cohort import SmallCohort, make_small_cohort


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> SmallCohort:
    """A run with labels and annotations of two slides, one of them of another slide."""
    root = tmp_path_factory.mktemp("insight")
    cohort = make_small_cohort(root, {"insight_arguments": {"annotations": str(root / "drawn"), "overview": True}})
    cohort.rows = [{"slide_id": f"s{n}", "label": label, "case_id": "p"} for n, label in ((1, "a"), (2, "b"), (3, "a"))]
    (root / "drawn").mkdir()
    for name, x in (("s1", 0), ("s2", 9000)):
        ring = [[x, 0], [x + 512, 0], [x + 512, 512], [x, 512], [x, 0]]
        feature = {"type": "Feature", "properties": {"classification": {"name": "Tumor"}},
                   "geometry": {"type": "Polygon", "coordinates": [ring]}}  # fmt: skip
        (root / "drawn" / f"{name}.geojson").write_text(json.dumps(feature))
    assert main(["--config", str(cohort.write())]) == 0
    return cohort


def test_a_row_a_slide_and_class_and_another_slides_annotation_is_named(done: SmallCohort) -> None:
    rows = _rows(done.production / "insight" / "annotations.csv")
    assert [(row["slide_id"], row["class"]) for row in rows] == [("s1", "Tumor"), ("s2", "")]
    assert (rows[0]["inside"], rows[0]["outside"], rows[0]["score"]) == ("16", "32", "attention")
    assert 0 <= float(rows[0]["auroc"]) <= 1
    assert "are these annotations of another slide?" in rows[1]["error"]
    cohort = _rows(done.production / "insight" / "annotations_cohort.csv")
    assert cohort[0]["auroc_interval"] == "no interval: 1 patient, fewer than 10"


def test_the_overview_is_a_pdf_and_pngs_and_tables(done: SmallCohort) -> None:
    out = done.production / "insight"
    assert (out / "overview.pdf").read_bytes().startswith(b"%PDF")
    assert [Image.open(out / f"overview_{n}.png").size for n in (1, 2)] == [(2000, 1125)] * 2
    assert [row["label"] for row in _rows(out / "outcomes.csv")] == ["a", "b", "a"]
    assert sum(int(v) for row in _rows(out / "confusion.csv") for k, v in row.items() if k != "class") == 3
    assert {row["measure"] for row in _rows(out / "metrics.csv")} == {"accuracy", "auroc"}
    assert [row["slide_id"] for row in _rows(out / "concentration.csv")] == ["s1", "s2", "s3"]
    assert all(1 <= float(row["effective_patches"]) <= 48 for row in _rows(out / "concentration.csv"))
    assert Image.open(out / "concentration.png").width > 900


def test_what_is_up_to_date_is_not_made_again(done: SmallCohort) -> None:
    out = done.production / "insight"
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert main(["--insight", str(done.raw)]) == 0
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == before
    (done.root / "drawn" / "s2.geojson").unlink()
    assert main(["--insight", str(done.raw)]) == 0
    after = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {".done.json", "annotations.csv", "annotations_cohort.csv", "annotations.png"}
    assert len(_rows(out / "annotations.csv")) == 1


def test_a_setting_makes_only_the_part_anew_that_depends_on_it(done: SmallCohort, tmp_path: Path) -> None:
    out = done.production / "insight"
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    asked = {**done.config["insight_arguments"], "annotation_classes": ["Tumor"], "spots_unit": "um"}
    other = SmallCohort(tmp_path, {"insight_arguments": asked})
    assert main(["--insight", str(done.raw), "--config", str(other.write())]) == 0
    changed = {path.name for path in out.iterdir() if path.stat().st_mtime_ns != before.get(path.name)}
    assert changed == {".done.json", "annotations.csv", "annotations_cohort.csv", "annotations.png"}


def test_a_part_that_fails_is_said_and_the_rest_goes_on(
    done: SmallCohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = dict(done.config)
    config["insight_arguments"] = {"annotations": str(tmp_path / "nowhere")}
    other = SmallCohort(tmp_path, config, done.rows)
    assert main(["--insight", str(done.raw), "--config", str(other.write())]) == 1
    out = capsys.readouterr().out
    assert "annotations: insight_arguments.annotations names no such folder" in out
    assert "concentration.csv" in out


def test_spots_give_a_row_a_gene_a_layer_and_a_sentence_where_they_miss_the_slide(
    done: SmallCohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "spots").mkdir()
    points = [f"{64 + 128 * c},{64 + 128 * r},{c},{r}" for r in range(6) for c in range(8)]
    (tmp_path / "spots" / "s1.csv").write_text("\n".join(["x,y,LEFT,UP", *points]))
    (tmp_path / "spots" / "s2.csv").write_text("x,y,LEFT\n90000,0,1\n")
    other = SmallCohort(tmp_path, {"insight_arguments": {"spots": str(tmp_path / "spots")}})
    assert main(["--insight", str(done.raw), "--config", str(other.write())]) == 0
    rows = _rows(done.production / "insight" / "spots.csv")
    assert sorted(row["name"] for row in rows[:2]) == ["LEFT", "UP"]
    assert {row["shifts"] for row in rows[:2]} == {"499"}
    assert "none of the 1 points lies on a scored patch" in rows[2]["error"]
    made = read_scores(done.raw / "spots" / "s1.h5").scores
    assert made.values[:, made.names.index("LEFT")].tolist() == [float(c) for _ in range(6) for c in range(8)]
    assert len(_rows(done.production / "insight" / "spots_cohort.csv")) == 2

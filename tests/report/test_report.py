"""The report of a run: what it says and shows, its forms, what is written again, and what it refuses."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from mil_heatmaps.config.config import load_config
from mil_heatmaps.errors import HeatmapError
from mil_heatmaps.pipeline.runner import Runner, RunOptions
from mil_heatmaps.records.outcome_tables import SlideOutcome
from mil_heatmaps.report.outcome_panels import Predictions
from mil_heatmaps.report.pages import plot
from mil_heatmaps.report.slides import ReportedSlide
from mil_heatmaps.report.write import Written, write_report
from mil_heatmaps.visualization.svg_page import page_svg
from tests.helpers.browser import MARKUP
from tests.helpers.cohort import SmallCohort, make_small_cohort

pytest.importorskip("jinja2")
BAD = b"II*\0 this is not a slide"
SECTIONS: dict[str, dict[str, Any]] = {
    "report_arguments": {"patches": 2, "picture_px": 300},
    "run_arguments": {"workers": 1, "isolate": "never"},
    "faithfulness_arguments": {"steps": 3, "random_orders": 2},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> SmallCohort:
    """A run of two slides that are well and one that is none; the classes' names are markup."""
    cohort = make_small_cohort(tmp_path_factory.mktemp("report"), SECTIONS)
    cohort.config["data_arguments"]["label_dict"] = {MARKUP: 0, "b": 1}
    cohort.rows = [{"slide_id": f"s{n}", "label": label} for n, label in ((1, MARKUP), (2, "b"), (3, "b"))]
    (cohort.slides / "s3.tif").write_bytes(BAD)
    Runner(load_config(cohort.write())).run()
    return cohort


@pytest.fixture
def cohort(finished: SmallCohort, tmp_path: Path) -> SmallCohort:
    """A copy of the run that a test may change."""
    root = tmp_path / "c"
    shutil.copytree(finished.root, root)
    text = json.dumps(finished.config).replace(str(finished.root), str(root))
    copy = SmallCohort(root, json.loads(text), finished.rows)
    copy.write()
    return copy


def report(cohort: SmallCohort, said: list[str] | None = None, **changes: Any) -> Written:
    """Write the report of what is there, without running anything."""
    overrides = {f"report_arguments.{key}": value for key, value in changes.items()}
    runner = Runner(load_config(cohort.root / "config.yaml", overrides))
    return write_report(runner.cohort, runner.config, (said if said is not None else []).append)


def test_the_report_is_one_file_that_asks_for_nothing(cohort: SmallCohort) -> None:
    said: list[str] = []
    written = report(cohort, said)
    text = written.path.read_text()
    assert written.path == cohort.production / "E_report.html"
    assert written.slides == 2
    assert len(said) == 1
    assert said[0].startswith("the report of 2 slides is ")
    assert said[0].endswith("written as one file")
    assert re.search(r'http-equiv="Content-Security-Policy" content="default-src &#39;none&#39;; img-src data:', text)
    outside = re.findall(r'(?:src|href)="(?!data:|#|(?:\.\./)*[\w.%-]+/|[\w.%-]+")([^"]{0,60})', text)
    assert outside == []
    assert text.count('<section class="slide"') == 2


def test_the_front_says_what_was_run_and_what_failed(cohort: SmallCohort) -> None:
    text = report(cohort).path.read_text()
    checkpoint = json.loads(next(cohort.raw.glob("*/s1/s1_report.json")).read_text())["checkpoint_sha256"]
    for words in ("abmil", checkpoint, "3 slides: 2 processed, 1 failed", "What failed, and why", "is not a slide"):
        assert words in text
    assert "18 of 48 patches are not coloured: 18 outside the tissue" in text
    assert "Faithfulness of the maps" in text
    assert "predicted as labelled" in text
    assert 'aria-label="Deletion and insertion curves' in text
    assert 'href="b/s2_' in text


def test_names_and_errors_are_never_markup(cohort: SmallCohort) -> None:
    text = report(cohort).path.read_text()
    assert MARKUP not in text
    assert MARKUP.replace("<", "&lt;").replace(">", "&gt;") in text
    assert "style=" not in re.sub(r"<style>.*?</style>|<script>.*?</script>", "", text, flags=re.DOTALL)
    names = re.findall(r'\bid="([^"]+)"', text)
    assert len(names) == len(set(names))


def test_a_drawing_that_somebody_changed_is_left_out() -> None:
    assert plot("<svg><path d='M 0 0'/></svg>")
    assert plot("<svg><script>alert(1)</script></svg>") == ""
    assert plot('<svg onload="alert(1)"></svg>') == ""
    assert plot("<img src=x>") == ""


def test_a_plot_has_no_style_of_its_own_and_keeps_its_letters() -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2, 2))
    figure.add_subplot().set_title("a <b> & c")
    svg = page_svg(figure, salt="x")
    assert "style" not in svg
    assert "a &lt;b&gt; &amp; c" in svg
    assert "viewBox" in svg
    assert 'width="' not in svg[: svg.index(">")]


def test_a_report_too_large_for_a_file_is_a_folder_and_said_to_be(cohort: SmallCohort) -> None:
    report(cohort)
    said: list[str] = []
    written = report(cohort, said, max_mb=0.02)
    folder = cohort.production / "E_report"
    assert "more than 0.02 MB: written as a folder" in said[0]
    assert written.path == folder / "index.html"
    assert sorted(path.name for path in (folder / "slides").iterdir()) == ["0001_s1.html", "0002_s2.html"]
    assert not (cohort.production / "E_report.html").exists()
    assert 'href="slides/0002_s2.html"' in written.path.read_text()
    assert 'href="../index.html"' in (folder / "slides" / "0001_s1.html").read_text()
    report(cohort)
    assert not folder.exists()


def test_only_what_changed_is_written_again(cohort: SmallCohort) -> None:
    report(cohort, form="folder")
    assert report(cohort, form="folder").changed == []
    options = RunOptions(slides=("s2",), from_stage="report", rerun="all")
    summary = Runner(load_config(cohort.root / "config.yaml", {"report_arguments.patches": 1}), options).run()
    assert summary.stage_seconds.keys() == {"report"}
    changed = {path.name for path in report(cohort, form="folder", patches=1).changed}
    assert changed == {"index.html", "0002_s2.html"}


def test_the_part_of_a_slide_is_a_stage_with_a_fingerprint(cohort: SmallCohort) -> None:
    config = load_config(cohort.root / "config.yaml")
    plans = {each.job.slide_id: {p.stage: p.decision.action for p in each.plans} for each in Runner(config).plan()}
    assert plans["s1"]["report"] == "reuse"
    other = load_config(cohort.root / "config.yaml", {"report_arguments.quality": 40})
    (found,) = (each for each in Runner(other).plan() if each.job.slide_id == "s1")
    assert {plan.stage for plan in found.plans if plan.decision.action != "reuse"} == {"report"}
    moved = load_config(cohort.root / "config.yaml", {"report_arguments.form": "folder"})
    assert all(p.decision.action == "reuse" for each in Runner(moved).plan() for p in each.plans
               if each.job.slide_id == "s1")  # fmt: skip


def test_pictures_stay_within_their_bytes(cohort: SmallCohort) -> None:
    overrides = {"report_arguments.slide_kb": 50, "report_arguments.picture_px": 1000, "report_arguments.patches": 40}
    Runner(load_config(cohort.root / "config.yaml", overrides), RunOptions(slides=("s1",))).run()
    part = json.loads(next(cohort.raw.glob("*/s1/s1_report.json")).read_text())
    assert part["pictures"]["bytes"] <= 50_000
    assert max(part["pictures"]["size_px"]) <= 1000


def test_deleted_pictures_and_patches_are_said_with_what_writes_them_again(cohort: SmallCohort) -> None:
    next((cohort.production / "b").glob("s2_0.0_roi*")).unlink()
    next((cohort.production / "sampled_patches").rglob("s1*.png")).unlink()
    text = report(cohort).path.read_text()
    again = r"s2_0\.0_roi\S+ \(the heatmap\) was deleted: the run writes it again \(--from_stage heatmap\)"
    assert re.search(again, text)
    assert re.search(r"s1\S+\.png \(saved patches\) was deleted: .*--from_stage samples\)", text)


def test_the_bar_is_mixed_as_the_map_and_patches_have_their_ranks(
    cohort: SmallCohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = report(cohort).path.read_text()
    grounds = re.findall(r'fill="(#[0-9a-f]{6})"/><rect class="shades" width="400" height="14" \S+ opacity="0.4"', text)
    assert len(grounds) == 2
    assert "#ffffff" not in grounds
    assert "<b>#1</b> of 48</span>" in text
    assert "%ile" not in text
    of_now = ReportedSlide.part

    def of_before(slide: ReportedSlide) -> dict[str, Any] | None:
        part = of_now(slide)
        if part is not None:
            del part["patches_ranked"], part["scale"]["ground"]
        return part

    monkeypatch.setattr(ReportedSlide, "part", of_before)
    earlier = report(cohort).path.read_text()
    assert "<b>#1</b></span>" in earlier
    assert earlier.count('fill="#ffffff"/><rect class="shades"') == 2


def test_without_a_finished_slide_there_is_no_report(cohort: SmallCohort) -> None:
    for path in cohort.raw.rglob("record.json"):
        path.unlink()
    with pytest.raises(HeatmapError, match=r"nothing to report: none of 3 slides is finished .*run the slides first"):
        report(cohort)
    assert not (cohort.production / "E_report.html").exists()


def test_a_part_that_was_changed_by_hand_is_not_shown(cohort: SmallCohort) -> None:
    path = next(cohort.raw.glob("*/s1/s1_report.json"))
    path.write_text(path.read_text().replace("abmil", "evil!"))
    assert report(cohort).slides == 1


def test_a_measure_that_the_first_slide_lacks_has_its_column(finished: SmallCohort) -> None:
    predictions = Predictions(load_config(finished.root / "config.yaml"))
    for number, names in enumerate((("qc_pen_top",), (), ("qc_fold_top", "attention_gini"), ("qc_pen_top",))):
        slide = ReportedSlide(f"s{number}", "b")
        slide.__dict__["outcome"] = SlideOutcome("processed", measures=tuple((name, 0.5) for name in names))
        predictions.add(slide)
    assert predictions.measures == ["attention_gini", "qc_fold_top", "qc_pen_top"]

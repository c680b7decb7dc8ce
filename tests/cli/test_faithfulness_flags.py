"""`--faithfulness` and what the summary says."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import yaml

from mil_heatmaps.cli.generate_heatmaps import main as generate
from mil_heatmaps.cli.simple_parser import build_parser
from mil_heatmaps.cli.summary import _faithfulness
from mil_heatmaps.cohort.run_options import FaithfulnessReport
from mil_heatmaps.explain.faithfulness_cohort import summarise
from tests.helpers.cohort import make_small_cohort
from tests.helpers.simple_face import flags


def one_slide(root: Path, *more: str) -> list[str]:
    cohort = make_small_cohort(root)
    for name in ("s2.svs", "s3.tif"):
        (cohort.slides / name).unlink()
    return flags(cohort, *more)


@pytest.mark.parametrize(
    ("given", "level"), [([], None), (["--faithfulness"], "quick"), (["--faithfulness", "full"], "full")]
)
def test_the_flag_alone_is_quick(given: list[str], level: str | None) -> None:
    assert build_parser().parse_args(given).faithfulness == level


def test_a_run_without_it_says_how_to_ask_and_one_with_it_writes_the_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = one_slide(tmp_path)
    assert generate(command) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert "--faithfulness measures it" in last
    assert generate([*command, "--faithfulness", "--faithfulness_scores", "class_contribution"]) == 0
    told = capsys.readouterr().out
    assert "--faithfulness measures it" not in told
    with (tmp_path / "O" / "heatmap_results.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["faithfulness"].endswith("than random")
    assert f"p({row['prediction']})" in row["faithfulness_sentence"] or "p(class 1)" in row["faithfulness_sentence"]
    with (tmp_path / "O" / "faithfulness.csv").open(newline="") as file:
        assert [row["score"] for row in csv.DictReader(file)] == ["attention", "class_contribution"]
    stored = yaml.safe_load((tmp_path / "O" / "run.yaml").read_text())
    assert stored["faithfulness_arguments"]["level"] == "quick"
    assert (tmp_path / "O" / "work" / "s1" / "s1_faithfulness.json").is_file()


def row(score: str, srg: float, drawn: bool = False) -> dict[str, Any]:
    verdict = "better than random" if srg > 1 else "no better than random"
    return {"score": score, "srg": srg, "drawn": drawn, "status": "measured", "verdict": verdict, "evidence_patches": 4}


def test_the_summary_names_every_map_and_recommends() -> None:
    rows = [row("attention", 0.1 * n, drawn=True) for n in range(5)] + [row("leave_one_out", 2 + n) for n in range(5)]
    rows += [row("attention", 0, drawn=True) | {"status": "too few patches", "verdict": "too few patches"}]
    report = FaithfulnessReport(tuple(summarise(rows)), Path("O/faithfulness.csv"), Path("O/faithfulness.png"))
    text = "\n".join(_faithfulness(report))
    assert "attention (drawn): mean SRG 0.2 [" in text
    assert "better than random on 0 of 5 slides, evidence set 4 patches (median), 1 too few patches" in text
    assert "leave_one_out explains this model best: mean SRG 4.0 [" in text
    assert text.endswith("Draw it with --score leave_one_out.")
    brought = FaithfulnessReport(report.maps, report.table, None, drawable=False)
    assert "Draw it" not in "\n".join(_faithfulness(brought))

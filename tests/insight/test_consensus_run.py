"""`create_heatmaps.py --consensus`: what several experiments agree on, drawn as an experiment."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from mil_heatmaps.checkpoints.load import model_from_checkpoint
from mil_heatmaps.cli.create_heatmaps import main
from mil_heatmaps.features.read import read_features
from mil_heatmaps.pipeline.consensus_run import consensus_config
from mil_heatmaps.scores.score_schema import read_scores
from tests.helpers.cohort import SmallCohort, make_small_cohort, write_abmil


@pytest.fixture(scope="module")
def three_folds(tmp_path_factory: pytest.TempPathFactory) -> SmallCohort:
    """Experiments E, F and G of one cohort, with different checkpoints, and their consensus N."""
    cohort = make_small_cohort(tmp_path_factory.mktemp("folds"), {"heatmap_arguments": {"figure": True}})
    for seed, name in enumerate("EFG"):
        write_abmil(cohort.checkpoint, seed=seed)
        assert main(["--config", str(cohort.write()), "--save_exp_code", name]) == 0
        cohort.config["heatmap_arguments"]["figure"] = False  # the consensus is drawn as the first of them
    raw = cohort.root / "raw"
    assert main(["--consensus", *(str(raw / name) for name in "EFG"), "--save_exp_code", "N"]) == 0
    return cohort


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_score_file_holds_mean_rank_spread_and_votes(three_folds: SmallCohort) -> None:
    raw = three_folds.root / "raw"
    made = read_scores(raw / "N" / "a" / "s1" / "s1_blockmap.h5")
    assert (made.scores.kind, made.scores.names) == ("consensus", ("mean rank", "spread", "top of at least 2 of 3"))
    own = [read_scores(raw / name / "a" / "s1" / "s1_blockmap.h5").scores.values[:, 0] for name in "EFG"]
    ranks = np.array([np.argsort(np.argsort(v)) + 1 for v in own]) / len(own[0])
    np.testing.assert_allclose(made.scores.values[:, 0], ranks.mean(0), rtol=1e-6)
    np.testing.assert_allclose(made.scores.values[:, 1], ranks.std(0), rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(made.attention, made.scores.values[:, 0])
    votes = (ranks > 1 - 3 / 48 + 1e-9).sum(0)  # the top 5 % of 48 patches are 3
    np.testing.assert_allclose(made.scores.values[:, 2], np.where(votes >= 2, votes / 3, 0), rtol=1e-6)


def test_every_column_is_drawn_and_samples_are_of_the_mean_rank(three_folds: SmallCohort) -> None:
    made = three_folds.root / "prod" / "N"
    figures = sorted(path.name for path in made.rglob("s1_*figure.png"))
    assert figures == [
        "s1_c_mean rank_figure.png", "s1_c_spread_figure.png", "s1_c_top of at least 2 of 3_figure.png"
    ]  # fmt: skip
    assert list(made.rglob("sampled_patches/**/*.png"))


def test_pairs_agree_in_a_table_a_slide_and_over_the_cohort_with_a_picture(three_folds: SmallCohort) -> None:
    out = three_folds.root / "prod" / "N" / "insight"
    slides, cohort = rows_of(out / "agreement.csv"), rows_of(out / "agreement_cohort.csv")
    assert [(row["slide_id"], row["model_a"], row["model_b"]) for row in slides[:3]] == [
        ("s1", "E", "F"), ("s1", "E", "G"), ("s1", "F", "G")
    ]  # fmt: skip
    assert len(slides) == 9
    assert {row["matched"] for row in slides} == {"corner"}
    mean = np.mean([float(row["spearman"]) for row in slides if row["model_b"] == "F"])
    assert float(cohort[0]["spearman"]) == pytest.approx(mean)
    assert cohort[0]["spearman_interval"] == "no interval: 3 slides, fewer than 10"
    assert Image.open(out / "agreement.png").width > 900


def test_a_second_call_makes_nothing_anew(three_folds: SmallCohort, capsys: pytest.CaptureFixture[str]) -> None:
    raw = three_folds.root / "raw"
    before = {path: path.stat().st_mtime_ns for path in (raw / "N" / "consensus").iterdir()}
    assert main(["--config", str(raw / "N" / "config.yaml")]) == 0
    out = capsys.readouterr().out
    assert "consensus of 3 slides, 3 of them reused" in out
    assert "0 processed, 3 reused, 0 failed" in out
    assert {path: path.stat().st_mtime_ns for path in (raw / "N" / "consensus").iterdir()} == before


def test_what_the_folds_agree_on_is_measured_by_one_of_them(three_folds: SmallCohort) -> None:
    """A config with a model, its features and the section: every column is a map of its own beside the attention."""
    cohort, raw = three_folds, three_folds.root / "raw"
    config = {key: dict(section) for key, section in cohort.config.items()}
    config["exp_arguments"]["save_exp_code"] = "M"
    config["faithfulness_arguments"] = {"level": "quick"}
    (cohort.root / "measured.yaml").write_text(yaml.safe_dump(config))
    asked = ["--consensus", *(str(raw / name) for name in "EFG"), "--config", str(cohort.root / "measured.yaml")]
    assert main(asked) == 0
    maps = json.loads((raw / "M" / "a" / "s1" / "s1_faithfulness.json").read_text())["maps"]
    assert list(maps) == ["mean rank", "attention", "spread", "top of at least 2 of 3"]
    assert {entry["status"] for entry in maps.values()} == {"measured"}
    assert maps["mean rank"]["drawn"]
    ranks = read_scores(raw / "M" / "a" / "s1" / "s1_blockmap.h5").scores.values[:, 0]
    model = model_from_checkpoint(cohort.checkpoint)
    by_hand = model.faithfulness(read_features(cohort.features / "s1.h5"), {"mean rank": ranks}).as_dict()
    assert maps["mean rank"]["srg"] == by_hand["maps"]["mean rank"]["srg"]


def test_a_slide_that_one_experiment_lacks_is_left_out_and_said(
    three_folds: SmallCohort, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    import shutil

    raw = three_folds.root / "raw"
    shutil.copytree(raw / "G", tmp_path / "H")
    (tmp_path / "H" / "a" / "s2" / "s2_blockmap.h5").unlink()
    names = [str(raw / "E"), str(tmp_path / "H")]
    assert main(["--consensus", *names, "--save_exp_code", "M"]) == 0
    assert "s2: left out, no scores in H" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["E"], "at least two experiments"),
        (["E", "E"], "given twice"),
        (["E", "nowhere"], "no experiment in"),
    ],
)
def test_what_is_no_set_of_experiments_is_refused(
    three_folds: SmallCohort, capsys: pytest.CaptureFixture[str], names: list[str], message: str
) -> None:
    raw = three_folds.root / "raw"
    assert main(["--consensus", *(str(raw / name) for name in names), "--save_exp_code", "X"]) == 2
    assert message in capsys.readouterr().err


def test_a_config_asks_for_a_consensus_and_its_model_does_not_matter(
    three_folds: SmallCohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [str(three_folds.root / "raw" / name) for name in "EF"]
    asked = {**three_folds.config, "insight_arguments": {"consensus": names, "at_least": 2}}
    asked["exp_arguments"] = {**asked["exp_arguments"], "save_exp_code": "C"}
    config, runs = consensus_config(names, asked)
    assert (config.model_arguments.ckpt_path, config.data_arguments.h5_dir) == (None, None)
    assert (config.heatmap_arguments.classes, config.insight_arguments.at_least) == ("all", 2)
    assert list(runs) == ["E", "F"]
    for section in ({}, {"model_arguments": three_folds.config["model_arguments"]}):
        asked.pop("model_arguments", None)
        (tmp_path / "c.yaml").write_text(yaml.safe_dump(asked | section))
        assert main(["--config", str(tmp_path / "c.yaml"), "--dry_run"]) == 0
        assert "would make the consensus of E, F on 3 slides" in capsys.readouterr().out
    asked["insight_arguments"] = {"consensus": names[:1]}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(asked))
    assert main(["--config", str(tmp_path / "c.yaml")]) == 2
    assert "needs at least two experiments" in capsys.readouterr().err


def test_a_consensus_needs_a_name(three_folds: SmallCohort, capsys: pytest.CaptureFixture[str]) -> None:
    raw = three_folds.root / "raw"
    assert main(["--consensus", str(raw / "E"), str(raw / "F")]) == 2
    assert "--save_exp_code NAME" in capsys.readouterr().err

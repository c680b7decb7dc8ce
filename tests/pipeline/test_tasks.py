"""Survival and regression models through the pipeline: every place that tells a prediction tells it as what it is."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mil_heatmaps.cli.generate_heatmaps import main as generate
from mil_heatmaps.cohort.make_process_list import rebuilt_list
from mil_heatmaps.config.config import load_config
from mil_heatmaps.errors import ConfigError, HeatmapError
from mil_heatmaps.pipeline.runner import Runner, RunOptions, RunSummary
from mil_heatmaps.scores.score_file import ScoreFile
from mil_heatmaps.scores.score_schema import read_scores
from mil_heatmaps.viewer.catalog import NamedFile
from mil_heatmaps.viewer.layers import layers_of
from mil_heatmaps.viewer.run_folder import catalog_of_runs
from mil_heatmaps.words import number_words
from tests.helpers.cohort import SmallCohort, make_small_cohort, write_abmil


def cohort_of(root: Path, task: str, outputs: int, **model: Any) -> SmallCohort:
    """Return a cohort of a model with `outputs`; labels are values of the slides' own."""
    cohort = make_small_cohort(root, {"model_arguments": {"task": task, **model}})
    write_abmil(cohort.checkpoint, classes=outputs)
    del cohort.config["data_arguments"]["label_dict"]
    cohort.rows = [{"slide_id": f"s{n}", "label": f"{n}.5"} for n in (1, 2, 3)]
    return cohort


def run(cohort: SmallCohort, **options: Any) -> RunSummary:
    summary = Runner(load_config(cohort.write()), RunOptions(**options)).run()
    assert summary.failed == {}
    return summary


def scores_of(cohort: SmallCohort, group: str = "Unspecified") -> ScoreFile:
    return read_scores(cohort.raw / group / "s1" / "s1_blockmap.h5")


def results(cohort: SmallCohort) -> dict[str, str]:
    with (cohort.root / "results" / "list.csv").open(newline="") as file:
        return next(row for row in csv.DictReader(file) if row["slide_id"] == "s1")


def pictures(cohort: SmallCohort) -> set[str]:
    return {path.name.partition("_bi_0_")[2] for path in (cohort.root / "prod").rglob("s1_0.0_*.jpg")}


@pytest.fixture
def survival(tmp_path: Path) -> SmallCohort:
    return cohort_of(tmp_path, "survival", 4)


def test_lists_of_a_survival_model_tell_risk_and_survival_and_no_classes(survival: SmallCohort) -> None:
    run(survival)
    prediction = scores_of(survival).prediction
    assert prediction is not None
    expected = np.cumprod(1 - 1 / (1 + np.exp(-prediction.logits.astype(float))))
    for row in (survival.process_list()["s1"], results(survival)):
        assert not [name for name in row if name.startswith(("Pred_", "p_"))]
        names = [name for name in row if name.startswith("predicted_")]
        assert names == ["predicted_risk", *(f"predicted_S_{t}" for t in range(4))]
        assert float(row["predicted_risk"]) == pytest.approx(-expected.sum(), abs=1e-5)
        assert [float(row[name]) for name in names[1:]] == pytest.approx(expected.tolist(), abs=1e-5)
    with h5py.File(survival.raw / "Unspecified" / "s1" / "s1_blockmap.h5") as file:
        assert file["scores"].attrs["prediction_risk"] == pytest.approx(-expected.sum(), abs=1e-5)


def test_lists_read_back_and_rebuilt_are_the_same(survival: SmallCohort) -> None:
    run(survival)
    listed = survival.raw / "process_list.csv"
    before = listed.read_text()
    assert rebuilt_list(survival.raw)[0] == before
    assert run(survival).reused == ["s1", "s2", "s3"]
    assert listed.read_text() == before
    run(survival, slides=("s2",))
    assert listed.read_text() == before
    survival.config["data_arguments"]["process_list"] = str(listed)  # the run's own list is run again
    run(survival)
    assert listed.read_text() == before


def test_numbers_of_the_users_own_stay_beside_those_of_the_run(tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path, "regression", 1, output_names=["Ki-67"])
    for row in cohort.rows:
        row |= {"Ki-67": "0.4", "predicted_age": "61"}
    run(cohort)
    row = cohort.process_list()["s1"]
    prediction = scores_of(cohort).prediction
    assert prediction is not None
    assert (row["Ki-67"], row["predicted_age"]) == ("0.4", "61")
    assert float(row["predicted_Ki-67"]) == pytest.approx(float(prediction.logits[0]))


def test_a_single_survival_output_is_a_log_relative_hazard(tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path, "survival", 1)
    run(cohort)
    row, prediction = cohort.process_list()["s1"], scores_of(cohort).prediction
    assert prediction is not None
    assert [name for name in row if name.startswith("predicted_")] == ["predicted_risk"]
    assert float(row["predicted_risk"]) == pytest.approx(float(prediction.logits[0]))
    assert prediction.summary.endswith("(log relative hazard)")


def test_predicted_is_the_mean_over_the_intervals(survival: SmallCohort) -> None:
    survival.config["heatmap_arguments"]["score"] = "class_contribution"
    run(survival)
    scores = scores_of(survival)
    assert scores.scores.names == ("interval 0", "interval 1", "interval 2", "interval 3")
    np.testing.assert_allclose(scores.attention, scores.scores.values.mean(axis=1), rtol=1e-6)
    assert pictures(survival) == {"-1.0_s_class_contribution.jpg"}
    survival.config["heatmap_arguments"]["classes"] = ["interval 3", "0"]
    run(survival)
    drawn = {f"-1.0_s_class_contribution_c_interval_{t}.jpg" for t in (0, 3)}
    assert drawn <= {name.replace(" ", "_") for name in pictures(survival)}


def test_every_output_of_a_regression_is_drawn(tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path, "regression", 2, output_names=["Ki-67", "grade"])
    cohort.config["heatmap_arguments"]["score"] = "class_contribution"
    run(cohort)
    assert pictures(cohort) == {f"-1.0_s_class_contribution_c_{name}.jpg" for name in ("Ki-67", "grade")}
    scores = scores_of(cohort)
    np.testing.assert_array_equal(scores.attention, scores.scores.values[:, 0])


def test_sampled_patches_lie_by_group_and_under_no_class(survival: SmallCohort) -> None:
    run(survival)
    folders = [path.name for path in (survival.production / "sampled_patches").iterdir()]
    assert folders == ["label_Unspecified_pred_none"]


def test_label_dict_names_groups_of_slides_and_not_outputs(survival: SmallCohort) -> None:
    survival.config["data_arguments"]["label_dict"] = {"treated": 0, "untreated": 1}
    survival.rows = [{"slide_id": f"s{n}", "label": "treated"} for n in (1, 2, 3)]
    run(survival)
    prediction = scores_of(survival, "treated").prediction
    assert prediction is not None
    assert prediction.classes == ("interval 0", "interval 1", "interval 2", "interval 3")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"output_names": ["1 y", "2 y"]}, "has 4 .* model_arguments.output_names names 2: 1 y, 2 y"),
        ({"output_names": ["a", "a"]}, "names 'a' twice"),
        ({"output_names": ["all"]}, "cannot call an output 'all'"),
        ({"output_names": []}, "output_names"),
        ({"task": "classification", "output_names": ["a"]}, "task is classification; name classes in label_dict"),
    ],
)
def test_names_that_do_not_fit_are_refused(survival: SmallCohort, changes: dict[str, Any], message: str) -> None:
    survival.config["model_arguments"].update(changes)
    with pytest.raises(HeatmapError, match=message):
        run(survival)


def test_label_is_no_choice_of_an_interval(survival: SmallCohort) -> None:
    survival.config["heatmap_arguments"]["classes"] = "label"
    with pytest.raises(ConfigError, match="label chooses a class, and a survival model has none; choose from pred"):
        load_config(survival.write())


def test_the_figure_tells_the_risk_and_the_slides_own_label(
    survival: SmallCohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mil_heatmaps.visualization import figure

    seen: list[figure.FigureText] = []
    monkeypatch.setattr(figure, "write_figure", lambda path, d, v, text, **how: (seen.append(text), path.touch()))
    survival.config["heatmap_arguments"]["figure"] = True
    run(survival)
    assert seen[0].label == "1.5"
    assert seen[0].prediction is not None
    assert seen[0].prediction.headline[1].startswith("risk \N{MINUS SIGN}")
    assert seen[0].prediction.details[0].startswith("S_0 ")


def test_the_viewer_tells_the_risk_and_calls_nothing_wrong(survival: SmallCohort, tmp_path: Path) -> None:
    run(survival)
    slide = next(slide for slide in catalog_of_runs([survival.raw]).slides if slide.slide_id == "s1")
    scores = scores_of(survival)
    assert scores.prediction is not None
    assert slide.prediction == f"risk {number_words(scores.prediction.risk)}"
    assert slide.number == pytest.approx(scores.prediction.risk, abs=1e-5)
    assert (slide.probability, slide.is_wrong) == (None, None)
    about = layers_of(scores, NamedFile(tmp_path, "scores"), 0, "")[0].describe()["prediction"]
    assert (about["task"], about["predicted"]) == ("survival", None)
    assert about["summary"].startswith("risk \N{MINUS SIGN}")
    assert "values" not in about


def test_the_simple_face_takes_the_task(survival: SmallCohort, capsys: pytest.CaptureFixture[str]) -> None:
    out = survival.root / "O"
    names = ["6 months", "1 year", "2 years", "5 years"]
    arguments = [
        "--checkpoint", str(survival.checkpoint), "--h5_dir", str(survival.features), "--slide_dir",
        str(survival.slides), "--output_dir", str(out), "--device", "cpu", "--task", "survival",
    ]  # fmt: skip
    assert generate([*arguments, "--class_names", *names]) == 2
    assert "name its outputs with --output_names" in capsys.readouterr().err
    assert generate([*arguments, "--output_names", *names]) == 0
    assert "4 outputs (survival)" in capsys.readouterr().out
    with (out / "heatmap_results.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    assert not {"prediction", "probabilities"} & set(row)
    assert [name for name in row if name.startswith("predicted_")] == [
        "predicted_risk", *(f"predicted_S_{name}" for name in names),
    ]  # fmt: skip
    slide = catalog_of_runs([out]).slides[0]
    assert slide.prediction.startswith("risk \N{MINUS SIGN}")


def test_records_tell_numbers_in_order(survival: SmallCohort) -> None:
    run(survival)
    told = json.loads(survival.record("s1", "Unspecified").read_text())["summary"]["prediction"]
    assert told["task"] == "survival"
    assert [name for name, _ in told["numbers"]] == ["risk", "S_0", "S_1", "S_2", "S_3"]
    assert "classes" not in told

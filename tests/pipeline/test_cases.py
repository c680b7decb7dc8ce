"""A bag of several slides: one pass a case, cut back to its slides, with its scale, tables, resume and refusals."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mil_heatmaps.config.config import load_config
from mil_heatmaps.errors import ConfigError, HeatmapError
from mil_heatmaps.pipeline.runner import Runner, RunOptions, RunSummary
from mil_heatmaps.records.slide_record import SlideRecord
from mil_heatmaps.scores.score_file import ScoreFile
from mil_heatmaps.scores.score_schema import read_scores
from mil_heatmaps.stages import case_bag, case_scale
from tests.helpers.cohort import SmallCohort, make_encoded, make_small_cohort, write_features

ONE_PROCESS = {"workers": 1, "isolate": "never"}


def make(root: Path, cases: tuple[str, ...] = ("P1", "P2", "P1"), **changes: Any) -> SmallCohort:
    """Make three slides, of which the first and the last are of one patient."""
    given = {"data_arguments": {"bag": "case"}, "run_arguments": ONE_PROCESS, "sample_arguments": {"samples": []}}
    cohort = make_small_cohort(root, given)
    for section, values in changes.items():
        cohort.config.setdefault(section, {}).update(values)
    for row, case in zip(cohort.rows, cases, strict=True):
        row["case_id"] = case
    return cohort


def run(cohort: SmallCohort, **options: Any) -> RunSummary:
    return Runner(load_config(cohort.write()), RunOptions(**options)).run()


def scores(cohort: SmallCohort, slide: str) -> ScoreFile:
    return read_scores(cohort.raw / "a" / slide / f"{slide}_blockmap.h5")


def features(cohort: SmallCohort, *slides: str) -> np.ndarray[Any, Any]:
    parts = []
    for slide in slides:
        with h5py.File(cohort.features / f"{slide}.h5") as file:
            parts.append(file["features"][()])
    return np.concatenate(parts)


def cases_table(cohort: SmallCohort) -> dict[str, dict[str, str]]:
    with (cohort.root / "results" / "E_cases.csv").open(newline="") as file:
        return {row["case_id"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> SmallCohort:
    """A run over two cases, with what each slide takes away."""
    explained, figure = {"scores": ["leave_one_out"]}, {"figure": True}
    cohort = make(tmp_path_factory.mktemp("cases"), explanation_arguments=explained, heatmap_arguments=figure)
    assert not run(cohort).failed
    return cohort


def test_the_scores_are_those_of_the_model_on_the_concatenated_features_to_the_bit(done: SmallCohort) -> None:
    from mil_heatmaps.checkpoints.load import model_from_checkpoint

    model = model_from_checkpoint(done.checkpoint)
    for slides in (("s1", "s3"), ("s2",)):
        expected = model.explain(features(done, *slides))
        cut = [scores(done, slide) for slide in slides]
        np.testing.assert_array_equal(
            np.concatenate([file.scores.values for file in cut]), expected.scores[model.default_score].values
        )
        for file in cut:
            assert file.prediction is not None
            np.testing.assert_array_equal(file.prediction.logits, expected.logits)


def test_each_slide_says_its_place_and_the_shares_of_attention_sum_to_one(done: SmallCohort) -> None:
    first, last = scores(done, "s1").case, scores(done, "s3").case
    assert first is not None
    assert last is not None
    assert first.words.startswith("case P1, slide 1 of 2; ")
    assert last.place == "case P1, slide 2 of 2"
    logits = np.concatenate([scores(done, slide).attention for slide in ("s1", "s3")]).astype(np.float64)
    weights = np.exp(logits) / np.exp(logits).sum()
    assert first.own.share == pytest.approx(weights[:48].sum(), rel=1e-9)
    assert [slide.share for slide in first.slides] == [slide.share for slide in last.slides]
    assert sum(slide.share or 0 for slide in first.slides) == pytest.approx(1)


def test_the_prediction_without_each_slide_is_the_models_on_the_others(done: SmallCohort) -> None:
    from mil_heatmaps.checkpoints.load import model_from_checkpoint
    from mil_heatmaps.models.inference import infer

    case, model = scores(done, "s1").case, model_from_checkpoint(done.checkpoint)
    assert case is not None
    whole, _ = infer(model, features(done, "s1", "s3"), class_names=["a", "b"])
    assert whole is not None
    index = whole.predicted
    for slide, other in zip(case.slides, ("s3", "s1"), strict=True):
        rest, _ = infer(model, features(done, other), class_names=["a", "b"])
        assert rest is not None
        assert slide.without == float(rest.probabilities[index])
    assert case.output == f"p({'ab'[index]})"


def test_the_tables_tell_the_case(done: SmallCohort) -> None:
    table, listed = cases_table(done), done.process_list()
    assert list(table) == ["P1", "P2"]
    row = table["P1"]
    assert (row["slides"], row["num_patches"], row["label"], row["status"]) == ("s1;s3", "96", "a", "processed")
    shares = [float(share) for share in row["attention_shares"].split(";")]
    assert sum(shares) == pytest.approx(1, abs=1e-5)
    assert len(row["without_slide"].split(";")) == 2
    assert [listed[slide]["case_id"] for slide in ("s1", "s2", "s3")] == ["P1", "P2", "P1"]
    assert listed["s1"]["p_0"] == listed["s3"]["p_0"] == row["p_0"] != listed["s2"]["p_0"]
    assert (done.production / "cases" / "P1_case.png").is_file()


def test_one_changed_file_redoes_the_case_and_nothing_else(tmp_path: Path) -> None:
    cohort = make(tmp_path)
    run(cohort)
    assert sorted(run(cohort).reused) == ["s1", "s2", "s3"]
    write_features(cohort.features / "s1.h5", 99)
    summary = run(cohort)
    assert (sorted(summary.processed), summary.reused) == (["s1", "s3"], ["s2"])
    assert summary.stage_seconds.keys() == {"coords", "attention", "heatmap"}


def test_the_model_runs_once_a_case_also_when_everything_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mil_heatmaps.models import inference

    asked: list[int] = []
    infer: Callable[..., Any] = inference.infer

    def counting(model: Any, bag: Any, **more: Any) -> Any:
        asked.append(len(bag))
        return infer(model, bag, **more)

    monkeypatch.setattr(inference, "infer", counting)
    cohort = make(tmp_path)
    run(cohort)
    assert sorted(asked) == [48, 96]
    run(cohort, rerun="all")
    assert sorted(asked) == [48, 48, 96, 96]


def test_a_slide_without_attention_looks_it_on_the_scale_of_the_case(tmp_path: Path) -> None:
    cohort = make(tmp_path, heatmap_arguments={"save_ext": "png", "blank_canvas": True, "alpha": 1.0, "segment": False})
    model_input = features(cohort, "s1", "s2", "s3")
    quiet, loud = _ends(cohort, model_input)
    write_features(cohort.features / "s1.h5", 0, features=np.repeat(quiet[None], 48, axis=0))
    write_features(cohort.features / "s3.h5", 0, features=np.repeat(loud[None], 48, axis=0))
    run(cohort)
    planned = [_drawing(cohort, slide).shades for slide in ("s1", "s3")]
    assert planned[0].max() < 0.5 < planned[1].min()
    case = scores(cohort, "s1").case
    assert case is not None
    assert (case.own.share or 1) < 0.5


def _ends(cohort: SmallCohort, values: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    from mil_heatmaps.checkpoints.load import model_from_checkpoint

    model = model_from_checkpoint(cohort.checkpoint)
    order = model.explain(values).scores[model.default_score].values[:, 0].argsort()
    return values[order[0]], values[order[-1]]


def _drawing(cohort: SmallCohort, slide: str) -> Any:
    from mil_heatmaps.records.slide_record import SlideRecord
    from mil_heatmaps.stages.base import SlideWork
    from mil_heatmaps.stages.score_columns import planned_maps

    runner = Runner(load_config(cohort.write()))
    job = runner.cohort.jobs[slide]
    with SlideWork(job, runner.settings, SlideRecord.load(job.paths.record, slide)) as work:
        return planned_maps(work)[0].drawing


def test_faithfulness_is_measured_once_of_the_case(tmp_path: Path) -> None:
    cohort = make(tmp_path, faithfulness_arguments={"level": "quick"})
    assert not run(cohort).failed
    told = [json.loads((cohort.raw / "a" / s / f"{s}_faithfulness.json").read_text()) for s in ("s1", "s3")]
    assert [(one["slide_id"], one["case_id"]) for one in told] == [("s1", "P1"), ("s3", "P1")]
    assert told[0]["num_patches"] == told[1]["num_patches"] == 96
    assert told[0]["maps"] == told[1]["maps"]
    assert "on this slide" not in json.dumps(told)


def asked(cohort: SmallCohort, monkeypatch: pytest.MonkeyPatch, place: object, name: str) -> int:
    """Return how often a plan of finished slides calls a function."""
    calls, own = [], getattr(place, name)
    monkeypatch.setattr(place, name, lambda *args: calls.append(args) or own(*args))
    assert not any(slide.needed for slide in Runner(load_config(cohort.write())).plan())
    return len(calls)


def test_what_a_case_depends_on_is_found_once_a_plan(done: SmallCohort, monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(done, monkeypatch, case_bag, "_features_inputs") == 3


def test_encoded_features_of_all_slides_are_there_before_a_case_is_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort = make_encoded(tmp_path, "tests.helpers.stub_encoder:create", calc_heatmap=False)
    cohort.config["data_arguments"]["bag"] = "case"
    cohort.config["run_arguments"] = dict(ONE_PROCESS)
    for row in cohort.rows:
        row["patient"] = "P"
    summary = run(cohort)
    assert (summary.failed, len(summary.processed)) == ({}, 3)
    case = scores(cohort, "s2").case
    assert case is not None
    assert (case.case_id, len(case.slides), case.number) == ("P", 3, 2)
    # Each record is read for its own slide, and those of the other two once for the case.
    assert asked(cohort, monkeypatch, SlideRecord, "load") == 3 + 2


def test_a_case_needs_all_its_slides_unless_told_otherwise(tmp_path: Path) -> None:
    cohort = make(tmp_path)
    (cohort.features / "s3.h5").write_bytes(b"none")
    summary = run(cohort)
    assert summary.failed.keys() == {"s1", "s3"}
    assert "case P1: s3 cannot be read" in summary.failed["s1"]
    assert cases_table(cohort)["P1"]["status"] == "failed"
    cohort.config["run_arguments"]["partial_cases"] = "use"
    summary = run(cohort)
    assert summary.failed.keys() == {"s3"}
    assert [notice.code for notice in summary.notes["s1"] if "lacks" in notice] == ["partial_case"]
    case = scores(cohort, "s1").case
    assert case is not None
    assert ([slide.slide_id for slide in case.slides], len(case.lacking)) == (["s1"], 1)


def test_a_slide_without_a_case_is_one_of_its_own_which_is_said(tmp_path: Path) -> None:
    cohort = make(tmp_path, ("P1", "", "P1"))
    summary = run(cohort)
    assert not summary.failed
    assert "no_case" in [notice.code for notice in summary.notes["s2"]]
    assert "no_case" not in [notice.code for notice in summary.notes["s1"]]
    assert list(cases_table(cohort)) == ["P1", "s2"]


def refusal(cohort: SmallCohort, **options: Any) -> str:
    with pytest.raises(HeatmapError) as raised:
        Runner(load_config(cohort.write()), RunOptions(**options)).chosen_jobs()
    return str(raised.value)


def test_bad_input_is_refused_in_a_sentence(tmp_path: Path) -> None:
    cohort = make(tmp_path)
    for row in cohort.rows:
        del row["case_id"]
    assert "has no column case_id (or patient_id, patient)" in refusal(cohort)
    cohort = make(tmp_path / "2")
    assert "--slides names s1 of case P1, but not s3" in refusal(cohort, slides=("s1",))
    (cohort.root / "cases.csv").write_text("slide_id,patient\ns1,P1\ns1,P9\n")
    cohort.config["data_arguments"]["cases"] = str(cohort.root / "cases.csv")
    assert "in two cases, 'P1' and 'P9' (line 3)" in refusal(cohort)
    (cohort.root / "cases.csv").write_text("slide_id,patient\ns1,P9\n")
    assert "s1 is in two cases: 'P1' in column case_id (line 2), 'P9' in" in refusal(cohort)
    (cohort.root / "cases.csv").write_text("slide_id,patient\ns1,\n")
    assert "has a row without patient (line 2)" in refusal(cohort)
    del cohort.config["data_arguments"]["cases"]
    cohort.rows.append({"slide_id": "s1", "label": "a", "case_id": "P2"})
    assert "s1 is in two cases, 'P1' (line 2) and 'P2' (line 5)" in refusal(cohort)
    cohort.rows.pop()
    cohort.rows[2]["label"] = "b"
    problems = Runner(load_config(cohort.write())).problems()
    words = "case P1 has two labels: a (s1, line 2) and b (s3, line 4); all slides of a case have one"
    assert problems == {"s1": words, "s3": words}
    cohort.rows[2]["label"] = "a"
    cohort.config["heatmap_arguments"]["use_roi"] = True
    for row, box in zip(cohort.rows, ("0", "0", ""), strict=True):
        row |= {"x1": box, "y1": "0", "x2": "500", "y2": "500"}
    problems = Runner(load_config(cohort.write())).problems()
    assert "lacks s3: use_roi is on, but x1 of the box is missing" in problems["s1"]


def test_features_of_two_widths_or_encoders_are_no_case(tmp_path: Path) -> None:
    cohort = make(tmp_path)
    write_features(cohort.features / "s3.h5", 3, width=8)
    assert "features of s1 are 16 wide, of s3 8; one encoder is needed" in run(cohort).failed["s1"]
    write_features(cohort.features / "s3.h5", 3)
    for slide, encoder in (("s1", "uni_v1"), ("s3", "uni_v2")):
        with h5py.File(cohort.features / f"{slide}.h5", "r+") as file:
            file["features"].attrs["encoder"] = encoder
    assert "features of s1 are of uni_v1, of s3 of uni_v2; one encoder" in run(cohort).failed["s3"]


def test_a_model_that_asks_for_coordinates_refuses_several_slides(tmp_path: Path) -> None:
    cohort = make(tmp_path)
    (tmp_path / "own.py").write_text(
        "import torch\n"
        "class Own(torch.nn.Module):\n"
        "    in_dim, num_classes = 16, 2\n"
        "    def forward(self, x, coords):\n"
        "        return x[0].mean(0)[:2], x[0, :, 0]\n"
    )
    cohort.config["model_arguments"] = {"model_class": f"{tmp_path / 'own.py'}:Own", "device": "cpu"}
    summary = run(cohort)
    assert summary.processed == ["s2"]  # a case of one slide has one frame
    assert "asks where patches lie" in summary.failed["s1"]


def test_shards_and_limits_keep_a_case_together(tmp_path: Path) -> None:
    from mil_heatmaps.cohort.shards import Shard

    cohort = make(tmp_path)
    for count in (2, 3, 5):
        parts = [Runner(load_config(cohort.write()), RunOptions(shard=Shard(n, count))) for n in range(1, count + 1)]
        chosen = [[job.slide_id for job in part.chosen_jobs()] for part in parts]
        assert sum(map(len, chosen)) == 3
        assert any({"s1", "s3"} <= set(part) for part in chosen)
    first = Runner(load_config(cohort.write()), RunOptions(limit=1)).chosen_jobs()
    assert [job.slide_id for job in first] == ["s1", "s3"]


def test_scale_case_with_bags_of_slides_pools_their_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cohort = make(tmp_path, heatmap_arguments={"scale": "case"}, data_arguments={"bag": "slide"})
    assert not run(cohort).failed
    assert scores(cohort, "s1").case is None
    both = np.concatenate([scores(cohort, slide).attention for slide in ("s1", "s3")])
    drawing, ranks = _drawing(cohort, "s1"), both.argsort().argsort() + 1
    np.testing.assert_allclose(drawing.shades, ranks[:48][drawing.patches] / len(both), rtol=1e-12)
    assert asked(cohort, monkeypatch, case_scale, "sha256_file") == 3  # each score file once, however many ask


def test_a_scale_of_cases_without_anything_that_names_them_is_refused(tmp_path: Path) -> None:
    cohort = make(tmp_path)
    del cohort.config["data_arguments"]["process_list"]
    with pytest.raises(ConfigError, match="nothing says which slides belong together"):
        load_config(cohort.write())

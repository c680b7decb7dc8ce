"""Faithfulness through the pipeline: measured after the scores, told everywhere, redone alone."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mil_heatmaps.config.config import load_config
from mil_heatmaps.errors import ConfigError, ModelError
from mil_heatmaps.features.read import read_features
from mil_heatmaps.models.base import MILModel
from mil_heatmaps.records.finished_run import RunTable
from mil_heatmaps.records.slide_record import SlideRecord
from mil_heatmaps.visualization import figure
from tests.helpers.cohort import PATCH, SmallCohort
from tests.helpers.faithfulness import cohort_of, document, run, small_abmil
from tests.helpers.small_models import small_model

pytestmark = pytest.mark.usefixtures("no_curves")


def stages_done(cohort: SmallCohort) -> set[str]:
    """Return the stages that a run does again."""
    before = SlideRecord.load(cohort.record("s1"), "s1").stages
    run(cohort)
    after = SlideRecord.load(cohort.record("s1"), "s1").stages
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def maps_of(cohort: SmallCohort) -> dict[Path, tuple[bytes, int]]:
    """Return scores and maps with their times; not the figure, nor what was measured."""
    found = [*cohort.production.rglob("s1_0.0_*.jpg"), *cohort.raw.rglob("s1_blockmap.*")]
    assert found
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in found}


def test_a_run_tells_the_numbers_of_the_model_itself(tmp_path: Path, words: list[figure.FigureText]) -> None:
    cohort = cohort_of(tmp_path, slides=2, heatmap_arguments={"figure": True})
    summary = run(cohort)
    found = document(cohort)
    model = small_abmil(cohort)
    bag = read_features(cohort.features / "s1.h5")
    expected = model.faithfulness(bag, ["attention"], ["a", "b"], mpp=0.5).as_dict()
    assert (found["slide_id"], len(found["checkpoint_sha256"])) == ("s1", 64)
    assert {k: v for k, v in found.items() if k not in ("slide_id", "checkpoint_sha256", "seconds")} == {
        k: v for k, v in expected.items() if k != "seconds"
    }
    text = words[0].faithfulness
    assert text is not None
    entry = found["maps"]["attention"]
    assert (text.sentence, text.method, text.verdict) == (entry["foot"], entry["method"], entry["verdict"])
    row = cohort.process_list()["s1"]
    assert (row["faithfulness"], row["faithfulness_sentence"]) == (entry["verdict"], entry["foot"])
    assert float(row["faithfulness_srg"]) == pytest.approx(entry["srg"], rel=1e-5)
    with (cohort.root / "results" / "list.csv").open() as file:
        assert not [name for name in next(csv.reader(file)) if name.startswith("faithfulness")]  # CLAM's table
    with (cohort.root / "results" / "E_faithfulness.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["slide_id"], row["score"], row["drawn"]) for row in rows] == [
        ("s1", "attention", "True"), ("s2", "attention", "True"),
    ]  # fmt: skip
    assert float(rows[0]["srg"]) == entry["srg"]
    assert summary.faithfulness is not None
    assert summary.faithfulness.maps[0].measured == 2
    assert summary.faithfulness.picture is not None
    assert summary.faithfulness.picture.is_file()
    assert (cohort.raw / "a" / "s1" / "s1_faithfulness.png").is_file()
    told = RunTable(cohort.raw / "process_list.csv").outcomes()["s1"]
    assert told.faithfulness[0] == entry["verdict"]
    assert told.classes == ("b", "a")


def test_without_the_section_nothing_is_measured(tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path, faithfulness_arguments={})
    summary = run(cohort)
    assert summary.faithfulness is None
    assert not list(tmp_path.rglob("*faithfulness*"))
    assert "faithfulness" not in cohort.process_list()["s1"]


def test_a_change_of_the_measurement_redoes_neither_scores_nor_maps_but_the_figure(
    tmp_path: Path, words: list[figure.FigureText]
) -> None:
    cohort = cohort_of(tmp_path, heatmap_arguments={"figure": True}, faithfulness_arguments={})
    run(cohort)
    before = maps_of(cohort)
    cohort.config["faithfulness_arguments"] = {"level": "quick"}
    assert stages_done(cohort) == {"faithfulness", "heatmap"}
    cohort.config["faithfulness_arguments"]["random_orders"] = 3
    assert stages_done(cohort) == {"faithfulness", "heatmap"}
    assert [text.faithfulness is None for text in words] == [True, False, False]
    assert maps_of(cohort) == before
    assert stages_done(cohort) == set()
    del cohort.config["faithfulness_arguments"]
    assert stages_done(cohort) == {"faithfulness", "heatmap"}  # no longer on record; the figure is without the sentence
    assert words[-1].faithfulness is None
    assert maps_of(cohort) == before
    cohort.config["heatmap_arguments"]["alpha"] = 0.6
    run(cohort)
    assert maps_of(cohort) != before


def test_notices_of_the_maps_stay_in_a_figure_that_is_written_again(
    tmp_path: Path, words: list[figure.FigureText]
) -> None:
    cohort = cohort_of(tmp_path, heatmap_arguments={"figure": True}, faithfulness_arguments={})
    run(cohort)
    cohort.config["faithfulness_arguments"] = {"level": "quick"}
    run(cohort)
    assert words[0].notices
    assert words[1].notices == words[0].notices


def test_what_fails_in_measuring_fails_its_row_never_the_slide_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort = cohort_of(tmp_path)

    def fails(*_: Any, **__: Any) -> Any:
        raise ModelError("no memory for it")

    with monkeypatch.context() as patch:
        patch.setattr(MILModel, "faithfulness", fails)
        run(cohort)
    entry = document(cohort)["maps"]["attention"]
    assert (entry["status"], entry["error"]) == ("failed", "no memory for it")
    row = cohort.process_list()["s1"]
    assert (row["status"], row["faithfulness"]) == ("processed", "failed")
    assert "faithfulness of attention not measured: no memory for it" in row["notes"]
    with (cohort.root / "results" / "E_faithfulness.csv").open() as file:
        (listed,) = csv.DictReader(file)
    assert (listed["status"], listed["error"], listed["srg"]) == ("failed", "no memory for it", "")
    assert "faithfulness" in stages_done(cohort)
    assert document(cohort)["maps"]["attention"]["status"] == "measured"
    assert stages_done(cohort) == set()


def test_evidence_is_outlined_saved_and_exported_when_asked_for(
    tmp_path: Path, words: list[figure.FigureText]
) -> None:
    cohort = cohort_of(
        tmp_path, heatmap_arguments={"figure": True, "evidence": "outline"}, export_arguments={"geojson": True}
    )
    run(cohort)
    entry = document(cohort)["maps"]["attention"]
    count = entry["evidence"]["p90_of_full"]["patches"]
    outline = words[0].evidence
    assert outline is not None
    assert f"{count} patch" in outline.words
    assert "sufficient for this model" in outline.words
    assert outline.outlines_l0.contours_l0
    (folder,) = cohort.production.rglob("evidence")
    assert len(list(folder.glob("[0-9]*.png"))) == count
    (path,) = cohort.production.rglob("s1.geojson")
    stored = json.loads(path.read_text())
    assert stored["faithfulness"]["sentence"] == entry["foot"]
    sets = [f["properties"] for f in stored["features"] if "Evidence" in f["properties"].get("name", "")]
    assert sum(s["measurements"]["Patches"] for s in sets) == count
    with h5py.File(cohort.raw / "a" / "s1" / "s1_blockmap.h5") as file:
        top = np.argsort(-np.asarray(file["attention_scores"])[:, 0], kind="stable")[:count]
        corners = set(map(tuple, np.asarray(file["coords"])[top].tolist()))
    saved = {tuple(map(int, p.stem.split("_x_")[1].split("_a_")[0].split("_y_"))) for p in folder.glob("[0-9]*.png")}
    assert saved == corners


def test_evidence_needs_a_measurement(tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path, heatmap_arguments={"evidence": "outline"}, faithfulness_arguments={"level": "none"})
    with pytest.raises(ConfigError, match="evidence is outline, but evidence sets come from measuring"):
        load_config(cohort.write())


def test_exports_that_tell_it_are_written_again_and_no_other(tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path, export_arguments={"geojson": True, "csv": True, "png": True})
    run(cohort)
    times = {path.name: path.stat().st_mtime_ns for path in cohort.production.rglob("exports/*")}
    cohort.config["faithfulness_arguments"]["random_orders"] = 4
    run(cohort)
    after = {path.name: path.stat().st_mtime_ns for path in cohort.production.rglob("exports/*")}
    assert {name for name, time in after.items() if time != times[name]} == {"s1.geojson"}
    assert after.keys() == times.keys()
    assert stages_done(cohort) == set()


def test_the_dry_run_tells_the_cost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from mil_heatmaps.cli.create_heatmaps import main

    cohort = cohort_of(tmp_path)
    main(["--config", str(cohort.write()), "--dry-run"])
    told = capsys.readouterr().out
    assert "  faithfulness compute" in told
    assert "faithfulness: exact, about one forward" in told


def test_a_stopped_measurement_goes_on_where_it_was(tmp_path: Path) -> None:
    from mil_heatmaps.explain.watch import Watch
    from mil_heatmaps.stages.partial_results import PartialResults

    model, bag = small_model("transmil"), np.random.default_rng(0).normal(size=(40, 24)).astype(np.float32)
    maps = {"mine": bag[:, 0], "other": np.where(np.arange(40) < 5, np.nan, bag[:, 1])}
    whole = model.faithfulness(bag, maps, level="quick", settings={"steps": 4, "random_orders": 2}).as_dict()
    partial = PartialResults(tmp_path / "part.npz", {"model": 1})

    def stop(what: str, done: int, total: int) -> None:
        if what.startswith("group 1") and done == 5:
            raise KeyboardInterrupt

    def measured(watch: Watch) -> dict[str, Any]:
        found: dict[str, Any] = model.faithfulness(
            bag, maps, level="quick", settings={"steps": 4, "random_orders": 2}, watch=watch
        ).as_dict()
        return found

    with pytest.raises(KeyboardInterrupt):
        measured(Watch(tell=stop, save=partial.save, load=partial.load, every_s=0))
    again = PartialResults(tmp_path / "part.npz", {"model": 1})
    found = measured(Watch(load=again.load))
    assert found["forwards"] < whole["forwards"]
    assert found["maps"] == whole["maps"]
    assert PartialResults(tmp_path / "part.npz", {"model": 2}).load("group 1, curves 0") is None


def test_two_runs_compared_tell_what_each_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from mil_heatmaps.cli.create_heatmaps import main

    cohort = cohort_of(tmp_path)
    run(cohort)
    raw = str(cohort.root / "raw" / "E")
    assert main(["--compare", raw, raw, "--output_dir", str(tmp_path / "cmp")]) == 0
    with (tmp_path / "cmp" / "comparison.csv").open() as file:
        (row,) = csv.DictReader(file)
    entry = document(cohort)["maps"]["attention"]
    assert (row["faithfulness_a"], row["faithfulness_sentence_b"]) == (entry["verdict"], entry["foot"])
    assert f"  b: {entry['foot']}" in capsys.readouterr().out


def test_the_viewer_outlines_the_evidence_set_of_the_drawn_map_when_asked(tmp_path: Path) -> None:
    from mil_heatmaps.viewer.content import Content
    from mil_heatmaps.viewer.run_folder import catalog_of_runs

    cohort = cohort_of(
        tmp_path, heatmap_arguments={"evidence": "outline"},
        faithfulness_arguments={"scores": ["attention", "class_contribution"]},
    )  # fmt: skip
    run(cohort)
    content = Content(catalog_of_runs([cohort.raw]))
    layers = {layer["score"]: layer.get("evidence") for layer in content.describe(0)["layers"]}
    content.close()
    assert layers["class_contribution"] is None
    rings = layers["attention"]
    count = document(cohort)["maps"]["attention"]["evidence"]["p90_of_full"]["patches"]
    area = sum(abs(shoelace(np.array(ring).reshape(-1, 2))) for ring in rings)
    assert area == count * PATCH**2


def shoelace(points: np.typing.NDArray[np.int64]) -> float:
    x, y = points.T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2

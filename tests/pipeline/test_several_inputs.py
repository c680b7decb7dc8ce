"""Models with several bags through the pipeline: files, pictures and measurements of each bag, and what is missing."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mil_heatmaps.config.config import load_config, make_config
from mil_heatmaps.errors import ConfigError, ModelError, ProcessListError
from mil_heatmaps.pipeline.runner import Runner
from mil_heatmaps.scores.score_schema import read_scores
from tests.helpers import features
from tests.helpers.cohort import SIZE, WIDTH, SmallCohort, grid_coords, make_small_cohort, write_features

LAB = """
from torch import nn

class Two(nn.Module):
    num_classes = 2

    def forward(self, bags, coords, extra):
        logits = 4 * bags["x20"][0].mean(0)[:2] + 2 * bags["x5"][0].mean(0)[:2]
        logits = logits + extra["genes"].sum() * logits.new_tensor([0.0, 1.0])
        return logits[None], {name: bag[0, :, 0].softmax(0) for name, bag in bags.items()}

class Plain(nn.Module):
    def forward(self, h):
        return h.mean(1)[:, :2]
"""


def write_coarse(path: Path, seed: int, at: int = 0) -> None:
    coords = grid_coords(patch=256)
    coords = coords[(coords + 256 <= SIZE).all(axis=1)] if at == 0 else coords[-1:]
    values = np.random.default_rng(seed).normal(size=(len(coords), WIDTH)).astype(np.float32)
    features.write(path, values, coords, {"patch_size": 256, "patch_size_level0": 256, "overlap": 0})


def cohort_of(root: Path, **extra: Any) -> SmallCohort:
    root.mkdir(exist_ok=True)
    (root / "lab.py").write_text(LAB)
    cohort = make_small_cohort(root / "c", {"heatmap_arguments": {"score": "leave_one_out", "save_ext": "png"}})
    for number in (1, 2, 3):
        write_coarse(root / "c" / "x5" / f"s{number}.h5", 10 + number)
    cohort.config["data_arguments"]["h5_dir"] = {"x20": str(cohort.features), "x5": str(root / "c" / "x5")}
    cohort.config["data_arguments"]["extra"] = extra or {"genes": ["tp53", "egfr"]}
    cohort.config["model_arguments"] = {"model_class": f"{root / 'lab.py'}:Two", "device": "cpu"}
    cohort.rows = [{**row, "tp53": "0.5", "egfr": str(n)} for n, row in enumerate(cohort.rows)][:1]
    return cohort


def run(cohort: SmallCohort) -> dict[str, str]:
    return Runner(load_config(cohort.write())).run().failed


def test_every_bag_has_its_files_and_their_sum_by_area_is_drawn(tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path)
    cohort.config["heatmap_arguments"]["figure"] = True
    cohort.config["faithfulness_arguments"] = {"level": "quick", "steps": 4, "random_orders": 2, "scores": []}
    cohort.config["export_arguments"] = {"csv": {}, "geojson": {}, "anndata": {"cohort": True}}
    assert run(cohort) == {}
    raw = cohort.raw / "a" / "s1"
    first, x5, total = (read_scores(raw / f"s1_blockmap{end}.h5") for end in ("", "_x5", "_sum"))
    assert (first.grid.size_l0, x5.grid.size_l0) == ((128, 128), (256, 256))
    assert total.scored_as == "sum of x20, x5 by area"
    for corner in ((0, 0), (384, 256)):
        fine, cell = (int(np.flatnonzero((f.grid.coords_l0 == corner).all(axis=1))[0]) for f in (first, total))
        (coarse,) = np.flatnonzero((x5.grid.coords_l0 == np.array(corner) // 256 * 256).all(axis=1))
        expected = first.scores.values[fine] + x5.scores.values[coarse] / 4
        np.testing.assert_allclose(total.scores.values[cell], expected, rtol=1e-5)
    with (raw / "s1_inputs.csv").open(newline="") as file:
        rows = {row["input"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["x20", "x5", "genes"]
    sign = 1 if rows["genes"]["target"] == "b" else -1
    assert float(rows["genes"]["effect"]) == pytest.approx(0.5 * sign, abs=1e-5)
    record = json.loads((raw / "record.json").read_text())
    assert "what each input adds to" in json.dumps(record["stages"]["attention"])
    assert json.loads((raw / "s1_faithfulness_x5.json").read_text())["bag"] == "x5"
    pictures = sorted(path.name for path in cohort.production.rglob("*.png") if "leave_one_out" in path.name)
    assert [name for name in pictures if "_x5" in name and "figure" in name] == ["s1_s_leave_one_out_x5_figure.png"]
    assert len([name for name in pictures if "_sum" in name]) == 2
    _check_exports(cohort, first, x5, total)
    listed = cohort.process_list()["s1"]
    assert {f"effect_of_{name}": float(row["effect"]) for name, row in rows.items()} == pytest.approx(
        {name: float(listed[name]) for name in ("effect_of_x20", "effect_of_x5", "effect_of_genes")}, rel=1e-5
    )
    assert listed["patches_of_x5"] == str(len(x5.grid))
    measured = next((cohort.root / "results").glob("*faithfulness.csv")).read_text()
    assert "s1,leave_one_out of x5," in measured
    from mil_heatmaps.viewer.run_folder import catalog_of_runs

    (entry,) = catalog_of_runs([cohort.raw], [cohort.slides]).slides
    assert [named.title for named in entry.scores] == ["x20", "x5", "sum"]
    names = [named.faithfulness.name for named in entry.scores[:2]]
    assert names == ["s1_faithfulness.json", "s1_faithfulness_x5.json"]
    before = cohort.outputs()
    assert run(cohort) == {}
    assert cohort.outputs() == before
    del cohort.config["export_arguments"]
    cohort.config["heatmap_arguments"]["figure"] = False
    del cohort.config["faithfulness_arguments"]
    cohort.rows[0]["egfr"] = "3"
    assert run(cohort) == {}
    assert cohort.outputs() != before
    cohort.config["heatmap_arguments"]["score"] = "single"
    assert run(cohort) == {}
    assert not (raw / "s1_blockmap_sum.h5").exists()
    assert "are not summed" in (raw / "record.json").read_text()


def _check_exports(cohort: SmallCohort, *files: Any) -> None:
    """Every bag and the sum have exports of their own, with their own patches and what was measured of them."""
    folder = cohort.production / "a" / "exports"
    for end, file in zip(("", "_x5", "_sum"), files, strict=True):
        with (folder / f"s1{end}_scores.csv").open(newline="") as table:
            assert [float(row["x"]) for row in csv.DictReader(table)] == file.grid.coords_l0[:, 0].tolist()
        told = json.loads((folder / f"s1_s_leave_one_out{end}.geojson").read_text())
        tiles = [one for one in told["features"] if one["properties"].get("objectType") == "tile"]
        assert len(tiles) == len(file.grid)
        joined = cohort.production / f"cohort{end}.h5ad"
        assert (folder / f"s1{end}.h5ad").is_file()
        assert joined.is_file()
    script = (cohort.production / "qupath_import.groovy").read_text()
    assert "/(_[sc]_.*|_x5|_sum)?" in script


def test_a_bag_or_a_number_that_is_missing_fails_its_slide_by_name(tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path)
    cohort.rows = [{"slide_id": f"s{n}", "label": "a", "tp53": text, "egfr": "1"}
                   for n, text in ((1, "1"), (2, "high"), (3, ""))]  # fmt: skip
    (tmp_path / "c" / "x5" / "s1.h5").unlink()
    failed = Runner(load_config(cohort.write())).problems()
    assert "s1 lacks the bag x5: no feature" in failed["s1"]
    assert "tp53 of s2 in the process list is 'high', which is no number" in failed["s2"]
    assert "tp53 of s3 in the process list is empty" in failed["s3"]
    cohort.config["data_arguments"]["extra"] = ["tp35"]
    assert "needs the column 'tp35', which the process list lacks; did you mean 'tp53'" in \
        Runner(load_config(cohort.write())).problems()["s2"]


def test_bags_of_different_slides_are_refused(tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path)
    write_coarse(tmp_path / "c" / "x5" / "s1.h5", 4, at=1)
    coords = grid_coords()
    write_features(cohort.features / "s1.h5", 1, coords=coords[coords.max(axis=1) < 300])
    assert "cover different places (0% in common)" in run(cohort)["s1"]


def test_a_class_and_a_config_of_different_numbers_of_bags_are_refused(tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path)
    cohort.config["model_arguments"]["model_class"] = f"{tmp_path / 'lab.py'}:Plain"
    with pytest.raises(ModelError, match=r"gives the bags x20, x5, but .*Plain takes one"):
        run(cohort)
    cohort = cohort_of(tmp_path / "other")
    cohort.config["data_arguments"]["h5_dir"] = str(cohort.features)
    del cohort.config["data_arguments"]["extra"]
    with pytest.raises(ModelError, match="takes bags: give h5_dir as a mapping"):
        run(cohort)


def test_numbers_may_come_from_a_table_by_slide_or_by_case(tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path)
    (tmp_path / "genes.csv").write_text("case_id,a,b\nP1,0.5,2\nP2,1,1\n")
    cohort.config["data_arguments"]["extra"] = str(tmp_path / "genes.csv")
    assert "the process list does not say the case of s1" in Runner(load_config(cohort.write())).problems()["s1"]
    cohort.rows[0]["case_id"] = "P1"
    assert Runner(load_config(cohort.write())).cohort.jobs["s1"].extra == {"genes": (0.5, 2.0)}
    cohort.rows[0]["case_id"] = "P3"
    assert "has no row of 'P3'" in Runner(load_config(cohort.write())).problems()["s1"]
    (tmp_path / "genes.csv").write_text("slide_id,a\ns1.svs,7\n")
    assert Runner(load_config(cohort.write())).cohort.jobs["s1"].extra == {"genes": (7.0,)}
    (tmp_path / "genes.csv").write_text("name,a\ns1,7\n")
    with pytest.raises(ProcessListError, match="has no column slide_id or case_id; it has name, a"):
        Runner(load_config(cohort.write()))


@pytest.mark.parametrize(
    ("data", "model", "message"),
    [
        ({}, {"model_class": None, "ckpt_path": "m.pt"}, "is a mapping, but data_dir is none .* only a model_class"),
        ({"h5_dir": "."}, {}, "extra needs bags with names: write h5_dir as a mapping"),
        ({"extra": {"x5": ["a"]}}, {}, "names 'x5', which is a bag of h5_dir too"),
        ({"extra": 7}, {}, "must be columns of the process list, a CSV, or a mapping"),
        ({"h5_dir": {"sum": "."}}, {}, "names a bag 'sum'"),
        ({"patch_size_level0": 256}, {}, "bags have patches of their own sizes"),
        ({}, {"model_class": None, "slide_encoder": "a:b", "head": "h.npz"}, "a slide_encoder takes one bag a slide"),
    ],
)
def test_keys_that_do_not_go_together_are_refused(data: Any, model: Any, message: str) -> None:
    given = {"data_dir": ".", "h5_dir": {"x20": ".", "x5": "."}, "extra": {"g": ["a"]}} | data
    named = {key: value for key, value in ({"model_class": "lab:M"} | model).items() if value is not None}
    with pytest.raises(ConfigError, match=message):
        make_config({"data_arguments": given, "model_arguments": named}, check_files=False)


@pytest.mark.parametrize("scale", ["case", "cohort"])
def test_every_bag_has_the_scale_of_its_own_scores(tmp_path: Path, scale: str) -> None:
    """Two slides of one case: percentiles of a bag are among that bag's patches of both."""
    from mil_heatmaps.records.slide_record import SlideRecord
    from mil_heatmaps.scores.percentiles import rank_percentiles
    from mil_heatmaps.stages.base import SlideWork
    from mil_heatmaps.stages.score_columns import planned_bag_maps

    cohort = cohort_of(tmp_path)
    cohort.rows = [{"slide_id": f"s{n}", "label": "a", "tp53": "0.5", "egfr": "1", "case_id": "P"} for n in (1, 2)]
    cohort.config["heatmap_arguments"] |= {"scale": scale, "normalize": "percentile", "segment": False}
    cohort.config["run_arguments"] = {"workers": 1, "isolate": "never"}
    runner = Runner(load_config(cohort.write()))
    assert runner.run().failed == {}
    job = runner.cohort.jobs["s1"]
    with SlideWork(job, runner.settings, SlideRecord.load(job.paths.record, "s1")) as work:
        planned = {one.column.bag: one for one in planned_bag_maps(work)}
    for bag in ("x5", "sum"):
        parts = [read_scores(cohort.raw / "a" / s / f"{s}_blockmap_{bag}.h5").scores.values[:, 0] for s in ("s1", "s2")]
        ranks = rank_percentiles(np.concatenate(parts))[: len(parts[0])] / 100
        drawing = planned[bag].drawing
        np.testing.assert_allclose(drawing.shades, ranks[drawing.patches], atol=1e-6)

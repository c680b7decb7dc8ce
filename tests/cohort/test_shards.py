"""A cohort in parts: which slides a shard has, and many shards on one experiment folder."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from mil_heatmaps.cli.create_heatmaps import main
from mil_heatmaps.cli.create_process_list import main as list_main
from mil_heatmaps.cohort.shards import Shard
from mil_heatmaps.config.config import load_config
from mil_heatmaps.errors import ConfigError
from mil_heatmaps.pipeline.runner import Runner, RunOptions
from mil_heatmaps.records.finished_run import RunTable
from mil_heatmaps.records.run_tables import ListKeeper
from mil_heatmaps.records.slide_record import SlideRecord
from tests.helpers.cohort import SmallCohort, make_small_cohort
from tests.helpers.warm import WarmProgram


def test_every_slide_is_in_one_shard_and_they_are_about_even() -> None:
    ids = [f"TCGA-{number:05d}" for number in range(4000)]
    shards = [Shard(number, 16) for number in range(1, 17)]
    counts = Counter(next(shard.number for shard in shards if shard.has(slide_id)) for slide_id in ids)
    assert sum(shard.has(slide_id) for shard in shards for slide_id in ids) == 4000
    assert min(counts.values()) > 200
    assert max(counts.values()) < 300


def test_the_shard_of_a_slide_never_changes() -> None:
    """SHA-256 of the id (here from sha256sum), its first 8 bytes as a number, modulo the count."""
    first_bytes = {
        "s1": 0xE8BC163C82EEE187, "s2": 0xAD328846AA18B32A, "TCGA-A1": 0xFA4FCDFBF17A34D2, "ä": 0x33E6D73FEE82904C,
    }  # fmt: skip
    for name, number in first_bytes.items():
        assert [n for n in range(1, 17) if Shard(n, 16).has(name)] == [1 + number % 16]


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/0", "-1/3", "1/3/5", ""])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="part"):
        Shard.parse(text)


@pytest.mark.slow
def test_many_shards_at_once_leave_what_one_run_leaves(tmp_path: Path, warm: WarmProgram) -> None:
    whole, parts = (make_small_cohort(tmp_path / name) for name in ("whole", "parts"))
    for cohort in (whole, parts):
        cohort.rows = [{"slide_id": f"s{n}.{'svs' if n == 2 else 'tif'}", "label": "a"} for n in (1, 2, 3)]
        cohort.rows.append({"slide_id": "missing", "label": "a"})
    assert main(["--config", str(whole.write())]) == 1
    config = parts.write()
    runs = [
        warm.start("create_heatmaps.py", ["--config", config, "--shard", f"{n}/3"], tmp_path, tmp_path / f"said{n}.txt")
        for n in (1, 2, 3)
    ]
    assert sorted(run.wait().code for run in runs) == [0, 0, 1], [run.said() for run in runs]
    assert parts.outputs() == whole.outputs()  # among them the table of results
    listed = parts.process_list()
    assert [row["status"] for row in listed.values()] == ["processed", "processed", "processed", "failed"]
    before = (parts.raw / "process_list.csv").read_text()
    (parts.raw / "process_list.csv").unlink()
    assert list_main(["--from_run", str(parts.raw)]) == 0
    rebuilt = {row["slide_id"]: row for row in parts.process_list().values()}
    assert {name.partition(".")[0]: row["p_0"] for name, row in listed.items() if row["p_0"]} == {
        name: row["p_0"] for name, row in rebuilt.items()
    }
    (parts.raw / "process_list.csv").write_text(before)
    assert list_main(["--from_run", str(parts.raw)]) == 0
    assert (parts.raw / "process_list.csv").read_text() == before


def test_shards_with_one_scale_for_all_are_run_in_two_steps(tmp_path: Path) -> None:
    whole, parts = (make_small_cohort(tmp_path / name) for name in ("whole", "parts"))
    for cohort in (whole, parts):
        cohort.config["heatmap_arguments"]["scale"] = "cohort"
    assert main(["--config", str(whole.write())]) == 0
    config = load_config(parts.write())
    shards = [Shard(number, 2) for number in (1, 2)]
    with pytest.raises(ConfigError, match="--from_stage heatmap"):
        Runner(config, RunOptions(shard=shards[0]))
    for shard in shards:
        Runner(config, RunOptions(shard=shard, stages=("segment", "coords", "attention"))).run()
    for shard in shards:
        Runner(config, RunOptions(shard=shard, from_stage="heatmap")).run()
    assert parts.outputs() == whole.outputs()


def two_keepers(cohort: SmallCohort) -> tuple[ListKeeper, ListKeeper, Runner]:
    config = load_config(cohort.write())
    runner = Runner(config)
    cohort.raw.mkdir(parents=True)
    (cohort.root / "results").mkdir()
    layout, rows, problems = runner.cohort.layout, runner.cohort.rows, runner.cohort.problems
    keepers = tuple(ListKeeper(layout, rows, problems, config.output_names) for _ in range(2))
    for keeper in keepers:
        keeper.start({})
    return keepers[0], keepers[1], runner


def test_the_list_takes_what_other_runs_wrote_and_never_falls_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mil_heatmaps.records.run_tables.CHEAP_S", 1e9)  # a busy machine would put writing off
    cohort = make_small_cohort(tmp_path)
    cohort.rows[1]["slide_id"] = "s2.svs"
    first, second, runner = two_keepers(cohort)

    def record(slide_id: str, status: str) -> SlideRecord:
        job = runner.cohort.jobs[slide_id]
        summary = {"bag_size": 7, "prediction": {"classes": ["b", "a"], "values": [0.1 + 0.2, 0.7]}}
        return SlideRecord(job.paths.record, slide_id, status, summary=summary)

    first.update(record("s1", "processed"))
    second.update(record("s2", "processed"))
    assert [row["status"] for row in cohort.process_list().values()] == ["processed", "processed", "tbp"]
    first.update(record("s3", "failed"))
    second.update(record("s2", "failed"))
    first.update(record("s1", "failed"))
    rows = cohort.process_list()
    assert [row["status"] for row in rows.values()] == ["failed", "failed", "failed"]
    assert {row["p_0"] for row in rows.values()} == {"0.3"}


def test_a_list_that_somebody_edited_is_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "process_list.csv"
    header = "slide_id,status,failed_stage,error,seconds,bag_size,Pred_0,p_0\n"
    path.write_text(header + "a,processed,,,soon,many,x,y\nb,odd,,,,,,\nc,failed,coords,why,1.5,3,x,0.5\nd,processed\n")
    found = RunTable(path).outcomes()
    assert list(found) == ["a", "c"]
    assert (found["a"].status, found["a"].seconds) == ("processed", None)
    assert (found["c"].error, found["c"].bag_size, found["c"].probabilities) == ("why", 3, (0.5,))
    path.write_text("slide_id,status\na,processed\n")
    assert RunTable(path).outcomes() == {}

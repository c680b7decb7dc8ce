"""Records: what is reused, what is done again, and why."""

import json
import os
from pathlib import Path

import pytest

from mil_heatmaps.files.atomic import atomic_path, remove_abandoned, write_text
from mil_heatmaps.files.digests import file_fingerprint, fingerprint
from mil_heatmaps.records.layout import ExperimentLayout, HeatmapName, safe_name
from mil_heatmaps.records.slide_record import SlideRecord, StageRecord, decide, relative


def record_of(folder: Path, inputs: dict[str, object], name: str = "out.txt", text: str = "result") -> StageRecord:
    write_text(folder / name, text)
    return StageRecord.of(inputs, [folder / name], folder, 0.1, [])


def test_a_stage_never_done_is_computed(tmp_path: Path) -> None:
    assert decide(None, {"a": 1}, tmp_path).action == "compute"


def test_a_stage_with_equal_inputs_and_outputs_is_reused(tmp_path: Path) -> None:
    record = record_of(tmp_path, {"a": 1, "b": {"c": 2}})
    assert decide(record, {"b": {"c": 2}, "a": 1}, tmp_path).action == "reuse"


def test_a_changed_parameter_is_named(tmp_path: Path) -> None:
    record = record_of(tmp_path, {"drawing": {"cmap": "jet", "alpha": 0.4}})
    decision = decide(record, {"drawing": {"cmap": "viridis", "alpha": 0.4}}, tmp_path)
    assert (decision.action, decision.reason) == ("recompute", "changed: drawing.cmap")


def test_a_missing_output_is_named(tmp_path: Path) -> None:
    record = record_of(tmp_path, {"a": 1})
    (tmp_path / "out.txt").unlink()
    assert decide(record, {"a": 1}, tmp_path).reason == "output missing: out.txt"


def test_an_output_of_the_same_size_but_other_content_is_done_again(tmp_path: Path) -> None:
    record = record_of(tmp_path, {"a": 1})
    (tmp_path / "out.txt").write_text("damage")
    os.utime(tmp_path / "out.txt", ns=(1, 1))
    assert decide(record, {"a": 1}, tmp_path).reason == "output changed since: out.txt"


def test_an_output_that_was_only_touched_is_reused(tmp_path: Path) -> None:
    record = record_of(tmp_path, {"a": 1})
    os.utime(tmp_path / "out.txt", ns=(1, 1))
    assert decide(record, {"a": 1}, tmp_path).action == "reuse"


def test_outputs_beside_a_folder_that_is_a_link_are_found(tmp_path: Path) -> None:
    raw, pictures = tmp_path / "out/raw/S", tmp_path / "out/pictures"
    (tmp_path / "disk/far/raw/S").mkdir(parents=True)
    pictures.mkdir(parents=True)
    (tmp_path / "out/raw").symlink_to(tmp_path / "disk/far/raw")
    write_text(pictures / "map.png", "a map")
    record = StageRecord.of({}, [pictures / "map.png"], raw, 0.1, [])
    assert list(record.outputs) == ["../../pictures/map.png"]
    assert decide(record, {}, raw).action == "reuse"
    write_text(pictures / "map.png", "other")
    assert decide(record, {}, raw).reason == "output changed since: map.png"
    (pictures / "map.png").unlink()
    assert decide(record, {}, raw).reason == "output missing: map.png"


def test_a_record_larger_than_one_read_is_read_whole(tmp_path: Path) -> None:
    record = SlideRecord(tmp_path / "record.json", "S", "processed")
    record.stages["coords"] = StageRecord({"words": "x" * 300_000}, "f", {}, 1.0)
    record.save()
    assert SlideRecord.load(record.path, "S") == record


def test_a_record_survives_writing_and_reading(tmp_path: Path) -> None:
    record = SlideRecord(tmp_path / "record.json", "s1", status="processed", seconds=1.5, summary={"bag_size": 3})
    record.stages["segment"] = record_of(tmp_path, {"a": [1, 2]})
    record.save()
    again = SlideRecord.load(record.path, "s1")
    assert again == record
    assert decide(again.stages["segment"], {"a": [1, 2]}, tmp_path).action == "reuse"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"status": "processed"}', '{"stages": 3}'])
def test_a_damaged_record_counts_as_nothing_done(tmp_path: Path, text: str) -> None:
    (tmp_path / "record.json").write_text(text)
    record = SlideRecord.load(tmp_path / "record.json", "s1")
    assert (record.status, record.stages) == ("tbp", {})


def test_a_small_file_is_known_by_content_not_by_time(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("x")
    before = file_fingerprint(path)
    os.utime(path, ns=(5, 5))
    assert file_fingerprint(path) == before
    path.write_text("y")
    assert file_fingerprint(path) != before


def test_a_fingerprint_does_not_depend_on_the_order_of_keys() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})


def test_a_failed_write_leaves_the_old_file_and_no_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic_path(path) as partial:  # noqa: PT012
        partial.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_temporary_files_of_killed_writers_are_removed_and_those_of_living_ones_kept(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "deep" / "a.txt") as partial:
        partial.write_text("x")
        dead = partial.with_name(partial.name.replace(f"-{os.getpid()}-", "-999999999-"))
        dead.write_text("x")
        assert remove_abandoned(tmp_path) == 1
        assert partial.exists()
    assert sorted(entry.name for entry in (tmp_path / "deep").iterdir()) == ["a.txt"]


def test_temporary_files_written_elsewhere_are_removed_when_their_writer_is_known_to_be_dead(tmp_path: Path) -> None:
    halves = [tmp_path / f".a.00000000-{pid}-0123abcd.partial.txt" for pid in (7, 77)]
    for half in halves:
        half.touch()
    assert remove_abandoned(tmp_path, {"00000000-7"}) == 1
    assert [half.exists() for half in halves] == [False, True]


def test_heatmap_names_are_spelt_as_clam_spells_them() -> None:
    name = HeatmapName(0.5, False, False, True, False, 0.4, 1, False, -1)
    assert str(name) == "0.5_roi_0_blur_0_rs_1_bc_0_a_0.4_l_1_bi_0_-1.0"


def test_no_label_or_id_leads_out_of_the_output_folder(tmp_path: Path) -> None:
    layout = ExperimentLayout.of(str(tmp_path / "raw"), str(tmp_path / "prod"), str(tmp_path / "res"), "E", "list.csv")
    slide = layout.slide("S", "../../etc")
    assert slide.record.resolve().is_relative_to((tmp_path / "raw" / "E").resolve())
    sampled = slide.sample_dir("../x", 1, "..")
    assert sampled.resolve().is_relative_to((tmp_path / "prod" / "E").resolve())
    assert layout.results_csv == tmp_path / "res" / "list.csv"


def test_safe_names_are_never_empty_or_dots() -> None:
    assert [safe_name(text) for text in ("", "..", "a/b", "LUAD")] == ["_", "_", "a-b", "LUAD"]


def test_the_record_is_json_a_person_can_read(tmp_path: Path) -> None:
    record = SlideRecord(tmp_path / "record.json", "s1", status="failed", failed_stage="attention", error="why")
    record.save()
    data = json.loads(record.path.read_text())
    assert (data["status"], data["failed_stage"], data["error"]) == ("failed", "attention", "why")


@pytest.mark.parametrize("base", ["/r/E/G/s", "/r", "r/E/s"])
@pytest.mark.parametrize("path", ["G/s/a.h5", "cases/P_scores.h5", "E/cases/P.h5", "E/G", "E/G/s2/b.h5", "E", "E/Gs"])
def test_paths_are_told_as_seen_from_the_slides_folder(base: str, path: str) -> None:
    root = Path("/r" if base.startswith("/") else "r")
    assert relative(root / path, Path(base)) == os.path.relpath(root / path, base)


def test_only_a_record_without_a_result_or_an_error_does_not_wait_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[str] = []
    monkeypatch.setattr("mil_heatmaps.files.atomic._fsync", lambda path: flushed.append(path.name))
    record = SlideRecord(tmp_path / "record.json", "s1", status="running")
    record.save()
    assert not flushed
    record.status = "failed"
    record.save()
    assert flushed
    flushed.clear()
    record.status, record.stages["segment"] = "running", StageRecord.of({}, [], tmp_path, 0.1, ())
    record.save()
    assert flushed

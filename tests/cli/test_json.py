"""What `--json` prints is one document that a program reads, and says what the words beside it say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mil_heatmaps.cli.create_heatmaps import main
from mil_heatmaps.cli.generate_heatmaps import main as simple
from tests.helpers.cohort import SmallCohort, make_small_cohort, write_features

DOCUMENT = (Path(__file__).parents[2] / "docs" / "automation.md").read_text(encoding="utf-8")


@pytest.fixture
def cohort(tmp_path: Path) -> SmallCohort:
    return make_small_cohort(tmp_path)


def document(arguments: list[str], capsys: pytest.CaptureFixture[str], code: int = 0, command: Any = main) -> Any:
    capsys.readouterr()
    assert command(arguments) == code
    return json.loads(capsys.readouterr().out)


def keys_of(told: Any) -> set[str]:
    """Return every key of a document, also in lists; keys of mappings by name (slides, stages, tensors) aside."""
    found = set()
    for key, value in told.items():
        found.add(key)
        for item in value if isinstance(value, list) else []:
            if isinstance(item, dict):
                found |= keys_of(item)
    return found


def test_a_dry_run_is_one_document_and_writes_nothing(cohort: SmallCohort, capsys: pytest.CaptureFixture[str]) -> None:
    write_features(cohort.features / "s2.h5", 2, width=24)
    told = document(["--config", str(cohort.write()), "--dry-run", "--json"], capsys, code=1)
    assert not cohort.raw.exists()
    assert (told["format"], told["experiment"], told["would_fail"]) == (1, "E", 1)
    by_name = {slide["slide_id"]: slide for slide in told["slides"]}
    assert list(by_name) == ["s1", "s2", "s3"]
    assert "24 wide" in by_name["s2"]["problem"]
    assert by_name["s1"]["problem"] is None
    first = [stage["stage"] for stage in by_name["s1"]["stages"]]
    assert first == ["segment", "coords", "attention", "heatmap", "samples"]
    assert sum(told["stages"].values()) == sum(len(slide["stages"]) for slide in told["slides"])
    assert all(f"`{key}`" in DOCUMENT for key in keys_of(told))


def test_a_dry_run_after_the_run_reuses_everything_and_the_watch_tells_of_it(
    cohort: SmallCohort, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(cohort.write())
    assert main(["--config", config]) == 0
    told = document(["--config", config, "--dry-run", "--json"], capsys)
    assert set(told["stages"]) == {"reuse"}
    seen = document(["--watch", str(cohort.raw), "--once", "--json"], capsys)
    assert seen["slides"] == 3
    assert seen["statuses"] == {"processed": 3}
    assert seen["at_work"] is False
    (run,) = seen["runs"]
    assert (run["state"], run["done"], run["failed"], run["stopped"]) == ("ended", 3, 0, None)
    assert seen["failures"] == []
    assert all(f"`{key}`" in DOCUMENT for key in keys_of(seen))
    # Without --once the run is over: it is told once, and the command ends.
    assert document(["--watch", str(cohort.raw), "--json"], capsys)["slides"] == 3


def test_a_checkpoint_is_told_and_so_is_one_of_no_known_model(
    cohort: SmallCohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    told = document(["--inspect_checkpoint", str(cohort.checkpoint), "--json"], capsys)
    assert (told["model"], told["loads"], told["classes"], told["feature_width"]) == ("abmil", True, 2, 16)
    assert [score["name"] for score in told["scores"] if score["default"]] == ["attention"]
    assert {score["name"]: score["kind"] for score in told["scores"]}["attention"] == "attention_logit"
    assert told == document(["--inspect_checkpoint", str(cohort.checkpoint), "--json"], capsys, command=simple)
    assert all(f"`{key}`" in DOCUMENT for key in keys_of(told))
    torch.save({"odd.weight": torch.zeros(3, 5)}, tmp_path / "odd.pt")
    odd = document(["--inspect_checkpoint", str(tmp_path / "odd.pt"), "--json"], capsys)
    assert (odd["model"], odd["loads"], odd["tensors"]) == (None, False, {"odd.weight": [3, 5]})
    assert odd["problem"]


def test_the_simple_command_keeps_its_words_off_the_document(
    cohort: SmallCohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--checkpoint", str(cohort.checkpoint), "--h5_dir", str(cohort.features), "--slide_dir",
             str(cohort.slides), "--output_dir", str(tmp_path / "out")]  # fmt: skip
    told = document([*flags, "--dry_run", "--json"], capsys, command=simple)
    assert [slide["slide_id"] for slide in told["slides"]] == ["s1", "s2", "s3"]


@pytest.mark.parametrize("command", [main, simple])
def test_json_alone_is_refused(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["--config" if command is main else "--output_dir", "x", "--json"]) == 2
    assert "--json goes with" in capsys.readouterr().err

"""Configs of strangers, and slips of the hand: a clear message with its line, soon."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from mil_heatmaps.config.config import load_config
from mil_heatmaps.config.yaml_lines import parse_yaml
from mil_heatmaps.errors import ConfigError

NINE = 9
MERGES = "m0: &m0 {k: 1}\n" + "".join(
    f"m{i}: &m{i} {{<<: [{','.join([f'*m{i - 1}'] * NINE)}]}}\n" for i in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MERGES, "merges (<<) more than 10,000 pairs"),
        ("a: &a x\nb: [" + ",".join(["*a"] * 1_001) + "]\n", "more than 1,000 aliases"),
        ("a: 1\nb: x\0y\n", r"line 2 holds the control character '\x00'"),
        ("a: 1\nb: x\x07y\n", r"line 2 holds the control character '\x07'"),
        ("a: 1\nx: !!bool abc\n", "bad YAML at line 2, column 4 of c: 'abc' is no bool"),
        ("x: !!timestamp abc\n", "line 1, column 4 of c: 'abc' is no timestamp"),
        ("x: !!int abc\n", "'abc' is no int"),
        ("x: " + "9" * 5_000 + "\n", "is no int"),
        ("x: 0x" + "f" * 20_000 + "\n", "a number of 20,002 digits"),
        ("a: 1\n" * 60, "and 39 more"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, message: str) -> None:
    started = time.process_time()
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "c")
    assert message in str(caught.value)
    assert len(str(caught.value)) < 3_000
    assert time.process_time() - started < 5  # of this process alone: others may keep the cores busy


def test_a_number_with_colons_is_text_and_merges_that_people_write_hold() -> None:
    values, _ = parse_yaml("a: 1:30\nb: 1:1:1\nbase: &base {x: 1, y: 2}\nc: {<<: *base, y: 3}\nd: 1e-3\n", "c")
    assert values == {"a": "1:30", "b": "1:1:1", "base": {"x": 1, "y": 2}, "c": {"x": 1, "y": 3}, "d": 0.001}


def test_thousands_of_unknown_keys_give_fifty_messages(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("data_arguments:\n  data_dir: .\n" + "".join(f"  k{i}: 1\n" for i in range(300)))
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("more than ")
    assert lines[-1] == "- and 250 more"
    assert len(lines) < 60

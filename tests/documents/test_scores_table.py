"""The table of planted evidence in docs/explanation/scores.md is of the bags it says, and has a row for every score."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mil_heatmaps.explain.settings import EXPLANATIONS
from tests.helpers.explain_golden import needs_golden, toy

DOCS = Path(__file__).parents[2] / "docs"


def module(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[name] = made
    spec.loader.exec_module(made)
    return made


@needs_golden
@pytest.mark.parametrize("seed", [1000, 7])
def test_bags_and_networks_are_those_of_the_specification(seed: int) -> None:
    planted = module("planted_evidence")
    for ours, golden in zip(planted.bag(seed), toy().bag(seed), strict=True):
        np.testing.assert_array_equal(ours, golden)
    for made, expected in ((planted.abmil(), toy().abmil()), (planted.transmil(), toy().transmil())):
        own = made.state_dict()
        assert {key for key, value in own.items() if value.any()} == {k for k, v in expected.items() if v.any()}
        assert all(torch.equal(own[key], value) for key, value in expected.items())
    x = np.random.default_rng(0).normal(size=192).round(1)
    kind = planted.bag(seed)[2]
    assert planted.found_evidence(x, kind) == pytest.approx(toy().auroc2(x, kind))


def test_the_page_has_a_row_for_every_score() -> None:
    page = (DOCS / "explanation" / "scores.md").read_text(encoding="utf-8")
    made = module("make_scores_table")
    rows = page.partition(made.BEGIN)[2].partition(made.END)[0].strip().splitlines()
    assert [row.split("`")[1] for row in rows[2:]] == ["attention", "class_contribution", *EXPLANATIONS]
    assert made.written(page, "\n".join(rows)) == page


@needs_golden
def test_the_table_is_what_the_program_measures() -> None:
    module("planted_evidence")
    made = module("make_scores_table")
    found = made.measure(sys.modules["planted_evidence"].abmil(), ["attention", "leave_one_out"], [1000, 1001])
    assert found["leave_one_out"].mean > 0.9 > 0.65 > found["attention"].mean
    assert (found["leave_one_out"].better, found["attention"].better) == (2, 0)
    text = made.table(found, {"attention": found["attention"]})
    assert text.splitlines()[3].endswith("| 2 of 2 | refused |  |")

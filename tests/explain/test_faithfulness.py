"""What is measured of a map, and what is said where measuring would mean nothing."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mil_heatmaps.errors import ModelError
from mil_heatmaps.explain.curves import area_under, ladder
from mil_heatmaps.explain.evidence import MOST_FORWARDS, area_mm2, least_that_holds
from mil_heatmaps.explain.outputs import choose_outputs
from mil_heatmaps.explain.sentences import check_sentences, number, sign_sentence
from mil_heatmaps.explain.verdicts import p_value, verdict
from mil_heatmaps.features.patch_features import PatchFeatures
from mil_heatmaps.models.abmil import ABMIL
from mil_heatmaps.models.custom import CustomModel
from mil_heatmaps.models.dsmil_original import DSMILOriginal
from mil_heatmaps.models.mil_fc import MILFC
from mil_heatmaps.scores.select import most_relevant_first
from mil_heatmaps.slides.patch_grid import PatchGrid
from tests.helpers.mil_lab_checks import random_features

WIDTH = 12


def abmil(num_classes: int = 2) -> ABMIL:
    torch.manual_seed(0)
    return ABMIL(WIDTH, 16, 8, num_classes=num_classes).double().eval()


class Mean(nn.Module):
    """The mean of the features' first column for class 1 and against class 0: no closed form is known of it."""

    num_classes = 2

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        z = h.mean(dim=1)[:, :1]
        return torch.cat([-z, z], dim=1)


def mean_model() -> CustomModel:
    return CustomModel(Mean(), "Mean")


def strip(values: Any) -> Any:
    """Return features whose first column is `values`."""
    x = np.zeros((len(values), WIDTH), np.float32)
    x[:, 0] = values
    return x


def test_the_ladder() -> None:
    assert ladder(40, 20).tolist() == list(range(0, 40, 2))
    assert ladder(7, 20).tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert ladder(50, 4).tolist() == [0, 13, 25, 38]  # halves go up


def test_orders_leave_nan_out_and_ties_keep_file_order() -> None:
    assert most_relevant_first(np.array([1.0, np.nan, 3.0, 1.0, 3.0])).tolist() == [2, 4, 0, 3]


def test_areas_are_means_of_the_curve() -> None:
    removed = np.array([0, 2, 6])
    assert area_under(np.array([4.0, 4.0, 4.0]), removed, 8) == 4.0
    assert area_under(np.array([1.0, 3.0, 5.0]), removed, 8) == pytest.approx((2 * 2 + 4 * 4) / 6)


def test_verdicts_need_ten_random_orders_beaten_both_ways() -> None:
    random = np.linspace(-3, 4, 10)
    assert verdict(4.1, random) == "better than random"
    assert verdict(4.0, random) == "no better than random"
    assert verdict(-4.1, random) == "worse than random"
    assert p_value(4.1, random) == 1 / 21
    assert p_value(0.0, np.zeros(10)) == 1.0


def test_a_map_of_the_evidence_itself_is_better_and_its_opposite_worse() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(0.4, 1, 60)
    model, x = mean_model(), strip(values)
    found = model.faithfulness(x, {"self": values, "against": -values, "noise": rng.normal(size=60)}, ["a", "b"])
    entries = found.as_dict()["maps"]
    assert [entries[name]["verdict"] for name in entries] == [
        "better than random", "worse than random", "no better than random",
    ]  # fmt: skip
    assert entries["against"]["srg"] == pytest.approx(-entries["self"]["srg"])
    order = np.argsort(-values, kind="stable")
    kept = [2 * values[order[k:]].mean() for k in found.as_dict()["removed"]]
    np.testing.assert_allclose(entries["self"]["morf"]["log_odds"], kept, rtol=1e-4, atol=1e-5)
    assert found.as_dict()["forwards"] == (2 * 3 + 2 * 10) * 19
    assert found.sentence("self").startswith("Removing the top 5 % of this map drops p(b) from ")
    assert found.sentence("against").startswith("Worse than random on this slide: removing its top 5 % raises p(b)")
    assert found.method("self").startswith("20 steps, 10 random orders; SRG ")
    json.dumps(found.as_dict(), allow_nan=False)


def test_the_closed_form_and_forwards_measure_the_same() -> None:
    x, model = 2 * random_features(50, WIDTH), abmil(3)

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.abmil = model

        def forward(self, h: torch.Tensor) -> Any:
            return self.abmil(h)[0]["logits"]

    maps = {name: random_features(50, 1, seed)[:, 0].copy() for seed, name in enumerate("abc")}
    maps["b"][[3, 8]] = np.nan
    exact = model.faithfulness(x, maps, target=1).as_dict()
    plain = CustomModel(Plain(), "Plain").faithfulness(x, maps, target=1).as_dict()
    assert exact["forwards"] == exact["evidence_forwards"] == 0
    assert plain["forwards"] == 2 * (2 + 10) * 19 + 2 * (1 + 10) * 19  # b has a score of fewer patches
    compare(exact["maps"], plain["maps"])
    compare(exact["random"], plain["random"])
    assert exact["maps"]["b"]["scored_patches"] == 48
    assert exact["maps"]["b"]["removed"] != exact["removed"]


def compare(one: Any, other: Any) -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            compare(one[key], other[key])
    elif isinstance(one, list):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)
    elif isinstance(one, float):
        assert one == pytest.approx(other, rel=1e-9, abs=1e-9)
    else:
        assert one == other


def test_a_label_flips_when_its_own_chance_falls_below_a_half() -> None:
    values = np.concatenate([np.full(30, -1.0), np.full(30, 3.0)])  # their mean is 1: b holds, a does not
    model, x = mean_model(), strip(values)
    found = model.faithfulness(x, {"self": values}, ["a", "b"], settings={"task": "multilabel"}).as_dict()
    entry = found["maps"]["self"]
    assert found["target"]["name"] == "b"
    assert found["full"]["probability"] == pytest.approx(1 / (1 + np.exp(-1)), abs=1e-6)
    kept = np.array([np.sort(values)[: 60 - k].mean() for k in found["removed"]])
    assert entry["flip_at"] == found["removed"][int(np.argmax(kept <= 0))] / 60
    assert entry["foot"].startswith("Removing the top 5 % of this map drops p(b) from 0.73 to ")
    other = model.faithfulness(x, {"self": values}, ["a", "b"], target="a", settings={"task": "multilabel"}).as_dict()
    assert other["full"]["probability"] == pytest.approx(1 / (1 + np.e), abs=1e-6)
    assert other["maps"]["self"]["flip_at"] == entry["flip_at"]  # a's logit is minus b's


def test_of_classes_with_a_sigmoid_each_the_largest_is_the_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CustomModel, "independent", True, raising=False)
    values = np.concatenate([np.full(30, -3.0), np.full(30, 1.0)])  # -1 on the whole: a is the class, not b
    found = mean_model().faithfulness(strip(values), {"self": values}, ["a", "b"], target="b").as_dict()
    assert found["task"] == "classification"
    assert found["full"] == pytest.approx({"log_odds": -1, "probability": 1 / (1 + np.e)})  # its own sigmoid's
    assert found["maps"]["self"]["flip_at"] is None
    turned = mean_model().faithfulness(strip(values), {"last": -values}, ["a", "b"], target="b").as_dict()
    kept = np.array([np.sort(values)[k:].mean() for k in turned["removed"]])
    assert turned["maps"]["last"]["flip_at"] == turned["removed"][int(np.argmax(kept > 0))] / 60
    three = choose_outputs(np.array([3.0, 1.0, 2.0]), "abc", targets="b", independent=True)
    assert three.decided(np.array([[3.0, 1.0, 2.0], [0.5, -1.0, 0.2], [1.0, 2.0, 0.0]])).tolist() == [0, 0, 1]


def test_what_means_nothing_is_said_and_not_measured() -> None:
    x, model = random_features(30, WIDTH), abmil()
    few = np.full(30, np.nan)
    few[:12] = np.arange(12)
    found = model.faithfulness(x, {"constant": np.ones(30), "few": few, "none": np.full(30, np.nan)}).as_dict()
    entries = found["maps"]
    assert {name: entry["status"] for name, entry in entries.items()} == {
        "constant": "constant map", "few": "too few patches", "none": "too few patches",
    }  # fmt: skip
    assert entries["constant"]["foot"] == "All patches have the same score: this map shows no order."
    assert entries["few"]["foot"] == "Too few patches (12) to measure."
    assert "srg" not in entries["constant"]
    assert found["random"] == {}


def test_a_long_measurement_is_not_begun_unless_it_is_full() -> None:
    model, x = mean_model(), strip(np.arange(40.0))
    found = model.faithfulness(x, {"map": np.arange(40.0)}, settings={"max_minutes": 0.0})
    assert found.as_dict()["maps"]["map"]["verdict"] == "not measured"
    assert found.as_dict()["foot"].startswith("Faithfulness not measured: about ")
    assert found.as_dict()["foot"].endswith(" here; --faithfulness full does it.")
    assert found.as_dict()["forwards"] == 0
    full = {"max_minutes": 0.0, "steps": 4, "random_orders": 2}
    made = model.faithfulness(x, {"map": np.arange(40.0)}, level="full", settings=full).as_dict()
    assert made["forwards"] == 2 * (1 + 2) * (3 + 1)  # the top 5 % are no step of so short a ladder


def test_maps_by_name_take_the_column_of_the_target() -> None:
    x, model = 2 * random_features(40, WIDTH), abmil(3)
    names = ["attention", "class_contribution", "leave_one_out", "integrated_gradients"]
    by_name = model.faithfulness(x, names, ["a", "b", "c"], target="c")
    scores = model.explain(x, names, ["a", "b", "c"], targets="c").scores
    by_hand = model.faithfulness(
        x, {name: scores[name].values[:, -1] for name in names}, ["a", "b", "c"], target=2
    ).as_dict()
    made = by_name.as_dict()
    assert made["target"] == {"index": 2, "name": "c"}
    assert [entry["drawn"] for entry in made["maps"].values()] == [True, False, False, False]
    compare(made["maps"], by_hand["maps"])


@pytest.mark.parametrize(("task", "output"), [("regression", "value"), ("survival", "risk")])
def test_other_tasks_have_no_probability(task: str, output: str) -> None:
    x, model = random_features(40, WIDTH), abmil(3)
    found = model.faithfulness(x, ["leave_one_out"], settings={"task": task}).as_dict()
    entry = found["maps"]["leave_one_out"]
    assert list(found["full"]) == [output] == list(entry["morf"])
    assert entry["flip_at"] is None
    assert entry["enough_at"] is None
    assert "evidence" not in entry
    assert "srg_probability" not in entry
    assert ("risk" if task == "survival" else "output 0") in entry["foot"]


@pytest.mark.parametrize(
    ("maps", "arguments", "text"),
    [
        ({"m": np.ones(29)}, {}, r"the map 'm' has shape \(29,\); the bag needs \(30,\)"),
        (["nothing"], {}, "has no score 'nothing'"),
        (["attention"], {"level": "slow"}, "unknown level 'slow'; choose from"),
        (["attention"], {"settings": {"orders": 3}}, "unknown setting 'orders' of faithfulness; choose from"),
        (["attention"], {"settings": {"steps": 1}}, "steps must be a whole number of at least 2"),
        (["attention"], {"target": "x"}, "has no target 'x'"),
        (["attention"], {"target": "all"}, "measured of one target"),
        (["attention"], {"target": None}, "has no target None; choose from"),
        (["attention"], {"settings": {"max_minutes": "long"}}, "max_minutes must be a number of at least 0"),
        ({"m": ["high"] * 30}, {}, "the map 'm' holds no numbers, one per patch"),
    ],
)
def test_what_cannot_be_measured_is_refused(maps: Any, arguments: Any, text: str) -> None:
    with pytest.raises(ModelError, match=text):
        abmil().faithfulness(random_features(30, WIDTH), maps, **arguments)
    with pytest.raises(ModelError, match="the checkpoint has no classifier"):
        ABMIL(WIDTH, 16, 8, num_classes=0).faithfulness(random_features(30, WIDTH), ["attention"])


@pytest.mark.parametrize("make", [lambda: abmil(3), lambda: MILFC(WIDTH, 16).eval(), mean_model])
def test_features_that_are_not_finite_are_refused_by_every_measure(make: Callable[[], Any]) -> None:
    """Also where the network takes a maximum, which could pass over the patch."""
    x, model = random_features(30, WIDTH), make()
    x[3, 0] = np.nan
    with pytest.raises(ModelError, match=r"NaN or infinite values of [23] in its logits"):
        model.faithfulness(x, {"m": np.arange(30)})
    for score in ("leave_one_out", "single", "gradient_x_input"):
        with pytest.raises(ModelError, match=r"NaN or infinite values of [23] in its logits"):
            model.explain(x, score)


def test_where_no_probability_follows_from_the_logits_none_is_said() -> None:
    torch.manual_seed(0)
    x, model = random_features(40, WIDTH), DSMILOriginal(WIDTH, "linear", 8, 10, 0, num_classes=3, average=True).eval()
    found = model.faithfulness(x, ["attention"], ["a", "b", "c"], target="b").as_dict()
    assert list(found["full"]) == ["log_odds"] == list(found["maps"]["attention"]["morf"])
    assert re.search("the log-odds of b (from|at) -?[−0-9]", found["foot"])
    assert "evidence" not in found["maps"]["attention"]


def test_a_map_that_is_drawn_is_one_of_those_measured() -> None:
    with pytest.raises(ModelError, match="the drawn map 'attn' is not among the maps to measure: attention"):
        abmil().faithfulness(random_features(30, WIDTH), ["attention"], drawn="attn")


def test_a_map_that_is_zero_but_for_one_patch_says_so() -> None:
    torch.manual_seed(0)
    model, x = MILFC(WIDTH, 16).eval(), random_features(30, WIDTH)
    found = model.faithfulness(x, ["leave_one_out", "gradient_x_input", "single"])
    for name in ("leave_one_out", "gradient_x_input"):
        assert found.sentence(name).endswith(" One patch alone makes this prediction, so every other patch has 0.")
    assert "One patch alone" not in found.sentence("single")
    assert "One patch alone" not in abmil().faithfulness(x, ["leave_one_out"]).sentence("leave_one_out")


def test_the_evidence_set_is_the_fewest_patches_that_suffice() -> None:
    values = np.concatenate([np.full(7, 40.0), np.full(3, 5.0), np.full(90, -0.2)])
    grid = PatchGrid(np.stack([np.arange(100) * 100, np.zeros(100)], axis=1).astype(np.int64), (200, 100), (100, 100))
    features = PatchFeatures(grid, strip(values), None, Path("x.h5"))
    found = mean_model().faithfulness(features, {"self": values}, ["a", "b"], mpp=0.5)
    evidence = found.as_dict()["maps"]["self"]["evidence"]
    assert {key: item["patches"] for key, item in evidence.items()} == {"class": 1, "p90": 1, "p90_of_full": 1}
    assert evidence["class"]["share"] == 0.01
    assert evidence["class"]["mm2"] == pytest.approx(200 * 100 * 0.25 / 1e6)
    assert evidence["class"]["probability"] == pytest.approx(1 / (1 + np.exp(-80)))
    assert found.evidence["self"]["class"].tolist() == [0]
    rising = mean_model().faithfulness(features, {"last": -np.abs(values)}, ["a", "b"]).as_dict()
    turned = rising["maps"]["last"]["evidence"]["class"]
    assert turned["patches"] == 94  # 90 of -0.2 and three of 5 are below zero; with one of 40 they are not
    assert turned["mm2"] is None


@pytest.mark.parametrize("least", [1, 2, 37, 50, 51, 99, 100])
def test_bisection_finds_the_least_that_holds(least: int) -> None:
    counts = np.array([10, 50, 90, 100])
    asked: list[int] = []

    def holds(k: int) -> bool:
        asked.append(k)
        return k >= least

    assert least_that_holds(counts, [k >= least for k in counts], holds) == least
    assert len(asked) <= MOST_FORWARDS
    assert least_that_holds(counts, [False] * 4, holds) is None


def test_areas_count_overlaps_once() -> None:
    corners = np.array([[0, 0], [50, 0], [0, 50], [400, 0], [400, 0]])
    assert area_mm2(corners, (100, 100), 1.0) == pytest.approx((150 * 50 + 150 * 50 + 100 * 50 + 100 * 100) / 1e6)


def test_numbers_and_signs_in_words() -> None:
    words = [number(value, chance=True) for value in (0.999, 0.001, 0.5, 0.994, 0.996)]
    assert words == ["> 0.99", "< 0.01", "0.50", "0.99", "> 0.99"]
    assert number(-1234.5678, chance=False) == "−1235"
    assert sign_sentence("occlusion", "tumour", "classification", "log_odds") == (
        "red raises p(tumour), blue lowers it"
    )
    off = {"complete": [True, False], "residual": [0.001, 0.0142]}
    assert check_sentences("integrated_gradients", off, 1) == ["The map adds up to within 1.4 % only."]
    assert check_sentences("integrated_gradients", off, 0) == []
    assert check_sentences("mask_regression", {"r2": [0.41]}) == [
        "A sum over patches explains only 41 % of the model here."
    ]

"""Curves, areas, verdicts and the whole document are those of an independent program."""

import json
from typing import Any

import numpy as np
import pytest
import torch

from mil_heatmaps.explain.curves import ladder
from tests.helpers.explain_golden import (
    FOLDER,
    PRECISIONS,
    arrays,
    assert_near,
    build,
    features,
    manifest,
    needs_golden,
    settings,
    slow,
    tolerance,
)

pytestmark = needs_golden


@pytest.mark.parametrize("case", [pytest.param(case, marks=slow(case)) for case in manifest()])
@pytest.mark.parametrize("dtype", PRECISIONS)
def test_curves_and_areas(case: str, dtype: torch.dtype) -> None:
    golden, output = arrays(case), manifest()[case]["main_output"]
    names = [key[len("faith_") : -len("_map")] for key in golden if key.startswith("faith_") and key.endswith("_map")]
    maps = {name: golden[f"faith_{name}_map"] for name in names}
    target = int(golden["target"])
    found = build(case, dtype).faithfulness(features(case), maps, target=target, settings=settings(case)).as_dict()
    assert found["removed"] == golden["removed"].tolist() == ladder(len(features(case)), 20).tolist()
    close = tolerance(case, dtype)
    assert_near(found["random"]["srg"], golden[f"faith_random_srg__{output}"], close)
    for name in names:
        mine = found["maps"][name]
        scale = close * max(np.abs(mine["morf"][output]).max(), np.abs(mine["lerf"][output]).max())
        for area in ("auc_morf", "auc_lerf", "srg"):
            assert mine[area] == pytest.approx(float(golden[f"faith_{name}_{area}__{output}"]), abs=scale)
        if f"faith_{name}_srg__probability" in golden:
            assert mine["srg_probability"] == pytest.approx(
                float(golden[f"faith_{name}_srg__probability"]), abs=close
            )
        assert mine["p_value"] == pytest.approx(float(golden[f"faith_{name}_p_value"]))
        for curve in ("morf", "lerf"):
            logits = golden[f"faith_{name}_{curve}_logits"]
            expected = f_of(logits, output, target)
            assert_near(mine[curve][output], expected, close)


def f_of(logits: Any, output: str, target: int) -> Any:
    """Return the output by the specification's words."""
    if output == "risk":
        return -np.cumprod(1 / (1 + np.exp(logits)), axis=-1).sum(axis=-1)
    rest = np.delete(logits, target, axis=-1)
    return logits[:, target] - np.log(np.exp(rest).sum(axis=-1))


def test_the_whole_document_of_the_toy() -> None:
    golden = json.loads((FOLDER / "toy_abmil_faithfulness.json").read_text())
    model = build("toy_abmil", torch.float64)
    rule = {"steps": 32, "max_steps": 32}
    names = ["normal", "tumour"]
    x = features("toy_abmil")
    own = model.explain(x, ["attention", "class_contribution", "leave_one_out"], names, targets=0)
    ig = model.explain(x, "integrated_gradients", names, targets=0, settings=rule).scores["integrated_gradients"]
    maps = {
        "attention": own.scores["attention"].values[:, 0],
        "class_contribution": own.scores["class_contribution"].values[:, 0],
        "leave_one_out": own.scores["leave_one_out"].values[:, 0],
        "integrated_gradients": ig.values[:, 0],
    }
    found = model.faithfulness(x, maps, names).as_dict()
    json.dumps(found, allow_nan=False)
    compare(golden, found, "")
    assert found["foot"] == golden["foot"]


def compare(golden: Any, ours: Any, where: str) -> None:
    """Compare all that the golden document has, except the slide's own fields."""
    if isinstance(golden, dict):
        for key, value in golden.items():
            if key not in ("slide_id", "checkpoint_sha256", "seconds"):
                assert key in ours, f"{where}.{key}"
                compare(value, ours[key], f"{where}.{key}")
    elif isinstance(golden, list):
        assert len(golden) == len(ours), where
        for i, (one, other) in enumerate(zip(golden, ours, strict=True)):
            compare(one, other, f"{where}[{i}]")
    elif isinstance(golden, float):
        assert ours == pytest.approx(golden, rel=1e-7, abs=1e-9), where
    else:
        assert golden == ours, where

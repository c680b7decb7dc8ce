"""The six explanations give what an independent program gave, in both precisions."""

from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.explain_golden import (
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
CASES = [pytest.param(case, dtype, marks=slow(case)) for case in manifest() for dtype in PRECISIONS]


@pytest.mark.parametrize(("case", "dtype"), CASES)
def test_removal_and_gradients_at_the_bag(case: str, dtype: torch.dtype) -> None:
    model, golden = build(case, dtype), arrays(case)
    for output in manifest()[case]["outputs"]:
        found = model.explain(
            features(case), ["leave_one_out", "single", "gradient_x_input"], settings=settings(case, output)
        )
        assert_near(found.full, golden[f"f__{output}"], tolerance(case, dtype))
        for name, score in found.scores.items():
            if f"{name}__{output}" in golden:
                assert_near(score.values, golden[f"{name}__{output}"], tolerance(case, dtype))


@pytest.mark.parametrize(("case", "dtype"), CASES)
def test_integrated_gradients_with_fixed_rules(case: str, dtype: torch.dtype) -> None:
    model, golden, entry = build(case, dtype), arrays(case), manifest()[case]
    for output in entry["outputs"]:
        for steps in (8, 64):
            key = f"integrated_gradients_steps{steps}__{output}"
            # What only the last function of the logits tells apart is compared with few steps where many take long.
            again = steps == 64 and output != entry["main_output"] and (dtype == torch.float32 or slow(case))
            if key not in golden or again:
                continue
            rule = {"steps": steps, "max_steps": steps}
            found = model.explain(features(case), "integrated_gradients", settings=settings(case, output) | rule)
            assert_near(found.scores["integrated_gradients"].values, golden[key], tolerance(case, dtype))
            checks = found.checks["integrated_gradients"]
            assert checks["steps"] == steps
            difference = golden[f"integrated_gradients_difference__{output}"]
            assert_near(checks["difference"], difference, tolerance(case, dtype))
            if dtype == torch.float64 and f"ig{steps}_{output}_residual" in entry["checks"]:
                worst = entry["checks"][f"ig{steps}_{output}_residual"]
                assert max(checks["residual"]) == pytest.approx(worst, abs=1e-9)
                assert all(checks["complete"]) == (worst <= 0.01)
    key = f"integrated_gradients_mean_steps32__{entry['main_output']}"
    if key in golden:
        rule = {"steps": 32, "max_steps": 32, "baseline": "mean"}
        found = model.explain(features(case), "integrated_gradients", settings=settings(case) | rule)
        assert_near(found.scores["integrated_gradients"].values, golden[key], tolerance(case, dtype))


@pytest.mark.parametrize(("case", "dtype"), CASES)
def test_windows_and_masks(case: str, dtype: torch.dtype) -> None:
    model, golden, output = build(case, dtype), arrays(case), manifest()[case]["main_output"]
    places: dict[str, Any] = {"coords_l0": golden["coords"], "step_l0": golden["step"]}
    for window, stride in ((4, 2), (3, 1)):
        chosen = settings(case) | {"window": window, "stride": stride}
        found = model.explain(features(case), "occlusion", settings=chosen, **places)
        name = f"occlusion_w{window}_s{stride}"
        assert_near(found.scores["occlusion"].values, golden[f"{name}__{output}"], tolerance(case, dtype))
        assert found.checks["occlusion"] == {
            "windows": int(golden[f"{name}_windows"]),
            "window": window,
            "stride": stride,
        }
    size = {"masks": 512, "groups": 256} if case.startswith("toy") else {"masks": 128, "groups": 16}
    for kind, where in (("runs", {}), ("squares", places)):
        chosen = settings(case) | size | {"seed": 3}
        found = model.explain(features(case), "mask_regression", settings=chosen, **where)
        name = f"mask_regression_{kind}"
        assert_near(found.scores["mask_regression"].values, golden[f"{name}__{output}"], tolerance(case, dtype))
        assert_near(found.checks["mask_regression"]["r2"], golden[f"{name}_r2"], 1e-5)


@pytest.mark.parametrize("case", list(manifest()))
def test_masks_and_groups_themselves(case: str) -> None:
    from mil_heatmaps.explain.lattice import Lattice
    from mil_heatmaps.explain.removal import patch_groups, random_masks

    golden, n = arrays(case), len(features(case))
    most, masks = (256, 512) if case.startswith("toy") else (16, 128)
    step = int(golden["step"])
    lattice = Lattice.of(golden["coords"], (step, step))
    runs, squares = patch_groups(n, most, None), patch_groups(n, most, lattice)
    np.testing.assert_array_equal(runs, golden["mask_regression_runs_groups"])
    np.testing.assert_array_equal(squares, golden["mask_regression_squares_groups"])
    keep = random_masks(masks, int(runs.max()) + 1, 3)
    np.testing.assert_array_equal(keep[keep.any(axis=1)], golden["mask_regression_masks"])

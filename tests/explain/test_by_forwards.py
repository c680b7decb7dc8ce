"""Families without a closed form give what the definitions say, taken literally, in float64."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from mil_heatmaps.explain.settings import EXPLANATIONS
from mil_heatmaps.models.ilra import ILRA
from mil_heatmaps.models.rrt import RRT
from mil_heatmaps.models.transformer import Transformer
from mil_heatmaps.models.transmil import TransMIL
from mil_heatmaps.models.wikg import WiKG
from tests.helpers.mil_lab_checks import random_features

WIDTH, N = 12, 8
LATTICE = np.stack([np.arange(N) % 4, np.arange(N) // 4], axis=1)
MASKS, SEED = 16, 3
SLOW = ("leave_one_out", "single", "gradient_x_input")
"""What is asked of rrt, which pads a small bag to 64 regions; the other scores take the same two ways."""
FAMILIES: dict[str, Callable[[], Any]] = {
    "ilra": lambda: ILRA(WIDTH, 16, num_heads=2, topk=2, num_classes=2),
    "rrt": lambda: RRT(WIDTH, 16, n_layers=1, n_heads=2, trans_dim=8, num_classes=2),
    "transformer": lambda: Transformer(WIDTH, 16, num_heads=2, num_classes=2),
    "transmil": lambda: TransMIL(WIDTH, 16, num_heads=2, num_classes=2),
    "wikg": lambda: WiKG(WIDTH, 16, topk=3, num_classes=2),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_six_scores(family: str) -> None:
    torch.manual_seed(1)
    model, x = FAMILIES[family]().double().eval(), 2 * random_features(N, WIDTH).astype(np.float64)
    x = x[:4] if family == "rrt" else x

    def f(features: Any) -> Any:
        z = model(torch.as_tensor(features)[None])[0]["logits"][0]
        return z[1] - z[0]

    def of(rows: Any) -> float:
        with torch.no_grad():
            return float(f(x[rows]))

    def slope(alpha: float) -> Any:
        at = torch.from_numpy(alpha * x).requires_grad_()
        return (torch.autograd.grad(f(at), at)[0].numpy() * x).sum(axis=1)

    every = np.arange(len(x))
    full = of(every)
    found = ask(model, x, SLOW if family == "rrt" else tuple(EXPLANATIONS))
    expected = {
        "leave_one_out": [full - of(np.delete(every, i)) for i in every],
        "single": [of([i]) for i in every],
        "gradient_x_input": slope(1.0),
    }
    if family != "rrt":
        expected |= more(of, slope, full)
    assert set(found) == set(expected)
    for name, values in expected.items():
        scale = np.abs(values).max()
        np.testing.assert_allclose(found[name].values[:, 0], values, rtol=0, atol=1e-7 * scale, err_msg=name)


def ask(model: Any, x: Any, names: tuple[str, ...]) -> Any:
    settings = {"steps": 4, "max_steps": 4, "window": 2, "stride": 1, "masks": MASKS, "seed": SEED}
    return model.explain(x, names, targets=1, settings=settings, coords_l0=LATTICE[: len(x)] * 256, step_l0=256).scores


def more(of: Callable[[Any], float], slope: Callable[[float], Any], full: float) -> dict[str, Any]:
    """Return the other three scores: along the way from zero, without windows, and of random halves."""
    every = np.arange(N)
    nodes, weights = np.polynomial.legendre.leggauss(4)
    windows = []
    for column in range(-1, 4):
        for row in range(-1, 2):
            inside = (((column, row) <= LATTICE) & ((column + 2, row + 2) > LATTICE)).all(axis=1)
            windows.append((inside, full - of(every[~inside]) if inside.any() else 0.0))
    half = np.random.default_rng(SEED).random((MASKS // 2, N)) < 0.5
    keep = np.concatenate([half, ~half])
    keep = keep[keep.any(axis=1)]
    y = np.array([of(every[mask]) for mask in keep])
    z = keep - 0.5 - (keep - 0.5).mean(axis=0)
    return {
        "integrated_gradients": sum(w / 2 * slope((node + 1) / 2) for node, w in zip(nodes, weights, strict=True)),
        "occlusion": [np.mean([lost for inside, lost in windows if inside[i]]) for i in every],
        "mask_regression": np.linalg.solve(z.T @ z + 0.01 * len(keep) / 4 * np.eye(N), z.T @ (y - y.mean())),
    }

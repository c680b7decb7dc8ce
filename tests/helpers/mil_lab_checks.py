"""Checks that hold for every model in MIL-Lab's form; each model's tests add only its own."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from mil_heatmaps.layers import bag as bag_module
from mil_heatmaps.layers import streaming
from mil_heatmaps.models.base import Explanation
from tests.helpers.mil_lab_golden import Case, build, load_case

FloatArray = npt.NDArray[np.floating[Any]]


def random_features(n: int, width: int = 24, seed: int = 0) -> npt.NDArray[np.float32]:
    """Return (n, width) float32 normal numbers."""
    return np.random.default_rng(seed).normal(size=(n, width)).astype(np.float32)


def assert_close(ours: Any, golden: FloatArray, float32_error: float = 0.0) -> None:
    """Compare to 1e-5, or to twice MIL-Lab's own float32 error where that is larger, and to 1e-5 relative."""
    ours = ours.detach().numpy() if isinstance(ours, torch.Tensor) else ours
    np.testing.assert_allclose(ours, golden, rtol=1e-5, atol=max(1e-5, 2 * float32_error))


def assert_golden(name: str, logits_key: str = "logits", compare_attention: bool = True) -> tuple[Case, Any]:
    """Compare logits of `forward` and `explain`, and the attention, at every size; return the case and model."""
    case = load_case(name)
    model = build(case)
    error = case.entry["fp32_vs_fp64"]
    for size in [*case.sizes("logits"), len(case.features)]:
        tail = "" if size == len(case.features) else f"_n{size}"
        golden, bag = case.arrays[logits_key + tail], case.features[:size]
        for gradients in (True, False):  # whole and in chunks
            with torch.set_grad_enabled(gradients):
                results, log = model(torch.from_numpy(bag)[None], return_attention=True)
            assert_close(results["logits"], golden, error["logits_abs"])
            if compare_attention:
                assert_close(log["attention"], case.arrays["attention" + tail], error["attention_abs"])
        assert_close(model.explain(bag).logits, golden[0], error["logits_abs"])
    return case, model


def assert_exact_in_double(name: str, logits_key: str = "logits_f64") -> None:
    """Compare with MIL-Lab's float64 run, where the formulas decide and not the rounding."""
    case = load_case(name)
    model = build(case).double()
    with torch.no_grad():
        results, _ = model(torch.from_numpy(case.features)[None].double())
    np.testing.assert_allclose(results["logits"].numpy(), case.arrays[logits_key], rtol=1e-12, atol=1e-12)


def assert_same(one: Explanation, other: Explanation, tolerance: float = 2e-5) -> None:
    """Compare logits and every score of two explanations."""
    assert one.logits is not None
    assert other.logits is not None
    scale = float(np.abs(one.logits).max()) + 1
    np.testing.assert_allclose(other.logits, one.logits, atol=tolerance * scale)
    for name, scores in one.scores.items():
        scale = float(np.abs(scores.values).max())
        np.testing.assert_allclose(other.scores[name].values, scores.values, atol=tolerance * scale)


def assert_chunking_changes_nothing(model: Any, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Explain by every score in one chunk, then in many small ones of sizes that do not divide `n`."""
    model = model.double()
    x = random_features(n, model.in_dim)
    whole = model.explain(x, list(model.score_specs()))
    results, _ = model(torch.from_numpy(x).double())
    np.testing.assert_allclose(whole.logits, results["logits"][0].detach().numpy(), rtol=1e-5, atol=1e-6)
    for rows, chunk_bytes in ((7, 1), (n - 1, 4 * 64 * n)):
        monkeypatch.setattr(bag_module, "CHUNK_ROWS", rows)
        monkeypatch.setattr(streaming, "CHUNK_BYTES", chunk_bytes)
        assert_same(whole, model.explain(x, list(model.score_specs())), tolerance=1e-6)


def assert_trains(model: Any, untouched: tuple[str, ...] = ()) -> None:
    """Compute one step's gradients and require them everywhere except in `untouched` parts."""
    model.train()
    x = torch.from_numpy(random_features(40, model.in_dim))[None]
    results, log = model(x, loss_fn=torch.nn.CrossEntropyLoss(), label=torch.tensor([1]))
    results["loss"].backward()
    assert log["loss"] == results["loss"].item()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert [name for name in without if not name.startswith(untouched or ("-",))] == []


def assert_half_precision_features_are_widened(model: Any) -> None:
    """Explain float16 features and the same numbers as float32."""
    halved = random_features(50, model.in_dim).astype(np.float16)
    assert_same(model.explain(halved.astype(np.float32)), model.explain(halved), tolerance=0)

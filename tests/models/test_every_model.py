"""What holds for every model: how MIL-Lab's callers call, and bags of any size and precision."""

from typing import Any

import numpy as np
import pytest
import torch

from mil_heatmaps.checkpoints.builder import create_model
from tests.helpers.mil_lab_checks import assert_chunking_changes_nothing, assert_half_precision_features_are_widened
from tests.helpers.small_models import SIZES as SMALL
from tests.helpers.small_models import small_model

SIZES: dict[str, dict[str, Any]] = {
    "rrt": {"mlp_dim": 16, "embed_dim": 16, "n_heads": 2, "trans_dim": 8},
    "transmil": {"embed_dim": 16},
}
TYPES = ("abmil", "clam", "dsmil", "dftd", "ilra", "rrt", "transformer", "transmil", "wikg")


def small(name: str) -> Any:
    torch.manual_seed(0)
    return create_model(f"{name}.base.32.none", num_classes=3, **SIZES.get(name, {}))


@pytest.mark.parametrize("name", TYPES)
def test_label_and_loss_may_change_places(name: str) -> None:
    model, x, label, loss = small(name), torch.randn(1, 12, 32), torch.tensor([1]), torch.nn.CrossEntropyLoss()
    results, log = model(x, loss_fn=loss, label=label)
    assert log["loss"] > 0
    for arguments in ((loss, label), (label, loss)):
        again, _ = model(x, *arguments)
        assert torch.equal(again["loss"], results["loss"])


@pytest.mark.parametrize("name", TYPES)
def test_models_run_under_autocast(name: str) -> None:
    model, x = small(name), np.random.default_rng(0).normal(size=(20, 32)).astype(np.float32)
    exact = model.explain(x).logits
    with torch.autocast("cpu", dtype=torch.bfloat16):
        results, _ = model(torch.from_numpy(x), return_attention=True)
        explained = model.explain(x, list(model.score_specs()))
    np.testing.assert_allclose(results["logits"][0].detach().float(), exact, atol=0.1)
    np.testing.assert_allclose(explained.logits, exact, atol=0.1)


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_features_of_another_dtype_are_taken_as_the_weights_need_them(name: str, dtype: torch.dtype) -> None:
    model, x = small(name), torch.randn(1, 12, 32).to(dtype)
    results, _ = model(x)
    expected, _ = model(x.float())
    assert torch.equal(results["logits"], expected["logits"])


CHUNKED: list[tuple[str, int, dict[str, Any]]] = [
    ("abmil", 1000, {"gate": True}),
    ("abmil", 1000, {"gate": False}),
    ("dftd", 150, {}),
    ("dftd", 150, {"distill": "AFS"}),
    ("dftd", 150, {"distill": "MaxMinS", "total_instance": 8, "num_group": 4}),
    ("dftd", 150, {"distill": "MaxS", "total_instance": 4, "num_group": 4}),
    ("dsmil", 150, {"num_fc_layers": 2}),
    ("ilra", 150, {"num_attention_layers": 3}),
    ("rrt", 300, {}),
    ("rrt", 300, {"ffn": True, "da_gated": True}),
    ("transformer", 150, {"num_attention_layers": 3}),
    ("transformer", 150, {"encoder_mlp_dim": -1, "num_fc_layers": 2}),
    ("transmil", 150, {"num_attention_layers": 1}),
    ("transmil", 150, {"num_attention_layers": 3}),
    ("wikg", 200, {"pool": "attn"}),
    ("wikg", 200, {"pool": "mean"}),
    ("wikg", 200, {"pool": "max"}),
]


@pytest.mark.parametrize(("name", "count", "settings"), CHUNKED)
def test_the_chunking_does_not_change_the_result(
    name: str, count: int, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_chunking_changes_nothing(small_model(name, **settings), count, monkeypatch)


@pytest.mark.parametrize("name", SMALL)
def test_half_precision_features_are_widened(name: str) -> None:
    assert_half_precision_features_are_widened(small_model(name))

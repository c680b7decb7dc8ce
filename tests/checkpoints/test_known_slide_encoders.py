"""Slide encoders that the keys of a file tell: CHIEF's pooling as published, and files of others by their names."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mil_heatmaps.checkpoints.known_slide_encoders import known_slide_encoder
from mil_heatmaps.checkpoints.load import identify, load_checkpoint
from mil_heatmaps.errors import CheckpointError
from mil_heatmaps.weights.slide_head import SlideHead

HEAD = SlideHead(np.random.default_rng(0).normal(size=(2, 24)), np.zeros(2), Path("h.npz"))


class Gated(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.attention_a = nn.Sequential(nn.Linear(width, hidden), nn.Tanh(), nn.Dropout(0.25))
        self.attention_b = nn.Sequential(nn.Linear(width, hidden), nn.Sigmoid(), nn.Dropout(0.25))
        self.attention_c = nn.Linear(hidden, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.attention_c(self.attention_a(x) * self.attention_b(x)), x


class Published(nn.Module):
    """CHIEF's layers by the names its checkpoint has, in small sizes."""

    def __init__(self, dropout: bool = True) -> None:
        super().__init__()
        between: list[nn.Module] = [nn.Dropout(0.25)] if dropout else []
        self.attention_net = nn.Sequential(nn.Linear(24, 16), nn.ReLU(), *between, Gated(16, 8))
        self.classifiers = nn.Linear(16, 2)
        self.instance_classifiers = nn.ModuleList(nn.Linear(16, 2) for _ in range(2))
        self.att_head = nn.ModuleDict({"fc1": nn.Linear(16, 8), "fc2": nn.Linear(8, 1)})
        self.register_buffer("organ_embedding", torch.randn(19, 12))
        self.text_to_vision = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Dropout(0.25))

    def pooled(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ``WSI_feature`` and the weights it is the mean by."""
        raw, _ = self.attention_net(x)
        weights = torch.softmax(raw.T, dim=1)
        return (weights @ x)[0], weights[0]


def saved(path: Path, tensors: dict[str, Any]) -> Path:
    torch.save(tensors, path)
    return path


@pytest.mark.parametrize(("dropout", "prefix"), [(True, ""), (False, "module.")])
def test_chief_gives_its_slide_vector_and_its_weights(tmp_path: Path, dropout: bool, prefix: str) -> None:
    published = Published(dropout).eval()
    path = saved(tmp_path / "CHIEF.pth", {prefix + key: value for key, value in published.state_dict().items()})
    model = known_slide_encoder(path, HEAD)
    x = torch.randn(30, 24)
    with torch.no_grad():
        vector, weights = published.pooled(x)
    found = model.explain(x, ["attention"])
    np.testing.assert_allclose(model.vector, vector, atol=1e-6)
    np.testing.assert_allclose(found.scores["attention"].values[:, 0], weights, atol=1e-7)
    assert found.scores["attention"].kind == "attention_softmax"
    assert model.default_score == "occlusion"
    np.testing.assert_allclose(found.logits, HEAD.weight @ vector.double().numpy(), atol=1e-5)


def test_a_file_that_is_not_whole_or_another_encoders_is_refused_by_name(tmp_path: Path) -> None:
    tensors = dict(Published().state_dict())
    with pytest.raises(CheckpointError, match="CHIEF: it makes a vector of the slide: give model_arg"):
        identify(load_checkpoint(saved(tmp_path / "a.pth", tensors)))
    beside = {**tensors, "decoder.weight": torch.ones(3, 3)}
    with pytest.raises(CheckpointError, match=r"has the keys of CHIEF, but it also holds decoder\.weight"):
        known_slide_encoder(saved(tmp_path / "b.pth", beside), HEAD)
    narrow = {**tensors, "attention_net.3.attention_c.weight": torch.ones(1, 5)}
    with pytest.raises(CheckpointError, match=r"has the keys of CHIEF, but attention_net\.3\.attention_c"):
        known_slide_encoder(saved(tmp_path / "c.pth", narrow), HEAD)
    for name, key in (("COBRA", "mamba_enc.layers.0.mamba.A_log"), ("Madeleine", "module.wsi_embedders.pre_attn.0.w")):
        with pytest.raises(CheckpointError, match=f"it is a {name}: .* model_arguments.slide_encoder"):
            known_slide_encoder(saved(tmp_path / f"{name}.pt", {key: torch.ones(4, 4)}), HEAD)
    with pytest.raises(CheckpointError, match="is not a slide encoder that keys tell"):
        known_slide_encoder(saved(tmp_path / "d.pth", {"fc.weight": torch.ones(2, 24)}), HEAD)

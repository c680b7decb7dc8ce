"""Load a public model made by a test, and compare it with the formulas it was made by."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from mil_heatmaps.checkpoints.load import model_from_checkpoint
from tests.helpers.public_models import (
    A,
    Answer,
    D,
    E,
    Maker,
    N,
    head,
    pooled,
    relu,
    sigmoid,
    softmax,
    write,
)  # fmt: skip

Built = tuple[Maker, Answer]

PLAIN = [
    ("attention.0", "attention.2"), ("attention.attention.0", "attention.attention.2"),
    ("attention_net.0", "attention_net.2"),
]  # fmt: skip


def same(model: Any, made: Built) -> Any:
    """Compare logits and every score with the formulas; the closed form and gradients with them too."""
    maker, answer = made
    names = list(model.score_specs())
    found = model.explain(maker.x, names)
    np.testing.assert_allclose(found.logits, answer["logits"], atol=2e-5, rtol=1e-4)
    assert set(names) == set(answer) - {"logits", "chances"}
    for name in names:
        expected = np.asarray(answer[name]).reshape(N, -1)
        np.testing.assert_allclose(found.scores[name].values, expected, atol=2e-5, rtol=1e-4, err_msg=name)
    inputs = torch.from_numpy(maker.x)[None]
    with torch.no_grad():
        np.testing.assert_allclose(model(inputs)[0]["logits"][0], answer["logits"], atol=2e-5, rtol=1e-4)
    return found


def load(made: Built, tmp_path: Path, **settings: Any) -> Any:
    return model_from_checkpoint(write(made[0].weights, tmp_path / "m.pt"), **settings)


def embedding(maker: Maker, key: str, bias: bool = True) -> Any:
    layer = maker.linear(key, D, E, bias)
    return relu(layer(maker.x))


def finish(maker: Maker, h: Any, attention: Any, key: str = "classifier", branches: int = 1) -> Built:
    raw = attention(h)
    weight, rest = head(maker, key, 3, h.shape[1], branches)
    return maker, pooled(h, raw, softmax(raw), weight, rest)


def loads_as(made: Built, tmp_path: Path, **settings: Any) -> Any:
    """Load and compare; return the model."""
    model = load(made, tmp_path, **settings)
    same(model, made)
    return model


def dsmil(version: str, *, values: bool, classes: int = 3, value_relu: bool = False) -> Built:
    maker, x = Maker(), None
    x = maker.x.astype(float)
    c = maker.linear("i_classifier.fc" if version == "linear" else "i_classifier.fc.0", D, classes)(x)
    seen, width = x, D
    if version == "shared":
        seen, width = relu(maker.linear("b_classifier.lin.0", D, D)(x)), D
    if version == "deep":
        q = np.tanh(maker.linear("b_classifier.q.2", A, A)(relu(maker.linear("b_classifier.q.0", D, A)(x))))
    elif version == "shared":
        q = np.tanh(maker.linear("b_classifier.q.0", D, A)(seen))
    else:
        q = maker.linear("b_classifier.q", D, A)(x)
    v = x
    if values:
        v, width = maker.linear("b_classifier.v.1", D, E)(seen), E
        v = relu(v) if version == "deep" or value_relu else v
    shares = softmax(q @ q[c.argmax(0)].T / A**0.5)
    weight = maker.tensor("b_classifier.fcc.weight", classes, classes, width, scale=0.4)
    bias = maker.tensor("b_classifier.fcc.bias", classes)
    contributions = np.einsum("nk,okv,nv->no", shares, weight, v)
    logits = contributions.sum(0) + bias
    answer = {"attention": shares, "instance_logit": c, "class_contribution": contributions, "logits": logits}
    return maker, answer | {"chances": (sigmoid(logits), sigmoid(c.max(0)))}

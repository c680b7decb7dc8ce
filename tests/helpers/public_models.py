"""State dicts in layouts of public repositories, and the models' outputs, in float64 directly by the formulas."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

N, D, E, A = 23, 10, 8, 6
Weights = dict[str, Any]
Answer = dict[str, Any]
"""``logits`` and every score by its name."""


class Maker:
    """Creates and stores layers by key; applies them to rows in float64."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.weights: Weights = {}
        self.x = self.rng.normal(size=(N, D)).astype(np.float32)

    def tensor(self, key: str, *shape: int, scale: float = 1.0) -> Any:
        value = (scale * self.rng.normal(size=shape)).astype(np.float32)
        self.weights[key] = torch.from_numpy(value)
        return value.astype(float)

    def linear(self, key: str, width_in: int, width_out: int, bias: bool = True) -> Callable[[Any], Any]:
        weight = self.tensor(f"{key}.weight", width_out, width_in, scale=1.5 / width_in**0.5)
        shift = self.tensor(f"{key}.bias", width_out, scale=0.3) if bias else 0
        return lambda rows: rows @ weight.T + shift

    def norm(self, key: str, width: int, stored: bool = True) -> Callable[[Any], Any]:
        gamma, beta = 1 + self.tensor(f"{key}.weight", width, scale=0.3), self.tensor(f"{key}.bias", width, scale=0.3)
        self.weights[f"{key}.weight"] = torch.from_numpy(gamma.astype(np.float32))
        gamma = self.weights[f"{key}.weight"].numpy().astype(float)
        if not stored:
            return lambda rows: (rows - rows.mean(0)) / np.sqrt(rows.var(0) + 1e-5) * gamma + beta
        mean = self.tensor(f"{key}.running_mean", width, scale=0.3)
        self.weights[f"{key}.running_var"] = torch.from_numpy(self.rng.uniform(0.5, 2, width).astype(np.float32))
        self.weights[f"{key}.num_batches_tracked"] = torch.tensor(7)
        var = self.weights[f"{key}.running_var"].numpy().astype(float)
        return lambda rows: (rows - mean) / np.sqrt(var + 1e-5) * gamma + beta

    def blocks(self, key: str, count: int, width: int) -> Callable[[Any], Any]:
        made = [
            [self.linear(f"{key}.{b}.block.{place}", width, width, False) for place in (0, 2)] for b in range(count)
        ]

        def run(h: Any) -> Any:
            for one, two in made:
                h = h + relu(two(relu(one(h))))
            return h

        return run

    def gated(self, tanh: str, gate: str, out: str, width: int, branches: int = 1) -> Callable[[Any], Any]:
        one, two = self.linear(tanh, width, A), self.linear(gate, width, A)
        last = self.linear(out, A, branches)
        return lambda h: last(np.tanh(one(h)) * sigmoid(two(h)))

    def plain(self, first: str, second: str, width: int, branches: int = 1) -> Callable[[Any], Any]:
        one, two = self.linear(first, width, A), self.linear(second, A, branches)
        return lambda h: two(np.tanh(one(h)))


def relu(x: Any) -> Any:
    return np.maximum(x, 0)


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def softmax(x: Any, axis: int = 0) -> Any:
    shifted = np.exp(x - x.max(axis=axis, keepdims=True))
    return shifted / shifted.sum(axis=axis, keepdims=True)


def pooled(h: Any, raw: Any, shares: Any, weight: Any, rest: Any) -> Answer:
    """Return the answer of the ABMIL family; `weight` (K, C, E) is the head's, `rest` is added to it."""
    contributions = np.einsum("nk,kce,ne->nc", shares, weight, h)
    answer = {"attention": raw, "attention_softmax": shares, "class_contribution": contributions}
    answer["logits"] = contributions.sum(0) + rest
    return answer | ({"attention_mean": shares.mean(1)} if raw.shape[1] > 1 else {})


def head(maker: Maker, key: str, classes: int, width: int, branches: int = 1, bias: bool = True) -> tuple[Any, Any]:
    """Return a head's weight (K, C, E) and its bias."""
    maker.linear(key, width * branches, classes, bias)
    weight = maker.weights[f"{key}.weight"].numpy().astype(float).reshape(classes, branches, width).transpose(1, 0, 2)
    return weight, maker.weights[f"{key}.bias"].numpy().astype(float) if bias else 0


def write(weights: Any, path: Path, **more: Any) -> Path:
    """Write weights as a checkpoint, in a dict with the entries `more` beside them."""
    torch.save({"state_dict": weights, **more} if more else weights, path)
    return path

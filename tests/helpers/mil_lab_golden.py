"""Read golden/mil_lab: the outputs of MIL-Lab's own models, with the weights rebuilt from their recipe."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from tests.helpers.places import CURE, SHARED

FOLDER = SHARED / "golden" / "mil_lab"
needs_golden = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no golden data in {FOLDER} ({CURE})")


@cache
def manifest() -> dict[str, Any]:
    """Return the description of every case, empty where there is no golden data."""
    path = FOLDER / "manifest.json"
    return dict(json.loads(path.read_text())) if path.is_file() else {}


def case_names(model_type: str) -> list[str]:
    """Return the cases of a type whose arrays are present; use with `parametrize`."""
    return [
        name
        for name, entry in manifest().items()
        if isinstance(entry, dict) and entry.get("type") == model_type and (FOLDER / f"{name}.npz").is_file()
    ]


def generated_tensor(tag: str, key: str, entry: dict[str, Any]) -> npt.NDArray[np.float32]:
    """Return a weight by the README's SplitMix64 recipe, checked against its SHA-256."""
    seed = int.from_bytes(hashlib.sha256(f"{tag}/{key}".encode()).digest()[:8], "little")
    count = int(np.prod(entry["shape"]))
    z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    u = (z >> np.uint64(40)).astype(np.float64) / 2.0**24
    values = (entry["offset"] + entry["scale"] * (2 * u - 1)).astype("<f4").reshape(entry["shape"])
    assert hashlib.sha256(values.tobytes()).hexdigest() == entry["sha256"], key
    return values


@dataclass(frozen=True)
class Case:
    """One golden case: its settings, its weights, its arrays."""

    name: str
    entry: dict[str, Any]
    arrays: dict[str, npt.NDArray[Any]]

    @property
    def features(self) -> npt.NDArray[np.float32]:
        """(N, D) float32."""
        return self.arrays["features"]

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the state dict with MIL-Lab's keys (prefix ``model.``)."""
        tag = self.entry["weights_tag"]
        return {k: torch.from_numpy(generated_tensor(tag, k, e)) for k, e in self.entry["tensors"].items()}

    def config(self, names: Iterable[str]) -> dict[str, Any]:
        """Return the resolved hyper-parameters among `names`."""
        return {name: self.entry["config"][name] for name in names if name in self.entry["config"]}

    def sizes(self, prefix: str) -> list[int]:
        """Return the k for which `<prefix>_n<k>` was recorded: the same weights on the first k patches."""
        return [int(key[len(prefix) + 2 :]) for key in self.arrays if key.startswith(f"{prefix}_n")]


def load_case(name: str) -> Case:
    """Return a case with all its arrays in memory."""
    with np.load(FOLDER / f"{name}.npz") as stored:
        return Case(name, manifest()[name], {key: stored[key] for key in stored.files})


def build(case: Case) -> Any:
    """Return our model of a MIL-Lab case with the case's configuration and weights, in eval mode."""
    from mil_heatmaps.models.registry import constructor_arguments, model_class

    cls = model_class(case.entry["type"])
    model = cls(**case.config(constructor_arguments(cls)))
    model.load_state_dict(case.tensors(), strict=True)
    return model.eval()

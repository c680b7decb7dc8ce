"""Quadratic models stay linear in memory: measured in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PATCHES = 8_000

pytestmark = pytest.mark.slow
DENSE_MB = 4 * PATCHES**2 / 2**20  # one N x N matrix: 244 MB

RUN = """
import json, os, resource, sys
import numpy as np
from mil_heatmaps.checkpoints.builder import create_model

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

def measure(name, patches):
    settings = {"transformer": {"num_heads": 2, "encoder_mlp_dim": 16}}.get(name, {})
    model = create_model(f"{name}.base.16.none", embed_dim=16, **settings)
    features = np.random.default_rng(0).normal(size=(patches, 16)).astype(np.float32)
    model.explain(features[:100], list(model.score_specs()))
    before = peak()
    result = model.explain(features, list(model.score_specs()))
    return {"grew": peak() - before, "said": model.memory_estimate(patches) / 2**20,
            "scores": {name: len(scores) for name, scores in result.scores.items()}}

for name in sys.argv[2:]:  # each in a process of its own, whose peak is its own
    if not (child := os.fork()):
        print(json.dumps([name, measure(name, int(sys.argv[1]))]), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""
NAMES = ["transformer", "wikg"]


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    command = [sys.executable, "-c", RUN, str(PATCHES), *NAMES]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=True)
    return dict(map(json.loads, done.stdout.splitlines()))


@pytest.mark.parametrize("name", NAMES)
def test_no_square_matrix_is_ever_made(name: str, measured: dict[str, Any]) -> None:
    found = measured[name]
    assert set(found["scores"].values()) == {PATCHES}
    assert found["grew"] < DENSE_MB / 2
    assert found["grew"] < found["said"] + 64

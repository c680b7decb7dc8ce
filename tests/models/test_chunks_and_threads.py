"""Scores do not depend on how many rows are taken at once, nor on how many threads add them up."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mil_heatmaps.explain import rows as rows_module
from mil_heatmaps.layers import bag as bag_module
from mil_heatmaps.models.inference import infer
from mil_heatmaps.models.registry import MODULES
from tests.helpers.small_models import EVERY, SIZES, small_model

ROUNDING = 2e-5
"""Of numbers about 1: sums of float32 in another order."""

SLOW = ("occlusion", "mask_regression", "integrated_gradients")
"""Hundreds of the same passes."""


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    threads, chunks = torch.get_num_threads(), (rows_module.CHUNK_ROWS, bag_module.CHUNK_ROWS)
    yield
    torch.set_num_threads(threads)
    rows_module.CHUNK_ROWS, bag_module.CHUNK_ROWS = chunks


def test_every_type_is_among_them() -> None:
    assert set(MODULES) <= set(EVERY)


@pytest.mark.parametrize("name", EVERY)
def test_chunks_and_threads_change_no_score(name: str) -> None:
    model = small_model(name)
    wanted = [score for score in model.score_names() if score not in SLOW]

    @settings(
        max_examples=2 if name in SIZES else 1, deadline=None, derandomize=True, database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )  # fmt: skip
    @given(st.integers(2, 24), st.integers(1, 25), st.integers(1, 4), st.integers(0, 99))
    def check(patches: int, chunk: int, threads: int, seed: int) -> None:
        features = np.random.default_rng(seed).normal(size=(patches, 24)).astype(np.float32)
        rows_module.CHUNK_ROWS = bag_module.CHUNK_ROWS = 4096
        torch.set_num_threads(1)
        prediction, whole = infer(model, features, scores=wanted)
        rows_module.CHUNK_ROWS = bag_module.CHUNK_ROWS = chunk
        torch.set_num_threads(threads)
        again, parts = infer(model, features, scores=wanted)
        if prediction is not None:  # TRIDENT's slide encoders have no classifier
            np.testing.assert_allclose(again.logits, prediction.logits, rtol=0, atol=ROUNDING)
        for key, score in whole.items():
            scale = max(1.0, float(np.nanmax(np.abs(score.values))))
            np.testing.assert_allclose(parts[key].values, score.values, rtol=0, atol=ROUNDING * scale, err_msg=key)

    check()

"""Bags whose answer is known, and two networks that read them: what docs/explanation/scores.md measures its scores on.

192 patches on a lattice of 16 x 12: a blob of evidence for class 1, a blob against it, 12 patches that only draw
attention, the rest neutral. `abmil` has the log-odds -0.5 + 24 sum_i w_i (h_i0 - h_i1) of class 1, with its attention w
highest on the patches that mean nothing. `transmil` has queries and keys of zero, so that its class token reads the
mean of the normalised tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor

COLUMNS, ROWS, STEP_L0 = 16, 12, 256
WIDTH, EMBEDDED = 16, 8
FOR, AGAINST, ATTENDED, NEUTRAL = 1, -1, 2, 0
_CHANNEL = {FOR: 0, AGAINST: 1, ATTENDED: 2, NEUTRAL: 3}
"""Where the features of a kind of patch are raised."""

Bag = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.int64]]


def bag(seed: int) -> Bag:
    """Return features (192, 16), corners (192, 2) in level-0 pixels, and the kind (192,) of each patch."""
    rng = np.random.default_rng(seed)
    patches = COLUMNS * ROWS
    cells = np.stack([np.arange(patches) % COLUMNS, np.arange(patches) // COLUMNS], axis=1)
    sizes = [int(rng.integers(12, 41)) for _ in (FOR, AGAINST)]
    kind = np.full(patches, NEUTRAL)
    for what, size in zip((FOR, AGAINST), sizes, strict=True):
        centre = np.array([rng.uniform(0, COLUMNS), rng.uniform(0, ROWS)])
        distance = ((cells - centre) ** 2).sum(axis=1)
        distance[kind != NEUTRAL] = np.inf
        kind[np.argsort(distance, kind="stable")[:size]] = what
    kind[rng.choice(np.flatnonzero(kind == NEUTRAL), 12, replace=False)] = ATTENDED
    strength = rng.uniform(0.3, 1.7, patches)
    x = np.concatenate([rng.normal(0, 0.25, (patches, 4)), rng.normal(0, 1, (patches, WIDTH - 4))], axis=1)
    for what, channel in _CHANNEL.items():
        x[kind == what, channel] += strength[kind == what]
    return x.astype(np.float32), (cells * STEP_L0).astype(np.int64), kind.astype(np.int64)


def abmil() -> Any:
    """Return the gated ABMIL."""
    from mil_heatmaps.models.abmil import ABMIL

    model, attention = ABMIL(in_dim=WIDTH, embed_dim=EMBEDDED, attn_dim=4, num_classes=2), "model.global_attn."
    _fill(
        model,
        {
            "model.patch_embed.0.weight": _diagonal(EMBEDDED, WIDTH, [1] * 4 + [0.5] * 4),
            f"{attention}attention_a.0.weight": _sparse(
                (4, EMBEDDED), {(0, 2): 1, (1, 0): 1, (1, 1): 1, (2, 4): 0.5, (2, 5): 0.5, (3, 6): 0.5, (3, 7): 0.5}
            ),
            f"{attention}attention_b.0.weight": _sparse((4, EMBEDDED), {(1, 3): -0.5}),
            f"{attention}attention_b.0.bias": _sparse((4,), {(i,): 2 for i in range(4)}),
            f"{attention}attention_c.weight": _sparse((1, 4), {(0, 0): 4, (0, 1): 2, (0, 2): 0.5, (0, 3): -0.5}),
            "model.classifier.weight": _sparse((2, EMBEDDED), {(1, 0): 12, (0, 1): 12, (0, 0): -12, (1, 1): -12}),
            "model.classifier.bias": _sparse((2,), {(0,): 0.25, (1,): -0.25}),
        },
    )
    return model.eval()


def transmil() -> Any:
    """Return the TransMIL."""
    from mil_heatmaps.models.transmil import TransMIL

    model = TransMIL(in_dim=WIDTH, embed_dim=EMBEDDED, num_heads=2, num_classes=2)
    given = {
        "model.patch_embed.0.weight": _diagonal(EMBEDDED, WIDTH, [1] * 4 + [0.2] * 4),
        "model.cls_token": _sparse((1, 1, EMBEDDED), {(0, 0, 6): 1, (0, 0, 7): -1}),
        "model.norm.weight": _sparse((EMBEDDED,), {(i,): 1 for i in range(EMBEDDED)}),
        "model.classifier.weight": _sparse((2, EMBEDDED), {(1, 4): 1.5, (1, 5): -1.5, (0, 4): -1.5, (0, 5): 1.5}),
        "model.blocks.1.attention.to_out.0.weight": _sparse(
            (EMBEDDED, EMBEDDED), {(4, 0): 8, (4, 1): -8, (5, 0): -8, (5, 1): 8}
        ),
    }
    values_alone = {(2 * EMBEDDED + i, i): 1.0 for i in range(EMBEDDED)}
    for block in range(2):
        given[f"model.blocks.{block}.norm.weight"] = given["model.norm.weight"]
        given[f"model.blocks.{block}.attention.to_qkv.weight"] = _sparse((3 * EMBEDDED, EMBEDDED), values_alone)
    _fill(model, given)
    return model.eval()


def found_evidence(values: npt.NDArray[np.floating], kind: npt.NDArray[np.int64]) -> float:
    """Return how well a map (N,) of class 1 finds both blobs: the mean of two areas under the ROC curve.

    Patches for against the rest by the map, patches against it against the rest by minus the map; ties count half.
    0.5 is chance.
    """
    return (_area(values, kind == FOR) + _area(-values, kind == AGAINST)) / 2


def _area(values: npt.NDArray[np.floating], positive: npt.NDArray[np.bool_]) -> float:
    from scipy.stats import mannwhitneyu

    pairs = int(positive.sum()) * int((~positive).sum())
    return float(mannwhitneyu(values[positive], values[~positive]).statistic) / pairs


def _fill(model: Any, given: dict[str, Tensor]) -> None:
    """Set the weights of a model; those that are not given become zero."""
    import torch

    weights = {key: torch.zeros_like(value) for key, value in model.state_dict().items()}
    model.load_state_dict(weights | given)


def _sparse(shape: tuple[int, ...], entries: dict[tuple[int, ...], float]) -> Tensor:
    import torch

    made = torch.zeros(shape)
    for place, value in entries.items():
        made[place] = value
    return made


def _diagonal(rows: int, columns: int, values: list[float]) -> Tensor:
    return _sparse((rows, columns), {(i, i): value for i, value in enumerate(values)})

"""Transformer and WiKG in plain form, with their N x N matrices, as a comparison for `bench_models`.

Same weights, same scores: the form of a first implementation, and similar to MIL-Lab's.
"""

from typing import Any

import torch
from torch import Tensor


def naive_transformer(model: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits (C,) and the class token's mean attention in the last block (N,), every matrix in full."""
    parts = model.model
    tokens = torch.cat([parts.cls_token[0], parts.patch_embed(x)])[None]
    attention = tokens
    for block in parts.blocks:
        normed = block.norm(tokens)
        out, attention = block.attention(normed, normed, normed, average_attn_weights=True)
        tokens = tokens + out
        tokens = tokens + block.mlp(block.norm2(tokens))
    return parts.classifier(parts.norm(tokens[:, 0]))[0], attention[0, 0, 1:]


def naive_wikg(model: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits (C,) and readout weights (N,), using the whole score matrix."""
    parts = model.model
    h = parts.patch_embed(x)
    h = (h + h.mean(dim=0)) / 2
    heads, tails = parts.W_head(h), parts.W_tail(h)
    best = (heads @ tails.T * heads.shape[1] ** -0.5).topk(model.topk, dim=-1)
    share, others = torch.softmax(best.values, dim=-1), tails[best.indices]
    mixed = torch.tanh(heads[:, None] + share[..., None] * others)
    weights = torch.softmax((mixed * others).sum(dim=-1), dim=-1)
    heard = (weights[..., None] * others).sum(dim=1)
    nodes = model.act(parts.linear1(heads + heard)) + model.act(parts.linear2(heads * heard))
    attention = torch.softmax(parts.readout.gate_nn(nodes), dim=0)
    return parts.classifier(parts.norm((attention * nodes).sum(dim=0))), attention[:, 0]


NAIVE = {"transformer": naive_transformer, "wikg": naive_wikg}

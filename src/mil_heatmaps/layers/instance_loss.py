"""CLAM's instance loss (Lu et al. 2021): the patches with most and least attention train a classifier per class."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional


def smooth_top1_svm(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the smooth top-1 SVM loss of Berrada et al. (2018) with temperature and margin 1, mean over rows."""
    margin = 1 - functional.one_hot(labels, logits.shape[1]).to(logits.dtype)
    right = logits.gather(1, labels[:, None])[:, 0]
    return (torch.logsumexp(logits + margin, dim=1) - right).mean()


INSTANCE_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "svm": smooth_top1_svm,
    "ce": functional.cross_entropy,
}


def instance_loss(
    embedded: Tensor,
    attention: Tensor,
    labels: Tensor,
    classifiers: nn.ModuleList,
    *,
    count: int,
    subtyping: bool,
    kind: str,
) -> Tensor:
    """Return the instance loss, mean over the slides of a batch.

    Parameters
    ----------
    embedded : (B, N, E)
    attention : (B, N)
        Any monotone form of attention.
    labels : (B,)
        Class of each slide.
    count : int
        How many patches with most and with least attention are taken; all patches of a smaller bag.
    subtyping : bool
        Classes exclude each other: the most attended patches are also evidence against the other classes.
    """
    loss_of = INSTANCE_LOSSES[kind]
    count = min(count, attention.shape[1])
    losses = []
    for rows, weights, label in zip(embedded, attention, labels.reshape(-1).tolist(), strict=True):
        top = rows[weights.topk(count).indices]
        bottom = rows[(-weights).topk(count).indices]
        for index, classifier in enumerate(classifiers):
            if index == label:
                targets = torch.cat([labels.new_ones(count), labels.new_zeros(count)])
                losses.append(loss_of(classifier(torch.cat([top, bottom])), targets))
            elif subtyping:
                losses.append(loss_of(classifier(top), labels.new_zeros(count)))
    parts = len(classifiers) if subtyping else 1
    return torch.stack(losses).sum() / (parts * len(embedded))

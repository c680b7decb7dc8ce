"""The explained quantity: which number f of the model's outputs, for which targets."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mil_heatmaps.choices import Task
from mil_heatmaps.errors import ModelError
from mil_heatmaps.explain.rows import Floats, Ints
from mil_heatmaps.explain.settings import OutputName, check_output, default_output


@dataclass(frozen=True)
class Outputs:
    """One number f per target, computed from the C outputs of a model.

    Attributes
    ----------
    name : str
        ``log_odds``, ``logit``, ``probability``, ``value`` or ``risk``.
    task : Task
    index : K ints
        The model's output for each target; -1 for the risk, which is computed from all outputs.
    targets : K str
        Names of the targets.
    independent : bool
        Whether each class of a classification has a sigmoid of its own; the class with the largest is still predicted.
    """

    name: OutputName
    task: Task
    index: tuple[int, ...]
    targets: tuple[str, ...]
    independent: bool = False

    def __len__(self) -> int:
        return len(self.targets)

    def __call__(self, logits: Tensor) -> Tensor:
        """Return f (..., K) of logits (..., C), with gradients where the logits have some."""
        if self.name == "risk":
            alone = logits[..., :1]
            return alone if logits.shape[-1] == 1 else -torch.sigmoid(-logits).cumprod(-1).sum(-1, keepdim=True)
        chosen = logits[..., list(self.index)]
        lonely = self.independent or self.task == "multilabel" or logits.shape[-1] == 1  # the log-odds equal the logit
        if self.name == "probability":
            return torch.sigmoid(chosen) if lonely else torch.softmax(logits, -1)[..., list(self.index)]
        if self.name != "log_odds" or lonely:
            return chosen
        others = [[k for k in range(logits.shape[-1]) if k != c] for c in self.index]
        return chosen - torch.stack([torch.logsumexp(logits[..., rest], -1) for rest in others], -1)

    def of(self, logits: Floats) -> Floats:
        """Return f (..., K) of an array of logits (..., C)."""
        values: Floats = self(torch.from_numpy(np.ascontiguousarray(logits))).numpy()
        return values

    def decided(self, logits: Floats) -> Ints:
        """Return the model's decision (...,) for logits (..., C): the class, or the sign of a single logit.

        For labels that do not exclude each other, it is whether the first target holds.
        """
        if self.task == "multilabel":
            logits = logits[..., list(self.index[:1])]
        return np.asarray(logits[..., 0] > 0 if logits.shape[-1] == 1 else logits.argmax(axis=-1), np.int64)

    def slopes(self, logits: Floats) -> tuple[Floats, Floats]:
        """Return f (K,) and df/dlogits (K, C) at logits (C,)."""
        at = torch.from_numpy(np.ascontiguousarray(logits)).requires_grad_()
        with torch.enable_grad():
            f = self(at)
            rows = [torch.autograd.grad(one, at, retain_graph=True)[0] for one in f]
        return f.detach().numpy(), torch.stack(rows).numpy()


def output_names(count: int, task: Task) -> tuple[str, ...]:
    """Return names for unnamed outputs: ``class 0`` ..., ``output 0`` ... or ``interval 0`` ...; a single output is
    ``output`` for regression and ``risk`` for survival.
    """
    if count == 1 and task != "classification":
        return ("risk" if task == "survival" else "output",)
    noun = {"classification": "class", "survival": "interval"}.get(task, "output")
    return tuple(f"{noun} {i}" for i in range(count))


def choose_outputs(
    logits: Floats,
    names: Sequence[str],
    *,
    task: Task = "classification",
    output: str = "auto",
    targets: Any = "all",
    independent: bool = False,
) -> Outputs:
    """Return what to explain of a model that returned `logits` (C,) for the whole bag.

    Parameters
    ----------
    names : C str
        Names of the model's outputs.
    targets : "all", "predicted", a name, a number, or a list of names and numbers
        ``predicted`` is the largest logit of a classification or of labels, the first output of a regression.
    independent : bool
        See `Outputs`.

    Raises
    ------
    ModelError
        There is no such output or target; the message lists those there are.
    """
    check_output(output, task)
    name: OutputName = default_output(task) if output == "auto" else output  # type: ignore[assignment]
    if name == "risk":
        chosen = [0] if targets in ("all", "predicted") else _numbers(targets, ["risk"])
        return Outputs(name, task, (-1,) * len(chosen), ("risk",) * len(chosen))
    if isinstance(targets, str) and targets == "predicted":
        chosen = [0] if task == "regression" else [int(logits.argmax())]
    else:
        chosen = list(range(len(names))) if isinstance(targets, str) and targets == "all" else _numbers(targets, names)
    return Outputs(name, task, tuple(chosen), tuple(names[i] for i in chosen), independent)


def _numbers(targets: Any, names: Sequence[str]) -> list[int]:
    wanted = list(targets) if isinstance(targets, list | tuple | np.ndarray) else [targets]
    found = [_number(target, names) for target in wanted]
    if not found:
        raise ModelError(f"no target was named; choose from {['all', 'predicted', *names]}")
    return list(dict.fromkeys(found))


def _number(target: Any, names: Sequence[str]) -> int:
    if isinstance(target, str) and target in names:
        return list(names).index(target)
    if isinstance(target, int | np.integer) and not isinstance(target, bool) and 0 <= target < len(names):
        return int(target)
    raise ModelError(
        f"the model has no target {target!r}; choose from {['all', 'predicted', *names]}, "
        f"or a number from 0 to {len(names) - 1}"
    )

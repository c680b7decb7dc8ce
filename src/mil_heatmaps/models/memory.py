"""Raise an error for a bag that cannot fit into memory, before the process is killed half-way."""

import torch

from mil_heatmaps import machine
from mil_heatmaps.errors import ModelError


def available_bytes(device: torch.device) -> int | None:
    """Return how much memory is free on `device`, None if the system does not tell."""
    return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else machine.available_bytes()


def require_memory(needed_bytes: int, device: torch.device, what: str) -> None:
    """Raise a `ModelError` with the estimate if `needed_bytes` for `what` exceed what is free on `device`."""
    free = available_bytes(device)
    if free is not None and needed_bytes > free:
        raise ModelError(
            f"{what} needs about {needed_bytes / 2**30:.1f} GiB on {device}, {free / 2**30:.1f} GiB free; "
            "use a machine with more memory, a larger patch size, or fewer patches"
        )

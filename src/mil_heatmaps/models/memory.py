"""Say that a bag cannot fit before trying, instead of being killed half-way."""

from pathlib import Path

import torch

from mil_heatmaps.errors import ModelError

_CGROUP_LIMITS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def available_bytes(device: torch.device) -> int | None:
    """Return how much memory is free on `device`, None where the system does not tell."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = [value for value in (_meminfo_available(), _cgroup_available()) if value is not None]
    return min(free) if free else None


def require_memory(needed_bytes: int, device: torch.device, what: str) -> None:
    """Raise a `ModelError` with the estimate if `needed_bytes` for `what` exceed what is free on `device`."""
    free = available_bytes(device)
    if free is not None and needed_bytes > free:
        raise ModelError(
            f"{what} needs about {needed_bytes / 2**30:.1f} GiB on {device}, {free / 2**30:.1f} GiB free; "
            "use a machine with more memory, a larger patch size, or fewer patches"
        )


def _meminfo_available() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _cgroup_available() -> int | None:
    for limit, current in _CGROUP_LIMITS:
        try:
            return int(Path(limit).read_text()) - int(Path(current).read_text())
        except (OSError, ValueError):  # no such file, or "max": no limit
            continue
    return None

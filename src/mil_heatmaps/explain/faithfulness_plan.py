"""How much of a map's faithfulness is measured, and what the measurement costs."""

from dataclasses import dataclass
from typing import Literal

from mil_heatmaps.errors import ModelError
from mil_heatmaps.explain.curves import ladder

LEVELS: dict[str, tuple[int, int]] = {"quick": (20, 10), "full": (100, 50)}
"""Level -> steps of the ladder, random orders."""


@dataclass(frozen=True)
class Plan:
    """How to measure; keys of `faithfulness_arguments`.

    Attributes
    ----------
    steps, random_orders : int or None
        None: as the level sets them.
    max_minutes : float
        Limit of the level ``quick``: a longer measurement is not started.
    """

    level: Literal["quick", "full"] = "quick"
    steps: int | None = None
    random_orders: int | None = None
    seed: int = 0
    max_minutes: float = 10.0

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise ModelError(f"unknown level {self.level!r}; choose from {list(LEVELS)}")
        for key, least in (("steps", 2), ("random_orders", 1), ("seed", 0)):
            value = getattr(self, key)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
                raise ModelError(f"{key} must be a whole number of at least {least}, got {value!r}")

        most = self.max_minutes
        if isinstance(most, bool) or not isinstance(most, int | float) or not most >= 0:
            raise ModelError(f"max_minutes must be a number of at least 0, got {most!r}")

    @property
    def size(self) -> tuple[int, int]:
        """Number of steps of the ladder, and of random orders."""
        steps, orders = LEVELS[self.level]
        return self.steps or steps, self.random_orders or orders


def forwards_needed(maps: int, plan: Plan, n: int) -> int:
    """Return how many forwards the curves of `maps` maps of n patches take without a closed form."""
    steps, orders = plan.size
    return 2 * (maps + orders) * (len(ladder(n, steps)) - 1)


def top5(n: int) -> int:
    """Return the number of patches in the top 5 %."""
    return max(1, (n + 10) // 20)

"""How far an extraction of features is; a module of its own, for those who only tell it."""

from dataclasses import dataclass

from mil_heatmaps.words import duration


@dataclass(frozen=True)
class EncodingProgress:
    """How far an extraction is.

    Attributes
    ----------
    done, total : int
        Patches; `done` counts those of an earlier, killed run too.
    patches_per_s : float
        Of this run, 0 at its beginning.
    seconds_left : float or None
        None while it cannot be told.
    """

    done: int
    total: int
    patches_per_s: float
    seconds_left: float | None

    def __str__(self) -> str:
        if self.seconds_left is None:
            return f"{self.done}/{self.total} patches"
        left = duration(self.seconds_left)
        return f"{self.done}/{self.total} patches, {self.patches_per_s:.0f}/s, {left} left"

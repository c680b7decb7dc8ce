"""How far an extraction of features, or another long part of a slide's work, is; for those who only tell it."""

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
    what : str
        An explanation that is made, whose steps are counted then; empty for the encoding of patches.
    """

    done: int
    total: int
    patches_per_s: float
    seconds_left: float | None
    what: str = ""

    @property
    def words(self) -> str:
        """What is done and how far it is."""
        return f"{self.what} {self}" if self.what else f"encoding {self}"

    def __str__(self) -> str:
        if self.what:
            left = "" if self.seconds_left is None else f", {duration(self.seconds_left)} left"
            return f"{self.done}/{self.total}{left}"
        if self.seconds_left is None:
            return f"{self.done}/{self.total} patches"
        left = duration(self.seconds_left)
        return f"{self.done}/{self.total} patches, {self.patches_per_s:.0f}/s, {left} left"

"""Progress of feature extraction, or of another long step of a slide, for code that only reports it."""

from dataclasses import dataclass

from mil_heatmaps.words import duration


@dataclass(frozen=True)
class EncodingProgress:
    """Progress of an extraction.

    Attributes
    ----------
    done, total : int
        Numbers of patches; `done` includes patches of an earlier, killed run.
    patches_per_s : float
        Rate of this run, 0 at its start.
    seconds_left : float or None
        None while it is unknown.
    what : str
        Name of the explanation whose steps are counted instead; empty for the encoding of patches.
    """

    done: int
    total: int
    patches_per_s: float
    seconds_left: float | None
    what: str = ""

    @property
    def words(self) -> str:
        """The current step and its progress."""
        return f"{self.what} {self}" if self.what else f"encoding {self}"

    def __str__(self) -> str:
        if self.what:
            left = "" if self.seconds_left is None else f", {duration(self.seconds_left)} left"
            return f"{self.done}/{self.total}{left}"
        if self.seconds_left is None:
            return f"{self.done}/{self.total} patches"
        left = duration(self.seconds_left)
        return f"{self.done}/{self.total} patches, {self.patches_per_s:.0f}/s, {left} left"

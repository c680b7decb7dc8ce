"""What a figure says about how far its map can be trusted, and the evidence set it outlines."""

from dataclasses import dataclass

from mil_heatmaps.slides.tissue import TissueMask


@dataclass(frozen=True)
class Faithfulness:
    """How faithful the drawn map was measured to be.

    Attributes
    ----------
    sentence, method : str
        The result in numbers that people read, and how it was measured, in small print.
    verdict : str
    """

    sentence: str
    method: str
    verdict: str

    @property
    def doubtful(self) -> bool:
        """Whether the map was measured and found no better than chance."""
        return self.verdict in ("no better than random", "worse than random", "constant map")


@dataclass(frozen=True)
class EvidenceOutline:
    """The patches that are sufficient for the model on their own, outlined on the map.

    Attributes
    ----------
    words : str
    outlines_l0 : TissueMask
    """

    words: str
    outlines_l0: TissueMask

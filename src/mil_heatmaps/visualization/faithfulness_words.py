"""What a figure says of how far its map can be believed, and the evidence set it outlines."""

from dataclasses import dataclass

from mil_heatmaps.slides.tissue import TissueMask


@dataclass(frozen=True)
class Faithfulness:
    """What was measured of the drawn map.

    Attributes
    ----------
    sentence, method : str
        In people's numbers; and how it was measured, in small.
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
    """The patches that alone are sufficient for the model, outlined on the map.

    Attributes
    ----------
    words : str
    outlines_l0 : TissueMask
    """

    words: str
    outlines_l0: TissueMask

"""What a film shows, and how large and how long it is."""

from dataclasses import dataclass
from fractions import Fraction

from mil_heatmaps.choices import FilmFormat, FilmMode
from mil_heatmaps.errors import ConfigError

MOST_LOOP_PIXELS = 80_000_000
"""Most pixels of all frames of a GIF or WebP together, because Pillow holds all frames until the end."""


@dataclass(frozen=True)
class FilmSettings:
    """A film of one map.

    Attributes
    ----------
    mode : ``sweep``, ``tour``, ``fade``
        ``sweep`` moves a window in serpentines over the tissue. ``tour`` goes from the overview to the highest regions
        and back. ``fade`` shows the slide, its map, and the slide again.
    format : ``mp4``, ``gif``, ``webp``
    size_px : (width, height)
    fps, seconds : float
    blend : float
        Weight of the colours, 0 to 1.
    magnification : float or None
        Magnification of the window in a sweep and at a tour's stops; 10 means 1 µm per pixel. None chooses it by the
        patch step.
    regions : int
        Number of stops of a tour.
    colour_bar, captions : bool
    crf : int
        x264's quality, from 0 (lossless) to 51.

    Raises
    ------
    ConfigError
        For a film of fewer than two frames, sides that H.264 cannot store, or a loop that does not fit in memory.
    """

    mode: FilmMode = "tour"
    format: FilmFormat = "mp4"
    size_px: tuple[int, int] = (1280, 720)
    fps: float = 25.0
    seconds: float = 20.0
    blend: float = 0.4
    magnification: float | None = None
    regions: int = 5
    colour_bar: bool = True
    captions: bool = True
    crf: int = 20

    def __post_init__(self) -> None:
        width, height = self.size_px
        if self.seconds * self.fps < 1.5:
            raise ConfigError(
                f"a film of {self.seconds:g} seconds at {self.fps:g} frames a second has less than two frames; "
                "give more seconds or a higher fps"
            )
        if self.format == "mp4" and (width % 2 or height % 2):
            raise ConfigError(
                f"H.264 with yuv420p needs even sides, got {width} x {height}; "
                f"{width + width % 2} x {height + height % 2} would do"
            )
        if self.format != "mp4" and width * height * self.frames > MOST_LOOP_PIXELS:
            raise ConfigError(
                f"{self.frames} frames of {width} x {height} pixels are too many for a loop as "
                f"{self.format.upper()}, which is held in memory: at most {MOST_LOOP_PIXELS // (width * height)} "
                "frames of this size; make it shorter or smaller, or take mp4"
            )

    @property
    def frames(self) -> int:
        """Number of frames of the film."""
        return round(self.seconds * self.fps)

    @property
    def rate(self) -> Fraction:
        """Frames per second as a fraction; 29.97 is 30000/1001."""
        return Fraction(self.fps).limit_denominator(1001)

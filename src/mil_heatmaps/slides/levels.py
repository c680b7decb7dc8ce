"""The levels of a slide: their sizes, and which level to use for a resolution.

Sizes are (width, height) in pixels of the level; a downsample is level-0 pixels per pixel of the level.
"""

import math


class Levels:
    """The levels of one slide, finest first.

    Attributes
    ----------
    dimensions_l0 : (width, height)
    level_dimensions : (width, height) per level
    level_downsamples : (x, y) per level
        Level-0 size over the level's size, per axis; x and y differ slightly if sizes were rounded.
    """

    def __init__(self, level_dimensions: tuple[tuple[int, int], ...]) -> None:
        self.level_dimensions = level_dimensions
        self.dimensions_l0 = level_dimensions[0]
        width, height = self.dimensions_l0
        self.level_downsamples = tuple((width / w, height / h) for w, h in level_dimensions)

    @property
    def level_count(self) -> int:
        return len(self.level_dimensions)

    def mean_downsample(self, level: int) -> float:
        """Return OpenSlide's single downsample of a level, the mean of x and y."""
        return sum(self.level_downsamples[level]) / 2

    def level_for_downsample(self, downsample: float, *, slack: float = 0.0) -> int:
        """Return the last level that is not coarser than `downsample` (OpenSlide's rule); level 0 if all are coarser.

        With `slack`, a level may be coarser by this share: with 0.02, a level of 32.03 counts for 32.
        """
        chosen = 0
        for level in range(1, self.level_count):
            if self.mean_downsample(level) > downsample * (1 + slack):
                break
            chosen = level
        return chosen

    def nearest_level(self, downsample: float) -> int:
        """Return the level whose downsample is nearest in ratio; the finer level if two are about equally near."""
        distances = [abs(math.log(self.mean_downsample(i) / downsample)) for i in range(self.level_count)]
        return next(i for i, distance in enumerate(distances) if distance <= min(distances) + 0.05)

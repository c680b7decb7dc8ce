"""A slide's work with the scores of one bag other than the first, or of the sum of all bags."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING

from mil_heatmaps.stages.bags import bag_files, other_bag
from mil_heatmaps.stages.base import SlideWork
from mil_heatmaps.stages.score_columns import planned_bag_maps

if TYPE_CHECKING:
    from mil_heatmaps.features.patch_features import PatchFeatures
    from mil_heatmaps.scores.score_file import ScoreFile
    from mil_heatmaps.stages.planned_map import PlannedMap


class BagWork(SlideWork):
    """The work of one bag, exported like a slide with a single bag; it uses the slide that is already open."""

    def __init__(self, work: SlideWork, bag: str, maps: list[PlannedMap]) -> None:
        super().__init__(work.job, work.settings, work.record, work.on_stage, work.should_stop)
        self._slide, self.files, self.forced = work.slide, work.files, work.forced
        self.bag, self.maps = bag, maps

    @cached_property
    def score_file(self) -> ScoreFile:
        """The scores of the bag."""
        from mil_heatmaps.scores.score_schema import read_scores

        return read_scores(bag_files(self)[self.bag])

    def bag_features(self) -> PatchFeatures:
        """Read the bag's features; the sum has none."""
        return other_bag(self, self.bag)


def bag_works(work: SlideWork) -> Iterator[BagWork]:
    """Yield the work of every bag other than the first, and of the sum if there is one."""
    for bag, maps in groupby(planned_bag_maps(work), lambda planned: planned.column.bag):
        yield BagWork(work, bag, list(maps))

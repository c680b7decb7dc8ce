"""The paths of ``exp_arguments.layout: flat``: pictures side by side in one folder, working files in another.

``O`` = production_save_dir holds what people open: ``S_heatmap.png``, ``heatmap_results.csv``, ``run.yaml``,
``run.log``. ``W`` = raw_save_dir holds one folder per slide with scores, outlines and the record. Neither the
experiment's name nor the label gives a folder.
"""

from dataclasses import dataclass
from pathlib import Path

from mil_heatmaps.records.layout import (
    CaseLayout,
    ExperimentLayout,
    HeatmapName,
    SlideLayout,
    case_name,
    check_inside,
    safe_name,
)

RESULTS = "heatmap_results.csv"
HEATMAP = "_heatmap"
"""Follows the slide's name in the file name of a picture; the suffix of an export format may come after it."""


@dataclass(frozen=True)
class FlatSlide(SlideLayout):
    """Paths of one slide."""

    def heatmap(self, name_parts: HeatmapName, suffix: str, ext: str) -> Path:
        """Return ``O/S_heatmap.png``; how it was drawn is in ``run.yaml``, not in the name."""
        return self.production / f"{self.slide_id}{HEATMAP}{suffix}.{ext}"

    def original(self, level: int, ext: str) -> Path:
        """Return ``O/S_slide.png``, the slide without colours."""
        return self.production / f"{self.slide_id}_slide.{ext}"

    def sample_dir(self, label: str, predicted: int | None, name: str) -> Path:
        """Return ``O/<name of the set>/S``."""
        return check_inside(self.sampled_patches / safe_name(name) / self.slide_id, self.sampled_patches)


@dataclass(frozen=True)
class FlatLayout(ExperimentLayout):
    """Paths of one run."""

    @classmethod
    def at(cls, raw_save_dir: str, production_save_dir: str, results_dir: str) -> "FlatLayout":
        """Return the layout in the folders of the config as they are."""
        return cls(Path(raw_save_dir), Path(production_save_dir), Path(results_dir) / RESULTS)

    def faithfulness_csv(self, exp_code: str) -> Path:
        """Return ``O/faithfulness.csv``."""
        return self.results_csv.parent / "faithfulness.csv"

    def report(self, exp_code: str) -> Path:
        """Return ``O/report.html``."""
        return self.production_root / "report.html"

    def cases_csv(self, exp_code: str) -> Path:
        """Return ``O/cases.csv``."""
        return self.results_csv.parent / "cases.csv"

    def case(self, case_id: str) -> CaseLayout:
        """Paths of a case: ``O/C_case.png`` beside the slides' pictures."""
        return CaseLayout(case_name(case_id), self._case_folders[0], self.production_root)

    @property
    def config_yaml(self) -> Path:
        """Return ``O/run.yaml``."""
        return self.production_root / "run.yaml"

    @property
    def run_log(self) -> Path:
        """Return ``O/run.log``."""
        return self.production_root / "run.log"

    def slide(self, slide_id: str, group: str) -> FlatSlide:
        """Paths of `slide_id`, checked to stay inside."""
        raw = check_inside(self.raw_root / slide_id, self.raw_root)
        return FlatSlide(slide_id, raw, self.production_root, self.production_root)

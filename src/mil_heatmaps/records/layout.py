"""Every path the pipeline writes, in CLAM's tree with CLAM's names.

``R/E/G/S`` = raw_save_dir / save_exp_code / group (label name) / slide id; ``P/E/G`` the same below
production_save_dir. No other module composes the path of an output, and code that looks for outputs takes the
endings of their names from here.
"""

import hashlib
import os
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

from mil_heatmaps.errors import ConfigError
from mil_heatmaps.files.atomic import remove_abandoned

RECORD = "record.json"
BLOCKMAP = "_blockmap.h5"
MASK = "_mask.pkl"
COORDS = "_coords.h5"
FAITHFULNESS = "_faithfulness.json"
"""Endings after the slide's name in the file names of its scores, outlines, coordinates and faithfulness."""

_UNSAFE = re.compile(r"[^\w.+@ -]", flags=re.UNICODE)


def safe_name(text: str) -> str:
    """Return `text` fit for one path component: ``/`` becomes ``-``, other odd characters ``_``; never empty, never
    dots alone.
    """
    name = _UNSAFE.sub("_", text.replace("/", "-")).strip(" ")[:120]
    return name if name.strip(".") else "_"


def check_inside(path: Path, root: Path) -> Path:
    """Return `path` if it lies below `root`; no id, label or option may lead out of the output folder."""
    above, _, name = str(path).rpartition(os.sep)
    if above == str(root) and name not in ("", ".", ".."):  # one component more cannot lead out
        return path
    if not path.resolve().is_relative_to(root.resolve()):
        raise ConfigError(f"{path} would lie outside the output folder {root}")
    return path


@dataclass(frozen=True)
class SlideLayout:
    """Paths of one slide."""

    slide_id: str
    raw: Path  # R/E/G/S
    production: Path  # P/E/G
    sampled_patches: Path  # P/E/sampled_patches

    def raw_text(self, suffix: str) -> str:
        """Path of a file of the slide as text, for the planning of many slides: making paths takes time."""
        return f"{self.raw}{os.sep}{self.slide_id}{suffix}"

    def _raw(self, suffix: str) -> Path:
        return self.raw / f"{self.slide_id}{suffix}"

    @property
    def record(self) -> Path:
        return self.raw / RECORD

    @property
    def lock(self) -> Path:
        return self.raw / ".lock"

    @property
    def error_log(self) -> Path:
        return self.raw / "error.log"

    @property
    def mask_pkl(self) -> Path:
        return self._raw(MASK)

    @property
    def mask_jpg(self) -> Path:
        return self._raw("_mask.jpg")

    @property
    def coords_h5(self) -> Path:
        return self._raw(COORDS)

    @property
    def features_h5(self) -> Path:
        return self._raw(".h5")

    @property
    def features_pt(self) -> Path:
        return self._raw(".pt")

    @property
    def blockmap_h5(self) -> Path:
        return self._raw(BLOCKMAP)

    def blockmap_of(self, bag: str) -> Path:
        """Scores of a bag other than the first, or of their `choices.SUM`."""
        return self._raw(f"{BLOCKMAP.removesuffix('.h5')}_{safe_name(bag)}.h5")

    def faithfulness_of(self, bag: str) -> Path:
        """Faithfulness of the map of a bag other than the first."""
        return self._raw(f"{FAITHFULNESS.removesuffix('.json')}_{safe_name(bag)}.json")

    @property
    def inputs_csv(self) -> Path:
        """What each input of a model with several adds to each output."""
        return self._raw("_inputs.csv")

    @property
    def partial_scores(self) -> Path:
        """Folder of partial sums of long explanations; removed when they are finished."""
        return self.raw / ".partial_scores"

    @property
    def blockmap_png(self) -> Path:
        return self._raw("_blockmap.png")

    @property
    def faithfulness_json(self) -> Path:
        return self._raw(FAITHFULNESS)

    @property
    def faithfulness_png(self) -> Path:
        return self._raw("_faithfulness.png")

    @property
    def faithfulness_part(self) -> Path:
        """Partial results from which a long measurement resumes after a stop."""
        return self._raw("_faithfulness_part.npz")

    def fine_scores_h5(self, overlap: float | int, use_roi: bool) -> Path:
        return self._raw(f"_{overlap}_roi_{use_roi}.h5")

    def fine_features_h5(self, overlap: float | int, use_roi: bool) -> Path:
        return self._raw(f"_{overlap}_roi_{use_roi}_features.h5")

    def heatmap(self, name_parts: "HeatmapName", suffix: str, ext: str) -> Path:
        return self.production / f"{self.slide_id}_{name_parts}{suffix}.{ext}"

    def original(self, level: int, ext: str) -> Path:
        return self.production / f"{self.slide_id}_orig_{level}.{ext}"

    def figure(self, suffix: str, ext: str = "png") -> Path:
        return self.production / f"{self.slide_id}{suffix}_figure.{ext}"

    def film(self, suffix: str, mode: str, ext: str) -> Path:
        return self.production / f"{self.slide_id}{suffix}_{mode}.{ext}"

    @property
    def report_json(self) -> Path:
        """The slide's part of the report."""
        return self._raw("_report.json")

    def export(self, suffix: str) -> Path:
        return self.production / "exports" / f"{self.slide_id}{suffix}"

    def sample_dir(self, label: str, predicted: int | None, name: str) -> Path:
        pred = "none" if predicted is None else str(predicted)
        folder = self.sampled_patches / f"label_{safe_name(label)}_pred_{pred}" / safe_name(name)
        return check_inside(folder, self.sampled_patches)


class CaseLayout(NamedTuple):
    """Paths of the files of a case, in a folder of all cases."""

    name: str
    raw: Path  # R/E/cases
    production: Path  # P/E/cases

    @property
    def scores_h5(self) -> Path:
        """Scores of all patches of the case, slide by slide."""
        return Path(self.scores_text)

    @property
    def scores_text(self) -> str:
        """`scores_h5` as text, for the planning of many cases: making paths takes time."""
        return f"{self.raw}{os.sep}{self.name}_scores.h5"

    @property
    def faithfulness_json(self) -> Path:
        return self.raw / f"{self.name}{FAITHFULNESS}"

    @property
    def inputs_csv(self) -> Path:
        """What each input of a model with several adds to each output."""
        return self.raw / f"{self.name}_inputs.csv"

    @property
    def sheet(self) -> Path:
        """All slides of the case on one scale."""
        return self.production / f"{self.name}_case.png"


def case_name(case_id: str) -> str:
    """Return a file name for a case, unique for every case."""
    if len(case_id) <= 60 and case_id.replace("-", "").isalnum():  # nearly always
        return case_id
    name = safe_name(case_id)
    return name if name == case_id else f"{name}-{hashlib.sha256(case_id.encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class HeatmapName:
    """The parameters that CLAM writes into the name of a heatmap, in its order and spelling."""

    overlap: float
    use_roi: bool
    blur: bool
    use_ref_scores: bool
    blank_canvas: bool
    alpha: float
    vis_level: int
    binarize: bool
    binary_thresh: float

    def __str__(self) -> str:
        return (
            f"{float(self.overlap)}_roi_{int(self.use_roi)}_blur_{int(self.blur)}_rs_{int(self.use_ref_scores)}"
            f"_bc_{int(self.blank_canvas)}_a_{float(self.alpha)}_l_{self.vis_level}"
            f"_bi_{int(self.binarize)}_{float(self.binary_thresh)}"
        )


@dataclass(frozen=True)
class ExperimentLayout:
    """Paths of one experiment."""

    raw_root: Path  # R/E
    production_root: Path  # P/E
    results_csv: Path

    @classmethod
    def of(
        cls, raw_save_dir: str, production_save_dir: str, results_dir: str, exp_code: str, list_name: str | None
    ) -> "ExperimentLayout":
        """`list_name` is the process list's file name; without a list the CSV is named after the experiment."""
        stem = exp_code if list_name is None else list_name.removesuffix(".csv")
        return cls(
            raw_root=check_inside(Path(raw_save_dir) / exp_code, Path(raw_save_dir)),
            production_root=check_inside(Path(production_save_dir) / exp_code, Path(production_save_dir)),
            results_csv=Path(results_dir) / f"{safe_name(stem)}.csv",
        )

    def faithfulness_csv(self, exp_code: str) -> Path:
        """Return the table of faithfulness, beside that of predictions; the cohort's picture has the same name."""
        return self.results_csv.parent / f"{safe_name(exp_code)}_faithfulness.csv"

    def report(self, exp_code: str) -> Path:
        """Return the report of the run; a folder of the same name holds its pages where one file would be too large."""
        return self.production_root / f"{safe_name(exp_code)}_report.html"

    def cases_csv(self, exp_code: str) -> Path:
        """Return the table of predictions by case, beside that by slide."""
        return self.results_csv.parent / f"{safe_name(exp_code)}_cases.csv"

    def case(self, case_id: str) -> CaseLayout:
        """Paths of a case."""
        return CaseLayout(case_name(case_id), *self._case_folders)

    @cached_property
    def _case_folders(self) -> tuple[Path, Path]:
        return self.raw_root / "cases", self.production_root / "cases"

    @property
    def config_yaml(self) -> Path:
        return self.raw_root / "config.yaml"

    @property
    def process_list(self) -> Path:
        return self.raw_root / "process_list.csv"

    @property
    def list_lock(self) -> Path:
        """Held while the lists are written: several runs may be at work on one experiment."""
        return self.raw_root / ".process_list.lock"

    @property
    def run_log(self) -> Path:
        return self.raw_root / "run.log"

    @property
    def insight(self) -> Path:
        """Tables and sheets of the whole cohort."""
        return self.production_root / "insight"

    @property
    def consensus(self) -> Path:
        """Score files made from those of other experiments and drawn by this one."""
        return self.raw_root / "consensus"

    @property
    def spots(self) -> Path:
        """Score files with genes or cells on every patch."""
        return self.raw_root / "spots"

    @property
    def clusters(self) -> Path:
        """Score files with the phenotype of every patch."""
        return self.raw_root / "phenotypes"

    def clear_beside_slides(self) -> None:
        """Remove incomplete files in the folders of results over several slides.

        Commands write there also while no run is at work, so that a kill leaves no sign that would tell the next run.
        """
        for folder in (self.insight, self.consensus, self.spots, self.clusters, *self._case_folders):
            remove_abandoned(folder)

    @property
    def events_jsonl(self) -> Path:
        return self.raw_root / "events.jsonl"

    def slide(self, slide_id: str, group: str) -> SlideLayout:
        """Paths of `slide_id`; both names are made safe and checked to stay inside the experiment."""
        group_folder, production, samples = _group_folders(self.raw_root, self.production_root, group)
        raw = check_inside(group_folder / slide_id, group_folder)
        return SlideLayout(slide_id, raw, production, samples)


@lru_cache(maxsize=256)  # a cohort has few groups, and many slides
def _group_folders(raw_root: Path, production_root: Path, group: str) -> tuple[Path, Path, Path]:
    """Return the folders of a group below both roots, and that of the samples."""
    folder = safe_name(group)
    return (
        check_inside(raw_root / folder, raw_root),
        check_inside(production_root / folder, production_root),
        production_root / "sampled_patches",
    )

"""From config and process list to jobs: find the files of every slide, and keep the error of its row."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mil_heatmaps.cohort.cases import put_together
from mil_heatmaps.cohort.extra_inputs import ExtraInputs
from mil_heatmaps.cohort.process_list import read_process_list
from mil_heatmaps.cohort.slide_index import SlideIndex
from mil_heatmaps.cohort.slide_job import SlideJob
from mil_heatmaps.errors import FeatureError, HeatmapError, ProcessListError
from mil_heatmaps.features.find import FeatureIndex, coords_named_like
from mil_heatmaps.files.stem_index import StemIndex
from mil_heatmaps.records.flat_layout import FlatLayout
from mil_heatmaps.records.layout import ExperimentLayout
from mil_heatmaps.records.rows import ProcessList, ProcessRow
from mil_heatmaps.words import first_of, one_line

if TYPE_CHECKING:
    from mil_heatmaps.config.config import Config

IndexT = TypeVar("IndexT", bound=StemIndex)

TISSUE_EXTENSIONS = (".geojson", ".geojson.gz", ".json", ".pkl")
COORDS_EXTENSIONS = (".h5", ".hdf5")
ROI_EXTENSIONS = (".geojson", ".geojson.gz", ".json")
VECTOR_EXTENSIONS = (".h5", ".hdf5", ".npy")
SCORE_EXTENSIONS = (
    ".h5", ".hdf5", ".csv", ".tsv", ".csv.gz", ".tsv.gz", ".geojson", ".geojson.gz", ".json", ".npz",
    ".parquet", ".parquet.gzip",
)  # fmt: skip


class TissueIndex(StemIndex):
    """Outline files by slide_id; CLAM's ``S_mask.pkl`` counts as S."""

    def __init__(self, folders: tuple[Path, ...], *, recursive: bool) -> None:
        super().__init__(folders, TISSUE_EXTENSIONS, recursive=recursive, noun="outline file")

    def stems_for(self, name: str) -> tuple[str, ...]:
        """Return the stems of outlines, GeoJSON before pickle."""
        return name, f"{name}_mask"


class CoordsIndex(StemIndex):
    """Files of patch coordinates by slide_id; TRIDENT's ``S_patches.h5`` counts as S, and comes first."""

    def __init__(self, folders: tuple[Path, ...], *, recursive: bool) -> None:
        super().__init__(folders, COORDS_EXTENSIONS, recursive=recursive, noun="coordinates file", error=FeatureError)

    def stems_for(self, name: str) -> tuple[str, ...]:
        """Return the stems of coordinates."""
        return f"{name}_patches", name


class RoiIndex(StemIndex):
    """Regions of interest by slide_id."""

    def __init__(self, folders: tuple[Path, ...], *, recursive: bool) -> None:
        super().__init__(folders, ROI_EXTENSIONS, recursive=recursive, noun="region of interest")


class QcIndex(StemIndex):
    """Masks of quality control by slide_id: GrandQC's ``S.svs_mask.png``, HistoQC's ``S.svs_mask_use.png``."""

    def __init__(self, folders: tuple[Path, ...], *, recursive: bool) -> None:
        super().__init__(folders, (".png",), recursive=recursive, noun="mask of quality control")

    def stems_for(self, name: str) -> tuple[str, ...]:
        """Return the stems of masks."""
        return f"{name}_mask", f"{name}_mask_use"


class AffineIndex(StemIndex):
    """Affine maps of second slides, by slide_id."""

    def __init__(self, folders: tuple[Path, ...], *, recursive: bool) -> None:
        super().__init__(folders, (".npy",), recursive=recursive, noun="affine map")


class ScoreIndex(StemIndex):
    """Score files by slide_id; ``S_blockmap.h5``, and slideflow's ``S_att.npz``, count as S."""

    def __init__(self, folders: tuple[Path, ...], *, recursive: bool) -> None:
        super().__init__(folders, SCORE_EXTENSIONS, recursive=recursive, noun="score file")

    def stems_for(self, name: str) -> tuple[str, ...]:
        """Return the stems of scores."""
        return name, f"{name}_blockmap", f"{name}_att"


class VectorIndex(StemIndex):
    """Vectors of slides by slide_id."""

    def __init__(self, folder: Path) -> None:
        super().__init__((folder,), VECTOR_EXTENSIONS, noun="slide vector")


class Files:
    """The cohort's files; each folder is listed once."""

    def __init__(self, config: Config) -> None:
        data, inputs = config.data_arguments, config.inputs
        self.slides = {
            key: SlideIndex(folders, data.slide_ext, recursive=data.recursive)
            for key, folders in inputs.slides.items()
        }
        self.features = {
            key: FeatureIndex(folders, recursive=data.recursive) for key, folders in inputs.features.items()
        }
        self.others: dict[str, FeatureIndex] = {}
        if config.bags:  # by name of a bag rather than by source
            first, *rest = config.bags
            self.others = {name: self.features[name] for name in rest}
            self.features = {"": self.features[first]}
        self.extra = ExtraInputs(config)
        self.coords = {key: CoordsIndex(folders, recursive=data.recursive) for key, folders in inputs.coords.items()}
        self.tissue = {key: TissueIndex(folders, recursive=True) for key, folders in inputs.tissue.items()}
        self.scores = {key: ScoreIndex(folders, recursive=True) for key, folders in inputs.scores.items()}
        self.vectors = None if inputs.slide_vectors is None else VectorIndex(inputs.slide_vectors)
        self.qc = {key: QcIndex(folders, recursive=True) for key, folders in inputs.qc.items()}
        self.beside = {
            key: SlideIndex(folders, data.slide_ext, recursive=data.recursive)
            for key, folders in inputs.beside.items()
        }
        self.affine = {key: AffineIndex(folders, recursive=data.recursive) for key, folders in inputs.beside.items()}
        self.roi = {key: RoiIndex(folders, recursive=True) for key, folders in inputs.roi.items()}

    def slides_of(self, row: ProcessRow) -> SlideIndex:
        """Return the index in which a row's slide is looked for."""
        slides = self.of_source(self.slides, row.source)
        assert slides is not None  # data_dir is required, and a row's source was checked against it
        return slides

    @staticmethod
    def of_source(indexes: dict[str, IndexT], source: str) -> IndexT | None:
        """Return the index of a row's source; a folder without a mapping serves every source."""
        return indexes.get(source) or indexes.get("")


@dataclass
class Cohort:
    """The slides of a run.

    Attributes
    ----------
    rows : ProcessList
        Every row of the list that is to be processed.
    jobs : by slide_id, for the rows whose files were found
    problems : by line of the list (or position), why a row cannot be processed
    layout : ExperimentLayout
    """

    rows: ProcessList
    layout: ExperimentLayout
    jobs: dict[str, SlideJob] = field(default_factory=dict)
    problems: dict[int, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @cached_property
    def position(self) -> dict[str, int]:
        """Position of each slide's job in the list."""
        return {row.slide_id: index for index, row in enumerate(self.rows) if index not in self.problems}


def find_cohort(config: Config) -> Cohort:
    """Read the process list and find every slide's files.

    Raises
    ------
    ProcessListError
        When the list cannot be used at all.
    """
    layout = layout_of(config)
    files = Files(config)
    rows = read_process_list(config.inputs.process_list, config, files.slides)
    if config.inputs.process_list is None:
        _leave_out_bare(rows, files)
    cohort = Cohort(rows, layout, notes=list(rows.notes))
    for index, row in enumerate(rows):
        try:
            if row.problem is not None:
                raise ProcessListError(row.problem)
            slides = files.slides_of(row)
            slide_path = slides.get(row.slide_name) or slides.find(row.slide_id)
            row = rows[index] = _as_file_says(row, slide_path, slides)
            cohort.jobs[row.slide_id] = _job(row, slide_path, files, layout, config, rows.columns)
        except HeatmapError as error:
            cohort.problems[index] = one_line(error)
    put_together(cohort, config)
    if not cohort.jobs:
        cohort.notes.append(f"none of the {len(rows)} slides could be processed")
    return cohort


def _leave_out_bare(rows: ProcessList, files: Files) -> None:
    """Leave out slides without features that no list names: they only happen to lie in the folder. A note names them.

    Raises
    ------
    FeatureError
        No slide has features.
    """
    bare = {row.slide_id for row in rows if row.problem is None and _is_bare(row, files)}
    whole = {row.case_id for row in rows if row.case_id and row.slide_id not in bare}
    bare -= {row.slide_id for row in rows if row.case_id in whole}  # its case lacks it, which must be reported
    if not bare:
        return
    if len(bare) == len(rows):
        features = Files.of_source(files.features, rows[0].source)
        assert features is not None  # without an index no slide is bare
        try:
            features.find(rows[0].slide_id)
        except FeatureError as error:
            raise FeatureError(f"no slide of {len(rows)} found has features: {error}") from error
    rows[:] = [row for row in rows if row.slide_id not in bare]
    words = "slide has no features and is" if len(bare) == 1 else "slides have no features and are"
    rows.notes.append(f"{len(bare)} {words} left out: {first_of(sorted(bare), 5)}")


def _is_bare(row: ProcessRow, files: Files) -> bool:
    features, scores = Files.of_source(files.features, row.source), Files.of_source(files.scores, row.source)
    if features is None:
        return False
    slides = files.slides_of(row)
    path = slides.get(row.slide_name)
    names = (row.slide_id,) if path is None else tuple(dict.fromkeys((row.slide_id, *slides.names_of(path))))
    if features.stem_for(*names) is not None or (scores is not None and scores.stem_for(*names) is not None):
        return False
    return not features.unused(*names)  # an unusable file of its name is reported as the reason


def layout_of(config: Config) -> ExperimentLayout:
    """Return where a run with this config writes."""
    exp, process_list = config.exp_arguments, config.inputs.process_list
    if exp.layout == "flat":
        return FlatLayout.at(exp.raw_save_dir, exp.production_save_dir, exp.results_dir)
    return ExperimentLayout.of(
        exp.raw_save_dir,
        exp.production_save_dir,
        exp.results_dir,
        exp.save_exp_code,
        process_list.name if process_list else None,
    )


def _as_file_says(row: ProcessRow, slide_path: Path, slides: SlideIndex) -> ProcessRow:
    """Return the row with the slide's name spelt as in its file: Unicode may write one name in two ways."""
    if row.slide_name.isascii() and slide_path.name.isascii():
        return row
    slide_id, name = slides.spelt(slide_path, row.slide_id), slides.spelt(slide_path, row.slide_name)
    if (slide_id, name) == (row.slide_id, row.slide_name):
        return row
    return replace(row, slide_id=slide_id, slide_name=name, cells={**row.cells, "slide_id": name})


def _job(
    row: ProcessRow, slide_path: Path, files: Files, layout: ExperimentLayout, config: Config,
    columns: tuple[str, ...] = (),
) -> SlideJob:  # fmt: skip
    names = tuple(dict.fromkeys((row.slide_id, *files.slides_of(row).names_of(slide_path))))
    scores = Files.of_source(files.scores, row.source)
    scores_path = scores.find(*names) if scores is not None else None
    features_path = None
    features = Files.of_source(files.features, row.source)
    if features is not None and scores_path is None:
        features_path = features.find(*names)
    coords = Files.of_source(files.coords, row.source) if features_path is None and scores_path is None else None
    measures = scores_path is not None and config.faithfulness_arguments.wanted and config.names_model
    tissue = Files.of_source(files.tissue, row.source)
    tissue_path = tissue.get(*names) if tissue is not None else None
    roi = Files.of_source(files.roi, row.source) if config.heatmap_arguments.use_roi else None
    qc = Files.of_source(files.qc, row.source)
    beside, affine = Files.of_source(files.beside, row.source), Files.of_source(files.affine, row.source)
    return SlideJob(
        row=row,
        paths=layout.slide(row.slide_id, row.group),
        slide_path=slide_path,
        features_path=features_path,
        tissue_path=tissue_path,
        scores_path=scores_path,
        coords_dir=_coords_dir(row, slide_path, config),
        coords_path=coords.find(*names) if coords is not None else None,
        roi_path=roi.find(*names) if roi is not None else None,
        qc_path=qc.get(*names) if qc is not None else None,
        beside_path=beside.get(*names) if beside is not None else None,
        affine_path=affine.get(*names) if affine is not None else None,
        bag_path=features.get(*names) if features is not None and measures else None,
        other_bags=_other_bags(names, files),
        extra=files.extra.of(row, columns),
        slide_vector=None if files.vectors is None else files.vectors.get(*names),
        unused_tissue=tissue.unused(*names, longer=True) if tissue is not None and tissue_path is None else "",
    )


def _other_bags(names: tuple[str, ...], files: Files) -> dict[str, Path]:
    """Return the features of all bags but the first; a FeatureError names a bag that the slide lacks."""
    found = {}
    for name, index in files.others.items():
        try:
            found[name] = index.find(*names)
        except FeatureError as error:
            raise FeatureError(f"{names[0]} lacks the bag {name}: {one_line(error)}") from error
    return found


def _coords_dir(row: ProcessRow, slide_path: Path, config: Config) -> Path | None:
    """Return the folder of coordinates that goes with a row's features, or the file if it has the slide's extension."""
    folders = config.inputs.coords.get(row.source) or config.inputs.coords.get("") or ()
    if not folders:
        return None
    return coords_named_like(slide_path.name, folders[0]) or folders[0]

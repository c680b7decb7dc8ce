"""Match slides and features by name, and explain why none match."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mil_heatmaps.cohort.slide_index import SlideIndex
from mil_heatmaps.errors import ConfigError, HeatmapError, ProcessListError
from mil_heatmaps.features.find import FeatureIndex
from mil_heatmaps.features.foreign import foreign_in
from mil_heatmaps.files.csv_tables import csv_text, read_table
from mil_heatmaps.files.names import comparable, stem_of
from mil_heatmaps.words import counted, first_of

ID_COLUMNS = ("slide_id", "image_id", "wsi", "slide", "slide_name", "filename", "file_name")
"""Columns that may hold the slide's name; the first one present counts: CLAM's, PANDA's, TRIDENT's, common ones."""

EXAMPLES = 3


@dataclass
class Matching:
    """The slides to process, as a process list, and what was left out.

    Attributes
    ----------
    columns, rows : the process list
    slides, features : how many of each were found
    no_slide, no_features : names of features without a slide, and of slides without features
    notes : sentences for the user
    """

    columns: list[str]
    rows: list[dict[str, str]]
    slides: int
    features: int
    no_slide: list[str] = field(default_factory=list)
    no_features: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The process list as CSV."""
        return csv_text(self.columns, ([row.get(name, "") for name in self.columns] for row in self.rows))


def match(
    slide_dirs: Sequence[Path],
    feature_dirs: Sequence[Path],
    extensions: Sequence[str],
    table: Path | None = None,
    output: Path | None = None,
) -> Matching:
    """Return the slides that can be processed: those with features, or those a table lists.

    Parameters
    ----------
    table : path, optional
        CSV of the slides wanted. Its rows are kept as they are: a slide that is missing fails by itself, with its
        reason.
    output : path, optional
        Output folder; files in it are not inputs.

    Raises
    ------
    ConfigError
        No slide or no features at all, or no name in common; shows names of both kinds.
    """
    slides = SlideIndex(slide_dirs, extensions)
    features = FeatureIndex(feature_dirs)
    slide_stems, feature_ids = _names(slides, output), _names(features, output)
    nearest = (slides.nearest(slides.by_stem[stem])[0] for stem in slide_stems)
    slide_ids = {stem_of(path.name, extensions): path for path in nearest}
    if not slide_ids:
        raise ConfigError(f"no slide in {first_of(slide_dirs, 5)}: {_instead(slide_dirs, extensions)}")
    if not feature_ids:
        if foreign := foreign_in(feature_dirs, list(slide_ids)):
            raise ConfigError(f"no features in {first_of(feature_dirs, 5)} that are read: {foreign}")
        hint = "features lie in a folder such as 20x_256px_0px_overlap/features_uni_v2"
        raise ConfigError(
            f"no features in {first_of(feature_dirs, 5)}: {_instead(feature_dirs, features.extensions)} ({hint})"
        )
    own = {slide_id: features.stem_for(*slides.names_of(path)) for slide_id, path in slide_ids.items()}
    own = {slide_id: stem if stem in feature_ids else None for slide_id, stem in own.items()}
    both = [slide_id for slide_id, stem in own.items() if stem is not None]
    if not both:
        raise ConfigError(_no_match(list(slide_ids), list(feature_ids), slide_dirs, feature_dirs))
    _refuse_repeats(features, [stem for stem in own.values() if stem is not None])
    counts = (len(slide_ids), len(feature_ids))
    taken = set(own.values())
    no_slide = [stem for stem in feature_ids if stem not in taken]
    no_features = [slide_id for slide_id, stem in own.items() if stem is None]
    if table is None:
        return Matching(["slide_id"], [{"slide_id": slide_id} for slide_id in both], *counts, no_slide, no_features)
    columns, rows, notes = _table_rows(table)
    wanted = {comparable(stem_of(row["slide_id"], extensions)) for row in rows}
    if not wanted & set(map(comparable, both)):
        raise ConfigError(
            f"no slide of {table} has a slide and features: the table has {_some(sorted(wanted))}; "
            f"slides are {_some(list(slide_ids))}, features {_some(list(feature_ids))}"
        )
    return Matching(
        columns,
        rows,
        *counts,
        [stem for stem in no_slide if comparable(stem_of(stem)) in wanted],
        [slide_id for slide_id in no_features if comparable(slide_id) in wanted],
        notes,
    )


def _names(index: SlideIndex | FeatureIndex, output: Path | None) -> dict[str, None]:
    """Return the stems of an index in order, without the files a run wrote itself."""
    own = None if output is None else os.path.abspath(output) + os.sep
    return {
        stem: None
        for stem in sorted(index.by_stem)
        if own is None or not all(os.path.abspath(path).startswith(own) for path in index.by_stem[stem])
    }


def _table_rows(table: Path) -> tuple[list[str], list[dict[str, str]], list[str]]:
    """Return a table as a process list: its column of names is called slide_id and holds no folders."""
    columns, records = read_table(table)
    name = next((known for known in ID_COLUMNS if known in columns), None)
    if name is None:
        raise ProcessListError(f"{table} has no column slide_id; it has: {', '.join(columns)}")
    notes = [] if name == "slide_id" else [f"slides are those in column {name} of {table.name}"]
    renamed = ["slide_id" if column == name else column for column in columns]
    rows = []
    for _, cells, _ in records:
        row = {new: cells[old] for new, old in zip(renamed, columns, strict=True)}
        row["slide_id"] = row["slide_id"].replace("\\", "/").rpartition("/")[2]
        rows.append(row)
    if not rows:
        raise ProcessListError(f"{table} has no rows below its header")
    return renamed, rows, notes


def _refuse_repeats(features: FeatureIndex, names: Sequence[str]) -> None:
    """Raise a ConfigError when every slide has several feature files: those of several encoders."""
    first: HeatmapError | None = None
    for name in names:
        try:
            features.get(name)
            return
        except HeatmapError as error:
            first = first or error
    paths = features.by_stem[names[0]]
    raise ConfigError(
        f"every slide has {len(paths)} feature files; give the folder of one encoder: "
        + first_of([path.parent for path in paths], 5)
    ) from first


def _no_match(
    slide_ids: list[str], feature_ids: list[str], slide_dirs: Sequence[Path], feature_dirs: Sequence[Path]
) -> str:
    text = (
        f"no slide has features: {counted(len(slide_ids), 'slide')} in {first_of(slide_dirs, 5)} named like "
        f"{_some(slide_ids)}; {counted(len(feature_ids), 'feature file')} in {first_of(feature_dirs, 5)} named like "
        f"{_some(feature_ids)}. The names must be equal up to the extension"
    )
    if all(name.endswith("_patches") for name in feature_ids):
        text += "; files that end with _patches hold coordinates, the features are in a folder features_<encoder>"
    return text


def _instead(folders: Sequence[Path], wanted: Sequence[str]) -> str:
    """Return which kinds of files the folders hold instead of the wanted ones."""
    kinds: Counter[str] = Counter()
    for folder in folders:
        for here, below, names in os.walk(folder, followlinks=False):
            below[:] = [name for name in below if not name.startswith(".")]
            kinds.update(os.path.splitext(name)[1].lower() or "no extension" for name in names)
            if sum(kinds.values()) > 20_000 or len(Path(here).parts) > 40:
                break
    looked = f"nothing there ends with {', '.join(wanted)}"
    if not kinds:
        return f"{looked}; it is empty"
    return f"{looked}; it holds " + ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(5))


def _some(names: Sequence[str]) -> str:
    return first_of([repr(name) for name in names], EXAMPLES)

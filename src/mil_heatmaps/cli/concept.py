"""``python -m mil_heatmaps.cli.concept``: make a concept from the patches in an annotation, or from patch numbers."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mil_heatmaps.cli.parsing import CommandParser
from mil_heatmaps.cli.running import exit_code_of
from mil_heatmaps.errors import ConfigError
from mil_heatmaps.words import counted

if TYPE_CHECKING:
    from mil_heatmaps.features.patch_features import PatchFeatures
    from mil_heatmaps.slides.slide_space import SlideSpace

EPILOG = """examples:
  python -m mil_heatmaps.cli.concept --features features/S1.h5 --slide slides/S1.svs --from S1.geojson --output c.npz
  python -m mil_heatmaps.cli.concept --features features/S1.h5 --patch 1041 --name "like this" --output c.npz

Every named annotation becomes a concept: the mean of the patches whose centre lies inside it, each of length 1. With
--name all annotations, or the patches, are one. Concepts already in the output stay; one of the same name is replaced.
exit codes: 0 written, 2 nothing written"""


def build_parser() -> CommandParser:
    """Return the command line's parser."""
    parser = CommandParser(
        "python -m mil_heatmaps.cli.concept",
        "--features S.h5 (--from ANNOTATIONS | --patch N ...) --output CONCEPTS.npz [options]",
        "Make a concept for heatmap_arguments.score: similarity_to of patches of one slide.",
        EPILOG,
    )
    parser.add_argument("--features", metavar="FILE", type=Path, required=True, help="features of the slide's patches")
    parser.add_argument("--slide", metavar="FILE", type=Path, help="the slide, for coordinates that need its size")
    parser.add_argument("--from", dest="annotations", metavar="GEOJSON", type=Path, help="annotations, as of QuPath")
    parser.add_argument("--patch", type=int, nargs="+", metavar="N", help="patches by their row in the file, from 0")
    parser.add_argument("--name", help="what the concept is called; left out: the names of the annotations")
    parser.add_argument("--coords_dir", metavar="DIR", type=Path, help="coordinates, where the features hold none")
    parser.add_argument("--patch_size_level0", type=int, metavar="PX", help="side of a patch, where nothing says it")
    parser.add_argument("--output", metavar="NPZ", type=Path, required=True, help="where to write")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    if (options.annotations is None) == (options.patch is None):
        parser.error("give --from for annotations, or --patch for patches by number")
    if options.patch is not None and not options.name:
        parser.error("patches by number need a --name for their concept")
    if options.output.suffix.lower() != ".npz":
        parser.error(f"--output must end with .npz, got {options.output.name}")
    return exit_code_of(lambda: _make(options))


def _make(options: argparse.Namespace) -> int:
    from mil_heatmaps.scores.concepts import Concepts, mean_direction, read_concepts, write_concepts

    features, space = _read(options)
    chosen = _patches(options, len(features)) if options.patch else _annotated(options, features, space)
    output: Path = options.output
    before = read_concepts(output) if output.is_file() else None
    named: dict[str, Any] = {} if before is None else dict(zip(before.names, before.vectors, strict=True))
    if before is not None:
        before.check(features)
    named |= {name: mean_direction(features.features[rows]) for name, rows in chosen.items()}
    encoders = (features.encoder,) if features.encoder else () if before is None else before.encoders
    output.parent.mkdir(parents=True, exist_ok=True)
    temperature = None if before is None else before.temperature
    write_concepts(output, Concepts.of(named, str(output), temperature=temperature, encoders=encoders))
    for name, rows in chosen.items():
        print(f"{name}: the mean of {counted(len(rows), 'patch', 'patches')}")
    print(f"wrote {output}: {counted(len(named), 'concept')}, {features.features.shape[1]} numbers each")
    print(f"next: data_arguments.concepts: {output.as_posix()} and heatmap_arguments.score: similarity_to")
    return 0


def _read(options: argparse.Namespace) -> tuple[PatchFeatures, SlideSpace]:
    from mil_heatmaps.features.read import read_features
    from mil_heatmaps.slides.slide_space import SlideSpace

    space = SlideSpace(None)
    if options.slide is not None:
        from mil_heatmaps.slides.reader import open_slide

        with open_slide(options.slide) as slide:
            space = slide.space("auto", "auto")
    size = options.patch_size_level0
    features = read_features(options.features, space=space, coords_dir=options.coords_dir, patch_size_l0=size)
    return features, space


def _patches(options: argparse.Namespace, count: int) -> dict[str, Any]:
    import numpy as np

    if bad := [number for number in options.patch if not 0 <= number < count]:
        raise ConfigError(f"--patch {bad[0]}: {options.features} has {count} patches, 0 to {count - 1}")
    return {options.name: np.asarray(sorted(set(options.patch)))}


def _annotated(options: argparse.Namespace, features: PatchFeatures, space: SlideSpace) -> dict[str, Any]:
    """Return the rows of the patches inside the annotations of each name, or inside any annotation under `--name`."""
    from dataclasses import replace

    import numpy as np

    from mil_heatmaps.slides.roi import patches_in_roi, read_roi
    from mil_heatmaps.slides.tissue import TissueMask

    roi = read_roi(options.annotations, space)
    if options.name:
        return {options.name: np.flatnonzero(patches_in_roi(features.grid, roi))}
    mask = roi.polygons
    assert mask is not None  # a file holds polygons
    names = roi.names if len(roi.names) == len(mask.contours_l0) else ()
    if not any(names):
        raise ConfigError(f"the annotations of {options.annotations} have no names: give --name")
    found = {}
    for name in dict.fromkeys(name for name in names if name):
        mine = [i for i, other in enumerate(names) if other == name]
        part = TissueMask(tuple(mask.contours_l0[i] for i in mine), tuple(mask.holes_l0[i] for i in mine))
        found[name] = np.flatnonzero(patches_in_roi(features.grid, replace(roi, polygons=part)))
    return found


if __name__ == "__main__":
    sys.exit(main())

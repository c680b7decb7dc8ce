"""`view_heatmap_sync.py`: slide and heatmap side by side in the browser, or as one HTML file.

Heavy imports come after the arguments are parsed, so that ``--help`` is instant.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mil_heatmaps.cli.parsing import CommandParser
from mil_heatmaps.errors import ConfigError, HeatmapError
from mil_heatmaps.words import counted, reason_of

if TYPE_CHECKING:
    from mil_heatmaps.viewer.catalog import Catalog

EPILOG = """examples:
  python view_heatmap_sync.py --slide S.svs --scores S_blockmap.h5
  python view_heatmap_sync.py --slide S.svs --heatmap O/S_heatmap.png
  python view_heatmap_sync.py --slide S.svs --scores model_a.h5 model_b.h5    two models, their difference
  python view_heatmap_sync.py --run EXP                                       every slide of a run, by its name
  python view_heatmap_sync.py --run EXP_A EXP_B --slide_dir /data/slides      two runs on the same slides
  python view_heatmap_sync.py --slide S.svs --scores S_blockmap.h5 --export_html S.html

On another machine: start it there with --no_browser --port 8700, then here
  ssh -L 8700:127.0.0.1:8700 there      and open the link it printed.

exit codes: 0 stopped or exported, 2 nothing to show"""


def build_parser() -> CommandParser:
    """Return the command line's parser."""
    parser = CommandParser(
        "view_heatmap_sync.py",
        "--run EXPERIMENT | --slide S.svs --scores S_blockmap.h5 [options]",
        "Look at slides and heatmaps side by side, in the browser, on this machine only.",
        EPILOG,
    )
    what = parser.add_argument_group("what to show")
    what.add_argument("--slide", metavar="FILE", type=Path, help="one slide, any format that can be opened")
    what.add_argument(
        "--scores",
        nargs="+",
        metavar="FILE",
        type=Path,
        default=[],
        help="score files of the slide: live colours",
    )
    what.add_argument(
        "--heatmap",
        nargs="+",
        metavar="FILE",
        type=Path,
        default=[],
        help="pictures, stretched over the slide",
    )
    what.add_argument("--tissue", metavar="FILE", type=Path, help="tissue outline: GeoJSON or CLAM's mask.pkl")
    what.add_argument(
        "--run",
        nargs="+",
        metavar="EXPERIMENT",
        type=Path,
        help="a whole run: its name, its folder of raw results, its config, or a flat output folder",
    )
    what.add_argument(
        "--slide_dir",
        nargs="+",
        metavar="DIR",
        type=Path,
        default=[],
        help="where the run's slides are, if they moved",
    )
    how = parser.add_argument_group("how")
    how.add_argument("--port", type=_port, default=0, metavar="N", help="port to listen on; left out: any free one")
    how.add_argument("--no_browser", action="store_true", help="only print the link")
    out = parser.add_argument_group("one file instead, to mail or to publish")
    out.add_argument(
        "--export_html", metavar="FILE", type=Path, help="write a page that needs neither server nor network"
    )
    out.add_argument(
        "--export_px",
        type=int,
        default=4096,
        metavar="PX",
        help="longest side of the slide in it (default 4096)",
    )
    out.add_argument(
        "--export_slide", metavar="ID", help="which slide of a run to export; left out: the first with scores"
    )
    return parser


def _port(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = -1
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"must be 0 to 65535, got {text!r}")
    return number


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if not arguments.run and arguments.slide is None:
        return parser.lacking("nothing to show: give --run EXPERIMENT, or --slide FILE with --scores or --heatmap")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        catalog = _catalog(arguments)
        for note in catalog.notes:
            print(f"note: {note}", file=sys.stderr)
        if arguments.export_html is not None:
            return _export(catalog, arguments)
        from mil_heatmaps.viewer.serve import serve

        serve(catalog, port=arguments.port, on_ready=lambda link: _ready(catalog, link, arguments.no_browser))
    except (HeatmapError, OSError) as error:
        if isinstance(error, OSError) and not isinstance(error, HeatmapError) and not error.strerror:
            raise
        print(f"{parser.prog}: {reason_of(error)}", file=sys.stderr)
        return 2
    print("stopped")
    return 0


def _catalog(arguments: argparse.Namespace) -> Catalog:
    from mil_heatmaps.viewer.catalog import catalog_of_files

    if arguments.run:
        if arguments.slide or arguments.scores or arguments.heatmap or arguments.tissue:
            raise ConfigError("give --run, or --slide with --scores and --heatmap, not both")
        from mil_heatmaps.cohort.experiments import find_experiment
        from mil_heatmaps.viewer.run_folder import catalog_of_runs

        folders = [find_experiment(run, any_folder=True) for run in arguments.run]
        return catalog_of_runs(folders, arguments.slide_dir)
    return catalog_of_files(arguments.slide, arguments.heatmap, arguments.scores, arguments.tissue)


def _export(catalog: Catalog, arguments: argparse.Namespace) -> int:
    from mil_heatmaps.viewer.export_html import export_html

    if arguments.export_px < 256:
        raise ConfigError(f"--export_px must be at least 256, got {arguments.export_px}")
    summary = export_html(
        catalog, arguments.export_html, longest_px=arguments.export_px, slide_id=arguments.export_slide
    )
    print(f"{arguments.export_html}: {summary}")
    return 0


def _ready(catalog: Catalog, link: str, no_browser: bool) -> None:
    print(f"{catalog.title}: {counted(len(catalog.slides), 'slide')}")
    print(link, flush=True)
    print("Ctrl-C stops.", flush=True)
    if not no_browser:
        import threading
        import webbrowser

        # Some browsers block until they are closed.
        threading.Thread(target=webbrowser.open, args=(link,), daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())

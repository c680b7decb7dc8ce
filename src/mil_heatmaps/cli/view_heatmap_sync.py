"""`view_heatmap_sync.py`: slide and heatmap side by side in the browser, or as one HTML file.

Heavy imports come after the arguments are parsed, so that ``--help`` is instant.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mil_heatmaps.cli.parsing import CommandParser
from mil_heatmaps.errors import ConfigError, HeatmapError
from mil_heatmaps.words import counted, reason_of

if TYPE_CHECKING:
    from mil_heatmaps.viewer.catalog import Catalog
    from mil_heatmaps.viewer.live import LiveCatalog

EPILOG = """examples:
  python view_heatmap_sync.py --slide S.svs --scores S_blockmap.h5
  python view_heatmap_sync.py --slide S.svs --heatmap O/S_heatmap.png
  python view_heatmap_sync.py --slide S.svs --scores model_a.h5 model_b.h5    two models, their difference
  python view_heatmap_sync.py --run EXP                                       every slide of a run, by its name
  python view_heatmap_sync.py --run EXP_A EXP_B --slide_dir /data/slides      two runs on the same slides
  python view_heatmap_sync.py --slide S.svs --scores S_blockmap.h5 --export_html S.html
  python view_heatmap_sync.py --run EXP --marks DIR --blind                   a reader study: marks and verdicts in DIR
  python view_heatmap_sync.py --slide HE.svs --scores HE.h5 --beside IHC.svs --affine A.npy

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
    what.add_argument("--beside", metavar="FILE", type=Path, help="a second slide that moves along (with --affine)")
    what.add_argument(
        "--affine",
        metavar="FILE",
        type=Path,
        help="3 x 3 .npy from level-0 pixels of --slide to those of --beside",
    )
    reading = parser.add_argument_group("reading")
    reading.add_argument(
        "--marks",
        metavar="DIR",
        type=Path,
        help="keep marks (GeoJSON) and verdicts (CSV) here; nothing else is written",
    )
    reading.add_argument("--blind", action="store_true", help="hide labels, predictions and what tells of them")
    reading.add_argument("--agreement", action="store_true", help="print how far the readers in --marks agree")
    how = parser.add_argument_group("how")
    how.add_argument("--port", type=_port, default=0, metavar="N", help="port to listen on; left out: any free one")
    how.add_argument("--no_browser", action="store_true", help="only print the link")
    how.add_argument(
        "--token_file", metavar="FILE", type=Path, help="keep the link's secret here, so that bookmarks live on"
    )
    gateway = parser.add_argument_group("behind a gateway (JupyterHub, Open OnDemand, nginx)")
    gateway.add_argument(
        "--base_path", metavar="PATH", default="", help="what the gateway puts in front of every address"
    )
    gateway.add_argument(
        "--allow_host", metavar="NAME", nargs="+", default=[], type=_host, help="host names of the gateway"
    )
    gateway.add_argument(
        "--frame_ancestors", metavar="ORIGIN", nargs="+", default=[], type=_origin,
        help="sites that may frame the page",
    )  # fmt: skip
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
        "--export_slide",
        metavar="ID",
        nargs="+",
        default=[],
        help="which slides of a run to export, or all; left out: the first with scores. Several get an index",
    )
    return parser


def _host(text: str) -> str:
    if not text or any(letter in text for letter in "/?#@ ,;*\"'\\"):
        raise argparse.ArgumentTypeError(f"must be a host name such as hub.example.org, got {text!r}")
    return text.lower()


def _origin(text: str) -> str:
    if not text.isprintable() or any(letter in text for letter in " ,;\"\\") or text == "*":
        raise argparse.ArgumentTypeError(f"must be an origin such as https://hub.example.org, got {text!r}")
    return "'self'" if text.strip("'") == "self" else text


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
    if not arguments.run and arguments.slide is None and not arguments.agreement:
        return parser.lacking("nothing to show: give --run EXPERIMENT, or --slide FILE with --scores or --heatmap")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        if arguments.agreement:
            return _agreement(arguments)
        live = _catalog(arguments)
        catalog = live.catalog
        for note in catalog.notes:
            print(f"note: {note}", file=sys.stderr)
        if arguments.export_html is not None:
            return _export(catalog, arguments)
        _serve(live, arguments)
    except (HeatmapError, OSError) as error:
        if isinstance(error, OSError) and not isinstance(error, HeatmapError) and not error.strerror:
            raise
        print(f"{parser.prog}: {reason_of(error)}", file=sys.stderr)
        return 2
    print("stopped")
    return 0


def _serve(live: LiveCatalog, arguments: argparse.Namespace) -> None:
    from mil_heatmaps.viewer.serve import needed_for_serving, serve, token_of

    needed_for_serving()
    from mil_heatmaps.viewer.app import ViewerApp
    from mil_heatmaps.viewer.reader_notes import ReaderNotes
    from mil_heatmaps.viewer.security import Doors

    doors = Doors(arguments.base_path, tuple(arguments.allow_host), tuple(arguments.frame_ancestors))
    token = None if arguments.token_file is None else token_of(arguments.token_file)
    notes = None if arguments.marks is None else ReaderNotes(arguments.marks)

    def app(port: int) -> ViewerApp:
        return ViewerApp(live, port=port, token=token, doors=doors, notes=notes)

    def ready(link: str) -> None:
        _ready(live.catalog, link, arguments.no_browser)
        for host in arguments.allow_host:
            print(f"through {host}: its address of this viewer, then /?{link.partition('?')[2]}", flush=True)

    serve(app, port=arguments.port, on_ready=ready)


def _agreement(arguments: argparse.Namespace) -> int:
    from mil_heatmaps.viewer.agreement import agreement_words
    from mil_heatmaps.viewer.reader_notes import ReaderNotes

    if arguments.marks is None:
        raise ConfigError("--agreement needs --marks DIR, the folder with the readers' review_*.csv")
    cases = _catalog(arguments).catalog.cases if arguments.run else None  # the run knows which slides are of one case
    told = ReaderNotes(arguments.marks).agreement(cases)
    if not told["readers"]:
        raise ConfigError(f"there is no review_*.csv in {arguments.marks}")
    print("\n".join(agreement_words(told)))
    return 0


def _catalog(arguments: argparse.Namespace) -> LiveCatalog:
    from mil_heatmaps.slides.affine import read_affine
    from mil_heatmaps.viewer.catalog import Beside, catalog_of_files
    from mil_heatmaps.viewer.live import LiveCatalog

    if (arguments.beside is None) != (arguments.affine is None):
        raise ConfigError("--beside FILE and --affine FILE belong together")
    if arguments.run:
        if arguments.slide or arguments.scores or arguments.heatmap or arguments.tissue or arguments.beside:
            raise ConfigError("give --run, or --slide with --scores and --heatmap, not both")
        from mil_heatmaps.cohort.experiments import find_experiment
        from mil_heatmaps.viewer.run_folder import catalog_of_runs, sign_of_runs

        folders = [find_experiment(run, any_folder=True) for run in arguments.run]

        def read() -> Catalog:
            return replace(catalog_of_runs(folders, arguments.slide_dir), blind=arguments.blind)

        return LiveCatalog(read(), read, lambda: sign_of_runs(folders))
    catalog = catalog_of_files(arguments.slide, arguments.heatmap, arguments.scores, arguments.tissue)
    beside = None
    if arguments.beside is not None:
        if not arguments.beside.exists():
            raise ConfigError(f"no such file: {arguments.beside}")
        beside = Beside(arguments.beside, read_affine(arguments.affine))
    return LiveCatalog(replace(catalog, blind=arguments.blind, beside=beside))


def _export(catalog: Catalog, arguments: argparse.Namespace) -> int:
    from mil_heatmaps.viewer.export_html import export_html

    if arguments.export_px < 256:
        raise ConfigError(f"--export_px must be at least 256, got {arguments.export_px}")
    asked = arguments.export_slide
    if len(asked) > 1 or asked == ["all"]:
        from mil_heatmaps.viewer.export_index import export_slides

        summary = export_slides(catalog, arguments.export_html, asked, longest_px=arguments.export_px)
    else:
        summary = export_html(
            catalog, arguments.export_html, longest_px=arguments.export_px, slide_id=next(iter(asked), None)
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

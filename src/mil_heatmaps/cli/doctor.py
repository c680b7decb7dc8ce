"""`test_heatmap_setup.py`: check the installation as a heatmap run would use it, and say how to fix what fails.

Until a check needs more, only the standard library is imported: the doctor must work where nothing else does.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from mil_heatmaps.cli.doctor_checks import (
    EXTRAS,
    INSTALL,
    NEEDED,
    Check,
    attempt,
    check_extra,
    check_package,
    check_page,
    check_python,
    check_writable,
    draw_one,
    gpu,
    open_and_read,
    openslide_library,
)
from mil_heatmaps.cli.parsing import CommandParser

EPILOG = """examples:
  python test_heatmap_setup.py
  python test_heatmap_setup.py --slide S.svs --h5 S.h5 --checkpoint M.pt      with your own files
  python test_heatmap_setup.py --output_dir /results --json

exit codes: 0 a heatmap can be made (there may be warnings), 1 something has to be fixed first"""


def build_parser() -> CommandParser:
    """Return the command line's parser."""
    parser = CommandParser(
        "test_heatmap_setup.py",
        "[--slide S.svs --h5 S.h5 --checkpoint M.pt] [options]",
        "Check that heatmaps can be made here: one line per check, with a fix for anything that fails.",
        EPILOG,
    )
    parser.add_argument("--output_dir", type=Path, default=Path(), metavar="DIR", help="where results are to go")
    parser.add_argument("--slide", type=Path, metavar="FILE", help="a slide of yours, in place of a generated one")
    parser.add_argument("--h5", type=Path, metavar="FILE", help="its features; with --slide and --checkpoint")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="your model; with --slide and --h5")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run every check, print the report; return 1 if one failed."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if (args.h5 is None) != (args.checkpoint is None) or (args.h5 is not None and args.slide is None):
        parser.error("--slide, --h5 and --checkpoint go together; --slide may be given alone")
    show = None if args.json else print_check
    checks = examine(args.output_dir, args.slide, args.h5, args.checkpoint, show)
    failed = [check for check in checks if check.verdict == "fail"]
    if args.json:
        print(json.dumps({"ok": not failed, "checks": [asdict(check) for check in checks]}, indent=1))
    else:
        warned = sum(check.verdict == "warn" for check in checks)
        print(f"\n{len(checks) - warned - len(failed)} passed, {warned} warned, {len(failed)} failed")
        print("fix what failed, then try again" if failed else "heatmaps can be made here")
    return 1 if failed else 0


def print_check(check: Check) -> None:
    """Print the line of a check, and a line with the fix if there is one."""
    print(f"{check.verdict:<5} {check.name:<24} {check.detail}", flush=True)
    if check.fix:
        print(f"{'':<5} {'':<24} fix: {check.fix}", flush=True)


def examine(
    output_dir: Path,
    slide: Path | None = None,
    h5: Path | None = None,
    checkpoint: Path | None = None,
    show: Callable[[Check], None] | None = None,
) -> list[Check]:
    """Return every check, and pass each to `show` as it is made; checks that depend on a failed one are left out."""
    checks: list[Check] = []

    def note(check: Check) -> bool:
        checks.append(check)
        if show is not None:
            show(check)
        return check.verdict != "fail"

    sound = note(check_python())
    for package, module in NEEDED.items():
        sound &= note(check_package(package, module))
    for extra in EXTRAS:
        note(check_extra(extra))
    if sound:
        sound &= note(attempt("OpenSlide library", openslide_library, "pip install --force-reinstall openslide-bin"))
        note(attempt("GPU", gpu, "see pytorch.org for the build that fits the driver"))
    note(check_writable(output_dir))
    note(check_page())
    if sound:
        with tempfile.TemporaryDirectory() as folder:
            path = slide or Path(folder) / "generated.tif"
            own = "is the file complete, and of a format OpenSlide reads?"
            if note(attempt("slide", lambda: open_and_read(path, make=slide is None), own)):
                fix = "" if h5 is None else "slide, features and model must belong together"
                note(attempt("heatmap, end to end", lambda: draw_one(path, h5, checkpoint), fix or INSTALL))
    return checks


if __name__ == "__main__":
    sys.exit(main())

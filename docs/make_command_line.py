"""Write docs/reference/command_line.md: the `--help` of every command, as the commands print it.

Run `.venv/bin/python docs/make_command_line.py` after a change to a parser; a test compares.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference" / "command_line.md"
COMMANDS = {
    "generate_heatmaps.py": "generate_heatmaps",
    "create_heatmaps.py": "create_heatmaps",
    "create_process_list.py": "create_process_list",
    "view_heatmap_sync.py": "view_heatmap_sync",
    "test_heatmap_setup.py": "doctor",
}
BEGINNING = """# Command line

What every command prints with `--help`. Made by `docs/make_command_line.py`; do not edit. An installed wheel has the
first four as `generate-heatmaps`, `create-heatmaps`, `create-process-list` and `view-heatmap-sync`. Every command
has `--version`.
"""


def page_text() -> str:
    """Return the page; lines are as on a terminal of 100 columns."""
    before, os.environ["COLUMNS"] = os.environ.get("COLUMNS"), "100"
    try:
        parts = [BEGINNING]
        for command, module in COMMANDS.items():
            parser = import_module(f"mil_heatmaps.cli.{module}").build_parser()
            parts.append(f"## {command}\n\n```text\n{parser.format_help().rstrip()}\n```\n")
    finally:
        os.environ.pop("COLUMNS") if before is None else os.environ.update(COLUMNS=before)
    return "\n".join(parts)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "src"))
    PAGE.write_text(page_text(), encoding="utf-8")

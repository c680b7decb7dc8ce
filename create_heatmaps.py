"""Make heatmaps of a cohort from one YAML config and one process list; `--help` says how."""

import sys

import src  # noqa: F401  so that mil_heatmaps is the one of this checkout
from mil_heatmaps.cli.create_heatmaps import main

if __name__ == "__main__":
    sys.exit(main())

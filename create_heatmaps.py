"""Make heatmaps of a cohort from one YAML config and one process list; `--help` says how."""

import sys

from src.cli.create_heatmaps import main

if __name__ == "__main__":
    sys.exit(main())

"""Make heatmaps from a folder of features, a folder of slides and a checkpoint; `--help` says how."""

import sys

import src  # noqa: F401  so that mil_heatmaps is the one of this checkout
from mil_heatmaps.cli.generate_heatmaps import main

if __name__ == "__main__":
    sys.exit(main())

"""Make heatmaps from a folder of features, a folder of slides and a checkpoint; `--help` says how."""

import sys

from src.cli.generate_heatmaps import main

if __name__ == "__main__":
    sys.exit(main())

"""Look at slides and heatmaps side by side in the browser; `--help` says how."""

import sys

import src  # noqa: F401  so that mil_heatmaps is the one of this checkout
from mil_heatmaps.cli.view_heatmap_sync import main

if __name__ == "__main__":
    sys.exit(main())

"""Look at slides and heatmaps side by side in the browser; `--help` says how."""

import sys

from src.cli.view_heatmap_sync import main

if __name__ == "__main__":
    sys.exit(main())

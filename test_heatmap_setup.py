"""Is everything here that heatmaps need? One line per check, with a fix. (A command, no test of pytest's.)"""

import sys

import src  # noqa: F401  so that mil_heatmaps is the one of this checkout
from mil_heatmaps.cli.doctor import main

if __name__ == "__main__":
    sys.exit(main())

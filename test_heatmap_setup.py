"""Is everything here that heatmaps need? One line a check, with what mends it. (A command, no test of pytest's.)"""

import sys

from src.cli.doctor import main

if __name__ == "__main__":
    sys.exit(main())

"""Write the list of slides for create_heatmaps.py; `--help` says how."""

import sys

import src  # noqa: F401  so that mil_heatmaps is the one of this checkout
from mil_heatmaps.cli.create_process_list import main

if __name__ == "__main__":
    sys.exit(main())

"""Write the list of slides for create_heatmaps.py; `--help` says how."""

import sys

from src.cli.create_process_list import main

if __name__ == "__main__":
    sys.exit(main())

"""Paths of the checkout, and of the real and golden data where they exist."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The checkout that the tests belong to."""

SHARED = Path(os.environ.get("HEATMAP_TEST_DATA", ROOT.parent / "shared"))
"""The folder of golden/ and data/; it may not exist."""

CURE = "set HEATMAP_TEST_DATA to the folder that holds golden/ and data/"

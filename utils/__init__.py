"""Faces of a checkout: CLAM's `utils.file_utils`."""

import src  # noqa: F401  so that mil_heatmaps is the one of this checkout

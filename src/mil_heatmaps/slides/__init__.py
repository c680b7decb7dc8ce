"""Slides: reading pixels, finding tissue, laying patch grids."""

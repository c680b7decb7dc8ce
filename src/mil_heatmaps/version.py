"""The version of the program, as records, score files and events name it."""

__version__ = "0.1.0"

PROGRAM = f"mil-heatmaps {__version__}"
"""As figures and the facts of their files name it."""

"""The side-by-side viewer."""

"""Patch scores: from the model to numbers, their normalisation and their file."""

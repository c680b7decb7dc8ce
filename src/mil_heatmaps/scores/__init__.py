"""Patch scores: from model to numbers, their normalisation and their file."""

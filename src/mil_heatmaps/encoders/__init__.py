"""Patch encoders, which turn the pixels of a patch into a feature vector, and the extraction of features."""

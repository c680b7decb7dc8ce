"""Patch encoders: pixels of a patch in, a feature vector out; extraction of features."""

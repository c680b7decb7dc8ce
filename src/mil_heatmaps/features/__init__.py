"""Patch features: read from TRIDENT, CLAM and .pt files, returned as `PatchFeatures`."""

"""Patch features: TRIDENT, CLAM and .pt files in, `PatchFeatures` out."""

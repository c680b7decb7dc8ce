"""Exports that other programs open."""

"""Layers, and passes over a long bag in bounded memory: what networks are made of, without knowing any model."""

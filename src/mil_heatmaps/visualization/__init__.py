"""Scores to pixels, figures and sampled patches."""

"""Drawing: scores to pixels, overlays, figures, sampled patches."""

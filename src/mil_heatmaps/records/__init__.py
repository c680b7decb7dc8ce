"""Every path that is written, what was done for a slide, and the run's tables."""

"""For notebooks: scores that display themselves, and a run that returns its table."""

"""What a notebook asks for: scores that show themselves, and a run that returns its table."""

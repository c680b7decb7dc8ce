"""What a run reports while it works: events, bars, watching, trackers."""

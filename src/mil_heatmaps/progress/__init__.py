"""What a run tells while it works: events, bars, watching, trackers."""

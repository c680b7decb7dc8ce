"""A report of a run, for readers who have only a browser."""

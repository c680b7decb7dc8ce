"""The error for a file that has changed since it was read."""


class Changed(Exception):
    """A file was rewritten after the page read it."""

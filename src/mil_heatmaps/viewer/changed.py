"""What is said when a file is no longer the one that was read."""


class Changed(Exception):
    """A file was rewritten after the page read what is in it."""

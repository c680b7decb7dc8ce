"""The version of the program, as in records, score files and events."""

__version__ = "0.1.0"

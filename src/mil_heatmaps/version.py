"""The version of the program, as records, score files and events name it."""

__version__ = "0.1.0"

"""The CLAM-style file helpers (`utils.file_utils`)."""

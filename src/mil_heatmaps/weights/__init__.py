"""A file, a folder or a hub name to tensors, and a user's own code."""

"""Read tensors from a file, a folder or a hub name, and import a user's own code."""

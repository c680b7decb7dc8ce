"""Explanations of a prediction, and how faithful a map of it is: pure functions of a forward, features and settings."""

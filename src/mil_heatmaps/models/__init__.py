"""MIL models: one file a model, one interface."""

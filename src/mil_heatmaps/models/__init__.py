"""MIL models: one file per model, one interface."""

"""The config: its sections, loading, cross checks, errors with lines, the key reference."""

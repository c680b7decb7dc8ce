"""The staged pipeline: config, process list, records, stages, runner."""

"""A report of a run, for people with a browser and nothing else."""

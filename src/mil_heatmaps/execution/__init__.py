"""Where slides are worked on: this process, processes of this machine, Dask, batch jobs."""

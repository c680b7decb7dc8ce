"""Where slides are processed: this process, processes of this machine, Dask, batch jobs."""

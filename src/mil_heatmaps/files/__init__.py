"""Files, whatever is in them: whole-or-nothing writing, HDF5, safe pickles, tables."""

"""Files of any content: whole-or-nothing writing, HDF5, safe pickles, tables."""

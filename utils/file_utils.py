"""CLAM's `from utils.file_utils import save_hdf5`, in a checkout."""

from mil_heatmaps.files.clam_files import DataFileError, load_hdf5, load_pkl, save_hdf5, save_pkl

__all__ = ["DataFileError", "load_hdf5", "load_pkl", "save_hdf5", "save_pkl"]

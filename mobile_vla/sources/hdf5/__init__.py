"""Episodes in HDF5 files, one a file."""

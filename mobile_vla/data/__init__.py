"""From HDF5 files to planned batches."""

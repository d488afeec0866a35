"""A policy with its data, opened: from a run, a checkpoint or a file from elsewhere."""

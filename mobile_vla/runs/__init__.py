"""What a run's folder says of the run."""

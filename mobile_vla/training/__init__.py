"""Training: step, metrics, baselines, effects."""

"""A policy's errors: metrics, baselines, effects of its inputs, intervals over episodes."""

"""What a run shows while it goes on and afterwards: TensorBoard, `metrics.csv`, figures."""

"""Tests of what measures a GPU, on a CPU."""

"""The small laboratory that trainings are tried in."""

from tests.lab import bench, episode_files, lab, trainings, whole

__all__ = ["bench", "episode_files", "lab", "trainings", "whole"]

"""The small laboratory that trainings are tried in, here as well."""

from tests.contexts.conftest import no_waiting_for_the_disk
from tests.lab import bench, episode_files, lab

__all__ = ["bench", "episode_files", "lab", "no_waiting_for_the_disk"]

"""A command of the tests' own, run as the console script runs one."""

from tests.cli.conftest import bench, refused

__all__ = ["bench", "refused"]

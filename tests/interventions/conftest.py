"""Thirty episodes of several instructions, in the laboratory of the trainings."""

import pytest

from tests.interventions.texts import OF
from tests.lab import bench, lab

__all__ = ["bench", "lab"]


@pytest.fixture(scope="module")
def episodes(lab):
    """Thirty episodes, five of each instruction."""
    return [lab.make_episode(f"e{i:02d}", 9, text) for i, text in enumerate(list(OF) * 5)]

import pytest

from tests.training.interventions.texts import OF


@pytest.fixture(scope="module")
def episodes(lab):
    """Thirty episodes, five of each instruction."""
    return [lab.make_episode(f"e{i:02d}", 9, text) for i, text in enumerate(list(OF) * 5)]

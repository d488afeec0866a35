"""A tiny policy on a few episodes, prepared as the benchmarks prepare theirs."""

import gc

import pytest

from benchmarks.setting import Setting, prepare_training
from mobile_vla.sources.synthetic.writer import SynthConfig

TINY = ("model=tiny", "trainer=cpu", "model.architecture.vision_config.image_size=16")
EPISODES = SynthConfig(episodes=4, resolution=(36, 64), workers=1)


@pytest.fixture(scope="session")
def setting(tmp_path_factory) -> Setting:
    return Setting.of(prepare_training(tmp_path_factory.mktemp("benchmarks"), TINY, EPISODES))


@pytest.fixture
def heap():
    """As small as a benchmark's own: that of a test session takes a second to be looked through, at each run."""
    gc.freeze()
    yield
    gc.unfreeze()

"""What the data of each synthetic world can show about instructions: asked of real files, as a training asks it."""

import pytest

from mobile_vla.core.dependence import Dependence
from mobile_vla.core.preprocessing import Preprocessing
from mobile_vla.data.dataset import DataConfig, fit_actions, open_dataset
from mobile_vla.data.meaning import find_dependence, find_meanings
from mobile_vla.sources.synthetic.writer import SynthConfig, write_episodes


def ask(folder, world: str, seed: int = 0) -> tuple[bool, Dependence]:
    """Whether the texts are known to mean a direction, and whether the actions are shown to depend on it."""
    write_episodes(SynthConfig(episodes=48, seed=seed, resolution=(16, 28), world=world, workers=1), folder)
    config = DataConfig(root=str(folder), pack=False, pack_dir=str(folder / "packed"))
    episodes = open_dataset(config, Preprocessing(size=14)).episodes
    meanings = find_meanings(episodes, "direction")
    return meanings.known, find_dependence(episodes, fit_actions(config, list(episodes)), meanings)


@pytest.mark.parametrize("world", ["full", "image_blind"])
def test_where_the_instruction_decides_it_is_found(tmp_path, world):
    known, found = ask(tmp_path, world)
    assert known
    assert found.depends


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("world", ["instruction_blind", "left_only"])
def test_where_it_decides_nothing_no_dependence_is_shown(tmp_path, world, seed):
    known, found = ask(tmp_path, world, seed)
    assert not known
    assert found.answer == "not shown"
    assert "is not shown by these 48 episodes" in found.sentence

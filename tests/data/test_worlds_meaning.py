"""What the data of each synthetic world can show about instructions: asked of real files, as a training asks it."""

import pytest

from mobile_vla.data.dataset import DataConfig, fit_actions, open_dataset
from mobile_vla.data.meaning import find_meanings, why_no_dependence
from mobile_vla.data.synthetic.writer import SynthConfig, write_episodes
from mobile_vla.preprocessing import Preprocessing


def ask(folder, world: str, seed: int = 0) -> tuple[bool, str | None]:
    """Whether the texts are known to mean a direction, and why the data cannot show that they matter."""
    write_episodes(SynthConfig(episodes=48, seed=seed, resolution=(16, 28), world=world, workers=1), folder)
    config = DataConfig(root=str(folder), pack=False, pack_dir=str(folder / "packed"))
    episodes = open_dataset(config, Preprocessing(size=14)).episodes
    meanings = find_meanings(episodes, "direction")
    return meanings.known, why_no_dependence(episodes, fit_actions(config, list(episodes)), meanings)


@pytest.mark.parametrize("world", ["full", "image_blind"])
def test_where_the_instruction_decides_it_is_found(tmp_path, world):
    assert ask(tmp_path, world) == (True, None)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("world", ["instruction_blind", "left_only"])
def test_where_it_decides_nothing_the_data_cannot_show_it(tmp_path, world, seed):
    known, reason = ask(tmp_path, world, seed)
    assert not known
    assert "do not depend on the instruction" in reason

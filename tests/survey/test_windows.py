"""What would be trained on, counted one entry at a time."""

import numpy as np
import pytest

from mobile_vla.data.dataset import DataConfig
from mobile_vla.data.splits import SplitConfig, make_split
from mobile_vla.survey.windows import count_windows


def count_slowly(episodes, window, chunk, stride):
    count = valid = 0
    for episode in episodes:
        for start in range(0, max(episode.num_frames - window, 0) + 1, stride):
            count += 1
            for frame in range(start, min(start + window, episode.num_frames)):
                for t in range(frame, frame + chunk):
                    valid += t < episode.num_frames and bool(episode.action_known[t])
    return count, valid


@pytest.mark.parametrize(("window", "chunk", "stride"), [(8, 10, 1), (4, 3, 2), (1, 1, 1)])
def test_every_entry_is_counted(make_episode, window, chunk, stride):
    known = np.arange(18) > 0
    episodes = [make_episode("a", 18, known=known), make_episode("b", 5), make_episode("c", 30)]
    config = DataConfig(root="x", window=window, chunk=chunk, stride=stride)
    found = count_windows(config, episodes)
    count, valid = count_slowly(episodes, window, chunk, stride)
    assert (found.count, found.valid_entries) == (count, valid)
    assert found.padded_share == pytest.approx(1 - valid / (count * window * chunk))
    assert found.short_episodes == (1 if window == 8 else 0)


def test_the_split_is_the_one_that_training_makes(make_episode):
    episodes = [make_episode(str(i), 18, direction="left" if i % 3 else "right") for i in range(30)]
    config = DataConfig(root="x", split=SplitConfig(by=("direction",), seed=4))
    found = count_windows(config, episodes)
    assert found.split is not None
    for name, ids in make_split(episodes, config.split).parts.items():
        assert found.split[name].episodes == len(ids)
    assert sum(part.windows for part in found.split.values()) == found.count
    assert sum(part.valid_entries for part in found.split.values()) == found.valid_entries
    assert sum(part.strata.get("right", 0) for part in found.split.values()) == 10


def test_what_training_refuses_is_counted(make_episode):
    found = count_windows(DataConfig(root="x", ends="drop"), [make_episode("a", 16)])
    assert (found.count, found.valid_entries, found.padded_share, found.windowless) == (0, 0, None, ("a",))
    assert found.split is None
    assert "cannot be split" in (found.split_refused or "")

"""Small folders of episodes, surveyed; and recordings of the simulator, for what has to look like a real scene."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mobile_vla.data.dataset import DataConfig
from mobile_vla.sources.schema import Episode
from mobile_vla.sources.synthetic.episode import Recording, make_task, record
from mobile_vla.survey.lenient import open_leniently
from mobile_vla.survey.sketches import THUMBNAIL, Sketch, sketch
from mobile_vla.survey.survey import Survey, take_survey

Frames = Mapping[str, np.ndarray]


class FramesInMemory:
    """A source of frames for episodes without files."""

    def __init__(self, frames: Frames):
        self.frames = frames

    def read(self, episode: Episode, low: int, high: int) -> torch.Tensor:
        return THUMBNAIL.resize(torch.from_numpy(self.frames[episode.id][low:high]))


def sketch_frames(episodes: list[Episode], frames: Frames) -> dict[str, Sketch]:
    """Sketches by id, from frames by id."""
    source = FramesInMemory(frames)
    return {episode.id: sketch(source, episode) for episode in episodes}


@pytest.fixture(scope="session")
def recorded() -> Callable[..., Recording]:
    """`recorded(index, side=None)`: an episode of the simulator, 90x160, with a little noise."""
    known: dict[tuple[int, str | None], Recording] = {}

    def get(index: int, side: str | None = None) -> Recording:
        if (index, side) not in known:
            task = make_task(3, index)
            task = task if side is None else replace(task, side=side)
            known[index, side] = record(task, num_frames=18, resolution=(90, 160), noise=1.0)
        return known[index, side]

    return get


@pytest.fixture(scope="session")
def survey_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Survey]:
    """The survey of a folder, with settings of the data."""
    cache = tmp_path_factory.mktemp("cache")

    def take(folder: Path, **settings: object) -> Survey:
        config = DataConfig(root=str(folder), pack_dir=str(cache), **settings)  # type: ignore[arg-type]
        return take_survey(config, open_leniently(config))

    return take

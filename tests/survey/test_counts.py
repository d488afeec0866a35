"""Counts, against files that were written with known content."""

from pathlib import Path

from mobile_vla.survey.counts import Spread
from tests.conftest import BOX_NAME, KOREAN, draw_frames


def test_everything_is_counted(tmp_path: Path, write_episode, survey_of):
    files = [
        write_episode(tmp_path / f"{BOX_NAME}.h5", "v3", 6, seed=0),
        write_episode(tmp_path / f"{BOX_NAME.replace('left', 'right')}.h5", "v3", 9, instruction="go right", seed=1),
        write_episode(tmp_path / "x.h5", "v5_jpeg", 9, frames=draw_frames(9, (30, 60), 2), seed=2),
    ]
    found = survey_of(tmp_path).payload()
    assert (found["episodes"], found["frames"]) == (3, 24)
    assert found["labels"]["direction"] == {"left": 1, "right": 1, "unknown": 1}
    assert found["labels"]["session"] == {"20251204": 2, "unknown": 1}
    assert found["labels"]["end_pos"] == {"left": 1, "unknown": 2}
    assert found["instructions"] == {"Navigate to the target location": 1, "go right": 1, KOREAN: 1}
    assert found["instruction_sources"] == {"file": 2, "table": 0, "default": 1}
    assert found["lengths"]["episodes_of"] == {6: 1, 9: 2}
    assert (found["lengths"]["median"], found["lengths"]["total"]) == (9, 24)
    assert found["bytes"].total == sum(file.stat().st_size for file in files)
    assert found["resolutions"] == {"40x24": 2, "60x30": 1}
    assert found["encodings"] == {"jpeg": 1, "raw": 2}
    assert found["layouts"] == {"flat": 2, "nested": 1}


def test_a_spread_is_five_numbers():
    assert Spread.of([4, 1, 1]) == Spread(min=1, median=1, mean=2, max=4, total=6)

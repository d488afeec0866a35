"""Features of frames and texts from files: every row at its place, or none at all."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mobile_vla.data.features import FeatureFiles, FeatureReader
from mobile_vla.data.requests import Pairs, WindowRequest
from mobile_vla.data.stills import Still
from tests.lab import make_episode

LEFT, RIGHT = (5, 6, 7), (5, 8)  # token ids
IDS = torch.tensor([[5, 6, 7], [5, 8, 1]])
MASK = torch.tensor([[True, True, True], [True, True, False]])
EPISODES = [
    replace(make_episode(f"e{i}", 9, instruction=("left", "right")[i % 2]), fingerprint=f"f{i}") for i in range(3)
]


def rows_of(episode: int, text: tuple[int, ...], *shape: int, dtype=torch.float32) -> torch.Tensor:
    """Every number tells its episode, frame and text."""
    frames = torch.arange(9.0)[:, *([None] * len(shape))]
    return (episode * 1000 + frames * 10 + len(text) + torch.zeros(9, *shape)).to(dtype)


def make_pairs(*requests: WindowRequest) -> Pairs:
    pairs = Pairs(EPISODES)
    for request in requests:
        for frame in range(request.start, request.start + 4):
            pairs.add(request, frame)
    return pairs


def read(files: FeatureFiles, pairs: Pairs) -> torch.Tensor | None:
    return FeatureReader(files).read(pairs, EPISODES, IDS[: len(pairs.texts)], MASK[: len(pairs.texts)])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_image_tokens_come_by_frame_in_the_batchs_order(tmp_path, dtype):
    files = FeatureFiles(tmp_path, "image_tokens")
    for i in range(3):
        files.write(EPISODES[i], (), rows_of(i, (), 2, 3, dtype=dtype))
    pairs = make_pairs(*(WindowRequest(episode=e, start=s) for e, s in ((2, 5), (0, 1), (2, 3))))
    found = read(files, pairs)
    assert found is not None
    assert found.dtype == dtype
    assert found.shape == (10, 2, 3)
    for (episode, frame), row in pairs.frames.items():
        assert torch.equal(found[row], rows_of(episode, (), 2, 3, dtype=dtype)[frame])


def test_contexts_come_by_frame_and_text_whoever_shows_them(tmp_path):
    """A donor's frames with the own text are the donor's rows of that text; a swapped text is another file."""
    files = FeatureFiles(tmp_path, "contexts")
    for i in range(3):
        for text in (LEFT, RIGHT):
            files.write(EPISODES[i], text, rows_of(i, text, 4))
    pairs = make_pairs(
        WindowRequest(episode=0, start=2),
        WindowRequest(episode=1, start=0),
        WindowRequest(episode=0, start=2, variant="swap", instruction="right"),
        WindowRequest(episode=0, start=1, variant="donor", donor=2),
    )
    found = read(files, pairs)
    assert found is not None
    assert len(found) == len(pairs.frame_of) == 16
    frames = list(pairs.frames)
    for row, (frame, text) in enumerate(zip(pairs.frame_of, pairs.text_of, strict=True)):
        episode, step = frames[frame]
        assert torch.equal(found[row], rows_of(episode, (LEFT, RIGHT)[text], 4)[step])
    assert {episode for episode, _ in frames} == {0, 1, 2}


def test_shorter_states_are_padded_on_the_right(tmp_path):
    files = FeatureFiles(tmp_path, "states")
    files.write(EPISODES[0], LEFT, rows_of(0, LEFT, 6, 2))
    files.write(EPISODES[1], RIGHT, rows_of(1, RIGHT, 5, 2))
    found = read(files, make_pairs(WindowRequest(episode=0, start=0), WindowRequest(episode=1, start=0)))
    assert found is not None
    assert found.shape == (8, 6, 2)
    assert torch.equal(found[4:, :5], rows_of(1, RIGHT, 5, 2)[:4])
    assert not found[4:, 5:].any()


@pytest.mark.parametrize("kind", ["image_tokens", "contexts"])
@pytest.mark.parametrize(
    "lacking",
    [
        WindowRequest(episode=1, start=0),
        WindowRequest(
            episode=0, start=0, variant="blank", still=Still.of("blank", torch.zeros(4, 4, 3, dtype=torch.uint8))
        ),
    ],
    ids=["no file", "no episode's frame"],
)
def test_one_row_that_is_missing_and_nothing_is_taken(tmp_path, kind, lacking):
    files = FeatureFiles(tmp_path, kind)
    files.write(EPISODES[0], LEFT, rows_of(0, LEFT, 4))
    own = WindowRequest(episode=0, start=0)
    assert read(files, make_pairs(own)) is not None
    assert read(files, make_pairs(own, lacking)) is None


def test_contexts_under_hidden_image_tokens_are_not_those_of_all(tmp_path):
    hidden = WindowRequest(episode=0, start=0, variant="mask", hidden=(0, 3))
    for kind, taken in (("contexts", False), ("states", False), ("image_tokens", True)):
        files = FeatureFiles(tmp_path / kind, kind)
        files.write(EPISODES[0], LEFT, rows_of(0, LEFT, 4, 2))
        assert (read(files, make_pairs(hidden)) is not None) == taken, kind


def test_an_episode_is_known_by_its_content_and_a_text_by_its_tokens(tmp_path):
    files = FeatureFiles(tmp_path, "contexts")
    files.write(EPISODES[0], LEFT, rows_of(0, LEFT, 4))
    assert files.load(replace(EPISODES[1], fingerprint="f0"), LEFT) is not None, "moved, or renamed"
    assert files.load(replace(EPISODES[0], fingerprint="other"), LEFT) is None
    assert files.load(EPISODES[0], RIGHT) is None
    assert files.load(replace(EPISODES[0], fingerprint=""), LEFT) is None, "never examined"


@pytest.mark.parametrize("damage", ["cut", "empty", "other length", "other dtype"])
def test_what_is_not_whole_is_not_read(tmp_path, damage):
    files = FeatureFiles(tmp_path, "contexts")
    files.write(EPISODES[0], LEFT, rows_of(0, LEFT, 4))
    path = files.path(EPISODES[0], LEFT)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-8])
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        np.save(
            path, np.zeros((8 if damage == "other length" else 9, 4), np.float64 if "dtype" in damage else np.float32)
        )
    assert files.load(EPISODES[0], LEFT) is None
    assert read(files, make_pairs(WindowRequest(episode=0, start=0))) is None


def test_a_writer_that_fails_leaves_nothing(tmp_path, monkeypatch):
    files = FeatureFiles(tmp_path, "contexts")
    monkeypatch.setattr(
        "mobile_vla.data.features.write_header", lambda *_: (_ for _ in ()).throw(OSError("the disk is full"))
    )
    with pytest.raises(OSError, match="disk is full"):
        files.write(EPISODES[0], LEFT, rows_of(0, LEFT, 4))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]

"""One recording stored again is found, with noise, begun later or cut; other recordings of one place are not."""

import numpy as np
import pytest

from mobile_vla.analysis.copies import Clusters
from mobile_vla.analysis.tracks import link_one_track

RECORDINGS, TIMES, FRAMES, WIDTH = 10, 4, 18, 96


def wander(rng, shape, correlation=0.9):
    values = rng.standard_normal(shape)
    for at in range(1, shape[-2]):
        values[..., at, :] = correlation * values[..., at - 1, :] + np.sqrt(1 - correlation**2) * values[..., at, :]
    return values


def record(rng, recordings, frames=FRAMES, decay=0.5, correlation=0.9, progress=0.3):
    """(R, frames, WIDTH) of a power-law spectrum: each episode somewhere, its rows near it, all along one progress."""
    spectrum = np.arange(1, WIDTH + 1) ** -decay
    axes = np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))[0]
    still = rng.standard_normal((recordings, 1, WIDTH)) + 0.3 * wander(rng, (recordings, frames, WIDTH), correlation)
    return (still * spectrum) @ axes + np.linspace(-1, 1, frames)[:, None] * rng.standard_normal(WIDTH) * progress


def find(episodes, actions=None, contents=None):
    """Of each episode the first of its cluster."""
    vectors = np.concatenate(episodes).astype(np.float32)
    rows = np.split(np.arange(len(vectors)), np.cumsum([len(one) for one in episodes])[:-1])
    clusters = Clusters(len(episodes))
    known = None if actions is None else np.concatenate(actions)
    if known is not None and known.ndim == 2:
        known = known[:, None, :]  # chunks of one step
    link_one_track(clusters, lambda some: vectors[some], WIDTH, rows, known, contents or [None] * len(episodes))
    return [clusters.first(one) for one in range(len(episodes))]


def store_again(rng, tracks, noise=0.0, shift=0, cut=0.0, times=TIMES):
    """Each recording several times: with noise of its own, begun later, cut at either end."""
    episodes, starts = [], []
    frames = tracks.shape[1] - shift
    for track in tracks:
        for time in range(times):
            start = int(rng.integers(shift + 1))
            length = round(frames * (1 - cut)) if time else frames
            start += (frames - length) * int(rng.integers(2))
            one = track[start : start + length]
            episodes.append(one + noise * tracks.std(axis=(0, 1)) * rng.standard_normal(one.shape))
            starts.append(start)
    return episodes, starts


ONE_EACH = [one - one % TIMES for one in range(RECORDINGS * TIMES)]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "done", [{"noise": 0.02}, {"noise": 0.1}, {"shift": 3}, {"cut": 0.3}, {"shift": 3, "noise": 0.02}], ids=str
)
def test_a_recording_stored_again_is_one(done, seed):
    rng = np.random.default_rng(seed)
    episodes, _ = store_again(rng, record(rng, RECORDINGS, FRAMES + done.get("shift", 0)), **done)
    assert find(episodes) == ONE_EACH


def test_few_recordings_stored_often_are_few():
    rng = np.random.default_rng(0)
    episodes, _ = store_again(rng, record(rng, 2), noise=0.02, times=20)
    assert find(episodes) == [0] * 20 + [20] * 20


@pytest.mark.parametrize("correlation", [0, 0.9])
def test_recordings_are_told_apart(correlation):
    for seed in range(5):
        episodes = list(record(np.random.default_rng(seed), 40, correlation=correlation))
        assert find(episodes) == list(range(40))


def test_in_few_dimensions_nothing_is_linked_by_chance():
    for seed in (0, 3, 5):
        episodes = list(record(np.random.default_rng(seed), 40, decay=2.0, correlation=0.5, progress=0))
        assert find(episodes) == list(range(40))


@pytest.mark.parametrize("correlation", [0, 0.9])
def test_several_drives_of_one_scene_by_the_same_keys_are_several(correlation):
    """Contexts hold the scene, or the instruction, and details of each drive's own."""
    rng = np.random.default_rng(0)
    scenes = np.repeat(rng.standard_normal((8, 1, WIDTH)), 5, axis=0)
    keys = np.repeat(rng.integers(-1, 2, (8, FRAMES, 2)), 5, axis=0).astype(float)
    assert find(list(scenes + 0.1 * wander(rng, (40, FRAMES, WIDTH), correlation)), list(keys)) == list(range(40))


def test_actions_must_not_contradict():
    rng = np.random.default_rng(0)
    episodes, starts = store_again(rng, record(rng, RECORDINGS, FRAMES + 3), shift=3, noise=0.02)
    driven = wander(rng, (RECORDINGS, FRAMES + 3, 2), 0.8)
    same = [driven[one // TIMES, start : start + FRAMES] for one, start in enumerate(starts)]
    assert find(episodes, same) == ONE_EACH
    mirrored = [-actions if one % TIMES else actions for one, actions in enumerate(same)]  # of each, all but one
    assert find(episodes, mirrored) == [one if one % TIMES < 2 else one - one % TIMES + 1 for one in range(40)]


def test_nothing_to_measure_is_no_copy():
    assert find([np.ones((3, WIDTH))] * 5) == list(range(5))
    assert find(list(np.random.default_rng(0).standard_normal((5, 1, WIDTH)))) == list(range(5))


def test_episodes_of_other_contents_are_no_copies():
    rng = np.random.default_rng(0)
    episodes, _ = store_again(rng, record(rng, RECORDINGS), noise=0.02)
    assert find(episodes, contents=[str(one) for one in range(len(episodes))]) == list(range(len(episodes)))
    half = [str(one) if one % TIMES == 0 else None for one in range(len(episodes))]  # some are not known
    assert find(episodes, contents=half) == ONE_EACH


def test_copies_hold_the_same_chunks():
    """Begun later, and stored at other frames: the chunks overlap. Other drives along one track have others."""
    rng = np.random.default_rng(1)
    tracks, frames = record(rng, RECORDINGS, FRAMES + 3), FRAMES + 3
    commands = rng.standard_normal((RECORDINGS, frames + 10, 2))
    episodes, starts = store_again(rng, tracks, noise=0.02, shift=3)

    def chunks(of):
        steps = np.arange(10)
        return [
            of[one][start + np.arange(len(episode))[:, None] + steps]
            for one, (episode, start) in enumerate(zip(episodes, starts, strict=True))
        ]

    assert find(episodes, chunks(np.repeat(commands, TIMES, axis=0))) == ONE_EACH
    others = rng.standard_normal((RECORDINGS * TIMES, frames + 10, 2))
    assert find(episodes, chunks(others)) == list(range(len(episodes)))

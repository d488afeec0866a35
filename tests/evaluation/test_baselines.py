"""Each baseline equals a slow one, made entry by entry from the training episodes."""

from collections import defaultdict

import numpy as np
import pytest

from mobile_vla.core.batch import PairId
from mobile_vla.data.dataset import DataConfig
from mobile_vla.evaluation.baselines import BASELINES, Baselines
from mobile_vla.evaluation.findings import baseline_losses

DELTA = 0.5


@pytest.fixture(scope="module")
def data(lab):
    unknown = np.ones(10, bool)
    unknown[[0, 4, 9]] = False
    episodes = lab.make_episodes(8)
    episodes[4] = lab.make_episode("e04", 10, lab.left, seed=4, action_known=unknown)
    episodes[1] = lab.make_episode("e01", 10, lab.right, seed=1, action_known=unknown)
    episodes[2] = lab.make_episode("e02", 6, "a text that training never saw: left", seed=2)
    return lab.make_data(episodes, num_validation=3, batch_size=5)


def normalized(lab, episode) -> np.ndarray:
    low, high = np.array(lab.space.low), np.array(lab.space.high)
    return (episode.actions[:, :2] - low) / (high - low) * 2 - 1


def slow_predictions(lab, data, name):
    """(episode, frame) of the validation split -> (C, A)."""
    every, by_step = [], defaultdict(list)
    for episode in data.episodes("train"):
        actions = normalized(lab, episode)
        for frame in range(episode.num_frames):
            part = min(frame * 10 // (episode.num_frames - 1), 9)  # tenths of the progress, 0 to 9
            for c in range(lab.chunk):
                if frame + c < episode.num_frames and episode.action_known[frame + c]:
                    every.append(actions[frame + c])
                    for key in (("progress", part, c), ("text", episode.instruction, c), ("any", c)):
                        by_step[key].append(actions[frame + c])
    mean = np.mean(every, axis=0)

    def average(key):
        return np.mean(by_step[key], axis=0) if key in by_step else None

    def predict(episode, frame):
        if name == "mean_action":
            return np.stack([mean] * lab.chunk)
        if name == "previous_action":
            low, high = np.array(lab.space.low), np.array(lab.space.high)
            known = frame > 0 and episode.action_known[frame - 1]
            held = normalized(lab, episode)[frame - 1] if known else (0 - low) / (high - low) * 2 - 1
            return np.stack([held] * lab.chunk)
        rows = []
        for c in range(lab.chunk):
            if name == "progress_only":
                row = average(("progress", min(frame * 10 // (episode.num_frames - 1), 9), c))
            else:
                seen = ("text", episode.instruction, 0) in by_step
                row = average(("text", episode.instruction, c) if seen else ("any", c))
            rows.append(mean if row is None else row)
        return np.stack(rows)

    return predict


def slow_loss(lab, data, name) -> float:
    predict, losses = slow_predictions(lab, data, name), []
    for episode in data.episodes("validation"):
        actions = normalized(lab, episode)
        for start in range(max(episode.num_frames - lab.window, 0) + 1):
            for frame in range(start, min(start + lab.window, episode.num_frames)):
                chunk = predict(episode, frame)
                for c in range(lab.chunk):
                    if frame + c < episode.num_frames and episode.action_known[frame + c]:
                        d = np.abs(chunk[c] - actions[frame + c])
                        losses += np.where(d <= DELTA, d * d / 2, DELTA * (d - DELTA / 2)).tolist()
    return float(np.mean(losses))


def test_losses_equal_slow_ones(lab, data):
    found = baseline_losses(data, "validation", lab.make_sums(data.episodes("validation"), DELTA))
    assert found.keys() == set(BASELINES)
    for name in BASELINES:
        assert found[name] == pytest.approx(slow_loss(lab, data, name), rel=1e-5), name


def test_predictions_equal_slow_ones(lab, data):
    baselines = Baselines(data.episodes("train"), lab.space, lab.chunk)
    for name in BASELINES:
        predict = slow_predictions(lab, data, name)
        for episode in data.episodes("validation"):
            for frame in range(episode.num_frames):
                found = baselines.predict(name, episode, PairId(episode.id, frame, episode.instruction))
                np.testing.assert_allclose(found, predict(episode, frame), atol=1e-5, err_msg=f"{name} {frame}")


def test_they_know_only_the_training_split(lab, data):
    """Other actions in validation change what is scored, not what is predicted."""
    before = Baselines(data.episodes("train"), lab.space, lab.chunk).mean_action
    changed = lab.make_episodes(8)
    changed[:3] = [lab.make_episode(e.id, e.num_frames, e.instruction, seed=99) for e in data.episodes("validation")]
    changed[3:] = data.episodes("train")
    other = lab.make_data(changed, num_validation=3)
    np.testing.assert_array_equal(Baselines(other.episodes("train"), lab.space, lab.chunk).mean_action, before)


def test_an_instruction_derived_from_the_action_is_told_by_instruction_only(lab):
    """Where the text alone says what will be driven, no other baseline comes near."""
    episodes = [lab.make_episode(f"e{i}", 9, [lab.left, lab.right][i % 2], seed=i) for i in range(8)]
    for i, episode in enumerate(episodes):
        episode.actions[:] = [1.15, 1.15 * (-1) ** i, 0]
    data = lab.make_data(episodes, num_validation=2)
    found = baseline_losses(data, "validation", lab.make_sums(data.episodes("validation")))
    assert found["instruction_only"] < 1e-6
    assert min(found["mean_action"], found["progress_only"]) > 0.1


def test_the_window_settings_are_those_of_the_data(data):
    assert isinstance(data.config, DataConfig)
    assert data.plan("validation").num_windows == 6 + 7 + 3

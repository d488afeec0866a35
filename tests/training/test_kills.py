"""A run that is killed, at any moment, and continued ends as the run that nothing disturbed: to the last bit."""

import random
import signal
import time
from collections import Counter

import pytest

from tests.training.comparing import differences
from tests.training.forked_trainings import MOMENTS, SAVING, TRAINING
from tests.training.run_training import make_config, train


def kill_at_random(trainings, out, kills, chance, within_s=0.25, **settings) -> Counter:
    """Let it save once, kill it, again and again; in the midst of what it was."""
    phases = Counter()
    for _ in range(kills):
        attempt = trainings.start(out, **settings)
        if attempt.until_saved():
            time.sleep(chance.uniform(0, within_s))
        attempt.send(signal.SIGKILL)
        if attempt.wait() == -signal.SIGKILL:
            phases[attempt.phase()] += 1
    assert trainings.run(out, **settings) == 0, out.with_name(f"{out.name}.log").read_text()[-3000:]
    return phases


@pytest.mark.parametrize("num_workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_killed_run_ends_as_an_undisturbed_one(trainings, whole, tmp_path, num_workers):
    """At four moments of a save that leave other files each, and at moments of chance."""
    out = tmp_path / "killed"
    settings = {"data": {"num_workers": num_workers}, "checkpoint": {"every_n_steps": 1}}
    for moment in MOMENTS if num_workers else MOMENTS[-1:]:
        assert trainings.run(out, dies=moment, **settings) == -signal.SIGKILL, moment
    kills = 2 if num_workers else 1
    phases = kill_at_random(trainings, out, kills, random.Random(num_workers), **settings, nap_s=0.05)
    assert sum(phases.values()) == kills
    assert differences(out, whole) == []


def test_killed_at_the_very_end(trainings, whole, tmp_path):
    """All is trained and saved, but the best checkpoint has no name yet, and nothing was evaluated."""
    out = tmp_path / "killed"
    assert trainings.run(out, dies="before it is named best", dies_from_epoch=3) == -signal.SIGKILL
    assert trainings.run(out) == 0
    assert differences(out, whole) == []


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 2])
def test_twenty_kills(trainings, episode_files, tmp_path, num_workers):
    """Half of the time is spent saving; a run of 48 steps, each of which is saved."""
    settings = {"trainer": {"max_epochs": 12}, "data": {"num_workers": num_workers}, "checkpoint": {"every_n_steps": 1}}
    train(tmp_path / "whole", make_config(episode_files, **settings))
    chance = random.Random(num_workers)
    slow = {"nap_s": 0.02, "disk_nap_s": 0.02}
    phases = kill_at_random(trainings, tmp_path / "killed", 20, chance, within_s=0.5, **settings, **slow)
    print({phase.decode(): count for phase, count in phases.items()})
    assert sum(phases.values()) == 20
    assert phases[TRAINING] >= 3
    assert phases[SAVING] >= 3
    assert differences(tmp_path / "killed", tmp_path / "whole") == []

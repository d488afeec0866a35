"""What a continued run may change, and what it may not: each is told by name, before anything is written."""

import shutil
from pathlib import Path

import h5py
import pytest

from mobile_vla.core.errors import UserError
from mobile_vla.data.splits import SplitConfig
from mobile_vla.models.heads.lstm_decoder import LSTMDecoderConfig
from mobile_vla.training.trainer import TrainerConfig
from tests.training.run_training import make_config, prepare

HEAD = LSTMDecoderConfig(hidden=32, layers=1, mlp=(16,))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"lora": {"r": 8}}, r"model\.lora\.r 4 -> 8"),
        ({"lora": {"dropout": 0.1}}, r"model\.lora\.dropout 0\.3 -> 0\.1"),
        ({"model": {"head": HEAD}}, r"model\.head\.hidden 16 -> 32"),
        ({"data": {"window": 3}}, r"data\.window 4 -> 3"),
        ({"data": {"span": 2}}, r"data\.span 3 -> 2"),
        ({"data": {"components": ("linear_x",)}}, r"data\.components \['linear_x', 'linear_y'\] -> \['linear_x'\]"),
        ({"data": {"split": SplitConfig(validation=0.3, test=0.1)}}, r"data\.split\.test 0\.0 -> 0\.1"),
        ({"seed": 5}, r"seed 0 -> 5"),
        ({"optimization": {"huber_delta": 0.5}}, r"optimization\.huber_delta 1\.0 -> 0\.5"),
        ({"seed": 5, "lora": {"r": 8}}, r"model\.lora\.r 4 -> 8, seed 0 -> 5"),
    ],
)
def test_what_makes_it_another_run_is_refused(episode_files, whole, change, named):
    with pytest.raises(UserError, match=f"{named}; leave them out, or start a new run with config=") as refused:
        prepare(whole, make_config(episode_files, **change))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("change", "notes"),
    [
        ({}, []),
        ({"data": {"num_workers": 2}, "checkpoint": {"save_top_k": 1}, "guard": {"action": "skip"}}, []),
        (
            {"trainer": {"max_epochs": 5}},
            ["trainer.max_epochs 3 -> 5: the cosine now ends there, so the learning rate jumps at step 12"],
        ),
        (
            {"data": {"batch_size": 3}, "trainer": {"accumulate_grad_batches": 4}},
            [
                "data.batch_size 7 -> 3: from step 12 on an optimizer step holds another number of windows, at the "
                "same learning rate",
                "trainer.accumulate_grad_batches 2 -> 4: from step 12 on an optimizer step holds another number of "
                "windows, at the same learning rate",
            ],
        ),
        (
            {"trainer": {"devices": 2}},
            [
                "trainer.devices 1 -> 2: from step 12 on an optimizer step holds another number of windows, at the "
                "same learning rate"
            ],
        ),
        ({"optimization": {"lr": 1e-3}}, ["optimization.lr 0.003 -> 0.001: holds from step 12 on"]),
        ({"trainer": {"gradient_clip_val": None}}, ["trainer.gradient_clip_val 1.0 -> None: holds from here on"]),
    ],
)
def test_what_is_allowed_is_told_with_what_it_means(episode_files, whole, change, notes):
    training = prepare(whole, make_config(episode_files, **change))
    assert list(training.notes) == notes
    assert [line for line in training.describe() if line in notes] == notes


def test_under_a_constant_rate_more_epochs_change_nothing_else(episode_files, whole):
    change = {"optimization": {"schedule": "constant"}, "trainer": {"max_epochs": 5}}
    (schedule, epochs) = prepare(whole, make_config(episode_files, **change)).notes
    assert schedule == "optimization.schedule cosine -> constant: holds from step 12 on"
    assert epochs == "trainer.max_epochs 3 -> 5: the learning rate stays what it is"


@pytest.fixture
def moved(episode_files, tmp_path) -> Path:
    """The same episodes in another place."""
    return Path(shutil.copytree(episode_files, tmp_path / "elsewhere"))


def a_file(folder: Path) -> Path:
    return sorted(folder.glob("*.h5"))[3]


def test_data_may_move(whole, moved, episode_files):
    (note,) = prepare(whole, make_config(moved)).notes
    assert note == f"data.root {episode_files} -> {moved}: holds from here on"


def test_an_episode_that_is_gone_is_named(whole, moved):
    name = a_file(moved).stem
    a_file(moved).unlink()
    with pytest.raises(UserError, match=rf"1 of the 10 episodes of the run changed since it began: {name} \(gone\);"):
        prepare(whole, make_config(moved))


def test_an_episode_with_other_frames_is_named(whole, moved):
    with h5py.File(a_file(moved), "r+") as file:
        file["images"][0, 0, 0, 0] = 255 - file["images"][0, 0, 0, 0]
    with pytest.raises(UserError, match=rf"{a_file(moved).stem} \(other content\)"):
        prepare(whole, make_config(moved))


def test_an_episode_with_another_instruction_is_named(whole, moved):
    with h5py.File(a_file(moved), "r+") as file:
        file.attrs["task"] = "go home"
    with pytest.raises(UserError, match=rf"{a_file(moved).stem} \(instruction 'go past .*' is now 'go home'\)"):
        prepare(whole, make_config(moved))


def test_a_new_episode_is_left_out_and_told(whole, moved):
    shutil.copyfile(a_file(moved), moved / "episode_20251205_000000_1box_hori_left_core_medium.h5")
    with h5py.File(moved / "episode_20251205_000000_1box_hori_left_core_medium.h5", "r+") as file:
        file["images"][0, 0, 0, 0] = 255 - file["images"][0, 0, 0, 0]
    training = prepare(whole, make_config(moved))
    assert any("1 episodes that the run does not know are left out (first: " in line for line in training.notes)
    assert len(training.data.episodes("train")) == 7


def test_the_names_of_the_settings():
    limits = TrainerConfig(max_time="00:08:00:00", max_steps=7)
    assert (limits.max_time, limits.max_steps) == ("00:08:00:00", 7)
    with pytest.raises(UserError, match=r"^max_time must be days:hours:minutes:seconds"):
        TrainerConfig(max_time="8 hours")

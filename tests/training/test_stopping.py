"""What ends a training early leaves a state to go on from: signals, numbers of steps, times, a loss that stays."""

import os
import re
import signal
import time
from datetime import timedelta

import pytest
import torch
from lightning.pytorch import Callback

from mobile_vla.core.errors import Interrupted
from mobile_vla.training.callbacks import stopping
from mobile_vla.training.callbacks.checkpoint import RunCheckpoints
from mobile_vla.training.callbacks.stopping import EarlyStoppingConfig, StopAfterTime, StopOnSignal
from tests.training.comparing import differences
from tests.training.run_training import make_config, train

STEPS = 4  # an epoch, of 2 batches each, the last of 1
# What the validation of a stop within an epoch logged stays in TensorBoard: a point cannot be taken back by name.
OF_THE_STOP = ("scalars/val", "scalars/baseline", "scalars/effects", "scalars/speed/effects", "scalars/epoch")


def stands(out) -> dict[str, int]:
    return torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)["position"]


def num_validations(out) -> int:
    header, *rows = (line.split(",") for line in (out / "metrics.csv").read_text().splitlines())
    return sum(bool(row[header.index("val_loss")]) for row in rows)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_step_is_finished_with_workers_that_got_the_signal_too(trainings, tmp_path, number, code):
    """A step of 7 batches, more than workers prepare ahead."""
    out = tmp_path / "run"
    attempt = trainings.start(out, nap_s=0.1, data={"num_workers": 2}, trainer={"accumulate_grad_batches": 7})
    assert attempt.until((out / "checkpoints" / "last.ckpt").exists)
    time.sleep(0.2)
    attempt.send(number, group=True)
    assert attempt.wait() == code, attempt.said()
    assert stands(out) == {"epoch": 1, "batch": 0, "step": 1}


@pytest.mark.parametrize(("number", "code", "num_workers"), [(signal.SIGTERM, 143, 2), (signal.SIGINT, 130, 0)])
def test_a_signal_saves_and_leaves(trainings, whole, tmp_path, number, code, num_workers):
    """To the whole group of processes, as a terminal and a scheduler send it; loader workers are in it."""
    out, data = tmp_path / "run", {"num_workers": num_workers}
    attempt = trainings.start(out, nap_s=0.1, data=data, checkpoint={"every_n_steps": None})
    assert attempt.until((out / "metrics.csv").exists)  # a step was made
    attempt.send(number, group=True)
    sent = time.monotonic()
    assert attempt.wait() == code, attempt.said()
    assert time.monotonic() - sent < 10
    said = re.search(rf"stopped by {signal.Signals(number).name} after step (\d+), which is saved", attempt.said())
    assert said, attempt.said()
    step = int(said[1])
    assert 1 <= step < STEPS
    assert stands(out) == {"epoch": 0, "batch": 2 * step, "step": step}
    assert "once more to stop at once" in attempt.said()
    assert trainings.run(out, data=data) == 0
    assert differences(out, whole) == []


@pytest.mark.slow
def test_a_validation_is_finished_before_leaving(trainings, whole, tmp_path):
    out = tmp_path / "run"
    attempt = trainings.start(out, validation_nap_s=0.3)
    assert attempt.until(lambda: attempt.phase() == b"v")
    attempt.send(signal.SIGTERM)
    assert attempt.wait() == 143, attempt.said()
    assert stands(out) == {"epoch": 1, "batch": 0, "step": STEPS}
    assert num_validations(out) == 1
    assert trainings.run(out) == 0
    assert differences(out, whole) == []


@pytest.mark.slow
def test_a_signal_in_the_last_validation_leaves_the_rest_for_later(trainings, whole, tmp_path):
    """Nothing is left to be trained, but what comes after may take as long again."""
    out = tmp_path / "run"
    assert trainings.run(out, trainer={"max_epochs": 1}) == 0
    attempt = trainings.start(out, trainer={"max_epochs": 2}, validation_nap_s=0.3)
    assert attempt.until(lambda: attempt.phase() == b"v" and stands(out)["step"] > STEPS)
    attempt.send(signal.SIGTERM)
    assert attempt.wait() == 143, attempt.said()
    assert f"after step {2 * STEPS}, which is saved" in attempt.said()
    assert stands(out) == {"epoch": 2, "batch": 0, "step": 2 * STEPS}


def test_a_second_signal_leaves_at_once(trainings, whole, tmp_path):
    """In the midst of a step, so that nothing in memory can be trusted: what was saved before is what is left."""
    out = tmp_path / "run"
    attempt = trainings.start(out, nap_s=2.0)
    assert attempt.until((out / "metrics.csv").exists)
    time.sleep(1)  # the second step has begun, and takes four seconds
    before = stands(out)
    attempt.send(signal.SIGTERM)
    assert attempt.until(lambda: "once more to stop at once" in attempt.said())
    attempt.send(signal.SIGTERM)
    assert attempt.wait() == 143
    assert "stopped by a second SIGTERM" in attempt.said()
    assert stands(out) == before
    assert trainings.run(out) == 0
    assert differences(out, whole) == []


class SecondSignal(Callback):
    """Two signals, the second in the midst of an optimizer step that has changed some weights already."""

    def on_before_optimizer_step(self, trainer, module, optimizer):
        if trainer.global_step == 1:
            with torch.no_grad():
                next(iter(module.policy.trained().values())).add_(1.0)
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)


def test_a_half_done_step_is_never_saved(episode_files, whole, tmp_path):
    out, config = tmp_path / "run", make_config(episode_files)
    before = [signal.getsignal(number) for number in stopping.SIGNALS]
    with pytest.raises(Interrupted, match="second SIGINT") as stopped:
        train(out, config, SecondSignal())
    assert stopped.value.exit_code == 130
    assert [signal.getsignal(number) for number in stopping.SIGNALS] == before
    assert stands(out)["step"] == 0
    train(out, config)
    assert differences(out, whole) == []


def test_handlers_are_as_before_when_training_is_over(whole):
    """`whole` was trained in this process."""
    for number in stopping.SIGNALS:
        assert not isinstance(getattr(signal.getsignal(number), "__self__", None), StopOnSignal)


LIMITS, CONSTANT = {"max_epochs": 2, "log_every_n_steps": 3}, {"schedule": "constant"}


@pytest.fixture(scope="module")
def unlimited(episode_files, tmp_path_factory):
    out = tmp_path_factory.mktemp("unlimited") / "run"
    train(out, make_config(episode_files, trainer=LIMITS, optimization=CONSTANT))
    return out


@pytest.mark.parametrize("max_steps", [STEPS - 1, STEPS])
def test_max_steps_ends_with_a_validation_and_can_be_raised(episode_files, unlimited, tmp_path, max_steps):
    """Within an epoch and at its end; a run that goes on afterwards never stopped, to the last bit of its table."""
    config = make_config(episode_files, trainer={**LIMITS, "max_steps": max_steps}, optimization=CONSTANT)
    out = tmp_path / "run"
    found = train(out, config)
    assert found["steps"] == max_steps
    epoch, done = divmod(max_steps, STEPS)
    assert stands(out) == {"epoch": epoch, "batch": 2 * done, "step": max_steps}
    assert num_validations(out) == 1
    files = {file.name: file.read_bytes() for file in (out / "checkpoints").iterdir()}
    table = (out / "metrics.csv").read_bytes()

    again = train(out, config)  # has come to its end
    assert {file.name: file.read_bytes() for file in (out / "checkpoints").iterdir()} == files
    assert (out / "metrics.csv").read_bytes() == table
    assert [again[name] for name in ("val_loss", "checkpoint", "steps")] == [
        found[name] for name in ("val_loss", "checkpoint", "steps")
    ]

    train(out, make_config(episode_files, trainer=LIMITS, optimization=CONSTANT))
    lines = differences(out, unlimited)
    allowed = ("config/trainer/max_steps", *(OF_THE_STOP if done else ()))
    assert [line for line in lines if not any(name in line for name in allowed)] == []


def test_the_validation_of_a_stop_displaces_no_best_checkpoint(episode_files, tmp_path, monkeypatch):
    """A run that goes on has never had it; until then it may be the best there is."""

    def fall(self, trainer, module):
        self._validated = 1 / trainer.global_step

    monkeypatch.setattr(RunCheckpoints, "on_validation_end", fall)
    limits = {"max_epochs": 2, "max_steps": STEPS + 2}
    found = train(tmp_path / "run", make_config(episode_files, trainer=limits, checkpoint={"save_top_k": 1}))
    best = sorted(file.name for file in (tmp_path / "run" / "checkpoints").glob("epoch=*"))
    assert best == ["epoch=000-val_loss=0.25000.ckpt", "epoch=001-val_loss=0.16667.ckpt"]
    assert found["checkpoint"].endswith(best[1])


def test_early_stopping_waits_for_its_patience_and_stays_stopped(episode_files, tmp_path):
    """A rate at which nothing is learned: no validation is better than the first by the demanded difference."""
    out = tmp_path / "run"

    def run(patience: int) -> int:
        early = {"patience": patience, "min_delta": 0.5}
        return train(out, make_config(episode_files, trainer={"max_epochs": 6}, early_stopping=early))["epochs"]

    assert run(patience=2) == num_validations(out) == 3
    assert run(patience=2) == num_validations(out) == 3
    assert run(patience=3) == num_validations(out) == 4


@pytest.fixture
def ticking(monkeypatch):
    """A clock that moves by a second at every batch, and at nothing else."""
    now = [0.0]
    own = StopAfterTime.on_train_batch_end

    def tick(*args, **kwargs):
        now[0] += 1
        own(*args, **kwargs)

    monkeypatch.setattr("lightning.pytorch.callbacks.timer.time.monotonic", lambda: now[0])
    monkeypatch.setattr(StopAfterTime, "on_train_batch_end", tick)


def test_max_time_counts_all_parts_and_ends_between_steps(episode_files, tmp_path, ticking):
    def run(name: str, seconds: int | None) -> int:
        limit = None if seconds is None else f"00:00:00:{seconds:02d}"
        return train(tmp_path / name, make_config(episode_files, trainer={"max_epochs": 1, "max_time": limit}))["steps"]

    assert run("run", 3) == 2  # the third of its seconds comes in the midst of the second step
    assert stands(tmp_path / "run") == {"epoch": 0, "batch": 4, "step": 2}
    assert run("run", 3) == 2
    assert run("run", 5) == 3
    assert run("run", 60) == STEPS
    run("whole", 60)
    lines = differences(tmp_path / "run", tmp_path / "whole")
    assert [line for line in lines if not any(name in line for name in OF_THE_STOP)] == []


def test_time_is_written_as_lightning_writes_it():
    assert StopAfterTime("01:02:03:04")._duration == timedelta(days=1, hours=2, minutes=3, seconds=4).total_seconds()


@pytest.mark.parametrize("settings", [{"patience": 0}, {"min_delta": -0.1}])
def test_wrong_settings_are_named(settings):
    with pytest.raises(ValueError, match=r"callbacks\.early_stopping: patience must be at least 1"):
        EarlyStoppingConfig(**settings)

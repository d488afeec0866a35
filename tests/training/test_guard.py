"""A loss that is no number, or exploded, never reaches the weights; it is told where it came from."""

import copy
import re

import pytest
import torch
from lightning.pytorch import Callback

from mobile_vla.core.errors import UserError
from mobile_vla.models.heads.bins import BinsConfig
from mobile_vla.training.callbacks.epoch_loss import NAME
from mobile_vla.training.callbacks.guard import GuardConfig
from tests.training.comparing import compare, differences, read_scalars
from tests.training.run_training import make_config, train

STEP, STEPS = 2, 4  # the step that goes wrong (of the second epoch's 4: number 6), and steps an epoch


class Spoil(Callback):
    """Makes the loss of one batch what it is told, and remembers the batch's episodes."""

    def __init__(self, number: int, factor: float, epoch: int = 1):
        self.number, self.factor, self.epoch = number, factor, epoch
        self.episodes: list[str] = []
        self.before: dict = {}
        self.after: dict = {}
        self.losses: list[tuple[float, int]] = []

    def setup(self, trainer, module, stage):
        own = module.training_step

        def spoiled(batch, batch_idx):
            found = own(batch, batch_idx)
            if (trainer.current_epoch, batch_idx) == (self.epoch, self.number):
                self.episodes = sorted({batch.window_pairs(s)[0].episode for s in range(batch.num_windows)})
                found = {name: value * self.factor for name, value in found.items()}
            if trainer.current_epoch == self.epoch:
                self.losses.append((float(found["shown"].detach()), batch.num_windows))
            return found

        module.training_step = spoiled

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == (self.epoch, self.number // 2 * 2):
            self.before = state(trainer, module)

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == (self.epoch, self.number // 2 * 2 + 1):
            self.after = state(trainer, module)


def state(trainer, module) -> dict:
    """Weights and the optimizer's moments."""
    weights = {name: weight.detach().clone() for name, weight in module.policy.trained().items()}
    return copy.deepcopy({"weights": weights, "moments": trainer.optimizers[0].state_dict()["state"]})


@pytest.mark.parametrize(("number", "factor"), [(4, float("nan")), (5, float("inf")), (5, 1e6)])
def test_it_stops_before_the_step_and_names_its_episodes(episode_files, whole, tmp_path, number, factor):
    """Of two batches of a step only one is bad; of an exploded loss, all of the step's episodes are suspected."""
    out = tmp_path / "run"
    spoil = Spoil(number, factor)
    with pytest.raises(UserError) as stopped:
        train(out, make_config(episode_files, checkpoint={"every_n_steps": None}), spoil)
    message = str(stopped.value)
    found = re.match(r"step (\d+) \(epoch (\d+)\): the loss is (\S+?),? .*of the episodes (.*?); stopped", message)
    assert found, message
    assert (int(found[1]), int(found[2])) == (STEPS + STEP, 1)
    named = found[4].split(", ")
    assert named == spoil.episodes if factor != 1e6 else set(named) > set(spoil.episodes)
    assert "\n" not in message
    assert "callbacks.guard.action=skip" in message
    last = torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["position"] == {"epoch": 1, "batch": 2 * STEP, "step": STEPS + STEP}
    assert compare(last["state_dict"], spoil.before["weights"], "weights") == []
    assert compare(last["optimizer_states"][0]["state"], spoil.before["moments"], "moments") == []
    if factor == 1e6:
        train(out, make_config(episode_files))  # the cause was mended
        assert differences(out, whole) == []


@pytest.mark.parametrize("factor", [float("nan"), 1e6])
def test_a_skipped_step_changes_nothing_and_training_goes_on(episode_files, tmp_path, capsys, factor):
    spoil = Spoil(5, factor)
    config = make_config(episode_files, guard={"action": "skip"}, trainer={"max_epochs": 2})
    found = train(tmp_path / "run", config, spoil)
    assert compare(spoil.after, spoil.before, "") == []
    assert found["steps"] == 2 * STEPS
    told = capsys.readouterr().err
    assert re.search(rf"step {STEPS + STEP} .* the step is skipped \(1 so far\)", told)
    last = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert all(weight.isfinite().all() for weight in last["state_dict"].values())
    assert next(state for name, state in last["callbacks"].items() if "StepGuard" in name) == {"skipped": 1}
    # the epoch's loss is a plain mean over the windows whose loss is a number
    losses = [(loss, windows) for loss, windows in spoil.losses if loss == loss]
    mean = sum(loss * windows for loss, windows in losses) / sum(windows for _, windows in losses)
    assert read_scalars(tmp_path / "run")[NAME][1] == (2 * STEPS - 1, pytest.approx(mean, rel=1e-6))


class SpoilGradient(Callback):
    """An infinite gradient of a finite loss."""

    def on_after_backward(self, trainer, module):
        if trainer.global_step == 1:
            next(iter(module.policy.trained().values())).grad.view(-1)[0] = float("inf")


def test_an_infinite_gradient_of_a_finite_loss(episode_files, tmp_path):
    with pytest.raises(UserError, match=r"step 1 \(epoch 0\): the loss is 0\.\d+, its gradient inf, of the episodes"):
        train(tmp_path / "run", make_config(episode_files), SpoilGradient())


def test_the_limit_is_a_setting(episode_files, tmp_path):
    with pytest.raises(UserError, match=r"step 0 \(epoch 0\): the loss is 0\.\d+, of the episodes"):
        train(tmp_path / "run", make_config(episode_files, guard={"max_loss": 0.01}))
    with pytest.raises(ValueError, match=r"^max_loss must be positive"):
        GuardConfig(max_loss=0.0)


def test_it_looks_at_what_the_head_minimises(episode_files, tmp_path):
    """A fresh classification over 31 values costs log(31) = 3.4, while no Huber loss here exceeds 2."""
    config = make_config(
        episode_files, model={"head": BinsConfig(hidden=8, layers=1, mlp=(8,))}, guard={"max_loss": 2.5}
    )
    with pytest.raises(UserError, match=r"step 0 \(epoch 0\): the loss is 3\.\d+, of the episodes"):
        train(tmp_path / "run", config)

"""`checkpoint=start` is the policy that training began with, to the last bit, whenever it is asked for."""

import copy

import pytest
import torch
from lightning.pytorch import Callback

from mobile_vla.core.errors import UserError
from mobile_vla.opening.stored_run import StoredRun
from tests.training.run_training import make_config, train

SHORT = {"max_epochs": 1, "num_sanity_val_steps": 1}


class Begins(Callback):
    """Keeps the first batch of a training, and its contexts and chunks before any step."""

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.global_step == batch_idx == 0:
            self.batch, policy = batch, copy.deepcopy(module.policy).eval()
            with torch.no_grad():
                self.contexts, self.chunks = policy.contexts(batch), policy(batch)


def contexts_of(policy, batch) -> torch.Tensor:
    with torch.no_grad():
        return policy.contexts(batch)


@pytest.mark.parametrize("preset", ["all", "none", "full"])
def test_it_is_the_policy_of_the_first_step(episode_files, tmp_path, preset):
    """Asked for by a process whose random numbers stand elsewhere, with the run's last weights beside it."""
    out, begins = tmp_path / "run", Begins()
    config = make_config(episode_files, trainer=SHORT, lora={"preset": preset}, seed=3)
    train(out, config, begins)
    torch.manual_seed(99)
    policy = StoredRun.open(out, config, "start").policy()
    assert not policy.training
    assert torch.equal(contexts_of(policy, begins.batch), begins.contexts)
    with torch.no_grad():
        assert torch.equal(policy(begins.batch), begins.chunks)
        assert not torch.equal(StoredRun.open(out, config, "last").policy()(begins.batch), begins.chunks)


def test_a_run_that_was_continued_still_knows_where_it_began(episode_files, tmp_path):
    out, begins = tmp_path / "run", Begins()
    train(out, make_config(episode_files, trainer=SHORT), begins)
    config = make_config(episode_files, trainer={"max_epochs": 2})
    train(out, config)
    policy = StoredRun.open(out, config, "start").policy()
    assert torch.equal(contexts_of(policy, begins.batch), begins.contexts)


def test_other_weights_are_not_passed_off_as_those(episode_files, tmp_path):
    out = tmp_path / "run"
    train(out, make_config(episode_files, trainer=SHORT))
    other = StoredRun.open(out, make_config(episode_files, trainer=SHORT, seed=1), "start")
    with pytest.raises(
        UserError, match=r"checkpoint='start': the run began with other adapters and head .*its own seed"
    ):
        other.policy()

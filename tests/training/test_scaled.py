"""fp16 with its gradient scaler, on a CPU, where Lightning has none: it is resumed as all else is, to the last bit."""

import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision

from mobile_vla.checkpoints.files import LAST
from mobile_vla.opening import training as opening
from mobile_vla.training import trainer
from mobile_vla.training.trainer import Machine
from tests.training.comparing import differences
from tests.training.run_training import make_config, train
from tests.training.test_resume import interrupt

SCALE, GROWS_AFTER = 2.0**10, 3  # steps
TOO_LARGE = 2.0**40  # for gradients in fp16


@pytest.fixture
def scaled(monkeypatch, request):
    """Trainings compute in fp16, and scale; what they are told about the machine is as on a GPU."""
    build = trainer.Trainer

    def build_scaled(**settings):
        begins = getattr(request, "param", SCALE)
        scaler = torch.amp.GradScaler("cpu", init_scale=begins, growth_interval=GROWS_AFTER)
        del settings["precision"]
        settings["plugins"] = [*settings["plugins"], MixedPrecision("16-mixed", "cpu", scaler)]
        return build(**settings)

    monkeypatch.setattr(trainer, "Trainer", build_scaled)
    monkeypatch.setattr(opening, "choose_machine", lambda config: Machine("cpu", "16-mixed"))


def last_checkpoint(out):
    return torch.load(out / "checkpoints" / LAST, weights_only=True)


@pytest.mark.slow
def test_a_resumed_scaler_goes_on_where_it_stood(scaled, episode_files, tmp_path):
    """Interrupted between two growths; a scaler that began anew would grow at other steps."""
    config, whole, resumed = (
        make_config(episode_files, trainer={"max_epochs": 2}),
        tmp_path / "whole",
        tmp_path / "resumed",
    )
    assert train(whole, config)["steps"] == 8
    assert last_checkpoint(whole)["MixedPrecision"]["scale"] == SCALE * 2 ** (8 // GROWS_AFTER)
    interrupt(resumed, config, 4)
    state = last_checkpoint(resumed)["MixedPrecision"]
    assert (state["scale"], state["_growth_tracker"]) == (2 * SCALE, 1)
    train(resumed, config)
    assert differences(resumed, whole) == []


@pytest.mark.slow
@pytest.mark.parametrize("scaled", [TOO_LARGE], indirect=True)
def test_steps_that_overflow_are_skipped_and_the_scale_falls(scaled, episode_files, tmp_path):
    """Nothing of them reaches a weight, and the guard leaves them to the scaler."""
    train(tmp_path / "run", make_config(episode_files, trainer={"max_epochs": 1}))
    checkpoint = last_checkpoint(tmp_path / "run")
    assert checkpoint["MixedPrecision"]["scale"] == TOO_LARGE / 2**4
    assert checkpoint["optimizer_states"][0]["state"] == {}
    assert all(weight.isfinite().all() for weight in checkpoint["state_dict"].values())

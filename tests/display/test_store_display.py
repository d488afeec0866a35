"""Training does not wait for what TensorBoard shows: whoever waits for training finds it whole, or why it is not."""

import threading
from unittest import mock

import pytest
from lightning.pytorch import Callback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mobile_vla.core.errors import UserError
from mobile_vla.display import store_display
from mobile_vla.display.store_display import StoreDisplay
from tests.training.comparing import read_scalars
from tests.training.run_training import make_config, train

LONG_S = 60.0
SETTINGS = {"probe": {"plan": {"kind": "all"}}, "trainer": {"max_epochs": 2}}


class Goes(Callback):
    """Tells when the second epoch trains."""

    def __init__(self):
        self.on = threading.Event()

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.current_epoch == 1:
            self.on.set()


def test_the_next_epoch_trains_while_they_are_written(episode_files, tmp_path):
    goes, went_on, own = Goes(), [], store_display.show_latest

    def wait_for_training(folder, name, clouds):
        went_on.append(goes.on.wait(LONG_S))
        own(folder, name, clouds)

    out = tmp_path / "run"
    with mock.patch.object(store_display, "show_latest", wait_for_training):
        train(out, make_config(episode_files, **SETTINGS), goes)
    assert went_on == [True, True]
    assert [folder.name for folder in (out / "projector").iterdir()] == ["epoch_001"]
    assert (out / "projector" / "epoch_001" / "points" / "context" / "sprite.png").stat().st_size > 0


@pytest.mark.parametrize("epochs", [1, 2])
def test_what_goes_wrong_is_told(episode_files, tmp_path, epochs):
    """By the next validation, or at the end."""
    with mock.patch.object(store_display, "show_latest", mock.Mock(side_effect=UserError("the disk is full"))) as shown:
        config = make_config(episode_files, **{**SETTINGS, "trainer": {"max_epochs": epochs}})
        with pytest.raises(UserError, match="the disk is full"):
            train(tmp_path / "run", config)
    assert shown.call_count == 1


def test_what_a_killed_run_did_not_show_is_shown_when_it_goes_on(episode_files, tmp_path):
    """Once: a run that goes on again shows nothing twice."""
    out = tmp_path / "run"
    with mock.patch.object(StoreDisplay, "_fill"):  # killed before it came to that
        train(out, make_config(episode_files, **{**SETTINGS, "trainer": {"max_epochs": 1}}))
    assert not (out / "projector").exists()
    for epochs in (2, 3):
        train(out, make_config(episode_files, **{**SETTINGS, "trainer": {"max_epochs": epochs}}))
        scalars = read_scalars(out)
        steps = [step for step, _ in scalars["val_loss"]]
        assert len(steps) == epochs
        assert [step for step, _ in scalars["contexts/context/drift_distance"]] == steps
        board = EventAccumulator(str(out), size_guidance={"histograms": 0})
        board.Reload()
        assert [event.step for event in board.Histograms("contexts/context/norms")] == steps
        assert [folder.name for folder in (out / "projector").iterdir()] == [f"epoch_{epochs - 1:03d}"]

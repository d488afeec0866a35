"""A training that was interrupted and resumed is, to the last bit, the one that was not."""

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint


class Seen(Callback):
    """Which windows each batch held, epoch by epoch."""

    def __init__(self):
        self.windows: dict[int, list[list[tuple[str, int]]]] = {}

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        firsts = [batch.window_pairs(s)[0] for s in range(batch.num_windows)]
        found = self.windows.setdefault(trainer.current_epoch, [])
        found.append([(pair.episode, pair.frame) for pair in firsts])


def fit(lab, folder, epochs, *, resumed=None, num_workers=0):
    """Checkpoints as a run keeps them; dropout on, a schedule that moves."""
    keeper = ModelCheckpoint(folder, monitor="val_loss", save_top_k=3, save_last=True, enable_version_counter=False)
    data = lab.make_data(batch_size=8, num_workers=num_workers)
    policy = lab.make_policy(lora={"dropout": 0.3})
    module = lab.make_module(policy, data, max_epochs=3, schedule="cosine", warmup_epochs=0.5)
    seen = Seen()
    trainer = lab.make_trainer(folder, max_epochs=epochs, callbacks=[keeper, seen], enable_checkpointing=True)
    trainer.fit(module, data, ckpt_path=resumed, weights_only=True)
    return policy, trainer, seen.windows


@pytest.mark.parametrize("num_workers", [0, 1])
def test_resuming_deals_the_windows_of_the_epochs_that_are_left(lab, tmp_path, num_workers):
    _, _, whole = fit(lab, tmp_path / "whole", 3)
    fit(lab, tmp_path / "parted", 1, num_workers=num_workers)
    _, _, rest = fit(lab, tmp_path / "parted", 3, resumed=tmp_path / "parted" / "last.ckpt", num_workers=num_workers)
    assert rest.keys() == {1, 2}
    assert rest[2] == whole[2]
    assert rest[1] != whole[0], "the epoch before the resume was dealt again"
    assert rest[1] == whole[1]


def test_resumed_weights_are_those_of_an_uninterrupted_training(lab, tmp_path):
    expected, whole, _ = fit(lab, tmp_path / "whole", 3)
    fit(lab, tmp_path / "parted", 1)
    found, resumed, _ = fit(lab, tmp_path / "parted", 3, resumed=tmp_path / "parted" / "last.ckpt")
    assert resumed.global_step == whole.global_step
    for name, weight in expected.trained().items():
        assert torch.equal(found.trained()[name], weight), name
    assert resumed.callback_metrics["val_loss"] == whole.callback_metrics["val_loss"]

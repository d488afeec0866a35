"""What the callbacks count and log."""

import csv
import time

import lightning.pytorch as pl
import matplotlib.pyplot as plt
import pytest

from mobile_vla.training.callbacks.epoch_loss import NAME, EpochLoss
from mobile_vla.training.callbacks.figures import Figures
from mobile_vla.training.callbacks.progress import ProgressBar
from mobile_vla.training.callbacks.reference import BaselineReference
from mobile_vla.training.callbacks.throughput import Throughput
from mobile_vla.training.loggers import CsvMetrics
from mobile_vla.training.tensorboard import Board


def test_throughput_counts_windows_and_waiting(lab, tmp_path, monkeypatch):
    """Each frame takes a millisecond to read, a step 10 ms more; a validation's 0.2 s a batch do not count."""
    data = lab.make_data(batch_size=6)
    policy = lab.make_policy()
    module = lab.make_module(policy, data, max_epochs=2)
    read = data.dataset.frames.read

    def slow_read(*args):
        time.sleep(0.001)
        return read(*args)

    monkeypatch.setattr(data.dataset.frames, "read", slow_read)
    monkeypatch.setattr(module, "training_step", slow(module.training_step, 0.01))
    monkeypatch.setattr(module, "validation_step", slow(module.validation_step, 0.2))
    throughput = Throughput()
    begun = time.perf_counter()
    lab.make_trainer(tmp_path, max_epochs=2, callbacks=[throughput]).fit(module, data)
    took = time.perf_counter() - begun
    assert throughput.windows == 2 * data.plan("train").num_windows
    steps = 2 * data.plan("train").num_batches()
    assert throughput.working_s >= 0.01 * steps
    assert throughput.waiting_s > 0
    validated = 2 * len(list(data.plan("validation").batches(0))) * 0.2
    assert throughput.waiting_s + throughput.working_s < took - validated
    total = throughput.waiting_s + throughput.working_s
    assert throughput.windows_per_s == pytest.approx(throughput.windows / total)
    assert throughput.data_wait_share == pytest.approx(throughput.waiting_s / total)


def slow(function, seconds):
    def run(*args, **kwargs):
        time.sleep(seconds)
        return function(*args, **kwargs)

    return run


def test_throughput_before_training_is_nothing():
    assert Throughput().windows_per_s == 0
    assert Throughput().data_wait_share == 0


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_epochs_loss_is_a_plain_mean_over_its_windows(lab, tmp_path, accumulate):
    """24 windows in batches of 7, 7, 7 and 3; logged once an epoch, at its last step, whoever else logs."""
    found = []

    class Listener(pl.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            found.append((trainer.current_epoch, float(outputs["shown"]), batch.num_windows))

    data = lab.make_data(batch_size=7, accumulate=accumulate)
    table = CsvMetrics(tmp_path / "metrics.csv")
    trainer = lab.make_trainer(
        tmp_path,
        max_epochs=2,
        accumulate_grad_batches=accumulate,
        logger=[table],
        callbacks=[EpochLoss(), Listener()],
    )
    trainer.fit(lab.make_module(lab.make_policy(), data, 2), data)
    with table.file.open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row[NAME]]
    steps = data.steps_per_epoch()
    assert [(int(row["epoch"]), int(row["step"])) for row in rows] == [(0, steps - 1), (1, 2 * steps - 1)]
    for epoch, row in enumerate(rows):
        windows = [loss for of, loss, count in found if of == epoch for _ in range(count)]
        assert len(windows) == data.plan("train").num_windows
        assert float(row[NAME]) == pytest.approx(sum(windows) / len(windows), rel=1e-6)
    assert len({count for _, _, count in found}) > 1


def test_baselines_stand_beside_every_validation_and_not_beside_the_sanity_check(lab, tmp_path):
    seen = []

    class Listener(pl.Callback):
        def on_validation_end(self, trainer, pl_module):
            seen.append({k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("baseline/")})

    data = lab.make_data(batch_size=24)
    reference = BaselineReference({"mean_action": 0.25, "instruction_only": 0.5})
    trainer = lab.make_trainer(tmp_path, max_epochs=2, num_sanity_val_steps=1, callbacks=[reference, Listener()])
    trainer.fit(lab.make_module(lab.make_policy(), data, 2), data)
    logged = {"baseline/mean_action": 0.25, "baseline/instruction_only": 0.5}
    assert seen == [{}, logged, logged]


def test_figures_come_every_n_epochs_and_at_the_end(lab, tmp_path, monkeypatch):
    data = lab.make_data(batch_size=24)  # two batches, so two steps, an epoch
    assembler = data.assembler(data.episodes("validation"))
    requests = [assembler.requests(planned)[0] for planned in data.plan("validation").batches(0)]
    board, drawn = Board(tmp_path), []
    monkeypatch.setattr(
        type(board.experiment), "add_figure", lambda self, tag, figure, step: drawn.append((tag, step, figure))
    )
    policy = lab.make_policy(lora={"dropout": 0.5})
    trainer = lab.make_trainer(tmp_path, max_epochs=4, logger=[board], callbacks=[Figures(assembler, requests, 2)])
    trainer.fit(lab.make_module(policy, data, 4), data)
    assert [step for tag, step, _ in drawn if tag == "chunks/predicted_and_true"] == [2, 6, 8]
    plt.close("all")


def test_the_progress_bar_shows_short_names(lab, tmp_path):
    data = lab.make_data(batch_size=24)
    bar, table = ProgressBar(), CsvMetrics(tmp_path / "metrics.csv")
    trainer = lab.make_trainer(tmp_path, logger=[table], callbacks=[bar, Throughput()], enable_progress_bar=True)
    module = lab.make_module(lab.make_policy(), data)
    trainer.fit(module, data)
    shown = bar.get_metrics(trainer, module)
    assert shown.keys() == {"loss", "val_loss", "windows/s", "waiting"}
    assert shown["val_loss"] == f"{float(trainer.callback_metrics['val_loss']):.4f}"

"""`metrics.csv` grows, keeps what it has, and on resume loses only what will be logged again."""

import csv

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from mobile_vla.training.loggers import CsvMetrics


def rows(file) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def file(tmp_path):
    return tmp_path / "metrics.csv"


def test_rows_are_appended(file):
    logger = CsvMetrics(file)
    logger.log_metrics({"loss": 0.5, "epoch": 0}, step=1)
    size = file.stat().st_size
    logger.log_metrics({"loss": 0.25, "epoch": 1}, step=2)
    assert file.stat().st_size > size
    assert rows(file) == [
        {"epoch": "0", "step": "1", "loss": "0.5"},
        {"epoch": "1", "step": "2", "loss": "0.25"},
    ]


def test_a_new_metric_adds_a_column_and_keeps_earlier_rows(file):
    logger = CsvMetrics(file)
    logger.log_metrics({"loss": 0.5, "epoch": 0}, step=1)
    logger.log_metrics({"val_loss": 0.75, "epoch": 0}, step=1)
    logger.log_metrics({"loss": 0.125, "epoch": 1}, step=2)
    assert rows(file) == [
        {"epoch": "0", "step": "1", "loss": "0.5", "val_loss": ""},
        {"epoch": "0", "step": "1", "loss": "", "val_loss": "0.75"},
        {"epoch": "1", "step": "2", "loss": "0.125", "val_loss": ""},
    ]


def test_another_process_continues_the_file(file):
    CsvMetrics(file).log_metrics({"b": 2.0, "a": 1.0, "epoch": 0}, step=1)
    again = CsvMetrics(file)
    again.log_metrics({"a": 3.0, "epoch": 0}, step=2)
    assert [row["a"] for row in rows(file)] == ["1.0", "3.0"]
    assert [row["b"] for row in rows(file)] == ["2.0", ""]


def test_resuming_drops_later_steps_only(file):
    logger = CsvMetrics(file)
    for step in range(6):
        logger.log_metrics({"loss": step / 2, "epoch": step // 3}, step=step)
    before = rows(file)
    again = CsvMetrics(file)
    again.resume_at(4)
    assert rows(file) == before[:4]
    again.log_metrics({"loss": 9.0, "epoch": 1}, step=4)
    assert rows(file)[:4] == before[:4]
    assert rows(file)[4]["loss"] == "9.0"


def test_a_row_that_a_killed_run_left_unfinished_does_not_stop_the_resume(file):
    logger = CsvMetrics(file)
    for step in range(3):
        logger.log_metrics({"loss": step / 2, "epoch": 0}, step=step)
    with file.open("a") as stream:
        stream.write("1")  # power off
    again = CsvMetrics(file)
    again.resume_at(3)
    assert [row["step"] for row in rows(file)] == ["0", "1", "2"]


def test_a_resumed_training_has_the_rows_of_an_uninterrupted_one(lab, tmp_path):
    """Through real trainings: the second epoch was run and logged, and is run again from the first one's checkpoint."""

    def fit(folder, epochs, callbacks=(), resumed=None):
        table = CsvMetrics(folder / "metrics.csv")
        data = lab.make_data(batch_size=8)
        module = lab.make_module(lab.make_policy(), data, max_epochs=3)
        trainer = lab.make_trainer(
            folder, max_epochs=epochs, logger=[table], callbacks=list(callbacks), enable_checkpointing=bool(callbacks)
        )
        if resumed is not None:
            table.resume_at(torch.load(resumed, weights_only=True)["global_step"])
        trainer.fit(module, data, ckpt_path=resumed, weights_only=True)
        return [(row["epoch"], row["step"], bool(row["val_loss"])) for row in rows(folder / "metrics.csv")]

    whole, parted = tmp_path / "whole", tmp_path / "parted"
    whole.mkdir()
    parted.mkdir()
    expected = fit(whole, 3)
    assert fit(parted, 2, [ModelCheckpoint(parted, filename="{epoch}", save_top_k=-1)]) == expected[:12]
    first_epoch = (parted / "metrics.csv").read_text().splitlines()[:7]
    assert fit(parted, 3, resumed=parted / "epoch=0.ckpt") == expected
    assert (parted / "metrics.csv").read_text().splitlines()[:7] == first_epoch

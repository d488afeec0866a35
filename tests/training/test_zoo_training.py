"""Training with a zoo of broken files among the good ones is training on the good ones alone, to the last bit."""

import copy
from dataclasses import replace

import pytest
import torch

from mobile_vla.checkpoints.trained import read_checkpoint
from mobile_vla.core.errors import UserError
from mobile_vla.data.dataset import DataConfig
from mobile_vla.data.splits import SplitConfig
from mobile_vla.models.backbones.kosmos2 import Kosmos2ModelConfig
from mobile_vla.models.backbones.lora import AdapterConfig
from mobile_vla.models.heads.lstm_decoder import LSTMDecoderConfig
from mobile_vla.opening.training import open_training
from mobile_vla.sources.schema import printable
from mobile_vla.training.config import CallbacksConfig, LoggerConfig, TrainConfig
from mobile_vla.training.trainer import TrainerConfig
from tests.data.zoo import BROKEN, PATTERN, write_zoo


@pytest.fixture(scope="module")
def configs(lab, tmp_path_factory) -> dict[str, TrainConfig]:
    """The same training on the whole zoo, and on its good files alone."""
    folder = tmp_path_factory.mktemp("zoo")
    source = lab.make_policy().backbone.config
    found = {}
    for name in ("whole", "good"):
        for file in write_zoo(folder / name, broken=name == "whole"):
            if printable(file) != file:  # a split's table cannot hold a name that is not UTF-8
                (folder / name / file).unlink()
        found[name] = TrainConfig(
            data=DataConfig(
                root=str(folder / name),
                pattern=PATTERN,
                window=lab.window,
                chunk=lab.chunk,
                pack_dir=str(folder / f"packed_{name}"),
                max_fault_share=1.0,
                split=SplitConfig(validation=0.3, test=0.0),
            ),
            model=Kosmos2ModelConfig(
                weights="random",
                architecture=copy.deepcopy(source.architecture),
                lora=AdapterConfig(r=4),
                head=LSTMDecoderConfig(hidden=16, layers=1, mlp=(16,)),
            ),
            trainer=TrainerConfig(accelerator="cpu", max_epochs=1, enable_progress_bar=False, log_every_n_steps=1),
            callbacks=CallbacksConfig(figures=None),
            logger=LoggerConfig(tensorboard=False, csv=False),
        )
    return found


def test_the_weights_are_the_same_to_the_last_bit(configs, tmp_path):
    weights, losses, faults = {}, {}, {}
    for name, config in configs.items():
        (tmp_path / name).mkdir()
        training = open_training(config, {})
        losses[name] = training.run(tmp_path / name, lambda file: None)["val_loss"]
        weights[name] = read_checkpoint(tmp_path / name / "checkpoints" / "last.ckpt")["state_dict"]
        faults[name] = training.dataset.faults
    assert (len(faults["whole"]), len(faults["good"])) == (len(BROKEN), 0)
    assert weights["whole"].keys() == weights["good"].keys()
    assert all(torch.equal(weight, weights["good"][key]) for key, weight in weights["whole"].items())
    assert losses["whole"] == losses["good"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_fault_share": 0.2}, r"files \(\d+%\) are broken, more than data\.max_fault_share=0\.2"),
        ({"faults": "error"}, r"files are broken; the first, .*data\.faults=skip leaves them out"),
    ],
)
def test_so_many_stop_a_training_before_it_begins(configs, change, message):
    config = configs["whole"]
    with pytest.raises(UserError, match=message):
        open_training(replace(config, data=replace(config.data, **change)), {})

"""A whole training on files, as short as it goes: what is refused before anything is written, and what is left."""

import copy
import json
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch

from mobile_vla.checkpoints.trained import action_space, read_checkpoint
from mobile_vla.core.errors import UserError
from mobile_vla.data.dataset import DataConfig
from mobile_vla.data.splits import SplitConfig
from mobile_vla.models.backbones.kosmos2 import Kosmos2ModelConfig
from mobile_vla.models.backbones.lora import AdapterConfig
from mobile_vla.models.heads.lstm_decoder import LSTMDecoderConfig
from mobile_vla.opening.training import open_training
from mobile_vla.training.config import CallbacksConfig, TrainConfig
from mobile_vla.training.module import OptimizationConfig
from mobile_vla.training.trainer import TrainerConfig


@pytest.fixture(scope="module")
def config(lab, tmp_path_factory) -> TrainConfig:
    root = tmp_path_factory.mktemp("episodes")
    for i in range(10):
        side = ("left", "right")[i % 2]
        episode = lab.make_episode(f"e{i}", 9, lab.left if side == "left" else lab.right, seed=i)
        with h5py.File(root / f"episode_20251204_1135{i:02d}_1box_hori_{side}_core_medium.h5", "w") as file:
            file["images"] = np.random.default_rng(i).integers(0, 256, (9, 20, 30, 3), np.uint8)
            file["actions"] = episode.actions
            file.attrs["task"] = episode.instruction
    source = lab.make_policy().backbone.config
    return TrainConfig(
        data=DataConfig(
            root=str(root),
            window=lab.window,
            chunk=lab.chunk,
            pack=False,
            pack_dir=str(root / "packed"),
            split=SplitConfig(validation=0.4, test=0.0),
        ),
        model=Kosmos2ModelConfig(
            weights="random",
            architecture=copy.deepcopy(source.architecture),
            lora=AdapterConfig(r=4),
            head=LSTMDecoderConfig(hidden=16, layers=1, mlp=(16,)),
        ),
        # far too fast on purpose: the last epoch must not be the best one
        optimization=OptimizationConfig(lr=3e-2, schedule="constant"),
        trainer=TrainerConfig(accelerator="cpu", max_epochs=4, enable_progress_bar=False, log_every_n_steps=1),
        callbacks=CallbacksConfig(figures=None),
    )


@pytest.fixture(scope="module")
def run(config, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    return open_training(config, {"seed": 0}).run(out, lambda file: None), out


def test_every_number_has_its_denominator_and_its_neighbours(run):
    found, _ = run
    assert {"val_loss", "rmse", "baselines", "denominators", "parameters", "checkpoint", "seconds"} <= found.keys()
    assert found["baselines"].keys() == {"mean_action", "previous_action", "progress_only", "instruction_only"}
    assert (found["denominators"]["episodes"], found["denominators"]["windows"]) == (4, 4 * 6)
    for name in ("instruction", "image"):
        assert found[f"{name}_effect"] is not None or found["reasons"][f"{name}_effect"]
    json.dumps(found)


def test_the_checkpoint_that_is_named_is_the_one_that_was_measured(run):
    """`val_loss` is that of the best epoch, whatever the last one was."""
    found, out = run
    content = torch.load(found["checkpoint"], weights_only=True)
    best = min(next(v for k, v in content["callbacks"].items() if "RunCheckpoints" in k)["best"].values())
    last = torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] > content["global_step"]
    assert found["val_loss"] == pytest.approx(float(best), rel=1e-4)
    assert found["checkpoint_bytes"] == (out / "checkpoints" / found["checkpoint"].rsplit("/")[-1]).stat().st_size


def test_the_folder_holds_what_later_work_reads(run, config):
    _, out = run
    known = read_checkpoint(out / "checkpoints" / "last.ckpt")["mobile_vla"]
    assert action_space(known).components == config.data.components
    split = json.loads((out / "split.json").read_text())["splits"]
    assert {part: len(rows) for part, rows in split.items()} == {"train": 6, "validation": 4, "test": 0}
    assert json.loads((out / "machine.json").read_text())["packages"]["torch"]
    assert "val_loss" in (out / "metrics.csv").read_text()
    assert list(out.glob("events.out.tfevents.*"))


@pytest.mark.parametrize("layers", ["last:2", (1,)])
def test_a_layer_that_does_not_exist_is_found_before_anything_is_written(config, layers):
    """The decoder has one layer: a user's mistake, told before a run folder is made."""
    wrong = replace(config, model=replace(config.model, lora=AdapterConfig(layers=layers)))
    with pytest.raises(UserError, match=r"model\.lora\.layers"):
        open_training(wrong, {})

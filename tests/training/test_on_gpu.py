"""Each way to train runs through on a GPU: what lies on the wrong device fails here. On a CPU the same, but slowly."""

import math

import pytest

from tests.training.run_training import make_config, train

ON = [pytest.param("cpu", marks=pytest.mark.slow), pytest.param("gpu", marks=pytest.mark.gpu)]
WAYS = {
    "all": {},
    "text, from image tokens": {"lora": {"preset": "text", "dropout": 0.0}},
    "frozen, from contexts": {"lora": {"preset": "none"}},
    "recomputed activations": {"model": {"gradient_checkpointing": True}},
    "augmented": {"augmentation": {"crop": 0.1, "hue": 0.1, "contrast": 0.2}},
    "probed": {"probe": {"plan": {}, "taps": ["context", "image_tokens"]}},
    "with workers": {"data": {"num_workers": 2}},
}


@pytest.mark.parametrize("accelerator", ON)
@pytest.mark.parametrize("way", WAYS)
def test_a_training_runs_through(way, accelerator, episode_files, tmp_path):
    _train(WAYS[way], {"accelerator": accelerator, "precision": "32-true"}, episode_files, tmp_path)


@pytest.mark.gpu
@pytest.mark.parametrize("settings", [{"precision": "bf16-mixed"}, {"precision": "16-mixed"}, {"compile": True}])
def test_a_gpu_trains_in_each_precision_and_compiled(settings, episode_files, tmp_path):
    _train({}, {"accelerator": "gpu", **settings}, episode_files, tmp_path)


def _train(way, trainer, episode_files, tmp_path):
    config = make_config(episode_files, **way, trainer={"max_epochs": 1, **trainer}, cache={"dir": str(tmp_path / "f")})
    found = train(tmp_path / "run", config)
    assert found["steps"] == 4
    assert math.isfinite(found["val_loss"])
    assert found["accelerator"] == trainer["accelerator"]

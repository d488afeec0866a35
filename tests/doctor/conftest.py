"""A tiny policy on synthetic episodes: as training begins with it, and after some steps, which is healthy."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mobile_vla.data.dataset import DataConfig
from mobile_vla.doctor.case import Case
from mobile_vla.evaluation.losses import masked_huber
from mobile_vla.models.backbones.kosmos2 import Kosmos2ModelConfig
from mobile_vla.models.backbones.lora import AdapterConfig
from mobile_vla.models.heads.lstm_decoder import LSTMDecoderConfig
from mobile_vla.opening.configuration import Configuration
from mobile_vla.sources.synthetic.writer import SynthConfig, write_episodes
from mobile_vla.training.config import TrainConfig
from mobile_vla.training.trainer import TrainerConfig
from tests.tiny_kosmos import TEXT

ARCHITECTURE = {
    "latent_query_num": 8,
    "text_config": {**TEXT, "layers": 2},
    "vision_config": {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 56,
    },
}
HEAD = LSTMDecoderConfig(hidden=16, layers=2, mlp=(32,))
STEPS = 12


@pytest.fixture(scope="session")
def episodes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("episodes")
    write_episodes(SynthConfig(episodes=8, frames=10, resolution=(48, 64), workers=1), folder)
    return folder


@pytest.fixture(scope="session")
def make_config(episodes: Path) -> Callable[..., TrainConfig]:
    """`make_config(architecture={...nested overrides}, data={...}, trainer={...}, **settings of the model)`."""

    def make(architecture=None, data=None, trainer=None, **model) -> TrainConfig:
        built = copy.deepcopy(ARCHITECTURE)
        for key, value in (architecture or {}).items():
            built[key] = {**built[key], **value} if isinstance(value, dict) else value
        settings = {"weights": "random", "head": HEAD, "lora": AdapterConfig(r=4, dropout=0.0), **model}
        files = {"root": str(episodes), "pack": False, "pack_dir": str(episodes.parent / "pack"), "window": 4}
        return TrainConfig(
            data=DataConfig(**{**files, "chunk": 5, **(data or {})}),
            model=Kosmos2ModelConfig(architecture=built, **settings),
            trainer=TrainerConfig(**{"accelerator": "cpu", **(trainer or {})}),
        )

    return make


@pytest.fixture(scope="session")
def fresh(make_config) -> Callable[..., Case]:
    """A case as training begins with it."""
    return lambda **settings: Case.of(Configuration.open(make_config(**settings)), with_data=True)


@pytest.fixture(scope="session")
def _trained(fresh) -> Case:
    case = fresh()
    policy, batch = case.policy.train(), case.recorded.batch
    optimizer = torch.optim.AdamW(policy.trained().values(), lr=3e-3)
    for _ in range(STEPS):
        optimizer.zero_grad()
        masked_huber(policy(batch), batch.chunks, batch.chunk_mask, 1.0).backward()
        optimizer.step()
    optimizer.zero_grad()
    policy.eval()
    return case


@pytest.fixture
def healthy(_trained: Case) -> Case:
    """A case of its own after some steps of training; a test may break it."""
    policy = copy.deepcopy(_trained.policy)
    state = {name: weight.detach().clone() for name, weight in policy.trained().items()}
    return replace(_trained, policy=policy, state=state)

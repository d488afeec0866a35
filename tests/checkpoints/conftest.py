"""A tiny policy, and one that was really trained for a few steps and saved by Lightning."""

import copy
from pathlib import Path
from types import SimpleNamespace

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from mobile_vla.checkpoints.trained import metadata
from mobile_vla.core.actions import ActionSpace
from mobile_vla.core.batch import Batch, PairId
from mobile_vla.evaluation.metrics import EpisodeSums
from mobile_vla.models.backbones.kosmos2 import Kosmos2ModelConfig
from mobile_vla.models.backbones.loading import open_source
from mobile_vla.models.backbones.lora import AdapterConfig
from mobile_vla.models.backbones.tokenizer import Prompter, offline_tokenizer
from mobile_vla.models.heads.lstm_decoder import LSTMDecoderConfig
from mobile_vla.models.policy import Policy
from mobile_vla.sources.schema import Episode
from mobile_vla.training.module import OptimizationConfig, PolicyModule
from tests.conftest import unread

CHUNK, SIZE = 3, 28
SPACE = ActionSpace(components=("linear_x", "angular_z"), low=(-0.25, -1.0), high=(1.15, 0.5))
CONFIG = {"seed": 3, "model": {"lora": {"r": 4}, "weights": "random"}, "data": {"root": ["a", "b"], "step_s": None}}
ARCHITECTURE = {
    "latent_query_num": 4,
    "text_config": {"vocab_size": 512, "embed_dim": 64, "layers": 2, "ffn_dim": 128, "attention_heads": 4},
    "vision_config": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIZE,
    },
}


def make_policy(seed: int = 0, *, hidden: int = 128, num_components: int = 2, **settings) -> Policy:
    torch.manual_seed(seed)
    lora = AdapterConfig(**{"r": 8, "dropout": 0.0, **settings.pop("lora", {})})
    head = LSTMDecoderConfig(hidden=hidden, layers=2, mlp=(128,))
    known = {"weights": "random", "architecture": copy.deepcopy(ARCHITECTURE), "head": head}
    config = Kosmos2ModelConfig(**{**known, **settings}, lora=lora)
    return Policy.build(config, open_source(config), CHUNK, num_components, torch.float32)


def make_batch(policy: Policy) -> Batch:
    generator = torch.Generator().manual_seed(0)
    prompter = Prompter(offline_tokenizer(), policy.backbone.config.prompt)
    ids, mask = prompter(["go left"])
    return Batch(
        frames=torch.randint(0, 256, (4, SIZE, SIZE, 3), generator=generator, dtype=torch.uint8),
        text_ids=ids,
        text_mask=mask,
        pair_frame=torch.arange(4),
        pair_text=torch.zeros(4, dtype=torch.int64),
        windows=torch.tensor([[0, 1, 2], [1, 2, 3]]),
        chunks=torch.rand(2, 3, CHUNK, 2, generator=generator) * 2 - 1,
        chunk_mask=torch.ones(2, 3, CHUNK, dtype=torch.bool),
        pair_id=tuple(PairId("e", i, "go left") for i in range(4)),
    )


def fit(policy: Policy, folder: Path) -> Path:
    """Three steps of AdamW; the checkpoint that Lightning writes."""
    episode = Episode(
        id="e",
        path=Path("e"),
        layout="flat",
        encoding="raw",
        num_frames=4,
        resolution=(SIZE, SIZE),
        actions=torch.zeros(4, 3).numpy(),
        action_known=torch.ones(4, dtype=torch.bool).numpy(),
        instruction="go left",
        instruction_source="file",
        reader=unread("e", Path("e"), 4),
    )
    module = PolicyModule(
        policy,
        OptimizationConfig(lr=1e-2),
        EpisodeSums([episode], SPACE, CHUNK, 1.0),
        steps_per_epoch=3,
        total_steps=10,
        seed=0,
        label_names=[],
        checkpoint_metadata=metadata(policy, SPACE, CONFIG),
    )
    trainer = pl.Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[ModelCheckpoint(folder, save_last=True, monitor="val_loss")],
    )
    batch = make_batch(policy)
    trainer.fit(module, Same(3, batch), Same(1, batch))
    return folder / "last.ckpt"


class Same:
    """A loader that hands out the same batch again and again."""

    def __init__(self, count: int, batch: Batch):
        self.count, self.batch = count, batch

    def __len__(self) -> int:
        return self.count

    def __iter__(self):
        return iter([self.batch] * self.count)


@pytest.fixture(scope="session")
def maker() -> SimpleNamespace:
    """What builds policies and batches (see the functions of the same names above)."""
    return SimpleNamespace(make_policy=make_policy, make_batch=make_batch, fit=fit, space=SPACE, config=CONFIG)


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> SimpleNamespace:
    """policy: after three steps; file: its checkpoint."""
    policy = make_policy()
    return SimpleNamespace(policy=policy, file=fit(policy, tmp_path_factory.mktemp("trained")))

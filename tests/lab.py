"""Episodes in memory: random frames, actions that depend on the instruction, and a tiny policy to train on them."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import h5py
import lightning.pytorch as pl
import numpy as np
import pytest
import torch

from mobile_vla.checkpoints.trained import metadata
from mobile_vla.core.actions import ActionSpace
from mobile_vla.data.datamodule import EpisodeDataModule
from mobile_vla.data.dataset import DataConfig, Dataset
from mobile_vla.data.meaning import find_meanings
from mobile_vla.data.splits import Split
from mobile_vla.evaluation.metrics import EpisodeSums
from mobile_vla.models.backbones.kosmos2 import Kosmos2ModelConfig
from mobile_vla.models.backbones.loading import open_source
from mobile_vla.models.backbones.lora import AdapterConfig
from mobile_vla.models.backbones.tokenizer import Prompter, offline_tokenizer
from mobile_vla.models.heads.lstm_decoder import LSTMDecoderConfig
from mobile_vla.models.policy import Policy
from mobile_vla.probing.plans import PlanConfig
from mobile_vla.probing.sampling import make_plan
from mobile_vla.sources.schema import Episode
from mobile_vla.training.module import OptimizationConfig, PolicyModule
from tests.conftest import unread
from tests.tiny_kosmos import TEXT
from tests.training.forked_trainings import Trainings

SIZE, WINDOW, CHUNK = 28, 4, 5
SPACE = ActionSpace(components=("linear_x", "linear_y"), low=(0.0, -1.15), high=(1.15, 1.15))
PROMPT = "<grounding>An image of a robot {instruction}"
ARCHITECTURE = {
    "latent_query_num": 4,
    "text_config": {**TEXT, "layers": 1},
    "vision_config": {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": SIZE,
    },
}
LEFT, LEFT_TOO, RIGHT = "go past the box on the left", "keep left of the box please", "go past the box on the right"


def make_episode(name: str, num_frames: int = 9, instruction: str = LEFT, seed: int = 0, **settings) -> Episode:
    """Velocities of a keyboard, with a lateral part that follows the instruction; some frames without an action."""
    rng = np.random.default_rng([seed, len(name)])
    actions = rng.choice(np.array([0.0, 1.15], np.float32), (num_frames, 3))
    side = 1.0 if "left" in instruction else -1.0
    actions[:, 1] = side * 1.15 * (rng.random(num_frames) < 0.7)
    direction = {"direction": "left" if side > 0 else "right"}
    known = settings.pop("action_known", np.ones(num_frames, bool))
    return Episode(
        id=name,
        path=Path(name),
        layout="flat",
        encoding="raw",
        num_frames=num_frames,
        resolution=(SIZE, SIZE),
        actions=np.where(known[:, None], actions, 0).astype(np.float32),
        action_known=known,
        instruction=instruction,
        instruction_source="file",
        reader=unread(name, Path(name), num_frames),
        labels=settings.pop("labels", direction),
        **settings,
    )


def make_episodes(count: int = 8, **settings) -> list[Episode]:
    """Of different lengths (some shorter than a window), with three texts of two meanings."""
    texts = (LEFT, RIGHT, LEFT_TOO, RIGHT)
    lengths = (9, 12, 3, 7, 10, 4, 9, 11)
    return [
        make_episode(f"e{i:02d}", settings.get("num_frames") or lengths[i % 8], texts[i % 4], seed=i)
        for i in range(count)
    ]


class RandomFrames:
    """The frames of an episode, made of its id."""

    def read(self, episode: Episode, low: int, high: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(int.from_bytes(episode.id.encode()[-4:]))
        shape = (episode.num_frames, SIZE, SIZE, 3)
        return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)[low:high]


def make_policy(seed: int = 0, dtype: torch.dtype = torch.float32, **settings) -> Policy:
    torch.manual_seed(seed)
    lora = AdapterConfig(**{"r": 4, "dropout": 0.0, **settings.pop("lora", {})})
    head = LSTMDecoderConfig(hidden=16, layers=2, mlp=(32,))
    known = {"weights": "random", "architecture": copy.deepcopy(ARCHITECTURE), "head": head, "prompt": PROMPT}
    config = Kosmos2ModelConfig(**{**known, **settings}, lora=lora)
    return Policy.build(config, open_source(config), CHUNK, len(SPACE.components), dtype)


def make_data(episodes: list[Episode] | None = None, *, num_validation: int = 3, accumulate: int = 1, **settings):
    episodes = make_episodes() if episodes is None else episodes
    ids = [episode.id for episode in episodes]
    parts = {"train": tuple(ids[num_validation:]), "validation": tuple(ids[:num_validation]), "test": ()}
    config = DataConfig(**{"root": "memory", "window": WINDOW, "chunk": CHUNK, "batch_size": 8, "span": 3, **settings})
    return EpisodeDataModule(
        config,
        Dataset(tuple(episodes), (), RandomFrames()),
        Split(parts),
        SPACE,
        Prompter(offline_tokenizer(), PROMPT),
        accumulate=accumulate,
    )


def make_sums(episodes: list[Episode], delta: float = 1.0, space: ActionSpace = SPACE, chunk: int = CHUNK):
    return EpisodeSums(episodes, space, chunk, delta)


def make_module(policy: Policy, data: EpisodeDataModule, max_epochs: int = 1, **settings) -> PolicyModule:
    sums = make_sums(data.episodes("validation"))
    return PolicyModule(
        policy,
        OptimizationConfig(**{"lr": 1e-3, "warmup_epochs": 0.0, "schedule": "constant", **settings}),
        sums,
        steps_per_epoch=data.steps_per_epoch(),
        total_steps=data.steps_per_epoch() * max_epochs,
        seed=0,
        label_names=["direction"],
        checkpoint_metadata=metadata(policy, SPACE, {"any": {"thing": [1, 2.5, "x", None]}}),
    )


def make_trainer(folder: Path, **settings) -> pl.Trainer:
    known = {
        "accelerator": "cpu",
        "devices": 1,
        "max_epochs": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "log_every_n_steps": 1,
        "use_distributed_sampler": False,
    }
    return pl.Trainer(default_root_dir=folder, **{**known, **settings})


def write_episodes(folder: Path, count: int = 10) -> Path:
    """Short episodes as files; half of them go left, half right."""
    folder.mkdir(parents=True)
    for i in range(count):
        side, num_frames = ("left", "right")[i % 2], 9 + i % 3
        episode = make_episode(f"e{i}", num_frames, LEFT if side == "left" else RIGHT, seed=i)
        frames = np.random.default_rng(i).integers(0, 256, (num_frames, 20, 30, 3), np.uint8)
        with h5py.File(folder / f"episode_20251204_1135{i:02d}_1box_hori_{side}_core_medium.h5", "w") as file:
            file["images"] = frames
            file["actions"] = episode.actions
            file.attrs["task"] = episode.instruction
    return folder


@pytest.fixture(scope="session")
def episode_files(tmp_path_factory) -> Path:
    """A folder of 10 short episodes, for whole trainings."""
    return write_episodes(tmp_path_factory.mktemp("files") / "data")


@pytest.fixture(scope="session")
def trainings(episode_files) -> Iterator[Trainings]:
    """Trainings on `episode_files` as processes that can be killed."""
    found = Trainings(episode_files)
    yield found
    found.close()


@pytest.fixture(scope="session")
def whole(episode_files, tmp_path_factory) -> Path:
    """The run that nothing disturbed."""
    from tests.training.run_training import make_config, train

    out = tmp_path_factory.mktemp("undisturbed") / "whole"
    train(out, make_config(episode_files))
    return out


@pytest.fixture(scope="session")
def lab() -> SimpleNamespace:
    """What builds episodes, data modules, policies and trainers (see the functions of the same names above)."""
    builders: dict[str, Callable] = {
        f.__name__: f
        for f in (make_episode, make_episodes, make_policy, make_data, make_sums, make_module, make_trainer)
    }
    return SimpleNamespace(
        **builders,
        RandomFrames=RandomFrames,
        space=SPACE,
        window=WINDOW,
        chunk=CHUNK,
        left=LEFT,
        left_too=LEFT_TOO,
        right=RIGHT,
    )


@pytest.fixture(scope="session")
def bench(lab, tmp_path_factory) -> SimpleNamespace:
    """For probes with variants: a policy whose adapters do something, data, episodes (9, 12, 3, 7, 10 and 4 frames),
    meanings, a plan, and directions of contexts as files."""
    policy = lab.make_policy()
    with torch.no_grad():
        for name, weight in policy.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.1)
    data = lab.make_data(num_validation=6)
    episodes = data.episodes("validation")
    folder = tmp_path_factory.mktemp("directions")
    rows = np.random.default_rng(0).normal(size=(3, policy.backbone.context_width)) * [[1], [30], [1e-2]]
    np.save(folder / "few.npy", rows)
    np.save(folder / "one.npy", rows[:1])
    return SimpleNamespace(
        policy=policy,
        data=data,
        episodes=episodes,
        meanings=find_meanings(data.dataset.episodes, "direction"),
        plan=make_plan(episodes, PlanConfig(progress=(0.0, 0.6, 1.0), episodes=6)),
        rows=rows,
        file=folder / "few.npy",
        another_file=folder / "one.npy",
    )

"""What is measured on: synthetic episodes and a policy, prepared by the words that a user types.

In: overrides of `mobile-vla train`, the episodes to write, a folder for what is written. Out: a prepared `Training`, or
a `Setting`, which has a policy too and runs a validation, or steps, of the real module, data module and Trainer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Checkpoint

from benchmarks.timing import Stopwatch, Took
from mobile_vla.checkpoints.trained import metadata
from mobile_vla.cli.train import COMMAND
from mobile_vla.core.batch import Batch
from mobile_vla.display.tensorboard import Board
from mobile_vla.evaluation.metrics import EpisodeSums, label_names
from mobile_vla.models.policy import Policy
from mobile_vla.opening.training import open_training
from mobile_vla.settings.composing import compose_values
from mobile_vla.settings.typed import build
from mobile_vla.sources.synthetic.writer import SynthConfig, write_episodes
from mobile_vla.training.callbacks.probe import ProbeCallbackConfig, StoreContexts
from mobile_vla.training.config import TrainConfig
from mobile_vla.training.module import PolicyModule
from mobile_vla.training.run import Training
from mobile_vla.training.trainer import build_trainer

NUM_TRAINED = 4  # episodes beside those of the validation: no less, since a split keeps both directions
MIDDLE = (  # 166 million parameters
    "model=kosmos2",
    "model.weights=random",
    "++model.architecture={text_config: {vocab_size: 65037, layers: 6, embed_dim: 1024, ffn_dim: 4096, "
    "attention_heads: 16}, vision_config: {num_hidden_layers: 6, hidden_size: 512, intermediate_size: 2048, "
    "num_attention_heads: 8}}",
)
RESOLUTION = (90, 160)  # of the files; packed frames have the size that the model takes


class OnlyValidates(PolicyModule):
    """An epoch without training: every validation finds the same weights."""

    def training_step(self, batch: Batch, batch_idx: int) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        return None


class NoCheckpoints(Checkpoint):
    """Takes the place of the Trainer's own, which would be written within the time that is measured."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A training that was prepared, and its policy."""

    training: Training
    policy: Policy

    @classmethod
    def prepare(cls, folder: Path, overrides: Sequence[str], episodes: int) -> "Setting":
        """episodes: of the validation."""
        total = episodes + NUM_TRAINED
        config = SynthConfig(episodes=total, resolution=RESOLUTION, workers=1)
        once = "trainer.limit_train_batches=1"
        return cls.of(prepare_training(folder, [*overrides, once], config, validation=episodes / total))

    @classmethod
    def of(cls, training: Training, device: str = "cpu") -> "Setting":
        """device: where weights are made; random ones differ from device to device."""
        config = training.config
        pl.seed_everything(config.seed, verbose=False)
        with torch.device(device):
            policy = Policy.build(
                config.model,
                training.source,
                config.data.chunk,
                len(training.actions.components),
                training.machine.compute_dtype,
            )
        return cls(training=training, policy=policy)

    def validate(self, folder: Path, probe: ProbeCallbackConfig | None) -> Took:
        """How long a training waits for one validation in a new `folder`, storing contexts as `probe` says.

        All that the Trainer's validation loop does, from its first hook to its last. Before it, and once a training,
        the taps are measured.
        """
        training, config = self.training, self.training.config
        board = Board(folder)
        stored: list[pl.Callback] = []
        if probe is not None:
            store = StoreContexts(
                probe,
                self.policy,
                config.model,
                training.data,
                training.machine.precision,
                folder,
                board,
                say=lambda line: None,
            )
            store.measure()
            stored.append(store)
        trainer = build_trainer(config.trainer, training.machine, folder, [*stored, NoCheckpoints()], [board])
        loop = trainer.fit_loop.epoch_loop.val_loop
        run, took = loop.run, []

        def run_timed() -> Any:
            watch = Stopwatch()
            found = run()
            took.append(watch.stop())
            return found

        loop.run = run_timed
        trainer.fit(self.module(OnlyValidates), training.data)
        (only,) = took
        return only

    def module(self, kind: type[PolicyModule] = PolicyModule) -> PolicyModule:
        training, config = self.training, self.training.config
        episodes = training.data.episodes("validation")
        sums = EpisodeSums(episodes, training.actions, config.data.chunk, config.optimization.huber_delta)
        return kind(
            self.policy,
            config.optimization,
            sums,
            steps_per_epoch=1,
            total_steps=1,
            seed=config.seed,
            label_names=label_names(episodes),
            checkpoint_metadata=metadata(self.policy, training.actions, training.plain),
        )


def prepare_training(
    folder: Path, overrides: Sequence[str], episodes: SynthConfig, validation: float = 0.5
) -> Training:
    """The episodes are written unless the folder has some: trainings that differ in their settings may share them.

    validation  their share; the others are trained on
    """
    root = folder / "episodes"
    if not root.exists():
        write_episodes(episodes, root)
    words = [
        f"data.root={root}",
        f"data.pack_dir={folder / 'packed'}",
        f"cache.dir={folder / 'features'}",
        f"data.split={{validation: {validation}, test: 0.0}}",
        "trainer.max_epochs=1",
        "trainer.enable_progress_bar=false",
    ]
    plain = compose_values("train", [*words, *overrides], COMMAND.own_words)
    return open_training(build(TrainConfig, plain), plain)

"""A whole training of a tiny policy on files: begins in a folder, or continues where there is a run.

Run as a process of its own it takes one argument, json with `out`, `root`, and settings by group; it prints the
result and ends with the exit code of the command line.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from lightning.pytorch import Callback

sys.path.insert(0, str(Path(__file__).parents[2]))

from mobile_vla.core.durable import write_text
from mobile_vla.core.errors import Interrupted, UserError
from mobile_vla.data.dataset import DataConfig
from mobile_vla.data.splits import SplitConfig
from mobile_vla.models.backbones.kosmos2 import Kosmos2ModelConfig
from mobile_vla.models.backbones.lora import AdapterConfig
from mobile_vla.models.heads.lstm_decoder import LSTMDecoderConfig
from mobile_vla.opening.training import open_training
from mobile_vla.probing.plans import PlanConfig
from mobile_vla.training.augmentation import AugmentationConfig
from mobile_vla.training.cache_plan import CacheConfig
from mobile_vla.training.callbacks.checkpoint import CheckpointConfig
from mobile_vla.training.callbacks.guard import GuardConfig
from mobile_vla.training.callbacks.probe import ProbeCallbackConfig
from mobile_vla.training.callbacks.stopping import EarlyStoppingConfig
from mobile_vla.training.config import CallbacksConfig, TrainConfig
from mobile_vla.training.module import OptimizationConfig, PolicyModule
from mobile_vla.training.run import Training
from mobile_vla.training.trainer import TrainerConfig
from tests import lab

Group = dict[str, Any]


def make_config(
    root: Path | str,
    *,
    data: Group | None = None,
    model: Group | None = None,
    lora: Group | None = None,
    optimization: Group | None = None,
    trainer: Group | None = None,
    checkpoint: Group | None = None,
    guard: Group | None = None,
    early_stopping: Group | None = None,
    probe: Group | None = None,
    augmentation: Group | None = None,
    cache: Group | None = None,
    seed: int = 0,
) -> TrainConfig:
    """Dropout on, a schedule that moves, several batches a step with an incomplete last one, 3 epochs of 4 steps."""
    split = SplitConfig(validation=0.3, test=0.0)
    windows: Group = {"window": lab.WINDOW, "chunk": lab.CHUNK, "span": 3, "batch_size": 7}
    files: Group = {"root": str(root), "pack": False, "pack_dir": str(Path(root).parent / "cache"), "split": split}
    head = LSTMDecoderConfig(hidden=16, layers=1, mlp=(16,))
    source: Group = {"weights": "random", "architecture": lab.ARCHITECTURE, "head": head}
    adapters = AdapterConfig(**{"r": 4, "dropout": 0.3, **(lora or {})})
    runs: Group = {"accelerator": "cpu", "max_epochs": 3, "accumulate_grad_batches": 2, "log_every_n_steps": 1}
    kept: Group = {"every_n_steps": 2, "every_n_minutes": None}
    return TrainConfig(
        seed=seed,
        data=DataConfig(**{**windows, **files, **(data or {})}),
        model=Kosmos2ModelConfig(**{**source, "lora": adapters, **(model or {})}),
        optimization=OptimizationConfig(**{"lr": 3e-3, **(optimization or {})}),
        augmentation=AugmentationConfig(**(augmentation or {})),
        cache=CacheConfig(**{"dir": str(Path(root).parent / "features"), **(cache or {})}),
        trainer=TrainerConfig(**{**runs, "enable_progress_bar": False, **(trainer or {})}),
        callbacks=CallbacksConfig(
            figures=None,
            checkpoint=CheckpointConfig(**{**kept, **(checkpoint or {})}),
            guard=GuardConfig(**(guard or {})),
            early_stopping=EarlyStoppingConfig(**early_stopping) if early_stopping else None,
            probe=_probe(**probe) if probe else None,
        ),
    )


def _probe(plan: Group, taps: Sequence[str] = ("context",), **settings: Any) -> ProbeCallbackConfig:
    return ProbeCallbackConfig(plan=PlanConfig(**plan), taps=tuple(taps), **settings)


def plain_of(config: TrainConfig) -> dict[str, Any]:
    """The configuration as the plain values that are stored with a run."""
    return json.loads(json.dumps(asdict(config)))


def prepare(out: Path, config: TrainConfig) -> Training:
    return open_training(config, plain_of(config), out if (out / "config.yaml").exists() else None)


def train(out: Path, config: TrainConfig, *callbacks: Callback) -> dict[str, Any]:
    """Begin, or continue; `callbacks` come before the run's own."""
    training = prepare(out, config)
    print("\n".join(training.notes), flush=True)
    own = Training._callbacks
    with mock.patch.object(Training, "_callbacks", lambda *given: [*callbacks, *own(*given)]):
        return training.run(out, lambda file: write_text(file, json.dumps(plain_of(config))))


@contextmanager
def slowed(owner: Any, name: str, nap_s: float) -> Iterator[None]:
    """A method that sleeps before it does its work."""
    own: Callable = getattr(owner, name)

    def slow(*args, **kwargs):
        time.sleep(nap_s)
        return own(*args, **kwargs)

    with mock.patch.object(owner, name, slow):
        yield


def main(asked: dict[str, Any]) -> int:
    """`nap_s`, `validation_nap_s`: slow down a batch, so that signals meet it."""
    torch.set_num_threads(1)
    out, nap_s, validation_nap_s = Path(asked.pop("out")), asked.pop("nap_s", 0.0), asked.pop("validation_nap_s", 0.0)
    try:
        with slowed(PolicyModule, "training_step", nap_s), slowed(PolicyModule, "validation_step", validation_nap_s):
            found = train(out, make_config(**asked))
    except (UserError, Interrupted) as error:
        print(error, flush=True)
        return getattr(error, "exit_code", 2)
    print(json.dumps({"val_loss": found["val_loss"], "steps": found["steps"]}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))

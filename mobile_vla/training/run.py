"""One training that was found valid, run in a folder: from its policy to what it found.

policy -> baselines -> fit -> best checkpoint -> evaluation with interventions -> findings

`opening.training` prepares it. A run that was interrupted goes through the same: prepared on its own split, put where
its last checkpoint stands.
"""

import sys
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.utilities import rank_zero_only

from mobile_vla.checkpoints.files import LAST
from mobile_vla.checkpoints.trained import check_fits, load_trained, metadata, read_checkpoint
from mobile_vla.core.actions import ActionSpace
from mobile_vla.core.batch import Batch
from mobile_vla.core.durable import remove_parts
from mobile_vla.core.errors import UserError
from mobile_vla.data.assemble import WindowRequest
from mobile_vla.data.datamodule import EpisodeDataModule
from mobile_vla.data.dataset import Dataset, Progress
from mobile_vla.data.faults import append_faults, save_faults
from mobile_vla.data.splits import Split, load_split, save_split
from mobile_vla.display.loggers import CsvMetrics
from mobile_vla.display.tensorboard import Board
from mobile_vla.evaluation.findings import baseline_losses, find
from mobile_vla.evaluation.metrics import EpisodeSums, label_names
from mobile_vla.models.backbones.loading import Source
from mobile_vla.models.policy import Policy
from mobile_vla.runs.epoch_folders import FOLDER, remove_from
from mobile_vla.runs.folder import record_machine
from mobile_vla.runs.lock import RunLock, remove_begun
from mobile_vla.runs.search import CONFIG
from mobile_vla.training.cache_plan import CachePlan
from mobile_vla.training.callbacks.checkpoint import RunCheckpoints
from mobile_vla.training.callbacks.compiled import CompiledLayers
from mobile_vla.training.callbacks.effects import EffectCurves
from mobile_vla.training.callbacks.epoch_loss import EpochLoss
from mobile_vla.training.callbacks.faults import FaultKeeper
from mobile_vla.training.callbacks.figures import Figures
from mobile_vla.training.callbacks.guard import StepGuard
from mobile_vla.training.callbacks.memory import PeakMemory
from mobile_vla.training.callbacks.probe import StoreContexts
from mobile_vla.training.callbacks.progress import show_progress_of_training
from mobile_vla.training.callbacks.reference import BaselineReference
from mobile_vla.training.callbacks.stopping import StopAfterSteps, StopAfterTime, StopOnSignal, StopWithoutProgress
from mobile_vla.training.callbacks.throughput import Throughput
from mobile_vla.training.config import TrainConfig
from mobile_vla.training.feature_cache import fill
from mobile_vla.training.module import PolicyModule
from mobile_vla.training.position import Position
from mobile_vla.training.start import build_start
from mobile_vla.training.trainer import Machine, build_trainer


@dataclass(frozen=True, kw_only=True)
class Training:
    """A training that was found valid. `plain` is its configuration as stored with the run.

    continues  the folder of the run that goes on;  resumed  its newest whole checkpoint, if it has saved any
    cache      what of the frozen work is kept
    notes      lines on what the user should know of it
    """

    config: TrainConfig
    plain: Mapping[str, Any]
    machine: Machine
    source: Source
    dataset: Dataset
    split: Split
    actions: ActionSpace
    data: EpisodeDataModule
    continues: Path | None
    resumed: Path | None
    cache: CachePlan
    notes: tuple[str, ...]

    @property
    def has_begun(self) -> bool:
        """Whether the folder holds a training that goes on; an imported run's holds only weights to begin with."""
        return self.continues is not None and load_split(self.continues / "split.json").unknown is None

    def describe(self) -> list[str]:
        """What a user should read before a night's training."""
        counts = ", ".join(f"{len(ids)} {part}" for part, ids in self.split.parts.items())
        bounds = ", ".join(
            f"{name} [{low:g}, {high:g}]"
            for name, low, high in zip(self.actions.components, self.actions.low, self.actions.high, strict=True)
        )
        windows = self.data.plan("train").num_windows
        return [
            *self.dataset.describe(),
            f"split by episode: {counts}; {windows} training windows, {self.data.share_padded('train'):.0%} of their "
            "chunk entries lie beyond an episode's end and are masked",
            f"actions: {bounds}",
            f"on {self.machine.accelerator} in {self.machine.precision}",
            *self.notes,
        ]

    def run(
        self,
        out: Path,
        save_config: Callable[[Path], None],
        progress: Progress | None = None,
        check: Callable[[Policy, Batch], None] | None = None,
    ) -> dict[str, Any]:
        """Train in `out`; returns the fields of `train.json`. `save_config` writes `config.yaml` once all fits.

        `check` is shown the policy that training begins with, and a batch; it may refuse, with nothing written yet.
        `UserError` if another process trains there; `Interrupted` if a signal ended it.
        """
        begun = time.perf_counter()
        num_components = len(self.actions.components)
        config = self.config if self.resumed is None else replace(self.config, start=None)
        policy = build_start(config, self.source, num_components, self.machine.compute_dtype)
        if check is not None and self.resumed is None:
            check(policy, self._first_window())
        lock = RunLock(out) if rank_zero_only.rank == 0 else None
        before = [path.name for path in out.iterdir()] if lock is not None else []
        try:
            if lock is not None:
                remove_parts(out)
                remove_parts(out / "checkpoints")
            return self._run(policy, out, save_config, progress, begun)
        except (UserError, KeyboardInterrupt):
            if lock is not None and self.continues is None and not (out / CONFIG).exists():
                remove_begun(out, before)  # it has not become a run
            raise
        finally:
            if lock is not None:
                lock.release()

    def _run(
        self,
        policy: Policy,
        out: Path,
        save_config: Callable[[Path], None],
        progress: Progress | None,
        begun: float,
    ) -> dict[str, Any]:
        known = metadata(policy, self.actions, self.plain)
        stands = None if self.resumed is None else read_checkpoint(self.resumed)
        if stands is not None:
            check_fits(policy, stands)
            known["start_fingerprint"] = stands["mobile_vla"].get("start_fingerprint")
        begins_at = 0 if stands is None else Position.read(stands).step
        validation = self.data.episodes("validation")
        sums = EpisodeSums(validation, self.actions, self.config.data.chunk, self.config.optimization.huber_delta)
        baselines = baseline_losses(self.data, "validation", sums)
        resumed_at = begins_at if self.has_begun else None
        every = self.config.trainer.log_every_n_steps
        board = Board(out, resumed_at, every) if self.config.logger.tensorboard else None
        table = CsvMetrics(out / "metrics.csv", every) if self.config.logger.csv else None
        throughput, memory = Throughput(), PeakMemory()
        compiled = [CompiledLayers(policy)] if self.config.trainer.compile else []
        contexts = self._store_contexts(policy, out, board)
        checkpoints = RunCheckpoints(self.config.callbacks.checkpoint, out, self.resumed, table)
        num_files = len(self.dataset.episodes) + len(self.dataset.faults)
        faults = FaultKeeper(out / "faults.json", self.config.data.max_fault_share, num_files)
        trainer = build_trainer(
            self.config.trainer,
            self.machine,
            out,
            [*self._callbacks(throughput, baselines), *contexts, *compiled, memory, faults, checkpoints],
            [logger for logger in (board, table) if logger is not None],
        )
        policy.to(trainer.strategy.root_device)  # where training puts it anyway
        self.data.features = fill(
            self.cache,
            self.config.cache,
            policy,
            self.dataset.frames,
            progress,
            trainer.global_rank,
            trainer.world_size,
        )
        for stored in contexts:
            stored.measure()
        steps = self.data.steps_per_epoch(trainer.world_size)
        module = PolicyModule(
            policy,
            self.config.optimization,
            sums,
            steps_per_epoch=steps,
            total_steps=self.config.trainer.num_steps(steps),
            seed=self.config.seed,
            label_names=label_names(validation),
            checkpoint_metadata=known,
            augmentation=self.config.augmentation,
        )
        if trainer.is_global_zero:
            self._describe(out, board, resumed_at)
            if gone := remove_from(out / FOLDER, 0 if stands is None else Position.read(stands).epoch):
                names = ", ".join(folder.name for folder in gone)
                print(f"contexts of {names} are removed: training goes on before them", file=sys.stderr, flush=True)
            save_config(out / CONFIG)  # last: it says that there is a run
        with warnings.catch_warnings():
            # Lightning cannot know that the planned batches begin where the checkpoint stands.
            warnings.filterwarnings("ignore", ".*resuming from a checkpoint that ended before the epoch ended")
            trainer.fit(module, self.data, ckpt_path=self.resumed, weights_only=True)
        if not trainer.is_global_zero:
            return {}
        policy.to(trainer.strategy.root_device)
        best = checkpoints.best_path or out / "checkpoints" / LAST
        load_trained(policy, best)
        findings = find(policy, self.data, "validation", sums, baselines, progress)
        if board is not None:
            effects = {f"effect/{name}": effect["ratio"] for name, effect in findings["effects"].items()}
            board.log_findings(effects, findings["warnings"], trainer.global_step)
            board.finalize("success")
        return {
            "val_loss": findings.pop("loss"),
            **findings,
            "parameters": policy.num_parameters(),
            "checkpoint": str(best),
            "checkpoint_bytes": best.stat().st_size,
            "windows_per_s": throughput.windows_per_s,
            "data_wait_share": throughput.data_wait_share,
            "memory_bytes": memory.num_bytes,
            "seconds": time.perf_counter() - begun,
            "cache": {"of": None if self.cache.depth == "frames" else self.cache.depth, "bytes": self.cache.num_bytes},
            "epochs": trainer.current_epoch,
            "steps": trainer.global_step,
            "accelerator": self.machine.accelerator,
            "precision": self.machine.precision,
            "split": {part: len(ids) for part, ids in self.split.parts.items()},
        }

    def _first_window(self) -> Batch:
        episodes = self.data.episodes("train")
        return self.data.assembler(episodes)([WindowRequest(episode=0, start=0)])

    def _callbacks(self, throughput: Throughput, baselines: Mapping[str, float]) -> list[pl.Callback]:
        config, limits = self.config.callbacks, self.config.trainer
        found: list[pl.Callback] = [
            throughput,
            BaselineReference(baselines),
            StepGuard(config.guard),
            EpochLoss(),
            StopOnSignal(),
        ]
        if limits.enable_progress_bar:
            found.append(show_progress_of_training())
        if limits.max_steps > 0:
            found.append(StopAfterSteps(limits.max_steps))
        if limits.max_time is not None:
            found.append(StopAfterTime(limits.max_time))
        if config.early_stopping is not None:
            found.append(StopWithoutProgress(config.early_stopping))
        if config.effects is not None and config.effects.episodes:
            found.append(EffectCurves(config.effects, self.data, self.config.optimization.huber_delta))
        if config.figures is not None:
            episodes = self.data.episodes("validation")
            every = max(len(episodes) // config.figures.windows, 1)
            first_windows = [WindowRequest(episode=i, start=0) for i in range(0, len(episodes), every)]
            shown = first_windows[: config.figures.windows]
            found.append(Figures(self.data.assembler(episodes), shown, config.figures.every_n_epochs))
        return found

    def _store_contexts(self, policy: Policy, out: Path, board: Board | None) -> list[StoreContexts]:
        """One, or none."""
        config = self.config.callbacks.probe
        if config is None:
            return []
        return [StoreContexts(config, policy, self.config.model, self.data, self.machine.precision, out, board)]

    def _describe(self, out: Path, board: Board | None, resumed_at: int | None) -> None:
        """What the folder holds besides the trainer's own files."""
        if resumed_at is None:
            save_split(self.split, self.dataset.episodes, self.config.data.split, out / "split.json")
            save_faults(self.dataset.faults, out / "faults.json")
        else:
            append_faults(self.dataset.faults, out / "faults.json", f"on resume at step {resumed_at}")
        record_machine(out, resumed_at)
        if board is not None:
            board.log_config(self.plain)

"""One training, from a valid configuration to what it found: prepared first (nothing written), then run in a folder.

prepare   machine -> model source -> dataset -> split -> action space -> data module
run       policy -> baselines -> fit -> best checkpoint -> evaluation with interventions -> findings
"""

import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from mobile_vla.actions import ActionSpace
from mobile_vla.checkpoints.trained import check_fits, load_trained, metadata, read_checkpoint
from mobile_vla.data.assemble import WindowRequest
from mobile_vla.data.catalog import find_files
from mobile_vla.data.datamodule import EpisodeDataModule
from mobile_vla.data.dataset import Dataset, Progress, check_labels, fit_actions, open_dataset
from mobile_vla.data.splits import Split, load_split, make_split, save_split
from mobile_vla.errors import UserError
from mobile_vla.models.loading import Source, open_source
from mobile_vla.models.policy import Policy
from mobile_vla.models.tokenizer import Prompter
from mobile_vla.training.callbacks.checkpoint import LAST, RunCheckpoints
from mobile_vla.training.callbacks.figures import Figures
from mobile_vla.training.callbacks.progress import show_progress_of_training
from mobile_vla.training.callbacks.reference import BaselineReference
from mobile_vla.training.callbacks.throughput import Throughput
from mobile_vla.training.config import TrainConfig
from mobile_vla.training.findings import baseline_losses, find
from mobile_vla.training.loggers import CsvMetrics
from mobile_vla.training.metrics import EpisodeSums, label_names
from mobile_vla.training.module import PolicyModule
from mobile_vla.training.provenance import provenance
from mobile_vla.training.resuming import check_resumable
from mobile_vla.training.tensorboard import Board
from mobile_vla.training.trainer import Machine, build_trainer, choose_machine


@dataclass(frozen=True, kw_only=True)
class Training:
    """A training that was found valid. `plain` is its configuration as stored with the run."""

    config: TrainConfig
    plain: Mapping[str, Any]
    machine: Machine
    source: Source
    dataset: Dataset
    split: Split
    actions: ActionSpace
    data: EpisodeDataModule
    resumed: Path | None

    @classmethod
    def prepare(
        cls,
        config: TrainConfig,
        plain: Mapping[str, Any],
        run_folder: Path | None = None,
        progress: Progress | None = None,
    ) -> "Training":
        """Everything that can be wrong is found here; `UserError`, and nothing was written into any run folder.

        With `run_folder` the training continues there, on the split that was stored with it.
        """
        machine = choose_machine(config.trainer)
        resumed = None if run_folder is None else run_folder / "checkpoints" / LAST
        if resumed is not None and not resumed.is_file():
            raise UserError(f"run={run_folder} holds no checkpoints/{LAST} to continue from; start anew with config=")
        for root in config.data.roots():
            find_files(root)  # before a model is looked for, which may take a while on the hub
        source = open_source(config.model)
        if config.model.lora.has_adapters:
            config.model.lora.text_layers(source.architecture.text_config.layers)  # refuses layers that are not there
        dataset = open_dataset(config.data, source.preprocessing, progress)
        stored = None if run_folder is None else run_folder / "split.json"
        split = load_split(stored) if stored else make_split(dataset.episodes, config.data.split)
        actions = fit_actions(config.data, split.of(dataset.episodes, "train"))
        if resumed is not None:
            check_resumable(resumed, plain, actions)
        check_labels(config.data, dataset)
        data = EpisodeDataModule(
            config.data,
            dataset,
            split,
            actions,
            Prompter(source.tokenizer, config.model.prompt),
            seed=config.seed,
            accumulate=config.trainer.accumulate_grad_batches,
            pin_memory=machine.accelerator == "gpu",
        )
        world = config.trainer.num_devices * config.trainer.num_nodes
        for part in ("train", "validation"):
            if (windows := data.plan(part).num_windows) < world:
                raise UserError(f"{windows} {part} windows cannot be dealt to {world} devices; use fewer devices")
        return cls(
            config=config,
            plain=plain,
            machine=machine,
            source=source,
            dataset=dataset,
            split=split,
            actions=actions,
            data=data,
            resumed=resumed,
        )

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
        ]

    def run(self, out: Path, save_config: Callable[[Path], None], progress: Progress | None = None) -> dict[str, Any]:
        """Train in `out`; returns the fields of `train.json`. `save_config` writes `config.yaml` once all fits."""
        begun = time.perf_counter()
        pl.seed_everything(self.config.seed, verbose=False)
        policy = Policy.build(
            self.config.model,
            self.source,
            self.config.data.chunk,
            len(self.actions.components),
            self.machine.compute_dtype,
        )
        begins_at = 0
        if self.resumed is not None:
            checkpoint = read_checkpoint(self.resumed)
            check_fits(policy, checkpoint)
            begins_at = int(checkpoint["global_step"])
        validation = self.data.episodes("validation")
        sums = EpisodeSums(validation, self.actions, self.config.data.chunk, self.config.optimization.huber_delta)
        baselines = baseline_losses(self.data, "validation", sums)
        board = Board(out, begins_at) if self.config.logger.tensorboard else None
        table = CsvMetrics(out / "metrics.csv") if self.config.logger.csv else None
        if table is not None:
            table.resume_at(begins_at)
        throughput = Throughput()
        checkpoints = RunCheckpoints(self.config.callbacks.checkpoint, out)
        trainer = build_trainer(
            self.config.trainer,
            self.machine,
            out,
            [checkpoints, *self._callbacks(throughput, baselines)],
            [logger for logger in (board, table) if logger is not None],
        )
        module = PolicyModule(
            policy,
            self.config.optimization,
            sums,
            steps_per_epoch=self.data.steps_per_epoch(trainer.world_size),
            total_steps=self.config.trainer.num_steps(self.data.steps_per_epoch(trainer.world_size)),
            seed=self.config.seed,
            label_names=label_names(validation),
            checkpoint_metadata=metadata(policy, self.actions, self.plain),
        )
        if trainer.is_global_zero:
            save_config(out / "config.yaml")
            self._describe(out, board)
        trainer.fit(module, self.data, ckpt_path=self.resumed, weights_only=True)
        last = out / "checkpoints" / LAST
        if trainer.global_step > begins_at and checkpoints._last_global_step_saved != trainer.global_step:
            trainer.save_checkpoint(last)  # it stopped (max_steps, max_time) before the epoch's validation
        if not trainer.is_global_zero:
            return {}
        policy.to(trainer.strategy.root_device)
        best = Path(checkpoints.best_model_path) if checkpoints.best_model_path else last
        load_trained(policy, best)
        findings = find(policy, self.data, "validation", sums, baselines, self.config.seed, progress)
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
            "seconds": time.perf_counter() - begun,
            "epochs": trainer.current_epoch,
            "steps": trainer.global_step,
            "accelerator": self.machine.accelerator,
            "precision": self.machine.precision,
            "split": {part: len(ids) for part, ids in self.split.parts.items()},
        }

    def _callbacks(self, throughput: Throughput, baselines: Mapping[str, float]) -> list[pl.Callback]:
        config = self.config.callbacks
        found: list[pl.Callback] = [throughput, BaselineReference(baselines)]
        if self.config.trainer.enable_progress_bar:
            found.append(show_progress_of_training())
        if config.figures is not None:
            episodes = self.data.episodes("validation")
            every = max(len(episodes) // config.figures.windows, 1)
            first_windows = [WindowRequest(episode=i, start=0) for i in range(0, len(episodes), every)]
            shown = first_windows[: config.figures.windows]
            found.append(Figures(self.data.assembler(episodes), shown, config.figures.every_n_epochs))
        return found

    def _describe(self, out: Path, board: Board | None) -> None:
        """What the folder holds besides the trainer's own files; a resumed run keeps its first description."""
        if self.resumed is None:
            save_split(self.split, self.dataset.episodes, self.config.data.split, out / "split.json")
            (out / "machine.json").write_text(json.dumps(provenance(), indent=1))
            faults = [asdict(fault) for fault in self.dataset.faults]
            (out / "faults.json").write_text(json.dumps(faults, indent=1, ensure_ascii=False))
        else:
            shutil.copy(out / "machine.json", out / "machine.first.json")
            (out / "machine.json").write_text(json.dumps(provenance(), indent=1))
        if board is not None:
            board.log_config(self.plain)

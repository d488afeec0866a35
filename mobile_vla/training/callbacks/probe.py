"""Stores contexts while training runs, those that validation computes anyway: in `<run>/contexts/epoch_<NNN>/`.

In: validation batches, as they pass. Out: a complete store of each due epoch, its numbers and histograms in
TensorBoard, and the newest one in the Projector; on request also of the policy before the first step, in
`<run>/contexts/before_training/`. Training computes what it computes without: hooks only read, and nothing draws at
random.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from mobile_vla.contexts.manifest import StoreInfo
from mobile_vla.contexts.merge import complete
from mobile_vla.contexts.reader import Store, open_store
from mobile_vla.contexts.removal import remove_store
from mobile_vla.contexts.rows import RowId
from mobile_vla.core.batch import Batch
from mobile_vla.core.errors import UserError
from mobile_vla.data.datamodule import EpisodeDataModule
from mobile_vla.display.store_display import StoreDisplay
from mobile_vla.display.tensorboard import Board
from mobile_vla.models.backbones.model_config import ModelConfig
from mobile_vla.models.policy import Policy
from mobile_vla.probing.engine import uncovered
from mobile_vla.probing.epoch_store import EpochStore, WantedRows, count_windows, plan_rest
from mobile_vla.probing.plans import PlanConfig
from mobile_vla.probing.provenance import make_info
from mobile_vla.probing.sampling import make_plan
from mobile_vla.runs.epoch_folders import BEFORE, FOLDER, name_epoch
from mobile_vla.taps.points import resolve_taps

PLACE = "callbacks.probe"  # of these settings in a `TrainConfig`


@dataclass(frozen=True, kw_only=True)
class ProbeCallbackConfig:
    """Every how many epochs (and at the end), and what: `taps`, `plan` (of the validation episodes), `dtype`.

    before_training  also before the first step, and drift is told from there instead of from the first stored epoch
    """

    every_n_epochs: int = 1
    before_training: bool = False
    taps: tuple[str, ...] = ("context",)
    plan: PlanConfig = field(default_factory=PlanConfig)
    dtype: Literal["native", "float32", "float16", "bfloat16"] = "native"

    def __post_init__(self):
        if self.every_n_epochs < 1:
            raise UserError(f"must be at least 1, got {self.every_n_epochs}", argument="every_n_epochs")


def describe_stored(config: ProbeCallbackConfig, data: EpisodeDataModule, skeleton: Policy) -> list[str]:
    """What will be stored, for a user to read before; `UserError` where it cannot be planned, or is not there.

    skeleton: the policy, which needs no weights to tell its tap points
    """
    episodes = data.episodes("validation")
    with _naming_settings():
        resolve_taps(skeleton, config.taps)
        plan = make_plan(episodes, config.plan)
    covered = {(id, frame) for id, frames in plan.frames.items() for frame in frames}
    covered -= set(uncovered(plan, episodes, data.config))
    further = count_windows(plan_rest(plan, covered), data.config.window)
    first, *lines = plan.describe()
    often = "every validation" if config.every_n_epochs == 1 else f"every {config.every_n_epochs} epochs"
    cost = f"{further} windows more than validation runs" if further else "all in windows that validation runs anyway"
    stored = [f"contexts are stored at {often}: {first}, {cost}", *lines]
    if config.before_training:
        stored.append(f"and before the first step, in {count_windows(plan, data.config.window)} windows of their own")
    return stored


class StoreContexts(Callback):
    """folder: the run's;  board: where scalars go, not into `metrics.csv`;  say: prints a line to the user.

    `UserError` for taps that are not there, and from `measure`, which is due before training begins, for those that
    cannot be captured.
    """

    def __init__(
        self,
        config: ProbeCallbackConfig,
        policy: Policy,
        model: ModelConfig,
        data: EpisodeDataModule,
        precision: str,
        folder: Path,
        board: Board | None,
        say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
    ):
        self.config, self.policy, self.model, self.data = config, policy, model, data
        self.precision, self.folder, self.board, self.say = precision, folder / FOLDER, board, say
        with _naming_settings():
            self.taps = resolve_taps(policy, config.taps)
            self.plan = make_plan(data.episodes("validation"), config.plan)
        self._wanted: WantedRows | None = None
        self._store: EpochStore | None = None
        self._batch_size = 0  # of the validation
        self._seconds = 0.0  # of this validation that storing has taken
        self._display = None if board is None else StoreDisplay(folder, board, data, config.plan.by)

    def measure(self) -> None:
        """On the device that the policy is on."""
        dtype = None if self.config.dtype == "native" else self.config.dtype
        with _naming_settings():
            self._wanted = WantedRows.of(self.policy, self.data, self.plan, self.taps, dtype)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._batch_size = self.data.plan("validation", trainer.world_size).batch_size  # it looks at every window

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A run that is continued has the weights from before no more, and a store of them already."""
        if trainer.global_step > 0:
            if self._display is not None and trainer.is_global_zero:
                self._display.show_missed()
            return
        if not self.config.before_training:
            return
        if trainer.is_global_zero:
            remove_store(self.folder / BEFORE)  # of a training that saved nothing
        trainer.strategy.barrier()
        info = self._info(trainer, epoch=0, batch_size=self.data.config.batch_size)
        self._begin(trainer, BEFORE, info, trained=False)
        self._finish(trainer, "before training")  # no batch has shown anything: all rows are in further windows

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._is_due(trainer):
            return
        info = self._info(trainer, epoch=trainer.current_epoch + 1, batch_size=self._batch_size)
        self._begin(trainer, name_epoch(trainer.current_epoch), info)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self._store is not None:
            with self._timed():
                self._store.take(batch)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._store is not None:
            self._finish(trainer, f"epoch {trainer.current_epoch + 1}")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._leave(exception)
        self._wait(exception)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._leave()
        self._wait()

    def _is_due(self, trainer: Trainer) -> bool:
        """Not where training was stopped within an epoch: the epoch's own validation is still to come."""
        if trainer.sanity_checking or not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            return False
        last = trainer.current_epoch + 1 >= (trainer.max_epochs or 0)
        return trainer.current_epoch % self.config.every_n_epochs == 0 or last

    def _begin(self, trainer: Trainer, name: str, info: StoreInfo, *, trained: bool = True) -> None:
        """From here on the policy has hooks, until `_finish` or `_leave`."""
        assert self._wanted is not None
        self._wait()
        self._seconds = 0.0
        with self._timed():
            self._store = EpochStore(self._wanted, self.folder / name, info, trainer.global_rank, trained=trained)

    def _finish(self, trainer: Trainer, when: str) -> None:
        """Store what no batch has shown, complete the store and tell of it; `when`: in words."""
        store = self._store
        assert store is not None
        step = max(trainer.global_step - 1, 0)  # where the validation's own scalars are
        with self._timed():
            seen = set().union(*_of_all_ranks(trainer, store.seen))
            further = store.run_further(
                seen,
                self._missing(trainer, store),
                batch_size=self.data.config.batch_size,
                rank=trainer.global_rank,
                world=trainer.world_size,
            )
            self._leave()
            missing = self._missing(trainer, store)  # all ranks have left
            if not trainer.is_global_zero:
                return
            if missing:
                self.say(f"{store.folder}: {len(missing)} rows could not be read and are missing; it stays incomplete")
                return
            complete(store.folder)
            found = open_store(store.folder)
        self._tell(when, step, found, further)
        if self._display is not None:
            self._display.show(found)

    def _info(self, trainer: Trainer, *, epoch: int, batch_size: int) -> StoreInfo:
        """epoch: whole ones that the weights were trained for."""
        return make_info(
            self.policy,
            self.model,
            self.data,
            self.plan,
            taps=self.config.taps,
            batch_size=batch_size,
            split="validation",
            precision=self.precision,
            run={
                "folder": str(self.folder.parent),
                "checkpoint": None,
                "epoch": epoch,
                "step": trainer.global_step,
            },
        )

    def _missing(self, trainer: Trainer, store: EpochStore) -> set[RowId]:
        """Rows that no rank has stored."""
        return set.intersection(*_of_all_ranks(trainer, set(store.writer.missing())))

    def _leave(self, error: BaseException | None = None) -> None:
        store, self._store = self._store, None
        if store is not None:
            store.leave(error)

    def _wait(self, error: BaseException | None = None) -> None:
        """For what TensorBoard shows of the last store."""
        if self._display is not None:
            self._display.wait(error)

    def _tell(self, when: str, step: int, store: Store, further: int) -> None:
        """One line, and what it cost; `metrics.csv` is the same with contexts stored and without."""
        cost = f"{further} further windows, {self._seconds:.1f} s"
        self.say(f"{when}: {len(store)} rows stored in {store.folder} ({cost})")
        if self.board is not None:
            self.board.log_metrics({"probe/extra_windows": float(further), "speed/probe_s": self._seconds}, step)

    @contextmanager
    def _timed(self) -> Iterator[None]:
        begun = time.perf_counter()
        try:
            yield
        finally:
            self._seconds += time.perf_counter() - begun


@contextmanager
def _naming_settings() -> Iterator[None]:
    """Errors name the settings of this callback among those of a training."""
    try:
        yield
    except UserError as error:
        raise error.within(PLACE) from None


def _of_all_ranks(trainer: Trainer, rows: set[RowId]) -> list[set[RowId]]:
    if trainer.world_size == 1:
        return [rows]
    found: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(found, rows)
    return found

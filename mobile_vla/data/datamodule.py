"""The `LightningDataModule`: a dataset, its split and its action space, dealt as planned batches."""

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence

import numpy as np
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from mobile_vla.core.actions import ActionSpace
from mobile_vla.core.ahead import Ahead
from mobile_vla.core.batch import Batch
from mobile_vla.core.errors import UserError
from mobile_vla.data.assemble import BatchAssembler, Tokenize
from mobile_vla.data.dataset import DataConfig, Dataset
from mobile_vla.data.features import FeatureFiles
from mobile_vla.data.plan import BatchPlan, PlannedBatch, PlannedBatches
from mobile_vla.data.splits import Part, Split
from mobile_vla.data.windows import valid_entries
from mobile_vla.sources.schema import Episode

GRACE_S = 30.0  # that a worker stays after SIGTERM


class PlannedDataset(TorchDataset[Batch | UserError]):
    """What a loader's worker holds: a planned batch comes in, a `Batch` comes out, or why there is none.

    An error that is raised in a worker arrives with the worker's traceback for a message; one that is handed out
    arrives as it is.
    """

    def __init__(self, assembler: BatchAssembler):
        self.assembler = assembler

    def __getitem__(self, planned: PlannedBatch) -> Batch | UserError:
        try:
            return self.assembler(self.assembler.requests(planned), planned.denominator)
        except UserError as error:
            return error


class BatchLoader(DataLoader[Batch | UserError]):
    """Raises here what a worker could not. Without workers, a thread makes the next batch while one is used.

    waited_s  seconds that whoever takes the batches has waited for them
    """

    waited_s = 0.0

    def __iter__(self) -> Iterator[Batch]:  # pyright: ignore[reportIncompatibleMethodOverride]
        batches = super().__iter__()
        return self._count_waiting(batches if self.num_workers else Ahead(batches))

    def _count_waiting(self, batches: Iterator[Batch | UserError]) -> Iterator[Batch]:
        while True:
            begun = time.perf_counter()
            batch = next(batches, None)
            self.waited_s += time.perf_counter() - begun
            if batch is None:
                return
            if isinstance(batch, UserError):
                # Workers end with their iterator. One that the error's traceback holds is collected as part of a cycle,
                # its queues first: then nobody tells the workers, and they are waited for.
                self._iterator = None
                del batches
                raise batch
            yield batch


class EpisodeDataModule(LightningDataModule):
    """Loaders for the parts of a split. Order is a pure function of (seed, epoch, offset, rank, world)."""

    def __init__(
        self,
        config: DataConfig,
        dataset: Dataset,
        split: Split,
        actions: ActionSpace,
        tokenize: Tokenize,
        *,
        seed: int = 0,
        accumulate: int = 1,
        pin_memory: bool = False,
    ):
        super().__init__()
        self.config = config
        self.dataset = dataset
        self.split = split
        self.actions = actions
        self.tokenize = tokenize
        self.seed = seed
        self.accumulate = accumulate
        self.pin = pin_memory
        self.features: FeatureFiles | None = None  # where something was computed of frames beforehand

    def episodes(self, part: Part) -> list[Episode]:
        return self.split.of(self.dataset.episodes, part)

    def assembler(
        self, episodes: Sequence[Episode], with_frames: bool = True, from_features: bool = False
    ) -> BatchAssembler:
        """from_features: what was computed of frames beforehand takes their place; not for who looks at frames."""
        frames = self.dataset.frames if with_frames else None
        features = self.features if from_features else None
        return BatchAssembler(episodes, frames, self.tokenize, self.actions, self.config, self.config.faults, features)

    def plan(self, part: Part, world: int = 1) -> BatchPlan:
        """Training is shuffled and accumulated, the other parts run through once in order, a batch a rank at least."""
        train = part == "train"
        entries = [valid_entries(episode, self.config) for episode in self.episodes(part)]
        even = -(-sum(map(len, entries)) // world)
        size = self.config.batch_size if train else min(self.config.batch_size, max(even, 1))
        return BatchPlan(
            entries,
            batch_size=size,
            span=self.config.span if train else size,
            seed=self.seed,
            accumulate=self.accumulate if train else 1,
            shuffle=train,
        )

    def steps_per_epoch(self, world: int = 1) -> int:
        """Optimizer steps of an epoch."""
        return -(-self.plan("train").num_batches(world) // self.accumulate)

    def train_dataloader(self) -> DataLoader:
        return self.loader("train")

    def val_dataloader(self) -> DataLoader:
        return self.loader("validation")

    def loader(self, part: Part) -> DataLoader:
        """A loader of whole planned batches; each rank gets its own."""
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        workers = self.config.num_workers
        sampler = PlannedBatches(self.plan(part, world), rank, world)
        if self.trainer and part == "train":
            # A resumed fit makes the loader's iterator before it tells the sampler its epoch, and never its batch.
            loop = self.trainer.fit_loop
            sampler.set_epoch(loop.epoch_progress.current.processed)
            sampler.offset = loop.epoch_loop.batch_progress.current.processed
        for episode in self.episodes(part):  # here, once: tokenizers do not like to be called by two threads
            self.tokenize.length(episode.instruction)
        return BatchLoader(
            PlannedDataset(self.assembler(self.episodes(part), from_features=True)),
            sampler=sampler,
            batch_size=None,  # the sampler hands out whole batches
            collate_fn=_as_is,  # pyright: ignore[reportArgumentType]  (its stub knows lists of samples only)
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=_outlive_signals,
            pin_memory=self.pin,
        )

    def share_padded(self, part: Part) -> float:
        """Share of the chunk entries of a part's windows that are masked."""
        counts = np.concatenate(self.plan(part).entries)
        return 1 - float(counts.sum()) / (len(counts) * self.config.window * self.config.chunk)


def _as_is(batch: Batch | UserError) -> Batch | UserError:
    return batch


def _outlive_signals(worker: int) -> None:
    """A Ctrl-C or SIGTERM to the whole process group must not take the workers from a step that is to be finished."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    leaves = threading.Timer(GRACE_S, os._exit, (0,))
    leaves.daemon = True  # a worker whose work is done does not wait for it
    signal.signal(signal.SIGTERM, lambda *_: leaves.is_alive() or leaves.start())

"""What TensorBoard shows of the stores that a training leaves, made while it goes on: it takes longer than storing.

In: complete stores of a run, one after the other. Out: scalars and histograms of each at the step of its validation,
and the newest one in the Projector, as the run `<run>/projector/<store>`.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from copy import copy
from pathlib import Path

from mobile_vla.analysis.descriptions.description import describe_tap
from mobile_vla.analysis.pairs.drift import Drift, find_drift
from mobile_vla.contexts.reader import Store, open_store
from mobile_vla.core.errors import UserError
from mobile_vla.data.datamodule import EpisodeDataModule
from mobile_vla.display.probe_board import EVENTS, ProbeBoard, tag
from mobile_vla.display.projector import show_latest
from mobile_vla.display.tensorboard import Board
from mobile_vla.runs.epoch_folders import BEFORE, FOLDER, list_epochs
from mobile_vla.taps.points import list_described

PROJECTOR = "projector"  # below the run's folder


class StoreDisplay:
    """run: its folder;  by: labels that the rows were chosen by. One store at a time: `wait` before the next one."""

    def __init__(self, run: Path, board: Board, data: EpisodeDataModule, by: Sequence[str]):
        self.run, self.board, self.data, self.by = run, board, data, by
        self._behind = ThreadPoolExecutor(1, "board")
        self._showing: Future[None] | None = None

    def show(self, store: Store) -> None:
        # Sources of frames hold what they opened for one thread; a copy opens its own.
        frames = copy(self.data.dataset.frames)
        board = ProbeBoard(store, self.data.episodes("validation"), frames, self.by)
        self._showing = self._behind.submit(self._fill, board, store)

    def show_missed(self) -> None:
        """Of a run that goes on: its newest store, where the run was killed before all of that was shown."""
        *_, newest = None, *self._stores()
        shown = {file.parent.name for file in (self.run / PROJECTOR).glob(f"*/{EVENTS}")}  # written last of all
        if newest is not None and newest.folder.name not in shown:
            self.show(newest)

    def wait(self, error: BaseException | None = None) -> None:
        """Until the last store is shown; raises why it could not be, except for an `error`."""
        showing, self._showing = self._showing, None
        if showing is not None and (failed := showing.exception()) is not None and error is None:
            raise failed

    def _fill(self, board: ProbeBoard, store: Store) -> None:
        step = max(store.manifest.info.run["step"] - 1, 0)  # where the validation's own scalars are
        self.board.log_metrics(_describe(store, next(self._stores(), store)), step)
        board.add_histograms(self.board.experiment, step)
        self.board.save()
        clouds, _ = board.clouds(f"of {store.folder.name}")
        show_latest(self.run / PROJECTOR, store.folder.name, clouds)

    def _stores(self) -> Iterator[Store]:
        """The run's complete ones in their order; drift is told from the first: before training, else an epoch's."""
        for folder in (self.run / FOLDER / BEFORE, *list_epochs(self.run / FOLDER).values()):
            try:
                yield open_store(folder)
            except UserError:  # left incomplete
                continue


def _describe(store: Store, first: Store) -> dict[str, float]:
    """Scalars: what each tap's vectors look like, and how far the rows moved since the first store."""
    scalars = {}
    for tap in list_described(store.taps):
        drift = find_drift(first, store, tap)
        told = describe_tap(store, tap).scalars() | (drift.scalars() if isinstance(drift, Drift) else {})
        scalars |= {tag(tap, name): float(value) for name, value in told.items()}
    return scalars

"""Builds a `Batch` from requests for windows: each distinct frame is read once, each distinct text embedded once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from mobile_vla.actions import ActionSpace
from mobile_vla.batch import OWN, Batch, PairId
from mobile_vla.data.frames import FrameSource
from mobile_vla.data.layouts import BrokenEpisode
from mobile_vla.data.plan import PlannedBatch
from mobile_vla.data.schema import Episode
from mobile_vla.data.windows import WindowConfig, chunks_at
from mobile_vla.errors import UserError


@runtime_checkable
class Tokenize(Protocol):
    """Instructions -> right-padded prompt ids (I, T) and their mask; and the length of a prompt in tokens."""

    def __call__(self, instructions: list[str], /) -> tuple[Tensor, Tensor]: ...

    def length(self, instruction: str, /) -> int: ...


@dataclass(frozen=True, kw_only=True)
class WindowRequest:
    """A window to be computed: as recorded, or with another text, or with another episode's frames.

    episode  index into the dataset's episodes;  start  first frame
    donor    index of the episode whose frames, at the same progress, take the place of the own ones
    """

    episode: int
    start: int
    variant: str = OWN
    instruction: str | None = None
    donor: int | None = None


class BatchAssembler:
    """Episodes, and how their frames, texts and actions become tensors. Runs in the loader's worker processes.

    Without a source of frames the batches hold all but frames, which is what baselines need.
    """

    def __init__(
        self,
        episodes: Sequence[Episode],
        frames: FrameSource | None,
        tokenize: Tokenize,
        actions: ActionSpace,
        windows: WindowConfig,
    ):
        self.episodes = episodes
        self.frames = frames
        self.tokenize = tokenize
        self.actions = actions
        self.windows = windows
        self._actions = [normalized_actions(episode, actions) for episode in episodes]

    def requests(self, planned: PlannedBatch) -> list[WindowRequest]:
        """The windows of a planned batch, as recorded."""
        return [
            WindowRequest(episode=span.episode, start=starts[i])
            for span in planned.spans
            for starts in [self.windows.starts(self.episodes[span.episode].num_frames)]
            for i in range(span.first, span.first + span.count)
        ]

    def __call__(self, requests: Sequence[WindowRequest], denominator: int | None = None) -> Batch:
        """One batch of the requested windows, in their order."""
        frame_index: dict[tuple[int, int], int] = {}  # (episode, frame) -> row of `frames`
        text_index: dict[str, int] = {}
        pair_index: dict[tuple[PairId, tuple[int, int]], int] = {}  # with the frame that is shown: donors differ
        pair_frame, pair_text, windows, chunks, masks = [], [], [], [], []
        for request in requests:
            episode = self.episodes[request.episode]
            text = request.instruction if request.instruction is not None else episode.instruction
            positions = self.windows.frames(episode.num_frames, request.start)
            row = []
            for frame in positions.tolist():
                if frame < 0:
                    row.append(-1)
                    continue
                shown = self._shown(request, frame)
                pair = PairId(episode.id, frame, text, request.variant), shown
                if pair not in pair_index:
                    pair_index[pair] = len(pair_index)
                    pair_frame.append(frame_index.setdefault(shown, len(frame_index)))
                    pair_text.append(text_index.setdefault(text, len(text_index)))
                row.append(pair_index[pair])
            windows.append(row)
            chunk, mask = chunks_at(self._actions[request.episode], episode.action_known, positions, self.windows.chunk)
            chunks.append(chunk)
            masks.append(mask)
        text_ids, text_mask = self.tokenize(list(text_index))
        return Batch(
            frames=self._read(frame_index),
            text_ids=text_ids,
            text_mask=text_mask,
            pair_frame=torch.tensor(pair_frame),
            pair_text=torch.tensor(pair_text),
            windows=torch.tensor(windows),
            chunks=torch.from_numpy(np.stack(chunks)),
            chunk_mask=torch.from_numpy(np.stack(masks)),
            pair_id=tuple(pair for pair, _ in pair_index),
            denominator=denominator,
        )

    def _shown(self, request: WindowRequest, frame: int) -> tuple[int, int]:
        """Which frame of which episode is shown at `frame`: its own, or the donor's at the same progress."""
        if request.donor is None:
            return request.episode, frame
        progress = self.episodes[request.episode].progress(frame)
        return request.donor, round(progress * (self.episodes[request.donor].num_frames - 1))

    def _read(self, wanted: Iterable[tuple[int, int]]) -> Tensor | None:
        """The wanted frames in their order; neighbours of one episode are one read."""
        if self.frames is None:
            return None
        order = list(wanted)
        read: dict[tuple[int, int], Tensor] = {}
        for episode, low, high in runs(order):
            try:
                frames = self.frames.read(self.episodes[episode], low, high)
            except (BrokenEpisode, OSError) as error:
                raise UserError(
                    f"{self.episodes[episode].path} went bad while it was read: {error}; restore it, or move it away "
                    "and start a new run"
                ) from error
            read.update({(episode, low + i): frame for i, frame in enumerate(frames)})
        return torch.stack([read[key] for key in order])


def runs(wanted: Iterable[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """(episode, low, high) of the runs of consecutive frames that cover the wanted (episode, frame)s."""
    found: list[tuple[int, int, int]] = []
    for episode, frame in sorted(wanted):
        if found and found[-1][0] == episode and found[-1][2] == frame:
            found[-1] = (episode, found[-1][1], frame + 1)
        else:
            found.append((episode, frame, frame + 1))
    return found


def normalized_actions(episode: Episode, actions: ActionSpace) -> np.ndarray:
    """(N, A) normalised actions of an episode, of the chosen components."""
    return actions.normalize(episode.components(actions.components))

"""Builds a `Batch` from requests for windows: each distinct frame is read once, each distinct text embedded once.

A file that goes bad while training runs is left out from then on: its windows keep their place in the batch, so that
every rank takes the same steps, but they are masked, and the batch says which file it was.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from mobile_vla.core.actions import ActionSpace
from mobile_vla.core.batch import Batch
from mobile_vla.core.errors import UserError
from mobile_vla.data.features import FeatureFiles, FeatureReader
from mobile_vla.data.frames import FrameSource
from mobile_vla.data.plan import BatchPlan, PlannedBatch
from mobile_vla.data.requests import Pairs, Shown, WindowRequest
from mobile_vla.data.stills import Still
from mobile_vla.data.windows import ChunkTable, WindowConfig
from mobile_vla.sources.schema import BrokenEpisode, Episode

MEAN_SAMPLES = 5  # frames of each episode that the mean frame is of, evenly from the first to the last


@runtime_checkable
class Tokenize(Protocol):
    """Instructions -> right-padded prompt ids (I, T) and their mask; and the length of a prompt in tokens."""

    def __call__(self, instructions: list[str], /) -> tuple[Tensor, Tensor]: ...

    def length(self, instruction: str, /) -> int: ...


class BatchAssembler:
    """Episodes, and how their frames, texts and actions become tensors. Runs in the loader's worker processes.

    Without a source of frames the batches hold all but frames, which is what baselines need.
    faults    what is done about a file that cannot be read: `error` stops with a `UserError`, `skip` masks its windows
    features  what was computed of frames beforehand, and takes their place where all that a batch needs is there
    """

    def __init__(
        self,
        episodes: Sequence[Episode],
        frames: FrameSource | None,
        tokenize: Tokenize,
        actions: ActionSpace,
        windows: WindowConfig,
        faults: Literal["skip", "error"] = "error",
        features: FeatureFiles | None = None,
    ):
        self.episodes = episodes
        self.frames = frames
        self.tokenize = tokenize
        self.actions = actions
        self.windows = windows
        self.faults = faults
        self.features = FeatureReader(features) if features else None
        self._broken: dict[int, str] = {}  # episode -> why it could not be read
        self._chunks = ChunkTable(
            [normalized_actions(episode, actions) for episode in episodes],
            [episode.action_known for episode in episodes],
            windows,
        )

    def requests(self, planned: PlannedBatch) -> list[WindowRequest]:
        """The windows of a planned batch, as recorded."""
        return [
            WindowRequest(episode=span.episode, start=starts[i])
            for span in planned.spans
            for starts in [self.windows.starts(self.episodes[span.episode].num_frames)]
            for i in range(span.first, span.first + span.count)
        ]

    def batches(self, plan: BatchPlan) -> list[list[WindowRequest]]:
        """The windows of a plan's first epoch, batch by batch."""
        return [self.requests(planned) for planned in plan.batches(0)]

    def __call__(self, requests: Sequence[WindowRequest], denominator: int | None = None) -> Batch:
        """One batch of the requested windows, in their order."""
        pairs = Pairs(self.episodes)
        windows = [pairs.add_window(request, self.windows.window) for request in requests]
        chunks, mask = self._chunks.at(
            np.array([request.episode for request in requests]), np.array([request.start for request in requests])
        )
        text_ids, text_mask = self.tokenize(list(pairs.texts))
        batch = Batch(
            **self._feed(pairs, text_ids, text_mask),
            text_ids=text_ids,
            text_mask=text_mask,
            pair_frame=torch.tensor(pairs.frame_of),
            pair_text=torch.tensor(pairs.text_of),
            windows=torch.tensor(windows),
            chunks=torch.from_numpy(chunks),
            chunk_mask=torch.from_numpy(mask),
            pair_id=pairs.ids,
            denominator=denominator,
            frame_id=pairs.frame_ids,
            pair_hidden=torch.tensor(pairs.hidden) if any(map(any, pairs.hidden)) else None,
            pair_source=torch.tensor(pairs.source) if max(pairs.source) >= 0 else None,
        )
        return self._without_broken(batch, requests)

    def mean_frame(self) -> Tensor:
        """(H, V, 3) uint8: the mean of `MEAN_SAMPLES` frames of every episode that can be read.

        Sums of whole numbers, so that the order of the episodes means nothing.
        """
        if self.frames is None:
            raise RuntimeError("a mean frame of an assembler without frames")
        total, count = torch.zeros_like(self._any_frame(self.frames), dtype=torch.int64), 0
        for index, episode in enumerate(self.episodes):
            steps = np.linspace(0, episode.num_frames - 1, MEAN_SAMPLES).round().astype(int)
            for _, low, high in runs({(index, int(frame)) for frame in steps}):
                frames = self._read_run(self.frames, index, low, high)
                if frames is not None:
                    total += frames.sum(dim=0, dtype=torch.int64)
                    count += len(frames)
        return ((total + count // 2) // count).to(torch.uint8)

    def _without_broken(self, batch: Batch, requests: Sequence[WindowRequest]) -> Batch:
        """Mask the windows whose own frames, or whose donor's or source's, cannot be read.

        What the batch loses is taken from its `denominator`; the other batches of an accumulated step cannot know.
        """
        if not self._broken:
            return batch
        touched = [request.shown_episodes & self._broken.keys() for request in requests]
        if not any(touched):
            return batch
        lost = torch.tensor([bool(episodes) for episodes in touched])
        mask = batch.chunk_mask & ~lost[:, None, None]
        denominator = batch.denominator
        if denominator is not None:
            denominator = max(denominator - batch.num_valid + int(mask.sum()), 1)
        named = sorted(set.union(*touched))
        return replace(
            batch,
            chunks=torch.where(mask.unsqueeze(-1), batch.chunks, 0),
            chunk_mask=mask,
            denominator=denominator,
            broken=tuple((self.episodes[i].place, self._broken[i]) for i in named),
        )

    def _feed(self, pairs: Pairs, text_ids: Tensor, text_mask: Tensor) -> dict[str, Any]:
        """What the model is given: what was computed beforehand, or frames, as a field of `Batch`."""
        if self.features is not None:
            known = self.features.read(pairs, self.episodes, text_ids, text_mask)
            if known is not None:
                return {self.features.files.kind: known}
        return {"frames": self._read(pairs.frames)}

    def _read(self, wanted: Mapping[Shown, int]) -> Tensor | None:
        """The wanted frames at their rows; neighbours of one episode are one read. A broken one's are black."""
        if self.frames is None:
            return None
        found = [(shown, shown.pixels.numpy()) for shown in wanted if isinstance(shown, Still)]
        for episode, low, high in runs(shown for shown in wanted if not isinstance(shown, Still)):
            frames = self._read_run(self.frames, episode, low, high)
            if frames is not None:
                found += [((episode, low + i), frame) for i, frame in enumerate(frames.numpy())]
        shape = found[0][1].shape if found else self._any_frame(self.frames).shape
        # NumPy copies in this thread; torch would start threads of its own beside those that compute.
        rows = np.zeros((len(wanted), *shape), np.uint8)
        for shown, frame in found:
            if isinstance(shown, Still) or shown[0] not in self._broken:  # it may have broken after this was read
                rows[wanted[shown]] = frame
        return torch.from_numpy(rows)

    def _read_run(self, source: FrameSource, episode: int, low: int, high: int) -> Tensor | None:
        """None for an episode that is broken, by now or since long: its file is not asked again."""
        if episode in self._broken:
            return None
        try:
            return source.read(self.episodes[episode], low, high)
        except BrokenEpisode as error:
            if self.faults == "error":
                raise UserError(
                    f"{self.episodes[episode].place} went bad while it was read: {error}; restore it, "
                    "or leave it out with data.faults=skip"
                ) from error
            self._broken[episode] = str(error)
            return None

    def _any_frame(self, source: FrameSource) -> Tensor:
        """For its shape, where a batch has no frame that can be read."""
        for index in range(len(self.episodes)):
            frames = self._read_run(source, index, 0, 1)
            if frames is not None:
                return frames[0]
        place, reason = self.episodes[0].place, self._broken[0]
        raise UserError(f"data: none of {len(self.episodes)} files can be read any more; the first, {place}: {reason}")


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

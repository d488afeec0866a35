"""What a model that ignores its inputs would score: a loss never stands alone.

Four predictors fitted on the training split and scored on the same windows as the model, with the same loss: mean
action (over all valid chunk entries), previous action held, mean chunk at this progress, mean chunk for this
instruction. A policy that is not
better than `instruction_only` may have learned to translate the text and nothing else; if that one is nearly
perfect, the text may have been derived from the action.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float

from mobile_vla.core.actions import ActionSpace
from mobile_vla.core.batch import PairId, gather_windows
from mobile_vla.data.assemble import BatchAssembler, normalized_actions
from mobile_vla.data.plan import BatchPlan
from mobile_vla.data.windows import chunks_at
from mobile_vla.evaluation.metrics import EpisodeSums
from mobile_vla.sources.schema import Episode

Baseline = Literal["mean_action", "previous_action", "progress_only", "instruction_only"]
BASELINES: tuple[Baseline, ...] = get_args(Baseline)
PROGRESS_BINS = 10


class Baselines:
    """Fitted on training episodes; predicts a normalised chunk for any (episode, frame, instruction)."""

    def __init__(self, training: Sequence[Episode], space: ActionSpace, chunk: int):
        self.space = space
        self.chunk = chunk
        episodes, bins, chunks, masks = [], [], [], []
        for episode in training:
            frames = np.arange(episode.num_frames)
            chunk_of, mask = chunks_at(normalized_actions(episode, space), episode.action_known, frames, chunk)
            chunks.append(chunk_of)
            masks.append(mask)
            bins.append([progress_bin(episode, frame) for frame in range(episode.num_frames)])
            episodes += [episode.instruction] * episode.num_frames
        chunks, masks, bins = np.concatenate(chunks), np.concatenate(masks), np.concatenate(bins)
        texts = np.array(episodes)
        self.mean_action = chunks[masks].mean(axis=0)  # (A,)
        overall = _mean_chunk(chunks, masks, self.mean_action)
        self.by_progress = np.stack(
            [_mean_chunk(chunks[bins == b], masks[bins == b], self.mean_action) for b in range(PROGRESS_BINS)]
        )
        self.by_text = {
            text: _mean_chunk(chunks[texts == text], masks[texts == text], self.mean_action)
            for text in np.unique(texts)
        }
        self.unseen_text = overall
        self.rest = space.normalize(np.zeros(len(space.components), np.float32))  # standing still

    def predict(self, name: Baseline, episode: Episode, pair: PairId) -> Float[np.ndarray, "C A"]:
        """The chunk that this baseline expects at a frame of an episode."""
        if name == "mean_action":
            return np.broadcast_to(self.mean_action, (self.chunk, len(self.mean_action)))
        if name == "previous_action":
            before = pair.frame - 1
            known = before >= 0 and episode.action_known[before]
            held = normalized_actions(episode, self.space)[before] if known else self.rest
            return np.broadcast_to(held, (self.chunk, len(held)))
        if name == "progress_only":
            return self.by_progress[progress_bin(episode, pair.frame)]
        return self.by_text.get(pair.instruction, self.unseen_text)

    def score(self, assembler: BatchAssembler, plan: BatchPlan, sums: EpisodeSums) -> dict[Baseline, np.ndarray]:
        """Each baseline's table of sums over all windows of the plan (`sums` lends its columns)."""
        known = {episode.id: episode for episode in assembler.episodes}
        tables: dict[Baseline, np.ndarray] = {}
        for name in BASELINES:
            sums.reset()
            for planned in plan.batches(0):
                batch = assembler(assembler.requests(planned))
                chunks = [self.predict(name, known[pair.episode], pair) for pair in batch.pair_id]
                flat = torch.from_numpy(np.stack(chunks).reshape(len(chunks), -1))  # (P, C * A)
                predicted = gather_windows(flat, batch.windows).unflatten(-1, (self.chunk, -1))
                sums.update(predicted.to(sums.table.device), batch.to(sums.table.device))
            tables[name] = sums.table.detach().cpu().double().numpy()
        sums.reset()
        return tables


def progress_bin(episode: Episode, frame: int) -> int:
    return min(int(episode.progress(frame) * PROGRESS_BINS), PROGRESS_BINS - 1)


def _mean_chunk(chunks: np.ndarray, masks: np.ndarray, otherwise: np.ndarray) -> Float[np.ndarray, "C A"]:
    """Mean of the valid entries at each step; `otherwise` where there is none."""
    counts = masks.sum(axis=0)[:, None]  # (C, 1)
    means = (chunks * masks[..., None]).sum(axis=0) / np.maximum(counts, 1)
    return np.where(counts > 0, means, otherwise).astype(np.float32)

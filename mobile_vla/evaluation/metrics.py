"""Errors of predicted chunks, summed by episode; every number of a report is a ratio of two columns of this table.

The episode is the unit: with sums by episode, the mean over a split, over a label, and the spread over episodes all
come from one pass, and ranks add their tables without counting anything twice. Labels that frames have (see
`FrameGroups`) are further columns of the same table.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric

from mobile_vla.core.actions import ActionSpace
from mobile_vla.core.batch import Batch
from mobile_vla.core.losses import huber
from mobile_vla.evaluation.displacement import Odometry
from mobile_vla.evaluation.frame_groups import MOST_VALUES, FrameGroups
from mobile_vla.sources.schema import UNKNOWN, Episode

MOVING = 0.1  # of the largest speed: below it a command is neither left nor right


class EpisodeSums(Metric):
    """Columns, for each episode: windows, valid entries, Huber and squared errors by component, lateral signs,
    displacement errors; the errors by horizon; and the first ones again for each group of frames. `columns` names
    where each begins and how wide it is, `group_columns` the same within the columns of a group."""

    full_state_update = False

    def __init__(self, episodes: Sequence[Episode], space: ActionSpace, chunk: int, delta: float):
        super().__init__()
        self.episodes = list(episodes)
        self.space = space
        self.chunk = chunk
        self.delta = delta
        self.odometry = Odometry.of(space, episodes)
        self.groups = FrameGroups(self.episodes)
        self.row = {episode.id: i for i, episode in enumerate(self.episodes)}
        brief = {
            "windows": 1,
            "entries": 1,
            "huber": len(space.components),
            "squared": len(space.components),
            "signs": 1,
            "signs_right": 1,
            "chunks": 1,
            "displacement": 1,
        }
        by_horizon = {"horizon_entries": chunk, "horizon_huber": chunk, "horizon_squared": chunk}
        self.columns = _lay_out({**brief, **by_horizon})
        self.group_columns = _lay_out(brief)
        width, group_width = sum({**brief, **by_horizon}.values()), sum(brief.values())
        self.group_slices = [
            slice(width + g * group_width, width + (g + 1) * group_width) for g in range(self.num_groups)
        ]
        self.table: Tensor
        width += self.num_groups * group_width
        self.add_state("table", torch.zeros(len(self.episodes), width), dist_reduce_fx="sum")

    @property
    def num_groups(self) -> int:
        return len(self.groups.names)

    def update(self, predicted: Float[Tensor, "S W C A"], batch: Batch) -> None:
        """Add the windows of a batch; predictions and targets are normalised, squared errors are in velocities."""
        mask = batch.chunk_mask.unsqueeze(-1)
        error = torch.where(mask, huber(predicted, batch.chunks, self.delta), 0)  # (S, W, C, A)
        scale = predicted.new_tensor(self.space.scale())
        squared = torch.where(mask, ((predicted - batch.chunks) * scale) ** 2, 0)
        at_frame = [  # (S, W, k) each: of the chunk that begins at a window's position
            batch.chunk_mask.sum(2, keepdim=True),
            error.sum(2),
            squared.sum(2),
            *self._signs(predicted, batch),
            *self._displacements(predicted, batch),
        ]
        of_frames = torch.cat([column.to(self.table.dtype) for column in at_frame], dim=2)
        of_window = torch.ones_like(of_frames[:, 0, :1])
        by_horizon = [batch.chunk_mask.sum(1), error.sum((1, 3)), squared.sum((1, 3))]
        columns = [of_window, of_frames.sum(1), *by_horizon]
        if self.num_groups:
            members = self.groups.of(batch)  # (S, W, G)
            of_groups = torch.einsum("swg,swk->sgk", members, of_frames)
            columns.append(torch.cat([members.amax(1)[..., None], of_groups], dim=2).flatten(1))
        firsts = batch.windows[:, 0].tolist()  # never padding, which stands at the tail
        rows = [self.row[batch.pair_id[first].episode] for first in firsts]
        sums = torch.cat([column.to(self.table.dtype) for column in columns], dim=1)  # (S, K)
        self.table.index_add_(0, torch.tensor(rows, device=self.table.device), sums)

    def compute(self) -> Float[np.ndarray, "E K"]:
        """The table over all ranks, in float64."""
        return self.table.detach().cpu().double().numpy()

    def _signs(self, predicted: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Entries with a lateral command, and those of them whose predicted velocity has that sign: (S, W, 1) each."""
        lateral = self.space.lateral
        if lateral is None:
            nothing = torch.zeros_like(predicted[:, :, 0, :1])
            return nothing, nothing
        truth = self.space.denormalize(batch.chunks)[..., lateral]
        guess = self.space.denormalize(predicted)[..., lateral]
        fastest = max(abs(self.space.low[lateral]), abs(self.space.high[lateral]))
        moving = batch.chunk_mask & (truth.abs() > MOVING * fastest)
        right = moving & (truth.sign() == guess.sign())
        return moving.sum(2, keepdim=True), right.sum(2, keepdim=True)

    def _displacements(self, predicted: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Chunks that lie wholly inside the episode, and their errors at the end: (S, W, 1) each."""
        whole = batch.chunk_mask.all(-1) & self.odometry.moves  # (S, W)
        error = self.odometry.error(self.space.denormalize(predicted), self.space.denormalize(batch.chunks))
        return whole[..., None], torch.where(whole, error, 0)[..., None]

    def loss_by_episode(self, table: Float[np.ndarray, "E K"]) -> tuple[np.ndarray, np.ndarray]:
        """(E,) Huber sums over entries and components, and (E,) how many entries x components they are over."""
        entries = table[:, self.columns["entries"]][:, 0] * len(self.space.components)
        return table[:, self.columns["huber"]].sum(axis=1), entries

    def summary(self, table: Float[np.ndarray, "E K"], label_names: Sequence[str] = ()) -> dict[str, Any]:
        """All metrics of the table, each group with its denominators; None where a denominator is 0.

        A label of frames that is called like one of episodes is `<name>_by_frame`.
        """
        whole = self._summarize(table)
        by_label: dict[str, dict[str, Any]] = {}
        for name in label_names:
            values = np.array([episode.label(name) for episode in self.episodes])
            by_label[name] = {str(v): self._brief(table[values == v], self.columns) for v in np.unique(values)}
        for (label, value), columns in zip(self.groups.names, self.group_slices, strict=True):
            name = f"{label}_by_frame" if label in label_names else label
            by_label.setdefault(name, {})[value] = self._brief(table[:, columns], self.group_columns)
        return {**whole, "by_label": by_label}

    def _brief(self, table: Float[np.ndarray, "n K"], columns: Mapping[str, slice]) -> dict[str, Any]:
        """What can be said of a few episodes, and of a group of frames."""
        sums = {name: table[:, where].sum(axis=0) for name, where in columns.items()}
        entries, parts = sums["entries"][0], len(self.space.components)
        return {
            "loss": _ratio(sums["huber"].sum(), entries * parts),
            "rmse": _root(_ratio(sums["squared"].sum(), entries * parts)),
            "sign_accuracy": _ratio(sums["signs_right"][0], sums["signs"][0]),
            "displacement_error": _ratio(sums["displacement"][0], sums["chunks"][0]),
            "denominators": {
                "episodes": int((table[:, columns["windows"]] > 0).sum()),
                "windows": int(sums["windows"][0]),
                "entries": int(entries),
                "lateral_entries": int(sums["signs"][0]),
                "whole_chunks": int(sums["chunks"][0]),
            },
        }

    def _summarize(self, table: Float[np.ndarray, "n K"]) -> dict[str, Any]:
        sums = {name: table[:, columns].sum(axis=0) for name, columns in self.columns.items()}
        entries, parts = sums["entries"][0], len(self.space.components)
        horizon = sums["horizon_entries"] * parts
        return {
            **self._brief(table, self.columns),
            "displacement_unit": self.odometry.unit,
            "by_component": {
                name: {"loss": _ratio(sums["huber"][i], entries), "rmse": _root(_ratio(sums["squared"][i], entries))}
                for i, name in enumerate(self.space.components)
            },
            "by_horizon": [
                {
                    "loss": _ratio(sums["horizon_huber"][c], horizon[c]),
                    "rmse": _root(_ratio(sums["horizon_squared"][c], horizon[c])),
                    "entries": int(sums["horizon_entries"][c]),
                }
                for c in range(self.chunk)
            ],
        }


def label_names(episodes: Sequence[Episode], most: int = MOST_VALUES) -> list[str]:
    """Labels worth a table: they take 2 to `most` values (sessions, which are days, are not one of them)."""
    names = sorted({name for episode in episodes for name in episode.labels} - {"session"})
    values = {name: {episode.label(name) for episode in episodes} for name in names}
    return [name for name in names if len(values[name] - {UNKNOWN}) >= 2 and len(values[name]) <= most]


def _lay_out(widths: Mapping[str, int]) -> dict[str, slice]:
    """Where each column begins and ends, one after another."""
    ends = np.cumsum(list(widths.values())).tolist()
    return {name: slice(end - width, end) for (name, width), end in zip(widths.items(), ends, strict=True)}


def _ratio(sum: float, count: float) -> float | None:
    return float(sum / count) if count else None


def _root(square: float | None) -> float | None:
    return None if square is None else float(np.sqrt(square))

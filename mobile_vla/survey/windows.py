"""What will be trained on: windows, the entries of their chunks that count, and how the split would deal them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mobile_vla.core.errors import UserError
from mobile_vla.data.dataset import DataConfig
from mobile_vla.data.splits import PARTS, make_split
from mobile_vla.data.windows import valid_entries
from mobile_vla.sources.schema import Episode


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of the split: `strata` counts its episodes by the labels of `data.split.by`, joined by `/`."""

    episodes: int
    windows: int
    valid_entries: int
    strata: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Over all good episodes, with the settings given.

    count, valid_entries  windows, and the entries of their chunks that count
    padded_share          share of all entries that are masked; None without a window
    short_episodes        episodes of fewer frames than a window: one padded window each, with `ends=pad`
    windowless            ids of episodes without any window; training refuses them (`ends=drop`)
    split                 part -> what it would hold;  split_refused  why there would be none
    """

    count: int
    valid_entries: int
    padded_share: float | None
    window: int
    chunk: int
    stride: int
    ends: str
    short_episodes: int
    windowless: tuple[str, ...]
    split: Mapping[str, Part] | None
    split_refused: str | None


def count_windows(config: DataConfig, episodes: Sequence[Episode]) -> Windows:
    """Counted from lengths and known actions; nothing is read."""
    entries = {episode.id: valid_entries(episode, config) for episode in episodes}
    count = sum(map(len, entries.values()))
    valid = int(sum(found.sum() for found in entries.values()))
    split, refused = None, None
    try:
        dealt = make_split(episodes, config.split)
    except UserError as error:
        refused = str(error)
    else:
        split = {}
        for name in PARTS:
            members = dealt.of(episodes, name)
            strata: dict[str, int] = {}
            for episode in members:
                key = "/".join(episode.label(label) for label in config.split.by)
                strata[key] = strata.get(key, 0) + 1
            split[name] = Part(
                episodes=len(members),
                windows=sum(len(entries[episode.id]) for episode in members),
                valid_entries=int(sum(entries[episode.id].sum() for episode in members)),
                strata=dict(sorted(strata.items())),
            )
    return Windows(
        count=count,
        valid_entries=valid,
        padded_share=1 - valid / (count * config.window * config.chunk) if count else None,
        window=config.window,
        chunk=config.chunk,
        stride=config.stride,
        ends=config.ends,
        short_episodes=sum(episode.num_frames < config.window for episode in episodes),
        windowless=tuple(id for id, found in entries.items() if not len(found)),
        split=split,
        split_refused=refused,
    )

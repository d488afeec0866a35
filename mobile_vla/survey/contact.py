"""Which episodes the contact sheet shows: every label value that there is, and the rest in proportion."""

from collections.abc import Sequence

import numpy as np

from mobile_vla.sources.schema import Episode
from mobile_vla.survey.counts import label_names


def choose_shown(episodes: Sequence[Episode], limit: int) -> list[Episode]:
    """At most `limit` episodes, ordered by their labels; a pure function of ids and labels.

    First one episode of each value of each label (days apart), while there is room; then an even walk through the
    rest, ordered by all labels, which keeps every combination in proportion.
    """
    names = [name for name in label_names(episodes) if name != "session"]
    ordered = sorted(episodes, key=lambda episode: (*(episode.label(name) for name in names), episode.id))
    chosen: dict[str, Episode] = {}
    seen: set[tuple[str, str]] = set()
    for episode in ordered:
        values = {(name, episode.label(name)) for name in names}
        if not values <= seen and len(chosen) < limit:
            chosen[episode.id] = episode
            seen |= values
    rest = [episode for episode in ordered if episode.id not in chosen]
    free = min(limit - len(chosen), len(rest))
    for index in np.floor((np.arange(free) + 0.5) * len(rest) / max(free, 1)).astype(int):
        chosen[rest[index].id] = rest[index]
    return [episode for episode in ordered if episode.id in chosen]

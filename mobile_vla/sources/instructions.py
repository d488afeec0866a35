"""Which instruction an episode has: the file's own, else a table by label, else a named default."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mobile_vla.sources.schema import Episode, InstructionSource


@dataclass(frozen=True, kw_only=True)
class InstructionConfig:
    """by: the label that `table` is keyed by; table: label value -> text; default: for all that is left."""

    by: str = "direction"
    table: Mapping[str, str] = field(default_factory=dict)
    default: str = "Navigate to the target location"

    def __post_init__(self):
        empty = [value for value, text in self.table.items() if not text.strip()]
        if empty or not self.default.strip():
            raise ValueError(f"data.instructions: texts must not be empty, got {empty or 'an empty default'}")


def choose_instruction(
    own: str | None, labels: Mapping[str, str], config: InstructionConfig
) -> tuple[str, InstructionSource]:
    """The text, and where it came from."""
    if own is not None:
        return own, "file"
    if labels.get(config.by) in config.table:
        return config.table[labels[config.by]], "table"
    return config.default, "default"


def count_sources(episodes: Iterable[Episode]) -> dict[str, int]:
    """Episodes by where their instruction came from."""
    counts = Counter(episode.instruction_source for episode in episodes)
    return {source: counts[source] for source in ("file", "table", "default")}

"""Where episodes come from: the settings of a source, which find its episodes.

To add one: a dataclass that extends `EpisodeSource`, with a `find` that hands out an `EpisodeReader` for each episode,
in a file of its own. It is chosen by `data.source.name`: listed below, or `<module>:<class>` from anywhere Python
imports from. `docs/sources.md` shows a whole one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from mobile_vla.core.members import UNNAMED, Chosen, Members
from mobile_vla.sources.reader import EpisodeReader, Root

SOURCES = Members(
    place="data.source",
    homes={
        "hdf5": "mobile_vla.sources.hdf5.source:Hdf5Source",
        "synthetic": "mobile_vla.sources.synthetic.source:SyntheticSource",
    },
    default=UNNAMED["data.source.name"],
)


@dataclass(frozen=True, kw_only=True)
class EpisodeSource(Chosen):
    """name: which source the settings are of.

    reads_folders  whether it needs `data.root`; a source that does not must not be given one
    """

    members: ClassVar[Members] = SOURCES
    reads_folders: ClassVar[bool] = True

    name: str = SOURCES.default

    def find(self, roots: Sequence[Root]) -> Sequence[EpisodeReader]:
        """A reader for every episode that there may be, good or not, each once, in the same order every time.

        roots  the folders of `data.root`, none where `reads_folders` is False

        `UserError` where a folder is missing, or holds no episode.
        """
        raise NotImplementedError

    def known_components(self) -> tuple[str, ...] | None:
        """Names of its actions' components, where all episodes have the same and these are known without reading."""
        return None

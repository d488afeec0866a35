"""What a batch is asked for: windows as recorded or changed, and the distinct frames, texts and pairs that they need.

Whatever changes a window is part of its request, so it holds for all of its frames, and part of what tells two pairs
apart, so that nothing is shared that differs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mobile_vla.core.batch import OWN, FrameId, PairId
from mobile_vla.data.stills import Still
from mobile_vla.sources.schema import Episode

Shown = tuple[int, int] | Still  # (episode, frame), or what is no episode's frame


@dataclass(frozen=True, kw_only=True)
class WindowRequest:
    """A window to be computed: as recorded, or changed, and then at all of its frames.

    episode  index into the dataset's episodes;  start  first frame
    donor    index of the episode whose frames, at the same progress, take the place of the own ones
    still    a picture that takes the place of every frame
    hidden   first of the image tokens that the decoder cannot attend to, and the one behind their last
    source   the same window changed otherwise: what gives its contexts to this one's, frame by frame
    """

    episode: int
    start: int
    variant: str = OWN
    instruction: str | None = None
    donor: int | None = None
    still: Still | None = None
    hidden: tuple[int, int] = (0, 0)
    source: "WindowRequest | None" = None

    @property
    def shown_episodes(self) -> set[int]:
        """Indices of all episodes that this window needs, its own first of all."""
        shown = {self.episode} if self.donor is None else {self.episode, self.donor}
        return shown if self.source is None else shown | self.source.shown_episodes


Intervention = Callable[[WindowRequest], WindowRequest | None]  # None: this window cannot be changed that way


class Pairs:
    """The distinct frames, texts and pairs of a batch, in the order in which they are first asked for."""

    def __init__(self, episodes: Sequence[Episode]):
        self.episodes = episodes
        self.frames: dict[Shown, int] = {}  # -> row of `Batch.frames`
        self.texts: dict[str, int] = {}
        self.frame_of: list[int] = []
        self.text_of: list[int] = []
        self.hidden: list[tuple[int, int]] = []
        self.source: list[int] = []
        # With all that a context depends on: two donors of one variant must not be taken for one.
        self._index: dict[tuple[PairId, Shown, tuple[int, int], int], int] = {}
        self._added: dict[tuple[object, ...], dict[int, int]] = {}  # a request without its start -> frame -> pair

    @property
    def ids(self) -> tuple[PairId, ...]:
        return tuple(id for id, *_ in self._index)

    @property
    def frame_ids(self) -> tuple[FrameId, ...]:
        return tuple(
            FrameId("", 0, shown.id) if isinstance(shown, Still) else FrameId(self.episodes[shown[0]].id, shown[1])
            for shown in self.frames
        )

    def add_window(self, request: WindowRequest, window: int) -> list[int]:
        """The numbers of the pairs at the places of a window; -1 beyond its episode's end.

        Windows overlap: a frame that an earlier one has asked for in the same way is not asked for again.
        """
        added = self._added.setdefault(
            (
                request.episode,
                request.variant,
                request.instruction,
                request.donor,
                request.still,
                request.hidden,
                request.source,
            ),
            {},
        )
        behind = min(request.start + window, self.episodes[request.episode].num_frames)
        frames = range(request.start, behind)
        for frame in frames:
            if frame not in added:
                added[frame] = self.add(request, frame)
        return [added[frame] for frame in frames] + [-1] * (window - len(frames))

    def add(self, request: WindowRequest, frame: int) -> int:
        """The number of the pair that stands at `frame` of the requested window."""
        source = -1 if request.source is None else self.add(request.source, frame)
        episode = self.episodes[request.episode]
        text = request.instruction if request.instruction is not None else episode.instruction
        shown = self._shown(request, frame)
        pair = PairId(episode.id, frame, text, request.variant), shown, request.hidden, source
        if pair not in self._index:
            self._index[pair] = len(self._index)
            self.frame_of.append(self.frames.setdefault(shown, len(self.frames)))
            self.text_of.append(self.texts.setdefault(text, len(self.texts)))
            self.hidden.append(request.hidden)
            self.source.append(source)
        return self._index[pair]

    def _shown(self, request: WindowRequest, frame: int) -> Shown:
        """What is shown at `frame`: a still, its own frame, or the donor's at the same progress."""
        if request.still is not None:
            return request.still
        if request.donor is None:
            return request.episode, frame
        progress = self.episodes[request.episode].progress(frame)
        return request.donor, round(progress * (self.episodes[request.donor].num_frames - 1))

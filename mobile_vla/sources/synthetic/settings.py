"""Which episodes of the hall are meant, whether they are written to files or taken as they are."""

from dataclasses import dataclass
from typing import Any, ClassVar, get_args

from mobile_vla.core.errors import UserError
from mobile_vla.sources.synthetic.naming import Layout
from mobile_vla.sources.synthetic.scene import REFERENCE_FRAMES, WORLDS, WorldName

LAYOUTS: tuple[Layout, ...] = get_args(Layout)


@dataclass(frozen=True, kw_only=True)
class HallConfig:
    """The same settings give the same episodes; episode i is the same however many there are.

    layout      flat | nested | jpeg
    world       full: the action needs image and instruction | instruction_blind: the image alone decides, the
                instruction is drawn by itself | image_blind: the instruction alone decides | left_only: as full,
                and always on the left
    resolution  (height, width) of the frames in pixels
    frames      frames (and actions) an episode, 0.4 s each; beyond 18 the way gets longer in proportion
    noise       standard deviation of the camera's noise in grey levels; 0 compresses well, about 2 gives files as
                large as a real camera's (25 MB an episode of 18 frames at 720x1280)
    """

    place: ClassVar[str] = ""  # what the names of settings begin with, in messages

    episodes: int = 64
    seed: int = 0
    layout: Layout = "flat"
    world: WorldName = "full"
    resolution: tuple[int, int] = (720, 1280)
    frames: int = REFERENCE_FRAMES
    noise: float = 0.0

    def __post_init__(self):
        check_whole(f"{self.place}episodes", self.episodes, 1)
        check_whole(f"{self.place}seed", self.seed, 0)
        check_whole(f"{self.place}frames", self.frames, 1)
        for name, value, choices in (("layout", self.layout, LAYOUTS), ("world", self.world, WORLDS)):
            if value not in choices:
                raise UserError(f"{self.place}{name}: one of {', '.join(choices)} expected, got {value!r}")
        sides = self.resolution
        if isinstance(sides, str) or not hasattr(sides, "__len__") or len(sides) != 2:
            raise UserError(f"{self.place}resolution: [height,width] in pixels expected, got {sides!r}")
        for side in sides:
            check_whole(f"{self.place}resolution", side, 16)
        object.__setattr__(self, "resolution", tuple(sides))
        if isinstance(self.noise, bool) or not isinstance(self.noise, int | float) or not 0 <= self.noise <= 255:
            raise UserError(f"{self.place}noise: grey levels from 0 to 255 expected, got {self.noise!r}")


def check_whole(name: str, value: Any, least: int) -> None:
    """`UserError` for what is no whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UserError(f"{name}: a whole number of at least {least} expected, got {value!r}")

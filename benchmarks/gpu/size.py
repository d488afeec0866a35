"""How large a thing is measured: the full-size model on a GPU, or all of it tiny, to try the script out on a CPU."""

from dataclasses import dataclass

from mobile_vla.sources.synthetic.writer import SynthConfig

NUM_TOKENS = 14  # of the prompt


@dataclass(frozen=True, kw_only=True)
class Size:
    """model       overrides that say which
    windows        a step: those that are timed, of which the first is alone
    most_windows   that are tried when memory is filled
    cards_gb       memory that users have
    last           text layers that are adapted where states are cached
    seconds        for each variant that is timed;  rounds  at most
    camera         height and width of the control step's frame;  control_steps  that are timed
    side           of the matrices of the peak's product (None: as large as the device wants)
    trained        settings of the training that is killed, in words
    epochs         on cached contexts, beside the first
    """

    model: tuple[str, ...]
    episodes: SynthConfig
    windows: tuple[int, ...]
    most_windows: int
    cards_gb: tuple[int, ...]
    last: int
    seconds: float
    rounds: int
    camera: tuple[int, int]
    control_steps: int
    side: int | None
    trained: tuple[str, ...]
    epochs: int

    @property
    def is_full(self) -> bool:
        """Whether goals, which are of the full-size model on a GPU, can be judged."""
        return self == FULL


FULL = Size(
    model=("model=kosmos2", "model.weights=random", "trainer=gpu"),
    episodes=SynthConfig(episodes=24, resolution=(90, 160), workers=1),
    windows=(1, 8, 32),
    most_windows=512,
    cards_gb=(16, 24, 80),
    last=6,
    seconds=2.0,
    rounds=20,
    camera=(720, 1280),
    control_steps=100,
    side=None,
    trained=("trainer=gpu", "trainer.precision=16-mixed", "trainer.max_steps=60"),
    epochs=5,
)
SMALL = Size(
    model=("model=tiny", "trainer=cpu", "model.architecture.vision_config.image_size=28"),
    episodes=SynthConfig(episodes=4, resolution=(36, 64), workers=1),
    windows=(1, 2),
    most_windows=4,
    cards_gb=(1, 64),
    last=1,
    seconds=0.0,
    rounds=3,
    camera=(36, 64),
    control_steps=5,
    side=64,
    trained=("trainer=cpu", "trainer.max_steps=12", "model.architecture.vision_config.image_size=28"),
    epochs=2,
)
SIZES = {"full": FULL, "small": SMALL}

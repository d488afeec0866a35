"""Tiny real episodes in every layout that robots write, and episodes that need no file."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook
from PIL import Image

import tests.typecheck  # noqa: F401  (the hook finds it by name)

# Shapes and types of public boundaries are checked in the tests, and only there.
CHECKED = (
    "analysis", "api", "contexts", "display", "doctor", "evaluation", "interventions", "models", "opening", "probing",
    "survey", "taps", "training", "core.batch", "core.actions", "core.draws", "core.losses", "core.preprocessing",
    "sources.hdf5.layouts", "data.assemble", "data.dealing", "data.frames", "data.held_out", "data.labelling",
    "data.meaning", "data.plan", "data.requests", "data.splits", "data.stills", "data.windows",
)  # fmt: skip
install_import_hook(
    [f"mobile_vla.{part}" for part in CHECKED],
    "tests.typecheck.check",
)

from mobile_vla.core.preprocessing import Preprocessing
from mobile_vla.data.catalog import Catalog, read_episode, scan
from mobile_vla.sources.hdf5.layouts import LAYOUTS as KNOWN_LAYOUTS
from mobile_vla.sources.hdf5.reader import Hdf5Reader
from mobile_vla.sources.hdf5.source import Hdf5Source
from mobile_vla.sources.instructions import InstructionConfig
from mobile_vla.sources.reader import Root
from mobile_vla.sources.schema import Episode

settings.register_profile("tests", deadline=None, max_examples=50, derandomize=True, database=None)
settings.load_profile("tests")

LAYOUTS = ("v3", "v6", "v5", "v5_jpeg")
KOREAN = "상자를 왼쪽으로 돌아 가세요"
BOX_NAME = "episode_20251204_113519_1box_hori_left_core_medium"
INSTRUCTIONS = {"v3": None, "v6": None, "v5": KOREAN, "v5_jpeg": KOREAN}


def draw_frames(num_frames: int, size: tuple[int, int] = (24, 40), seed: int = 0) -> np.ndarray:
    """(N, H, W, 3) smooth noise: every frame differs, and JPEG keeps it."""
    coarse = np.random.default_rng(seed).integers(0, 256, (num_frames, 4, 6, 3), dtype=np.uint8)
    return np.stack([Image.fromarray(frame).resize(size[::-1], Image.Resampling.BICUBIC) for frame in coarse])


def draw_actions(num_frames: int, seed: int = 0) -> np.ndarray:
    """(N, 3) distinct velocities."""
    return np.random.default_rng(seed).uniform(-1.15, 1.15, (num_frames, 3)).astype(np.float32)


def encode_jpeg(frame: np.ndarray) -> np.ndarray:
    stream = BytesIO()
    Image.fromarray(frame).save(stream, format="JPEG", quality=95)
    return np.frombuffer(stream.getvalue(), dtype=np.uint8)


def write_hdf5(
    path: Path,
    layout: str = "v3",
    num_frames: int = 6,
    *,
    frames: np.ndarray | None = None,
    actions: np.ndarray | None = None,
    instruction: str | None = None,
    seed: int = 0,
    **attributes: object,
) -> Path:
    """One episode as its collector writes it; `attributes` are added to those of the layout."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = draw_frames(num_frames, seed=seed) if frames is None else frames
    actions = draw_actions(num_frames, seed=seed) if actions is None else actions
    instruction = INSTRUCTIONS[layout] if instruction is None else instruction
    with h5py.File(path, "w") as file:
        file["actions"] = actions
        if layout in ("v3", "v6"):
            file.create_dataset("images", data=frames, compression="gzip")
            events = ["episode_start", *["start_action"] * (len(frames) - 1)]
            file.create_dataset("action_event_types", data=events, dtype=h5py.string_dtype())
            file.attrs.update(episode_name=path.stem, num_frames=len(frames), action_chunk_size=10)
            if instruction is not None:
                file.attrs["task"] = instruction
        if layout == "v6":
            file.attrs.update(cx_position="weak_left", cx_path="left_curve", control_mode="continuous")
        if layout == "v5":
            file.create_dataset("observations/images", data=frames, compression="gzip")
        if layout == "v5_jpeg":
            rows = file.create_dataset("observations/images", (len(frames),), dtype=h5py.vlen_dtype(np.uint8))
            for index, frame in enumerate(frames):
                rows[index] = encode_jpeg(frame)
            rows.attrs.update(format="jpeg", quality=95)
        if layout in ("v5", "v5_jpeg"):
            file["language_instruction"] = np.array([instruction.encode()])
            file["timestamps"] = np.arange(len(frames)) * 0.1
            file.attrs.update(scenario="basket", pattern="core", distance="close", end_pos="left")
        file.attrs.update(attributes)
    return path


def unread(id: str, path: Path, num_frames: int) -> Hdf5Reader:
    """The reader of an episode that was made without a file."""
    return Hdf5Reader(id=id, path=path, layout=KNOWN_LAYOUTS[0], num_frames=num_frames)


def scan_folders(*folders: Path | Root, instructions: InstructionConfig | None = None, progress=None) -> Catalog:
    """What HDF5 files below the folders say."""
    roots = [folder if isinstance(folder, Root) else Root(path=folder) for folder in folders]
    return scan(Hdf5Source(), roots, instructions or InstructionConfig(), progress=progress)


def read_file(path: Path, root: Root) -> Episode:
    """One HDF5 file below a folder."""
    id = path.relative_to(root.path).with_suffix("").as_posix()
    return read_episode(Hdf5Reader(id=id, path=path, root=root), InstructionConfig())


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Bits are promised for one number of threads, and layers this small lose more to waking threads than they win."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def write_episode() -> Callable[..., Path]:
    return write_hdf5


@pytest.fixture(scope="session")
def make_episode() -> Callable[..., Episode]:
    """An episode without a file: `make_episode(id, num_frames or actions, instruction, **labels)`."""

    def make(
        id: str = "e",
        actions: int | np.ndarray = 18,
        instruction: str = "go",
        known: np.ndarray | None = None,
        **labels: str,
    ) -> Episode:
        actions = draw_actions(actions) if isinstance(actions, int) else np.asarray(actions, np.float32)
        return Episode(
            id=id,
            path=Path(f"{id}.h5"),
            layout="flat",
            encoding="raw",
            num_frames=len(actions),
            resolution=(24, 40),
            actions=actions,
            action_known=np.ones(len(actions), bool) if known is None else known,
            instruction=instruction,
            instruction_source="file",
            labels=labels,
            reader=unread(id, Path(f"{id}.h5"), len(actions)),
        )

    return make


@pytest.fixture
def small() -> Preprocessing:
    return Preprocessing(size=16)

"""A plan, and a fake model whose vectors and rows are a function of who they are alone; ways to write them."""

import hashlib
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mobile_vla.contexts.manifest import Manifest, StoreInfo, TapSpec
from mobile_vla.contexts.merge import complete
from mobile_vla.contexts.rows import Row, RowId
from mobile_vla.contexts.writer import StoreWriter

TAPS = {
    "context": TapSpec(shape=(6,)),
    "text_model.layers/3": TapSpec(shape=(2, 3), dtype="bfloat16"),
    "half": TapSpec(shape=(4,), dtype="float16"),
}
INFO = StoreInfo(
    configuration={"model": {"name": "tiny", "lora": None}, "taps": ("context",)},
    fingerprints={"checkpoint": "c0ffee"},
    run={"folder": "runs/train/a"},
    steps=3,
    components=("linear_x", "linear_y"),
)


def plan(episodes: int = 10, frames: int = 5, variants: Sequence[str] = ("own", "swap")) -> list[RowId]:
    return [
        RowId(f"day/{e:03d}", frame, "왼쪽으로" if variant == "own" else "go right", variant)
        for e in range(episodes)
        for frame in range(frames)
        for variant in variants
    ]


def rng_of(id: RowId, what: str = "") -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(f"{what}{tuple(id)}".encode()))


def vector_of(id: RowId, tap: str, spec: TapSpec) -> np.ndarray:
    """float32 that each stored form holds exactly."""
    return (rng_of(id, tap).integers(-64, 64, spec.shape) / 8).astype(np.float32)


def row_of(id: RowId) -> Row:
    """Rows differ in what they know: labels, chunks, masks."""
    rng, own = rng_of(id), id.variant == "own"
    episode = int(id.episode[-3:])
    labels = {"direction": "left" if episode % 2 else "right", "distance_m": float(id.frame) if own else None}
    if episode == 3:
        labels |= {"boxes": [1.5, float("nan")], "task_type": "box"}
    return Row(
        id=id,
        progress=id.frame / 4,
        part="validation" if episode < 5 else "test",
        fingerprint=f"f{episode}",
        shown=None if own else ("day/000", id.frame),
        labels=labels,
        action=rng.normal(size=(3, 2)).astype(np.float32) if episode != 4 else None,
        action_mask=np.arange(3) < 5 - id.frame if episode != 4 else None,
        predicted=rng.normal(size=(3, 2)).astype(np.float32) if own else None,
    )


def feed(writer: StoreWriter, ids: Sequence[RowId], batch: int = 7) -> None:
    for start in range(0, len(ids), batch):
        some = ids[start : start + batch]
        values = {tap: np.stack([vector_of(id, tap, spec) for id in some]) for tap, spec in writer.taps.items()}
        writer.add([row_of(id) for id in some], values)


def make(folder: Path, ids: Sequence[RowId] | None = None, taps=TAPS, info=INFO, **settings) -> Manifest:
    """A complete store, in one go."""
    ids = plan() if ids is None else ids
    with StoreWriter(folder, ids, taps, info, **settings) as writer:
        feed(writer, ids)
    return complete(folder)


def sums(folder: Path) -> dict[str, str]:
    """Every file below the folder -> the checksum of its content."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

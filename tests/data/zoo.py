"""A zoo of broken and of odd but good files, and what is to be said of each.

`write_zoo(folder)` fills a folder and returns {file: pattern of the reason, or None for a good one}, by path below it.
With `broken=False` only the good ones are written, exactly as they are in the whole zoo. Files without permission are
not among them, since they are none to root (see `test_zoo`).
"""

import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from tests.conftest import KOREAN, draw_actions, draw_frames, encode_jpeg, write_hdf5

NUM_FRAMES = 6
Change = Callable[[h5py.File], object]
Recipe = tuple[Callable[[Path, int], object], str | None]  # writes a file with a seed; the reason, if it is broken

GREY = np.arange(NUM_FRAMES * 24 * 40, dtype=np.uint8).reshape(NUM_FRAMES, 24, 40)
ROWS = "observations/images"


def plain(layout: str = "v3", **settings) -> Callable[[Path, int], object]:
    return lambda path, seed: write_hdf5(path, layout, seed=seed, **settings)


def changed(change: Change, layout: str = "v3", **settings) -> Callable[[Path, int], object]:
    """An episode as its collector writes it, and then something is done to it."""

    def write(path: Path, seed: int) -> None:
        plain(layout, **settings)(path, seed)
        with h5py.File(path, "r+") as file:
            change(file)

    return write


def put(name: str, value: object) -> Change:
    """Replaces (or, with None, removes) a dataset, group or link."""

    def change(file: h5py.File) -> None:
        if name in file:
            del file[name]
        if value is not None:
            file[name] = value

    return change


def renamed(name: str, other: str) -> Change:
    return lambda file: file.move(name, other)


def row(index: int, content: bytes) -> Change:
    def change(file: h5py.File) -> None:
        file[ROWS][index] = np.frombuffer(content, np.uint8)

    return change


def value(index: tuple[int, int], number: float, dtype: str = "f4") -> Change:
    def change(file: h5py.File) -> None:
        actions = file["actions"][()].astype(dtype)
        actions[index] = number
        put("actions", actions)(file)

    return change


def frame(index: slice, colour: int) -> Change:
    def change(file: h5py.File) -> None:
        file["images"][index] = colour

    return change


def every_frame_the_first(file: h5py.File) -> None:
    file["images"][:] = file["images"][0]


def every_row_the_first(file: h5py.File) -> None:
    for index in range(NUM_FRAMES):
        file[ROWS][index] = file[ROWS][0]


def both(*changes: Change) -> Change:
    def change(file: h5py.File) -> None:
        for one in changes:
            one(file)

    return change


def as_bytes(image: np.ndarray, format: str) -> bytes:
    stream = BytesIO()
    Image.fromarray(image).save(stream, format=format)
    return stream.getvalue()


def stored_as(**how: object) -> Change:
    """The frames with other compression or chunks."""

    def change(file: h5py.File) -> None:
        frames = file["images"][()]
        del file["images"]
        file.create_dataset("images", data=frames, **how)

    return change


def in_another_file(link: Callable[[Path], object]) -> Callable[[Path, int], object]:
    """Frames that lie in a file beside the zoo."""

    def write(path: Path, seed: int) -> None:
        other = outside(path, "frames.h5")
        plain()(other, seed)
        changed(lambda file: put("images", link(other))(file))(path, seed)

    return write


def virtual(other: Path) -> h5py.VirtualLayout:
    layout = h5py.VirtualLayout((NUM_FRAMES, 24, 40, 3), np.uint8)
    layout[:] = h5py.VirtualSource(str(other), "images", (NUM_FRAMES, 24, 40, 3))
    return layout


def virtual_frames(path: Path, seed: int) -> None:
    other = outside(path, "sources.h5")
    plain()(other, seed)
    changed(both(put("images", None), lambda file: file.create_virtual_dataset("images", virtual(other))))(path, seed)


def outside(path: Path, name: str) -> Path:
    """A place that the zoo's folder does not hold."""
    folder = path.parent.with_name(path.parent.name + "_outside")
    folder.mkdir(exist_ok=True)
    return folder / name


def cut(share: float) -> Callable[[Path, int], object]:
    def write(path: Path, seed: int) -> None:
        plain()(path, seed)
        content = path.read_bytes()
        path.write_bytes(content[: min(int(len(content) * share), len(content) - 1)])

    return write


def with_damaged_chunk(path: Path, seed: int) -> None:
    plain()(path, seed)
    with h5py.File(path) as file:
        chunk = file["images"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset : chunk.byte_offset + 30] = bytes(30)
    path.write_bytes(content)


def content(raw: bytes) -> Callable[[Path, int], object]:
    return lambda path, seed: path.write_bytes(raw)


def linked(path: Path, seed: int) -> None:
    real = outside(path, "real.h5")
    plain(instruction="keep left")(real, seed)
    path.symlink_to(os.path.relpath(real, path.parent))


def under_another_name(path: Path, seed: int) -> None:
    """Its own name is not UTF-8, so no attribute can hold it."""
    plain()(path.with_name("x.h5"), seed)
    path.with_name("x.h5").rename(path)


def with_user_block(path: Path, seed: int) -> None:
    """512 bytes of something else before the HDF5 file begins."""
    with h5py.File(path, "w", userblock_size=512, libver="latest") as file:
        file["images"] = draw_frames(NUM_FRAMES, seed=seed)
        file["actions"] = draw_actions(NUM_FRAMES, seed=seed)


def write_protected(path: Path, seed: int) -> None:
    plain()(path, seed)
    path.chmod(0o444)


DARK = np.zeros((NUM_FRAMES, 24, 40, 3), np.uint8)
DARK[:, 5, 7] = np.arange(1, NUM_FRAMES + 1)[:, None]
ODD_ATTRIBUTES = {
    "scenario": np.arange(4),
    "pattern": 7,
    "distance": h5py.Empty("S3"),
    "end_pos": np.array([KOREAN.encode("cp949")]),
    "time_period": np.array(["day", "night"], dtype=h5py.string_dtype()),
}

BROKEN: dict[str, Recipe] = {
    "cut_in_half.h5": (cut(0.5), r"^truncated HDF5: \d+ of \d+ bytes are there$"),
    "last_byte_missing.h5": (cut(1.0), r"^truncated HDF5: \d+ of \d+ bytes are there$"),
    "signature_only.h5": (content(b"\x89HDF\r\n\x1a\n"), "^truncated or damaged HDF5"),
    "half_a_signature.h5": (content(b"\x89HDF"), "^truncated or damaged HDF5"),
    "empty.h5": (content(b""), r"^is empty \(0 bytes\)$"),
    "text.h5": (content(b"episode 12\n"), "^is not HDF5: begins with b'episode '$"),
    "picture.h5": (content(as_bytes(GREY[0], "PNG")), r"^is not HDF5: begins with b'\\x89PNG"),
    "folder.h5": (lambda path, seed: path.mkdir(), "^is a folder, expected an HDF5 file$"),
    "dangling.h5": (lambda path, seed: path.symlink_to("gone.h5"), "^is a dangling link to gone.h5$"),
    "circle.h5": (lambda path, seed: path.symlink_to("circle.h5"), "^is a dangling link to circle.h5$"),
    "pipe.h5": (lambda path, seed: os.mkfifo(path), "^is a pipe, socket or device"),
    "damaged_chunk.h5": (with_damaged_chunk, "^frames 0 to 5 cannot be read: .*"),
    # frames
    "no_frames.h5": (changed(put("images", None)), "^no frames: expected a dataset 'images' or 'observations/images'"),
    "image.h5": (changed(renamed("images", "image")), "^no frames: .*the nearest is 'image'; the file holds"),
    "observation.h5": (changed(renamed("observations", "obs"), "v5"), "^no frames: .*the nearest is 'obs/images'"),
    "a_group.h5": (changed(both(renamed("images", "x"), renamed("x", "images/top"))), "'images' is a group"),
    "soft_link.h5": (changed(put("images", h5py.SoftLink("/rgb"))), "^'images' is a dangling link to '/rgb'$"),
    "external_link.h5": (
        changed(put("images", h5py.ExternalLink("gone.h5", "/images"))),
        "^'images' is a dangling link to 'gone.h5'$",
    ),
    "frames_elsewhere.h5": (
        in_another_file(lambda other: h5py.ExternalLink(str(other), "/images")),
        "^'images' lies in another file",
    ),
    "virtual.h5": (virtual_frames, "^'images' lies in another file"),
    "grey.h5": (changed(put("images", GREY)), r"^frames: expected .* got \(6, 24, 40\) uint8 \(grey frames\?\)$"),
    "grey_channel.h5": (changed(put("images", GREY[..., None])), r"got \(6, 24, 40, 1\) uint8 \(grey"),
    "rgba.h5": (
        changed(put("images", np.repeat(GREY[..., None], 4, -1))),
        r"got \(6, 24, 40, 4\) uint8 \(with an alpha channel\?\)$",
    ),
    "channels_first.h5": (
        changed(put("images", np.repeat(GREY[:, None], 3, 1))),
        r"got \(6, 3, 24, 40\) uint8 \(channels first\?\)$",
    ),
    "float.h5": (changed(put("images", draw_frames(6) / 255)), r"^frames: .*got \(6, 24, 40, 3\) float64$"),
    "uint16.h5": (changed(put("images", draw_frames(6).astype("u2"))), r"^frames: .*got \(6, 24, 40, 3\) uint16$"),
    "two_cameras.h5": (changed(put("images", draw_frames(6)[:, None])), r"^frames: .*got \(6, 1, 24, 40, 3\) uint8$"),
    "no_pixels.h5": (changed(put("images", np.zeros((6, 0, 40, 3), np.uint8))), r"got \(6, 0, 40, 3\) uint8"),
    "null_frames.h5": (changed(put("images", h5py.Empty("u1"))), "got an empty dataset of uint8"),
    "strings.h5": (changed(put("images", np.array([b"jpeg"] * 6))), r"got \(6,\) \|S4"),
    "no_rows.h5": (changed(put("images", np.zeros((0, 24, 40, 3), np.uint8))), "^no frames: the file holds 0$"),
    "junk_first_row.h5": (changed(row(0, b"no image at all"), "v5_jpeg"), "^frame 0 is no readable JPEG"),
    "junk_row.h5": (changed(row(3, b"no image at all"), "v5_jpeg"), r"^frame 3 is no readable JPEG \(15 bytes\)$"),
    "cut_row.h5": (
        changed(row(5, encode_jpeg(draw_frames(1)[0]).tobytes()[:-2]), "v5_jpeg"),
        "^frame 5 is no readable JPEG",
    ),
    "empty_row.h5": (changed(row(2, b""), "v5_jpeg"), r"^frame 2 is no readable JPEG \(0 bytes\)$"),
    "black_frame.h5": (changed(frame(slice(3, 4), 0)), r"^frame 3 is one colour everywhere: \(0, 0, 0\)$"),
    "white_frame.h5": (changed(frame(slice(0, 1), 255)), r"^frame 0 is one colour everywhere: \(255, 255, 255\)$"),
    "all_black.h5": (changed(frame(slice(0, 6), 0)), r"^frame 0 is one colour everywhere: \(0, 0, 0\)$"),
    "frozen.h5": (changed(every_frame_the_first), "^all 6 frames are identical although .* a frozen camera$"),
    "frozen_jpeg.h5": (changed(every_row_the_first, "v5_jpeg"), "^all 6 frames are identical although"),
    # actions
    "no_actions.h5": (changed(put("actions", None)), "^no actions: expected a dataset 'actions'; "),
    "action.h5": (changed(renamed("actions", "action")), "^no actions: .*the nearest is 'action'"),
    "actions_group.h5": (changed(both(renamed("actions", "x"), renamed("x", "actions/base"))), "'actions' is a group"),
    "two_components.h5": (changed(put("actions", draw_actions(6)[:, :2])), r"^actions: .*got \(6, 2\) float32$"),
    "four_components.h5": (changed(put("actions", np.ones((6, 4)))), r"^actions: .*got \(6, 4\) float64$"),
    "flat_actions.h5": (changed(put("actions", np.zeros(18))), r"^actions: .*got \(18,\) float64$"),
    "words.h5": (changed(put("actions", np.full((6, 3), b"go"))), r"^actions: .*got \(6, 3\) \|S2$"),
    "booleans.h5": (changed(put("actions", draw_actions(6) > 0)), r"^actions: .*got \(6, 3\) bool$"),
    "complex.h5": (changed(put("actions", draw_actions(6) * 1j)), r"^actions: .*got \(6, 3\) complex64$"),
    "null_actions.h5": (changed(put("actions", h5py.Empty("f4"))), "^actions: .*got an empty dataset of float32$"),
    "nan.h5": (changed(value((3, 1), np.nan)), r"^actions: not finite in 1 of 6 rows \(first: 3\)$"),
    "infinite.h5": (changed(value((0, 2), -np.inf), "v5"), r"^actions: not finite in 1 of 6 rows \(first: 0\)$"),
    "absurd.h5": (changed(value((2, 0), -4e6)), r"^actions: linear_x is -4e\+06 in row 2, beyond data.max_action=10$"),
    "huge.h5": (changed(value((2, 2), 1e300, "f8")), r"^actions: angular_z is 1e\+300 in row 2"),
    "fewer_actions.h5": (changed(put("actions", draw_actions(5)), "v5"), "^6 frames but 5 actions; expected one"),
    "more_actions.h5": (changed(put("actions", draw_actions(7))), "^6 frames but 7 actions; expected one"),
    # instructions
    "cp949.h5": (
        changed(put("language_instruction", np.array([KOREAN.encode("cp949")])), "v5"),
        "^instruction: not UTF-8",
    ),
    "cp949_attribute.h5": (
        changed(lambda file: file.attrs.__setitem__("task", KOREAN.encode("cp949"))),
        "^instruction: not UTF-8",
    ),
    "number_for_text.h5": (changed(put("language_instruction", np.arange(6.0)), "v5"), "^instruction: expected text"),
    "lost_text.h5": (
        changed(put("language_instruction", h5py.SoftLink("/text")), "v5"),
        "^'language_instruction' is a dangling link to '/text'$",
    ),
}

GOOD: dict[str, Recipe] = {
    "episode_20251204_113519_1box_hori_left_core_medium.h5": (plain("v3"), None),
    "episode_20251204_113520_1box_hori_right_core_medium.h5": (plain("v3"), None),
    "episode_251204_113519_target_left_right_path_core_close.h5": (plain("v5"), None),
    "episode_20260310_101500_weak_left_left_curve.h5": (plain("v6", instruction="keep left"), None),
    "jpeg.h5": (plain("v5_jpeg"), None),
    "run 3 (left), v1.2.h5": (plain(), None),
    "왼쪽 상자.h5": (plain(), None),
    os.fsdecode(b"cp949_\xbb\xf3\xc0\xda.h5"): (under_another_name, None),
    "other_suffix.hdf5": (plain(), None),
    "day/one/deep.h5": (plain(), None),
    "linked.h5": (linked, None),
    "user_block.h5": (with_user_block, None),
    "write_protected.h5": (write_protected, None),
    "one_frame.h5": (plain(num_frames=1), None),
    "two_identical.h5": (changed(every_frame_the_first, num_frames=2), None),
    "standing_still.h5": (changed(both(every_frame_the_first, put("actions", np.zeros((6, 3))))), None),
    "dark.h5": (plain(frames=DARK), None),
    "other_size.h5": (plain(frames=draw_frames(6, (48, 64))), None),
    "fastest.h5": (changed(value((2, 0), 10.0)), None),
    "double_actions.h5": (changed(lambda file: put("actions", file["actions"][()].astype(">f8"))(file)), None),
    "whole_number_actions.h5": (changed(put("actions", np.arange(18).reshape(6, 3) % 3 - 1)), None),
    "lzf.h5": (changed(stored_as(compression="lzf", chunks=(1, 24, 40, 3))), None),
    "one_chunk.h5": (changed(stored_as(compression="gzip", chunks=(6, 24, 40, 3), shuffle=True)), None),
    "uncompressed.h5": (changed(stored_as()), None),
    "soft_link_inside.h5": (
        changed(both(renamed("images", "camera/top"), put("images", h5py.SoftLink("/camera/top")))),
        None,
    ),
    "more_in_it.h5": (changed(put("depth/top", np.ones((6, 24, 40)))), None),
    "thumbnails_beside.h5": (changed(put("images", np.zeros(6)), "v5"), None),
    "odd_attributes.h5": (plain(**ODD_ATTRIBUTES), None),
    "numbered_task.h5": (plain(task=3), None),
    "blank_text.h5": (plain("v5", instruction="  "), None),
    "null_text.h5": (changed(put("language_instruction", h5py.Empty("S4")), "v5"), None),
    "scalar_text.h5": (changed(put("language_instruction", KOREAN), "v5"), None),
    "text_a_frame.h5": (changed(put("language_instruction", np.array([b"go left"] * 6)), "v5"), None),
    "grey_row.h5": (changed(row(2, as_bytes(draw_frames(1)[0, ..., 0], "JPEG")), "v5_jpeg"), None),
    "png_row.h5": (changed(row(2, as_bytes(draw_frames(1)[0], "PNG")), "v5_jpeg"), None),
    "larger_row.h5": (changed(row(2, as_bytes(draw_frames(1, (48, 80))[0], "JPEG")), "v5_jpeg"), None),
}
PATTERN = "**/*.h*5"


def write_zoo(folder: Path, broken: bool = True) -> dict[str, str | None]:
    """Path below `folder` -> pattern of its reason, None for a good one. Broken and good stand in mixed order."""
    recipes = GOOD | BROKEN if broken else GOOD
    folder.mkdir(parents=True, exist_ok=True)
    for name, (write, _) in recipes.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, sum(name.encode(errors="surrogateescape")))
    return {name: reason for name, (_, reason) in sorted(recipes.items())}

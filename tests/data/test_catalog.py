"""From data roots to episodes: what is found, what is left out and why, and that order means nothing."""

from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobile_vla.core.errors import UserError
from mobile_vla.data.catalog import shift_actions
from mobile_vla.sources.hdf5.source import find_files
from mobile_vla.sources.instructions import InstructionConfig
from mobile_vla.sources.reader import Root
from tests.conftest import BOX_NAME, KOREAN, LAYOUTS, draw_actions, draw_frames, scan_folders

TABLE = InstructionConfig(table={"left": "Go left"})


def scan_one(folder: Path, **root):
    return scan_folders(Root(path=folder, **root), instructions=TABLE)


def cut(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def edit(path: Path, change) -> None:
    with h5py.File(path, "r+") as file:
        change(file)


def put(name: str, value) -> Callable[[h5py.File], None]:
    """A change that replaces a dataset."""

    def change(file):
        del file[name]
        if value is not None:
            file[name] = value

    return change


def with_nan(file) -> None:
    file["actions"][3, 1] = np.nan
    file["actions"][4, 2] = np.inf


def with_bad_first_row(file) -> None:
    file["observations/images"][0] = np.frombuffer(b"no image at all", np.uint8)


BROKEN = {  # layout, damage, reason
    "cut in half": ("v3", lambda path: cut(path, 0.5), r"truncated HDF5: \d+ of \d+ bytes"),
    "without its end": ("v5_jpeg", lambda path: cut(path, 0.99), r"truncated HDF5: \d+ of \d+ bytes"),
    "a text": ("v3", lambda path: path.write_text("episode 12\n"), "is not HDF5: begins with b'episode '"),
    "nothing": ("v3", lambda path: path.write_bytes(b""), r"is empty \(0 bytes\)"),
    "no frames": ("v3", lambda path: edit(path, put("images", None)), r"no frames.*holds \['action_event_types'"),
    "no actions": ("v5", lambda path: edit(path, put("actions", None)), "no actions: expected a dataset 'actions'"),
    "grey frames": ("v3", lambda path: edit(path, put("images", draw_frames(6)[..., 0])), r"frames.*got \(6, 24, 40\)"),
    "alpha frames": ("v3", lambda path: edit(path, put("images", np.zeros((6, 4, 4, 4), np.uint8))), r"\(6, 4, 4, 4\)"),
    "float frames": ("v3", lambda path: edit(path, put("images", draw_frames(6) / 255)), "frames.*float64"),
    "frames without pixels": (
        "v3",
        lambda path: edit(path, put("images", np.zeros((6, 0, 40, 3), np.uint8))),
        r"frames.*\(6, 0, 40, 3\)",
    ),
    "two components": ("v3", lambda path: edit(path, put("actions", draw_actions(6)[:, :2])), r"actions.*got \(6, 2\)"),
    "flat actions": ("v3", lambda path: edit(path, put("actions", np.zeros(18))), r"actions.*got \(18,\)"),
    "actions in words": ("v3", lambda path: edit(path, put("actions", np.full((6, 3), b"go"))), r"actions.*\|S2"),
    "nan actions": ("v6", lambda path: edit(path, with_nan), r"actions: not finite in 2 of 6 rows \(first: 3\)"),
    "fewer actions": ("v5", lambda path: edit(path, put("actions", draw_actions(5))), "6 frames but 5 actions"),
    "more actions": ("v3", lambda path: edit(path, put("actions", draw_actions(7))), "6 frames but 7 actions"),
    "no rows": (
        "v3",
        lambda path: edit(path, put("images", np.zeros((0, 24, 40, 3), np.uint8))),
        "no frames: the file holds 0",
    ),
    "no jpeg": ("v5_jpeg", lambda path: edit(path, with_bad_first_row), "frame 0 is no readable JPEG"),
    "instruction in another encoding": (
        "v5",
        lambda path: edit(path, put("language_instruction", np.array([KOREAN.encode("cp949")]))),
        "instruction: not UTF-8",
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_episode_is_what_its_collector_wrote(tmp_path, write_episode, layout):
    write_episode(tmp_path / "day" / f"{BOX_NAME}.h5", layout, 7, seed=2)
    (episode,) = scan_one(tmp_path, step_s=0.4, speed_scale=2.0).episodes
    assert episode.id == f"day/{BOX_NAME}"
    assert (episode.num_frames, episode.resolution) == (7, (24, 40))
    assert episode.encoding == ("jpeg" if layout == "v5_jpeg" else "raw")
    np.testing.assert_array_equal(episode.actions, draw_actions(7, seed=2))
    assert episode.action_known.all()
    assert episode.label("direction") == "left"
    assert (episode.step_s, episode.speed_scale) == (0.4, 2.0)
    expected = (KOREAN, "file") if layout.startswith("v5") else ("Go left", "table")
    assert (episode.instruction, episode.instruction_source) == expected


def test_an_unknown_name_is_a_valid_episode(tmp_path, write_episode):
    write_episode(tmp_path / "kitchen.h5", "v3")
    (episode,) = scan_one(tmp_path).episodes
    assert episode.label("direction") == "unknown"
    assert episode.instruction_source == "default"


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_file_is_left_out_with_its_reason(tmp_path, write_episode, what):
    layout, damage, reason = BROKEN[what]
    write_episode(tmp_path / "good.h5")
    damage(write_episode(tmp_path / "bad.h5", layout))
    catalog = scan_one(tmp_path)
    assert [episode.id for episode in catalog.episodes] == ["good"]
    (fault,) = catalog.faults
    assert fault.file == str(tmp_path / "bad.h5")
    with pytest.raises(AssertionError, match=reason):  # the same matching as elsewhere
        raise AssertionError(fault.reason)
    assert "\n" not in fault.reason


@pytest.mark.parametrize("layout", ["v3", "v5_jpeg"])
def test_wherever_a_file_is_cut_it_is_left_out(tmp_path, write_episode, layout):
    write_episode(tmp_path / "good.h5")
    whole = write_episode(tmp_path / "whole.h5", layout, 2).read_bytes()
    (tmp_path / "whole.h5").unlink()
    for index, length in enumerate(range(1, len(whole), len(whole) // 40)):
        (tmp_path / f"cut_{index:03}.h5").write_bytes(whole[:length])
    catalog = scan_one(tmp_path)
    assert [episode.id for episode in catalog.episodes] == ["good"]
    assert len(catalog.faults) == index + 1


def test_a_link_to_nowhere_is_left_out(tmp_path, write_episode):
    write_episode(tmp_path / "good.h5")
    (tmp_path / "gone.h5").symlink_to(tmp_path / "missing.h5")
    (fault,) = scan_one(tmp_path).faults
    assert fault.file.endswith("gone.h5")


def test_nothing_good_is_an_error_with_the_first_reason(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.h5").write_text("text")
    with pytest.raises(UserError, match=r"all 2 files are broken; the first, .*a\.h5: is not HDF5"):
        scan_one(tmp_path)


class TestFindFiles:
    def test_no_such_folder_shows_its_neighbours(self, tmp_path):
        (tmp_path / "episodes").mkdir()
        with pytest.raises(UserError, match=r"no such folder: .*episods; its parent holds \['episodes'\]"):
            find_files(Root(path=tmp_path / "episods"))

    def test_a_file_is_no_root(self, tmp_path, write_episode):
        with pytest.raises(UserError, match="expected a folder of HDF5 files, got a file"):
            find_files(Root(path=write_episode(tmp_path / "a.h5")))

    @pytest.mark.parametrize("pattern", ["*.hdf5", "**", "a.h5/*"])
    def test_nothing_matches(self, tmp_path, write_episode, pattern):
        write_episode(tmp_path / "a.h5")
        with pytest.raises(UserError, match=r"no file in .* matches data\.pattern="):
            find_files(Root(path=tmp_path, pattern=pattern))

    @pytest.mark.parametrize("pattern", ["", "/data/*.h5"])
    def test_a_pattern_that_is_none_is_the_users_mistake(self, tmp_path, write_episode, pattern):
        write_episode(tmp_path / "a.h5")
        with pytest.raises(UserError, match=r"data\.pattern"):
            find_files(Root(path=tmp_path, pattern=pattern))

    def test_a_folder_is_found_only_if_it_is_called_like_a_file(self, tmp_path, write_episode):
        for name in ("old.h5", "new.hdf5", "day"):
            (tmp_path / name).mkdir()
        write_episode(tmp_path / "old.h5" / "a.h5")
        folder, file = find_files(Root(path=tmp_path))
        assert (folder, file) == (tmp_path / "old.h5", tmp_path / "old.h5" / "a.h5")
        assert tmp_path / "day" not in find_files(Root(path=tmp_path, pattern="*"))
        assert tmp_path / "new.hdf5" in find_files(Root(path=tmp_path, pattern="*"))


class TestSeveralRoots:
    def test_order_changes_nothing(self, tmp_path, write_episode):
        roots = [Root(path=tmp_path / name, action_shift=i, step_s=i * 0.1) for i, name in enumerate("cab")]
        for root in roots:
            for name in ("same", f"own_{root.path.name}"):
                write_episode(root.path / f"{name}.h5", seed=len(name))
        described = {
            tuple((e.id, e.path, e.step_s, e.action_known.tobytes()) for e in scan_folders(*order).episodes)
            for order in permutations(roots)
        }
        assert len(described) == 1

    def test_same_names_are_told_apart_by_their_root(self, tmp_path, write_episode):
        for name in "ab":
            write_episode(tmp_path / name / "x.h5")
        write_episode(tmp_path / "b" / "y.h5")
        catalog = scan_folders(*(tmp_path / name for name in "ab"))
        assert [e.id for e in catalog.episodes] == [f"{tmp_path}/a/x", f"{tmp_path}/b/x", "y"]

    def test_a_file_below_two_roots_is_one_episode_whatever_their_order(self, tmp_path, write_episode):
        write_episode(tmp_path / "sub" / "x.h5")
        roots = [Root(path=tmp_path), Root(path=tmp_path / "sub")]
        ids = [[episode.id for episode in scan_folders(*order).episodes] for order in (roots, roots[::-1])]
        assert len(ids[0]) == 1
        assert ids[0] == ids[1]

    def test_a_linked_file_is_one_episode(self, tmp_path, write_episode):
        write_episode(tmp_path / "a.h5")
        (tmp_path / "b.h5").symlink_to(tmp_path / "a.h5")
        assert len(scan_one(tmp_path).episodes) == 1

    def test_ids_are_unique_where_only_the_suffix_differs(self, tmp_path, write_episode):
        for suffix in (".h5", ".hdf5"):
            write_episode(tmp_path / f"x{suffix}")
        ids = [episode.id for episode in scan_one(tmp_path, pattern="*").episodes]
        assert len(set(ids)) == 2

    def test_each_root_has_its_own_shift_and_step(self, tmp_path, write_episode):
        for name in "ab":
            write_episode(tmp_path / name / f"{name}.h5", num_frames=4)
        roots = [Root(path=tmp_path / "a", action_shift=1, step_s=0.4), Root(path=tmp_path / "b", step_s=0.1)]
        first, second = scan_folders(*roots, instructions=TABLE).episodes
        assert (first.step_s, second.step_s) == (0.4, 0.1)
        assert first.action_known.tolist() == [True, True, True, False]
        assert second.action_known.all()


@pytest.mark.parametrize(
    ("shift", "expected", "known"),
    [(1, [1, 2, 3, 0], [1, 1, 1, 0]), (-1, [0, 0, 1, 2], [0, 1, 1, 1]), (0, [0, 1, 2, 3], [1, 1, 1, 1])],
)
def test_frame_t_takes_action_t_plus_shift(shift, expected, known):
    actions = np.arange(4, dtype=np.float32)[:, None].repeat(3, axis=1)
    shifted, is_known = shift_actions(actions, shift)
    assert shifted[:, 0].tolist() == expected
    assert is_known.tolist() == [bool(k) for k in known]


@given(num_frames=st.integers(1, 12), shift=st.integers(-15, 15))
def test_shift_is_the_slow_reference(num_frames, shift):
    actions = draw_actions(num_frames)
    shifted, known = shift_actions(actions, shift)
    for t in range(num_frames):
        inside = 0 <= t + shift < num_frames
        assert known[t] == inside
        assert shifted[t].tolist() == (actions[t + shift].tolist() if inside else [0, 0, 0])


def test_progress_is_told_for_every_file(tmp_path, write_episode):
    write_episode(tmp_path / "a.h5")
    (tmp_path / "b.h5").write_text("text")
    seen = []
    scan_folders(tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]

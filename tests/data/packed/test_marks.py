"""Files of ours are told from all others by their own header; everything that only looks like one stays."""

import shutil

import numpy as np
import pytest

from mobile_vla.data.packed.mapping import map_npy
from mobile_vla.data.packed.marks import KEY, PART, is_marked, list_marked, write_header

ONE, OTHER = "ab" + "0" * 30, "ab" + "1" * 30
PREFIX = "frames/"


def write(path, values, place):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        write_header(file, values, place)
        file.write(values.tobytes())
    return path


@pytest.fixture
def values():
    return np.arange(24, dtype=np.float32).reshape(2, 3, 4)


@pytest.mark.parametrize("dtype", ["|u1", "<f4", "<f2", "<i2"])
@pytest.mark.parametrize("shape", [(5,), (7, 224, 224, 3), (123456, 64, 2048)])
def test_a_marked_header_reads_as_any_other(tmp_path, dtype, shape):
    path = tmp_path / "x.npy"
    with path.open("wb") as file:
        write_header(file, (shape, dtype), "x")
    with path.open("rb") as file:
        assert np.lib.format.read_magic(file) == (1, 0)
        assert np.lib.format.read_array_header_1_0(file) == (shape, False, np.dtype(dtype))
        assert file.tell() == path.stat().st_size
        assert file.tell() % 64 == 0


def test_marked_arrays_come_back(tmp_path, values):
    path = write(tmp_path / "x.npy", values, "x")
    assert np.array_equal(np.load(path), values)
    assert np.array_equal(np.load(path, mmap_mode="r"), values)
    assert np.array_equal(map_npy(path), values)


def test_only_marked_files_in_their_own_place_are_listed(tmp_path, values):
    own = write(tmp_path / "ab" / f"{ONE}.npy", values, PREFIX + ONE)
    room = own.parent
    np.save(room / f"{OTHER}.npy", values)  # same kind of name, another program's header
    shutil.copy(own, room / f"{'ab' + '2' * 30}.npy")  # renamed copy: the mark is of another name
    shutil.copy(own, room / "vectors.npy")
    shutil.copytree(room, tmp_path / "cd")
    shutil.copytree(room, tmp_path / "results")
    write(tmp_path / "ab" / f"{'ab' + '3' * 30}.npy", values, "elsewhere/" + "ab" + "3" * 30)
    (room / f"{'ab' + '4' * 30}.npy").symlink_to(own)
    outside = write(tmp_path / "outside" / f"{'ef' + '0' * 30}.npy", values, PREFIX + "ef" + "0" * 30)
    (tmp_path / "ef").symlink_to(outside.parent)
    (room / f"{'ab' + '5' * 30}.npy").mkdir()
    assert list(list_marked(tmp_path, PREFIX, KEY)) == [own]


def test_only_marked_parts_are_listed(tmp_path, values):
    part = write(tmp_path / "ab" / f".{ONE}.npy.node.12.part", values, PREFIX + ONE)
    also = write(tmp_path / "ab" / f".{OTHER}.node.12.part", values, PREFIX + OTHER)
    (tmp_path / "ab" / "download.part").write_bytes(b"x")
    (tmp_path / "ab" / f".{'ab' + '2' * 30}.npy.node.12.part").write_bytes(b"x" * 200)
    assert list(list_marked(tmp_path, PREFIX, PART)) == [part, also]
    assert list(list_marked(tmp_path / "nowhere", PREFIX, PART)) == []


def test_a_killed_writers_part_is_known(tmp_path, values):
    """The header is brought out before the values."""
    path = tmp_path / "x.part"
    with path.open("wb") as file:
        write_header(file, values, "x")
        assert is_marked(path, "x")

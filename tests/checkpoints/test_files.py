"""Checkpoint files on disk: no damage goes unnoticed, and one of two files is whole at any moment."""

import os
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mobile_vla.checkpoints import files
from mobile_vla.checkpoints.files import LAST, NEXT, PREVIOUS, find_damage, find_resumable, rotate, save
from mobile_vla.core.errors import UserError

CONTENT = {"weights": torch.arange(40, dtype=torch.float32).view(5, 8), "step": 3, "names": ["a", None, 2.5]}


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("whole") / "a.ckpt"
    save(CONTENT, file)
    return file


def records(file: Path, padding: bool = False) -> list[range]:
    """Where in the file the content of each record lies; with the padding before it, which nobody reads."""
    with zipfile.ZipFile(file) as archive:
        infos = archive.infolist()
    content = file.read_bytes()
    starts = []
    for info in infos:
        name, extra = (int.from_bytes(content[info.header_offset + at :][:2], "little") for at in (26, 28))
        starts.append((info.header_offset + 30 + name, extra))
    return [
        range(start + (0 if padding else extra), start + extra + info.file_size)
        for (start, extra), info in zip(starts, infos, strict=True)
    ]


@given(st.data())
def test_any_flipped_bit_of_a_record_is_found(file, tmp_path_factory, data):
    content = bytearray(file.read_bytes())
    record = data.draw(st.sampled_from(records(file)))
    content[data.draw(st.sampled_from(record))] ^= 1 << data.draw(st.integers(0, 7))
    damaged = tmp_path_factory.getbasetemp() / "damaged.ckpt"
    damaged.write_bytes(content)
    assert "checksum" in (find_damage(damaged) or "")


def test_any_damaged_byte_anywhere_is_found_or_harmless(file, tmp_path):
    """Headers, the directory, the end of the file; harmless is a date, for example."""
    content, damaged = file.read_bytes(), tmp_path / "damaged.ckpt"
    inside = {place for record in records(file, padding=True) for place in record}
    damaged.write_bytes(content)
    with damaged.open("r+b", buffering=0) as disk:
        for place in sorted(set(range(len(content))) - inside):
            for mask in (0xFF, 1, 16):  # 16 in the right place makes a folder of a record, for torch
                os.pwrite(disk.fileno(), bytes([content[place] ^ mask]), place)
                if find_damage(damaged) is None:
                    found = torch.load(damaged, weights_only=True)
                    assert torch.equal(found.pop("weights"), CONTENT["weights"]), place
                    assert found == {"step": 3, "names": ["a", None, 2.5]}, place
            os.pwrite(disk.fileno(), content[place : place + 1], place)


def test_any_truncation_is_found(file, tmp_path):
    content, damaged = file.read_bytes(), tmp_path / "damaged.ckpt"
    for length in range(0, len(content), 7):
        damaged.write_bytes(content[:length])
        assert find_damage(damaged)
    assert find_damage(file) is None
    assert find_damage(tmp_path / "none.ckpt") == "no such file"


def test_what_did_not_arrive_on_disk_does_not_replace_what_is_there(tmp_path, monkeypatch):
    """A disk that keeps something else than it was given."""
    file = tmp_path / "checkpoints" / "a.ckpt"
    save({"step": torch.tensor(1.0)}, file)
    own = torch.save

    def careless(content, part):
        own(content, part)
        written = bytearray(part.read_bytes())
        written[records(part)[0][3]] ^= 1
        part.write_bytes(written)

    monkeypatch.setattr(files.torch, "save", careless)
    with pytest.raises(OSError, match=r"a\.ckpt: what was written cannot be read back \(the checksum of .* not match"):
        save({"step": torch.tensor(2.0)}, file)
    assert torch.load(file, weights_only=True)["step"] == 1
    assert os.listdir(file.parent) == ["a.ckpt"]


class Died(Exception):
    pass


@pytest.mark.parametrize("killed_after", [0, 1, 2])
def test_wherever_a_rotation_is_killed_the_newest_whole_one_is_found(tmp_path, monkeypatch, killed_after):
    for step, name in ((1, PREVIOUS), (2, LAST), (3, NEXT)):
        save({"step": step}, tmp_path / name)
    own, calls = os.replace, []

    def replace(*paths):
        if len(calls) == killed_after:
            raise Died
        calls.append(paths)
        own(*paths)

    monkeypatch.setattr(os, "replace", replace)
    try:
        rotate(tmp_path)
    except Died:
        assert killed_after < 2
    found, lines = find_resumable(tmp_path)
    assert found is not None
    assert torch.load(found)["step"] == (3 if killed_after == 2 else 2)
    assert lines == []


def test_the_one_before_is_used_with_a_line_that_says_so(file, tmp_path):
    assert find_resumable(tmp_path) == (None, [])
    save(CONTENT, tmp_path / PREVIOUS)
    (tmp_path / LAST).write_bytes(file.read_bytes()[:-1])
    found, (line,) = find_resumable(tmp_path)
    assert found == tmp_path / PREVIOUS
    assert line.startswith("checkpoints/last.ckpt is damaged (")
    assert line.endswith("); continuing from the one before, previous.ckpt")
    (tmp_path / PREVIOUS).write_bytes(b"")
    with pytest.raises(UserError, match=r"last\.ckpt is damaged .*; checkpoints/previous\.ckpt is damaged .*config="):
        find_resumable(tmp_path)

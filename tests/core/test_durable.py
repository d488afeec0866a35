"""A file is the old one or the whole new one, whatever happens while it is written."""

import os
import subprocess
import sys

import pytest

from mobile_vla.core.durable import remove_parts, replaced, write_text


def test_the_new_file_takes_the_place_of_the_old(tmp_path):
    file = tmp_path / "a.json"
    write_text(file, "first")
    write_text(file, "second, 둘째")
    assert file.read_text(encoding="utf-8") == "second, 둘째"
    assert os.listdir(tmp_path) == ["a.json"]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    file = tmp_path / "a.json"
    write_text(file, "first")

    def write_half() -> None:
        with replaced(file) as part:
            part.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert file.read_text() == "first"
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_name_is_given_only_to_what_is_on_disk(tmp_path, monkeypatch):
    """In this order: content brought to disk, renamed, the folder's own entry brought to disk."""
    done = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(number: int) -> None:
        done.append(os.readlink(f"/proc/self/fd/{number}"))
        fsync(number)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", lambda *paths: done.append("renamed") or replace(*paths))
    with replaced(tmp_path / "a") as part:
        part.write_text("content")
    assert done == [str(part), "renamed", str(tmp_path)]


def test_what_a_killed_process_left_is_removed(tmp_path):
    kill = (
        "import os, signal, sys; from pathlib import Path; from mobile_vla.core.durable import replaced\n"
        "with replaced(Path(sys.argv[1])) as part:\n part.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    file = tmp_path / "a.ckpt"
    file.write_text("whole")
    assert subprocess.run([sys.executable, "-c", kill, file]).returncode == -9
    assert len(os.listdir(tmp_path)) == 2
    remove_parts(tmp_path)
    assert os.listdir(tmp_path) == ["a.ckpt"]
    assert file.read_text() == "whole"
    remove_parts(tmp_path / "none")

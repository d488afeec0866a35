"""Opening: weights by name from every container, and a line for everything that must not be opened."""

import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mobile_vla.checkpoints import torch_files
from mobile_vla.checkpoints.opening import open_checkpoint
from mobile_vla.core.errors import UserError
from tests.checkpoints.foreign import write_index

STATE = {"a": torch.arange(6.0).view(2, 3), "b": torch.arange(4, dtype=torch.int64)}


class Command:
    """A pickle of it runs a command when it is loaded."""

    def __init__(self, file: Path):
        self.file = file

    def __reduce__(self):
        return os.system, (f"touch '{self.file}'",)


def refused(path: Path, **settings) -> str:
    before = sorted(path.parent.rglob("*"))
    with pytest.raises(UserError) as error:
        open_checkpoint(path, **settings)
    assert "\n" not in str(error.value)
    assert sorted(path.parent.rglob("*")) == before, "nothing may be written"
    return str(error.value)


@pytest.mark.parametrize(
    ("content", "section"),
    [
        (STATE, ""),
        ({"state_dict": STATE, "epoch": 3, "global_step": 9, "hyper_parameters": {"window": 8}}, "state_dict"),
        ({"model_state_dict": STATE, "optimizer_state_dict": {"x": torch.ones(9)}}, "model_state_dict"),
        ({"model": STATE, "epoch": 3}, "model"),
        ({"state_dict": {}, "module": STATE}, "module"),
    ],
)
@pytest.mark.parametrize("old", [False, True])
def test_weights_are_found_where_programs_put_them(tmp_path, content, section, old):
    torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=not old)
    opened = open_checkpoint(tmp_path / "a.pt")
    assert opened.section == section
    assert set(opened.weights.specs) == {"a", "b"}
    assert opened.weights.specs["a"].shape == (2, 3)
    assert opened.weights.specs["b"].dtype == "int64"
    for name, tensor in STATE.items():
        assert torch.equal(opened.weights.read(name), tensor)
    assert opened.epoch == content.get("epoch")
    assert opened.global_step == content.get("global_step")
    assert opened.beside.get("hyper_parameters") == content.get("hyper_parameters")
    assert not {"optimizer_state_dict", "a", "state_dict"} & {k for k in opened.beside if opened.beside[k]} - {section}
    assert opened.container == ("torch, old form" if old else "torch")


def test_safetensors_and_shards(tmp_path):
    save_file({"a": STATE["a"]}, tmp_path / "one.safetensors")
    save_file({"b": STATE["b"]}, tmp_path / "two.safetensors")
    write_index({"a": "one.safetensors", "b": "two.safetensors"}, tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "kosmos-2"}')
    for path in (tmp_path, tmp_path / "model.safetensors.index.json"):
        opened = open_checkpoint(path)
        assert {name: opened.weights.specs[name].shape for name in "ab"} == {"a": (2, 3), "b": (4,)}
        assert torch.equal(opened.weights.read("b"), STATE["b"])
        assert opened.config == {"model_type": "kosmos-2"}
        assert opened.num_bytes == sum((tmp_path / f"{name}.safetensors").stat().st_size for name in ("one", "two"))


@pytest.mark.parametrize("shard", ["../outside.safetensors", "/etc/passwd", "..", "sub/one.safetensors", "..\\x"])
def test_an_index_that_points_outside_is_refused(tmp_path, shard):
    save_file({"a": STATE["a"]}, tmp_path / "outside.safetensors")
    folder = tmp_path / "model"
    folder.mkdir()
    write_index({"a": shard}, folder)
    assert "outside its folder" in refused(folder)


def test_shards_that_are_not_whole(tmp_path):
    save_file({"a": STATE["a"]}, tmp_path / "one.safetensors")
    write_index({"a": "one.safetensors", "b": "two.safetensors", "c": "two.safetensors"}, tmp_path)
    assert "lacks 1 of 2 shards: two.safetensors is not there, with 2 of 3 tensors" in refused(tmp_path)
    save_file({"c": STATE["b"]}, tmp_path / "two.safetensors")
    assert "1 of 3 tensors of the index are not in the shard that it names: b" in refused(tmp_path)


@pytest.mark.parametrize("old", [False, True])
def test_a_pickle_that_runs_a_command_is_named_and_not_run(tmp_path, old):
    proof, file = tmp_path / "proof", tmp_path / "a.ckpt"
    content = {"state_dict": STATE, "callbacks": Command(proof)}
    torch.save(content, file, _use_new_zipfile_serialization=not old)
    line = refused(file)
    assert "system" in line
    assert "trust=true" in line
    assert not proof.exists()
    opened = open_checkpoint(file, trust=True)
    assert proof.exists()
    assert any("trust=true" in note for note in opened.notes)
    proof.unlink()
    opened.weights.read("a")
    assert not proof.exists(), "it ran again"


def test_every_foreign_class_is_named(tmp_path):
    torch.save({"state_dict": STATE, "hyper_parameters": {"path": Path("x"), "data": io.StringIO}}, tmp_path / "a.ckpt")
    line = refused(tmp_path / "a.ckpt")
    assert "io.StringIO" in line
    assert "pathlib." in line


def test_a_plain_pickle(tmp_path):
    proof = tmp_path / "proof"
    (tmp_path / "a.pt").write_bytes(pickle.dumps(Command(proof)))
    assert "system" in refused(tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(pickle.dumps({"a": 1}))
    assert "cannot be read as a checkpoint" in refused(tmp_path / "b.pt")
    assert not proof.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"epoch 3: loss 0.013\n", "no checkpoint (it begins with b'epoch 3: los')"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
        (b"<!DOCTYPE html>", "a web page"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"\x10\x00\x00\x00\x00\x00\x00\x00{garbage........", "damaged or was cut off"),
        (b"PK\x03\x04 and nothing more", "damaged or was cut off"),
    ],
)
def test_what_is_no_checkpoint_is_named(tmp_path, content, message):
    (tmp_path / "a.ckpt").write_bytes(content)
    assert message in refused(tmp_path / "a.ckpt")


@pytest.mark.parametrize("form", ["torch", "old", "safetensors"])
def test_any_truncation_is_refused(tmp_path, form):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    state = {"a": torch.arange(3000.0), "b": torch.arange(40.0)}
    if form == "safetensors":
        save_file(state, whole)
    else:
        torch.save({"state_dict": state}, whole, _use_new_zipfile_serialization=form == "torch")
    content = whole.read_bytes()
    for length in range(0, len(content) - 1, max(1, len(content) // 60)):
        cut.write_bytes(content[:length])
        refused(cut)


def rewrite(source: Path, target: Path, compression: int = zipfile.ZIP_STORED, **records: bytes) -> Path:
    """The archive anew, with other records in place of its own."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", compression) as new:
        for info in old.infolist():
            new.writestr(info.filename, records.get(Path(info.filename).name.replace(".", "_"), old.read(info)))
    return target


def test_an_archive_that_unfolds_is_refused_unread(tmp_path, monkeypatch):
    torch.save({"a": torch.zeros(500_000)}, tmp_path / "a.pt")
    bomb = rewrite(tmp_path / "a.pt", tmp_path / "bomb.pt", zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 20_000
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was read"))
    assert "declares 2,000," in refused(bomb)


def test_limits_hold(tmp_path, monkeypatch):
    torch.save({"a": torch.zeros(5), "text": "x" * 5000}, tmp_path / "a.pt")
    torch.save({"a": torch.zeros(5)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    open_checkpoint(tmp_path / "a.pt")
    open_checkpoint(tmp_path / "old.pt")
    monkeypatch.setattr(torch_files, "MAX_PICKLE_BYTES", 5000)
    assert "besides its tensors" in refused(tmp_path / "a.pt")
    monkeypatch.setattr(torch_files, "MAX_DIRECTORY_BYTES", 100)
    assert "too many records" in refused(tmp_path / "a.pt")
    monkeypatch.setattr(torch_files, "MAX_OLD_BYTES", 100)
    assert "old form" in refused(tmp_path / "old.pt")


def test_a_tensor_that_claims_more_than_its_file_has(tmp_path):
    torch.save({"a": torch.arange(10.0)}, tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as archive:
        pickled = archive.read("a/data.pkl")
    million = b"J\x40\x42\x0f\x00"
    lying = rewrite(
        tmp_path / "a.pt",
        tmp_path / "lying.pt",
        data_pkl=pickled.replace(b"K\x0at", million + b"t").replace(b"K\x0a\x85", million + b"\x85"),
    )
    assert "cannot be read" in refused(lying)


def test_a_text_that_unfolds_without_end_is_cut(tmp_path):
    laughs: list = ["ha"]
    for _ in range(60):
        laughs = [laughs, laughs]
    torch.save({"state_dict": STATE, "hyper_parameters": laughs}, tmp_path / "a.ckpt")
    assert len(json.dumps(open_checkpoint(tmp_path / "a.ckpt").beside)) < 1e6


def test_other_zips_and_programs(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a/readme.txt", "hello")
    assert "holds no data.pkl" in refused(tmp_path / "a.zip")
    torch.save({"epoch": 3}, tmp_path / "b.pt")
    assert "holds no weights" in refused(tmp_path / "b.pt")
    with zipfile.ZipFile(tmp_path / "c.pt", "w") as archive:
        archive.writestr("c/data.pkl", b"")
        archive.writestr("c/constants.pkl", b"")
    assert "TorchScript" in refused(tmp_path / "c.pt")


def test_folders_that_hold_nothing(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    assert "['notes.txt']" in refused(tmp_path)
    assert "no such file" in refused(tmp_path / "none.ckpt")


READ_ALL = r"""
import re, sys
from mobile_vla.checkpoints import opened as files
from mobile_vla.checkpoints.opening import open_checkpoint
from mobile_vla.checkpoints.scanning import scan
from pathlib import Path
files.MAPPED_BYTES, files.CHUNK = 16 * 2**20, 2**20
opened = open_checkpoint(Path(sys.argv[1]))
def peak_kib():  # not of getrusage, which begins with the peak of the process that started this one
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])
before = peak_kib()
found = scan(opened.weights, opened.weights.specs)
print(found.tensors, peak_kib() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is told by /proc")
@pytest.mark.parametrize("form", ["torch", "safetensors"])
def test_a_file_is_read_from_end_to_end_in_little_memory(tmp_path, form):
    file = tmp_path / "large"
    state = {str(i): torch.zeros(12 * 2**20) for i in range(4)}  # 48 MiB each
    save_file(state, file) if form == "safetensors" else torch.save(state, file)
    del state
    done = subprocess.run([sys.executable, "-c", READ_ALL, str(file)], capture_output=True, text=True, check=True)
    tensors, grown_kib = map(int, done.stdout.split())
    assert tensors == 4
    assert grown_kib < 100 * 2**10, f"{grown_kib / 2**10:.0f} MiB for a file of 192 MiB"

"""Which file `best`, `last` and a path mean, and what is said where there is none."""

from pathlib import Path

import pytest
import torch

from mobile_vla.checkpoints.choosing import choose_checkpoint
from mobile_vla.core.errors import UserError


@pytest.fixture
def run(tmp_path: Path):
    """Makes a run folder whose checkpoints have these names."""

    def make(*names: str) -> Path:
        folder = tmp_path / "run" / "checkpoints"
        folder.mkdir(parents=True)
        for name in names:
            torch.save({"weights": torch.arange(50.0)}, folder / name)
        return folder.parent

    return make


def test_best_has_the_lowest_loss_by_number_not_by_text(run):
    """As texts, 1e-05 would come behind 0.9, and epoch 10 before epoch 2."""
    folder = run("epoch=002-val_loss=0.90000.ckpt", "epoch=010-val_loss=0.10000.ckpt", "last.ckpt")
    assert choose_checkpoint(folder, "best").name == "epoch=010-val_loss=0.10000.ckpt"
    torch.save({}, folder / "checkpoints" / "epoch=1001-val_loss=0.09000.ckpt")
    assert choose_checkpoint(folder, "best").name == "epoch=1001-val_loss=0.09000.ckpt"


def test_of_equal_losses_the_earliest_epoch_is_best(run):
    folder = run("epoch=012-val_loss=0.10000.ckpt", "epoch=003-val_loss=0.10000.ckpt")
    assert choose_checkpoint(folder, "best").name == "epoch=003-val_loss=0.10000.ckpt"


def test_a_loss_that_is_no_number_is_never_best(run):
    folder = run("epoch=000-val_loss=nan.ckpt", "epoch=001-val_loss=inf.ckpt", "epoch=002-val_loss=7.00000.ckpt")
    assert choose_checkpoint(folder, "best").name == "epoch=002-val_loss=7.00000.ckpt"


def test_without_a_validated_checkpoint_last_must_be_asked_for(run):
    folder = run("last.ckpt", "previous.ckpt")
    with pytest.raises(
        UserError, match=r"no file in .* val_loss.*it holds last\.ckpt, previous\.ckpt; .*checkpoint=last"
    ):
        choose_checkpoint(folder, "best")
    assert choose_checkpoint(folder, "last") == folder / "checkpoints" / "last.ckpt"


def test_a_path_is_taken_as_typed_or_below_the_run(run, tmp_path, monkeypatch):
    folder = run("epoch=000-val_loss=0.50000.ckpt")
    file = folder / "checkpoints" / "epoch=000-val_loss=0.50000.ckpt"
    monkeypatch.chdir(tmp_path)
    for word in (str(file), f"checkpoints/{file.name}", file.name, f"run/checkpoints/{file.name}"):
        assert choose_checkpoint(folder, word) == file
    with pytest.raises(UserError, match=r"checkpoint='other': no such file.*it holds epoch=000"):
        choose_checkpoint(folder, "other")


def test_an_empty_folder_is_told(run, tmp_path):
    with pytest.raises(UserError, match=r"no last\.ckpt in .*it holds no \*\.ckpt"):
        choose_checkpoint(tmp_path / "nothing", "last")


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_damage_is_named_with_what_else_there_is(run, damage):
    """A flipped bit in the weights loads without complaint; only the checksum tells."""
    folder = run("epoch=000-val_loss=0.50000.ckpt", "last.ckpt")
    file = folder / "checkpoints" / "epoch=000-val_loss=0.50000.ckpt"
    content = bytearray(file.read_bytes())
    at = content.index(torch.tensor([17.0]).numpy().tobytes())
    content[at] ^= 1
    file.write_bytes(bytes(content if damage == "flipped" else content[: len(content) // 2]))
    with pytest.raises(UserError, match=r"epoch=000-val_loss=0\.50000\.ckpt is damaged .*there are \['last\.ckpt'\]"):
        choose_checkpoint(folder, "best")
    assert choose_checkpoint(folder, "last").name == "last.ckpt"


def test_what_the_start_was_any_whole_checkpoint_says(run):
    folder = run("epoch=000-val_loss=0.50000.ckpt", "last.ckpt", "previous.ckpt")
    assert choose_checkpoint(folder, "start").name == "last.ckpt"
    for name, left in (
        ("last.ckpt", "epoch=000-val_loss=0.50000.ckpt"),
        ("epoch=000-val_loss=0.50000.ckpt", "previous.ckpt"),
    ):
        (folder / "checkpoints" / name).write_bytes(b"cut")
        assert choose_checkpoint(folder, "start").name == left
    (folder / "checkpoints" / "previous.ckpt").write_bytes(b"cut")
    with pytest.raises(
        UserError, match=r"checkpoint='start': .*all are damaged: last\.ckpt, epoch=000.*repeat the run"
    ):
        choose_checkpoint(folder, "start")

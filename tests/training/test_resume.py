"""A training that was interrupted and resumed is, to the last bit, the one that was not."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback

from mobile_vla.checkpoints.files import LAST, PREVIOUS
from mobile_vla.core.errors import Interrupted, UserError
from tests.training.comparing import compare_checkpoints, differences, read_scalars
from tests.training.run_training import make_config, prepare, train

STEPS = 4  # an epoch, of 2 batches each, the last of 1


class Interrupt(Callback):
    """Leaves as after a signal, when `step` optimizer steps are done."""

    def __init__(self, step: int):
        self.step = step

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.global_step == self.step and batch_idx % trainer.accumulate_grad_batches == 0:
            raise Interrupted(f"after {self.step}", 15)


class Seen(Callback):
    """The windows of every batch, by epoch."""

    def __init__(self):
        self.batches: dict[int, list[list[tuple[str, int]]]] = {}

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        windows = [batch.window_pairs(s)[0] for s in range(batch.num_windows)]
        found = self.batches.setdefault(trainer.current_epoch, [])
        found.append([(pair.episode, pair.frame) for pair in windows])


def interrupt(out: Path, config, step: int, *callbacks) -> None:
    with pytest.raises(Interrupted):
        train(out, config, *callbacks, Interrupt(step))


def position(out: Path, name: str = LAST) -> dict[str, int]:
    return torch.load(out / "checkpoints" / name, weights_only=True)["position"]


def middle_of_largest_record(file: Path) -> int:
    """Offset of a byte of the largest tensor."""
    with zipfile.ZipFile(file) as archive:
        record = max(archive.infolist(), key=lambda record: record.file_size)
        return file.read_bytes().index(archive.read(record)) + record.file_size // 2


@pytest.fixture(scope="module")
def seen() -> Seen:
    """What `parted` was trained on."""
    return Seen()


@pytest.fixture(scope="module")
def parted(episode_files, seen, tmp_path_factory) -> Path:
    """Interrupted in the midst of its second epoch; its `previous.ckpt` stands a step before."""
    out = tmp_path_factory.mktemp("parted") / "parted"
    interrupt(out, make_config(episode_files), 7, seen)
    assert (position(out, PREVIOUS)["step"], position(out)["step"]) == (6, 7)
    return out


@pytest.fixture
def batches(parted, seen) -> dict[int, list[list[tuple[str, int]]]]:
    """Windows of the batches of its whole first epoch, and of its second as far as it came."""
    return seen.batches


@pytest.fixture
def run(parted, tmp_path) -> Path:
    """A copy of it, to be continued."""
    return Path(shutil.copytree(parted, tmp_path / "run"))


def test_interrupted_again_and_again(episode_files, whole, tmp_path):
    """At an epoch's first step, within it, before its incomplete last step, and between epochs."""
    out = tmp_path / "run"
    config = make_config(episode_files, checkpoint={"every_n_steps": None})
    for step in (0, 2, 3, 4, 9):
        interrupt(out, config, step)
        epoch, done = divmod(step, STEPS)
        assert position(out) == {"epoch": epoch, "batch": 2 * done, "step": step}
    train(out, make_config(episode_files))
    assert differences(out, whole) == []


@pytest.mark.parametrize(
    "settings",
    [
        {
            "optimization": {"head_lr": 1e-2, "weight_decay": 0.1},
            "trainer": {"gradient_clip_val": 0.05, "check_val_every_n_epoch": 2},
            "data": {"num_workers": 1},
            "seed": 3,
        },
        {
            "trainer": {"precision": "bf16-mixed", "accumulate_grad_batches": 1},
            "data": {"batch_size": 12},
            "checkpoint": {"save_top_k": 1},
        },
        {
            "trainer": {"accumulate_grad_batches": 3, "log_every_n_steps": 2},
            "data": {"batch_size": 4},
            "augmentation": {"crop": 0.1, "brightness": 0.2, "hue": 0.1},
        },
    ],
    ids=["two rates, clipped, few validations", "bf16, one best", "augmented, three batches a step"],
)
def test_whatever_is_trained_resumes_to_the_last_bit(episode_files, tmp_path, settings):
    settings = {**settings, "trainer": {"max_epochs": 2, **settings.get("trainer", {})}}
    config = make_config(episode_files, **settings)
    train(tmp_path / "whole", config)
    interrupt(tmp_path / "run", config, 3)
    train(tmp_path / "run", config)
    assert differences(tmp_path / "run", tmp_path / "whole") == []


def test_killed_before_the_first_checkpoint(episode_files, whole, tmp_path):
    """There is a run, since there is a configuration; it begins anew, on its own split."""
    out = tmp_path / "run"
    out.mkdir()
    for name in ("config.yaml", "split.json", "faults.json", "machine.json"):
        shutil.copyfile(whole / name, out / name)
    (out / "metrics.csv").write_text("epoch,step\n")
    assert prepare(out, make_config(episode_files)).continues == out
    train(out, make_config(episode_files))
    assert differences(out, whole) == []


def test_a_finished_run_is_left_as_it_is(episode_files, whole, tmp_path):
    out = Path(shutil.copytree(whole, tmp_path / "run"))
    before = {file.name: file.read_bytes() for file in (out / "checkpoints").iterdir()}
    seen = Seen()
    found = train(out, make_config(episode_files), seen)
    assert seen.batches == {}
    assert found["steps"] == 3 * STEPS
    assert {file.name: file.read_bytes() for file in (out / "checkpoints").iterdir()} == before
    assert differences(out, whole) == []
    again = train(out, make_config(episode_files))
    told = [{k: v for k, v in result.items() if k not in ("seconds",)} for result in (found, again)]
    assert told[0] == told[1]


def test_a_finished_run_goes_on_for_more_epochs(episode_files, tmp_path):
    """Under a constant rate: as if it had been meant to from the start."""
    configs = [
        make_config(episode_files, optimization={"schedule": "constant"}, trainer={"max_epochs": epochs})
        for epochs in (1, 2)
    ]
    train(tmp_path / "whole", configs[1])
    train(tmp_path / "run", configs[0])
    assert [line.split(":")[0] for line in prepare(tmp_path / "run", configs[1]).notes] == ["trainer.max_epochs 1 -> 2"]
    train(tmp_path / "run", configs[1])
    found = differences(tmp_path / "run", tmp_path / "whole")
    assert [line for line in found if "config/trainer/max_epochs" not in line] == []


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_checkpoint_is_noticed_and_the_one_before_used(episode_files, whole, run, damage):
    last = run / "checkpoints" / LAST
    content = last.read_bytes()
    tensor = middle_of_largest_record(last)
    content = {
        "cut": content[: len(content) * 2 // 3],
        "flipped": content[:tensor] + bytes([content[tensor] ^ 4]) + content[tensor + 1 :],
        "empty": b"",
    }[damage]
    last.unlink()  # other names of the file keep what they have
    last.write_bytes(content)
    training = prepare(run, make_config(episode_files))
    assert training.resumed == run / "checkpoints" / PREVIOUS
    (line,) = [line for line in training.describe() if "last.ckpt is damaged" in line]
    assert line.endswith("continuing from the one before, previous.ckpt")
    if damage != "flipped":
        return
    seen = Seen()
    train(run, make_config(episode_files), seen)
    assert [len(batches) for batches in seen.batches.values()] == [7 - 2 * (6 - STEPS), 7]
    assert differences(run, whole) == []


def test_nothing_is_done_if_all_checkpoints_are_damaged(episode_files, run):
    for name in (LAST, PREVIOUS):
        (run / "checkpoints" / name).write_bytes(b"PK")
    with pytest.raises(UserError, match=r"last.ckpt is damaged .*previous.ckpt is damaged .* config="):
        prepare(run, make_config(episode_files))


@pytest.mark.parametrize(("batch_size", "accumulate"), [(3, 2), (5, 4)])
def test_another_batch_size_within_an_epoch_loses_no_window(episode_files, batches, run, batch_size, accumulate):
    rest = Seen()
    config = make_config(
        episode_files, data={"batch_size": batch_size}, trainer={"accumulate_grad_batches": accumulate, "max_epochs": 2}
    )
    training = prepare(run, config)
    assert any(line.startswith("data.batch_size 7 -> ") for line in training.notes)
    train(run, config, rest)
    done = [window for batch in batches[1][: 2 * (7 - STEPS)] for window in batch]
    left = [window for batch in rest.batches[1] for window in batch]
    epoch = [window for batch in batches[0] for window in batch]
    assert set(done) | set(left) == set(epoch)
    assert 0 <= len(done) + len(left) - len(epoch) < batch_size * accumulate


class Rates(Callback):
    def __init__(self):
        self.found = []

    def on_before_optimizer_step(self, trainer, module, optimizer):
        self.found.append({(group["lr"], group["weight_decay"]) for group in optimizer.param_groups})


@pytest.mark.parametrize(
    ("change", "rates"),
    [
        ({"lr": 1e-4, "head_lr": 2e-3}, {(1e-4, 0.01), (1e-4, 0.0), (2e-3, 0.01), (2e-3, 0.0)}),
        ({"lr": 1e-4, "weight_decay": 0.0}, {(1e-4, 0.0)}),
    ],
)
def test_a_changed_rate_holds_from_the_resume_on(episode_files, tmp_path, change, rates):
    """Also one that gives the head a rate of its own, or takes the decay away."""
    constant = {"schedule": "constant", "warmup_epochs": 0.0}
    out, seen = tmp_path / "run", Rates()
    interrupt(out, make_config(episode_files, optimization=constant), 2)
    config = make_config(episode_files, optimization={**constant, **change}, trainer={"max_epochs": 1})
    assert all("holds from step 2 on" in line for line in prepare(out, config).notes if "optimization" in line)
    train(out, config, seen)
    assert len(seen.found) == STEPS - 2
    assert all(found == rates for found in seen.found)
    logged = [value for _, value in read_scalars(out)["train/lr"]]
    assert logged == pytest.approx([3e-3] * 2 + [change["lr"]] * (STEPS - 2))


def test_other_weights_than_the_checkpoints_would_be_seen(whole, tmp_path):
    """The comparison itself: one bit of one moment of the optimizer."""
    out = Path(shutil.copytree(whole, tmp_path / "run"))
    content = torch.load(out / "checkpoints" / LAST, weights_only=True)
    moments = content["optimizer_states"][0]["state"][0]["exp_avg"].view(-1)
    moments[0] = torch.nextafter(moments[0], torch.tensor(1.0))
    (out / "checkpoints" / LAST).unlink()
    torch.save(content, out / "checkpoints" / LAST)
    (line,) = compare_checkpoints(out / "checkpoints" / LAST, whole / "checkpoints" / LAST)
    assert "exp_avg" in line
    assert json.loads((whole / "config.yaml").read_text())["trainer"]["max_epochs"] == 3

"""Other backbones than Kosmos-2 through every command: the package's own, and the example of docs/backbones.md."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import mobile_vla as mv
from mobile_vla.contexts.reader import open_store
from tests.cli.small_training import run
from tests.models.backbones.members import EXAMPLE, write_example

pytestmark = pytest.mark.slow
EPISODES = 24
WIDTHS = {"smolvlm": 96, EXAMPLE: 48}
QUICK = ("trainer=cpu", "trainer.enable_progress_bar=false", "optimization.schedule=constant", "data=synthetic")
SMALL_HEAD = ("model.head.hidden=16", "model.head.layers=1", "model.head.mlp=[16]", "model.lora.r=4")


@pytest.fixture(scope="module")
def episodes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("episodes")
    assert run("synth", f"out={folder}", f"episodes={EPISODES}", "resolution=[64,64]", "seed=4") == 0
    return folder


@pytest.fixture(scope="module", params=WIDTHS)
def member(request, episodes, tmp_path_factory) -> SimpleNamespace:
    """A run of one epoch that was continued to two, and the same two epochs without a break."""
    root = tmp_path_factory.mktemp("member")
    words = ("model=smolvlm_tiny",)
    if request.param == EXAMPLE:
        write_example(root)
        words = ("--config-dir", str(root), "model=patches")
    data = (f"data.root={episodes}", f"data.pack_dir={root / 'pack'}", f"cache.dir={root / 'features'}")
    train = ("train", *words, *QUICK, *SMALL_HEAD, *data)
    assert run(*train, "trainer.max_epochs=1", f"out={root / 'run'}") == 0
    assert run("train", f"run={root / 'run'}", "trainer.max_epochs=2") == 0
    assert run(*train, "trainer.max_epochs=2", f"out={root / 'whole'}") == 0
    assert run("export", f"run={root / 'run'}", "checkpoint=last", f"out={root / 'export'}") == 0
    return SimpleNamespace(name=request.param, root=root, words=words, data=data)


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def read(file: Path) -> dict:
    return json.loads(file.read_text(encoding="utf-8"))


def test_a_continued_training_is_the_same_training(member):
    resumed, whole = weights_of(member.root / "run"), weights_of(member.root / "whole")
    assert resumed.keys() == whole.keys()
    assert all(torch.equal(weight, whole[name]) for name, weight in resumed.items())
    assert read(member.root / "run" / "train.json")["epochs"] == 2


def test_it_is_evaluated_and_probed_as_it_was_trained(member, tmp_path):
    assert run("eval", f"run={member.root / 'run'}", f"out={tmp_path / 'eval'}") == 0
    found = read(tmp_path / "eval" / "eval.json")
    assert found["loss"] == pytest.approx(read(member.root / "run" / "train.json")["val_loss"], rel=1e-6)
    taps = "probe.taps=[context,pixels,image_tokens,text_layer_1]"
    words = ("probe.variants=[swap,donor]", f"out={tmp_path / 'probe'}")
    assert run("probe", f"run={member.root / 'run'}", taps, *words) == 0
    store = open_store(tmp_path / "probe" / "contexts")
    width = WIDTHS[member.name]
    assert {tap: store.vectors(tap).shape[1] for tap in ("context", "image_tokens", "text_layer_1")} == {
        "context": width,
        "image_tokens": width,
        "text_layer_1": width,
    }
    assert read(store.folder / "manifest.json")["configuration"]["model"]["name"] == member.name


def test_what_is_exported_drives_like_the_run(member):
    one, other = (
        mv.load(member.root / place, **words) for place, words in (("run", {"checkpoint": "last"}), ("export", {}))
    )
    frames = np.random.default_rng(0).integers(0, 256, (3, 48, 80, 3), dtype=np.uint8)
    drives = [policy.start("go past the box on the left") for policy in (one, other)]
    for frame in frames:
        chunks = [drive.act(frame) for drive in drives]
        np.testing.assert_allclose(chunks[1], chunks[0], atol=1e-6)


def test_its_files_and_settings_are_described(member, tmp_path):
    last = member.root / "run" / "checkpoints" / "last.ckpt"
    assert run("inspect", f"path={last}", f"out={tmp_path / 'file'}") == 0
    found = read(tmp_path / "file" / "inspect.json")
    assert found["components"].keys() == {"lora", "action_head", "action_token"}
    assert found["fits"]["exact"]
    assert found["fits"]["model"] == "its own configuration"
    assert run("inspect", *member.words, f"out={tmp_path / 'model'}") == 0
    parts = read(tmp_path / "model" / "inspect.json")["components"]
    assert {"vision", "text", "projection", "lora", "action_head", "action_token"} == parts.keys()
    assert run("doctor", f"run={member.root / 'run'}", f"out={tmp_path / 'doctor'}") == 0
    assert read(tmp_path / "doctor" / "doctor.json")["counts"]["error"] == 0


def test_frozen_work_is_cached_as_deep_as_it_can_be(member, tmp_path):
    """States where the decoder can begin in its midst, image tokens where not; and the training is the same."""
    words = ("model/lora=text", "model.lora.layers=[1]", "trainer.max_epochs=1")
    train = ("train", *member.words, *QUICK, *SMALL_HEAD, *member.data, *words)
    depths = {}
    for at in ("auto", "none"):
        assert run(*train, f"cache.at={at}", f"out={tmp_path / at}") == 0
        depths[at] = weights_of(tmp_path / at)
    kept = {read(file)["of"] for file in (member.root / "features").glob("*/content.json")}
    assert kept == {"states" if member.name == "smolvlm" else "image_tokens"}
    for name, weight in depths["auto"].items():
        torch.testing.assert_close(weight, depths["none"][name], atol=2e-4, rtol=0, msg=name)


def probe_untrained(words: tuple[str, ...], episodes: Path, out: Path) -> Path:
    plan = ("probe.plan.episodes=24", "probe.variants=[swap,donor]", f"data.pack_dir={out.parent / 'pack'}")
    assert run("probe", *words, "trainer=cpu", f"data.root={episodes}", *plan, f"out={out}") == 0
    return out


@pytest.fixture(scope="module")
def kosmos(episodes, tmp_path_factory) -> Path:
    return probe_untrained(("model=tiny",), episodes, tmp_path_factory.mktemp("kosmos") / "probe")


def test_probes_of_backbones_of_two_widths_are_compared(member, episodes, kosmos, tmp_path):
    other = probe_untrained(member.words, episodes, tmp_path / "other")
    sides = (f"left={kosmos}", f"right={other}")
    assert run("compare", *sides, "permutations=99", "spikes=60", f"out={tmp_path / 'report'}") == 0
    found = read(tmp_path / "report" / "compare.json")
    for side in ("left", "right"):
        assert {one["verdict"] for one in found["verdicts"][side].values()} <= {"yes", "no", "undecided"}
    for measure in ("cka", "mutual_knn", "procrustes"):
        assert found["comparison"][measure]["ci"] is not None, measure
    assert {name: store["dimensions"] for name, store in found["description"].items()} == {
        "left": 128,
        "right": WIDTHS[member.name],
    }

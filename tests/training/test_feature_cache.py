"""Training on what was computed once is training on frames: same weights, same numbers, nothing computed twice."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mobile_vla.checkpoints.trained import read_checkpoint
from mobile_vla.contexts.reader import open_store
from mobile_vla.core.errors import UserError
from mobile_vla.data.features import feature_prefix
from mobile_vla.data.packed.marks import write_header
from mobile_vla.models.backbones.kosmos2 import Kosmos2Backbone
from mobile_vla.models.policy import Policy
from mobile_vla.training import feature_cache
from mobile_vla.training.cache_plan import GB, CacheConfig
from tests.training.run_training import make_config, prepare, train

LAYERS = {"layers": 3}
DEPTHS = {
    "image_tokens": {"lora": {"preset": "text"}},
    "states": {"lora": {"preset": "text", "layers": "last:1"}},
    "contexts": {"lora": {"preset": "none"}},
}
# float32: the last layer is computed at fewer rows, and frames in other batches; a few steps carry that on
CLOSE = {"atol": 2e-5, "rtol": 2e-4}


@pytest.fixture
def settings(episode_files, tmp_path):
    """Of a training; three text layers, so that there is something in front of the last."""

    def make(cache=None, **groups):
        base = make_config(episode_files, cache={"dir": str(tmp_path / "features"), **(cache or {})}, **groups)
        text = {**base.model.architecture["text_config"], **LAYERS}
        return replace(base, model=replace(base.model, architecture={**base.model.architecture, "text_config": text}))

    return make


@pytest.fixture
def seen(monkeypatch) -> list[str]:
    """What of the backbone runs, call by call."""
    calls: list[str] = []
    for name in ("image_tokens", "decode", "decode_states", "frozen_states"):
        own = getattr(Kosmos2Backbone, name)

        def counted(self, *args, own=own, name=name, **kwargs):
            calls.append(name)
            return own(self, *args, **kwargs)

        monkeypatch.setattr(Kosmos2Backbone, name, counted)
    return calls


def weights(out: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(out / "checkpoints" / "last.ckpt")["state_dict"]


@pytest.mark.parametrize("depth", DEPTHS)
def test_weights_and_numbers_are_those_of_training_on_frames(settings, tmp_path, depth, capsys):
    plain = train(tmp_path / "plain", settings({"at": "none"}, **DEPTHS[depth]))
    found = train(tmp_path / "kept", settings(**DEPTHS[depth]))
    assert found["cache"]["of"] == depth
    assert plain["cache"] == {"of": None, "bytes": 0}
    expected, trained = weights(tmp_path / "plain"), weights(tmp_path / "kept")
    assert expected.keys() == trained.keys()
    for name, value in expected.items():
        torch.testing.assert_close(trained[name], value, msg=lambda text, name=name: f"{name}: {text}", **CLOSE)
    for name in ("val_loss", "rmse", "instruction_effect", "image_effect"):
        assert found[name] == pytest.approx(plain[name], rel=1e-4), name
    assert found["baselines"] == plain["baselines"]
    assert f"{depth} are computed once and kept" in capsys.readouterr().out


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_second_training_computes_nothing_in_front_of_its_depth(settings, tmp_path, depth, seen):
    """Validation, and its instructions and frames changed, included."""
    train(tmp_path / "first", settings(**DEPTHS[depth]))
    assert "image_tokens" in seen
    seen.clear()
    train(tmp_path / "second", settings(**DEPTHS[depth]))
    runs = {"image_tokens": {"decode"}, "states": {"decode_states"}, "contexts": set()}
    assert set(seen) == runs[depth]
    assert np.array_equal(*(weights(tmp_path / out)["head.rnn.weight_ih_l0"] for out in ("first", "second")))


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"weights_seed": 1}},
        {"model": {"layout": "kosmos2"}},
        {"model": {"preprocessing": "unit"}},
        {"trainer": {"precision": "bf16-mixed"}},
        {"architecture": {"text_config": {"attention_heads": 1}}},
        {"architecture": {"text_config": {"activation_function": "relu"}}},
        {"architecture": {"vision_config": {"hidden_act": "relu"}}},
        {"lora": {"preset": "none", "layers": "last:1"}},
    ],
    ids=[
        "weights",
        "layout",
        "preprocessing",
        "precision",
        "heads",
        "activation",
        "vision",
        "nothing that matters",
    ],
)
def test_what_another_model_has_written_is_never_read(settings, tmp_path, change, seen):
    first = {"lora": {"preset": "none"}, "trainer": {"max_epochs": 1}}
    train(tmp_path / "first", settings(**first))
    seen.clear()
    other = dict(change)
    architecture = other.pop("architecture", {})
    groups = {name: {**first.get(name, {}), **values} for name, values in other.items()}
    train(tmp_path / "second", build_otherwise(settings(**{**first, **groups}), architecture))
    assert ("image_tokens" in seen) == ("lora" not in change)


@pytest.mark.parametrize(
    "part",
    [{"vision_config": {"num_attention_heads": 1}}, {"text_config": {"attention_heads": 1}}],
    ids=["vision", "projection"],
)
def test_image_tokens_of_another_architecture_are_not_read(settings, tmp_path, part, seen):
    """The projection attends with the text decoder's heads: its tokens are others too."""
    first = settings(trainer={"max_epochs": 1}, **DEPTHS["image_tokens"])
    train(tmp_path / "first", first)
    seen.clear()
    train(tmp_path / "second", build_otherwise(first, part))
    assert "image_tokens" in seen


def test_files_that_no_training_has_made_are_left_alone(settings, tmp_path):
    """`cache.dir` may be a folder that holds other things."""
    small = {"lora": {"preset": "none"}, "trainer": {"max_epochs": 1}}
    features = tmp_path / "features"
    size = train(tmp_path / "0", settings(**small))["cache"]["bytes"]
    (content,) = features.glob("*/content.json")
    own = sorted(features.rglob("*.npy"))
    key = "ab" + "0" * 30
    planted = {
        "a user's file": features / "mine.npy",
        "in a folder of the same shape": features / "mine" / "ab" / f"{key}.npy",
        "in our folder": content.parent / "vectors.npy",
        "in our folder, called as ours are": content.parent / "ab" / f"{key}.npy",
        "a download": content.parent / "ab" / "half.part",
        "called as our parts are": content.parent / "ab" / f".{key}.npy.node.1.part",
    }
    for path in planted.values():
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path.with_suffix(".npy"), np.zeros((18, 8), np.float32))
        path.with_suffix(".npy").rename(path)
    renamed = content.parent / own[0].parent.name / f"{own[0].parent.name}{'0' * 30}.npy"
    planted["a copy of ours under another name"] = Path(shutil.copy(own[0], renamed))
    copied = features / "copied" / own[0].parent.name / own[0].name
    copied.parent.mkdir(parents=True)
    shutil.copy(content, copied.parents[1] / "content.json")  # by accident, beside foreign files
    planted["a copy of ours in another folder"] = Path(shutil.copy(own[0], copied))
    outside = tmp_path / "outside" / content.parent.name
    shutil.copytree(content.parent, outside)
    (features / "link").symlink_to(outside)
    planted["behind a link"] = outside / own[0].relative_to(content.parent)
    for path in planted.values():
        os.utime(path, (1, 1))
    train(tmp_path / "1", settings({"max_gb": size / GB}, **small, model={"weights_seed": 1}))
    assert [what for what, path in planted.items() if not path.exists()] == []
    assert not any(path.exists() for path in own)  # those of the first training, which had to go
    assert len(list(features.glob("*/content.json"))) == 4


def build_otherwise(config, architecture):
    """The same training of a model whose weights have the same shapes and values, and that computes something else."""
    known = config.model.architecture
    changed = {part: {**known.get(part, {}), **values} for part, values in architecture.items()}
    return replace(config, model=replace(config.model, architecture={**known, **changed}))


def test_another_prompt_is_another_text(settings, tmp_path, seen):
    train(tmp_path / "first", settings(**DEPTHS["contexts"]))
    seen.clear()
    config = settings(**DEPTHS["contexts"])
    train(tmp_path / "second", replace(config, model=replace(config.model, prompt="{instruction} now")))
    assert "decode" in seen


@pytest.mark.parametrize(
    ("groups", "at", "why"),
    [
        ({}, "image_tokens", "model/lora=all trains the vision tower; the deepest here is cache.at=none"),
        ({"lora": {"preset": "text"}}, "contexts", "the action token, .*; the deepest here is cache.at=image_tokens"),
        ({"lora": {"preset": "text", "layers": "last:1"}}, "contexts", "text layer 2 is trained; .*cache.at=states"),
        ({"lora": {"preset": "none"}, "model": {"dropout": 0.1}}, "image_tokens", "model.dropout=0.1 draws anew"),
        ({"lora": {"preset": "none"}, "augmentation": {"crop": 0.1}}, "image_tokens", "augmentation changes"),
        (
            {"lora": {"preset": "none"}, "probe": {"plan": {}, "taps": ("context", "text_layer_0")}},
            "contexts",
            "callbacks.probe.taps has text_layer_0",
        ),
        (
            {"lora": {"preset": "none"}, "probe": {"plan": {}, "taps": ("vision_layer_0",)}},
            "image_tokens",
            "callbacks.probe.taps has vision_layer_0",
        ),
    ],
)
def test_what_would_be_wrong_is_refused_by_name(settings, tmp_path, groups, at, why):
    with pytest.raises(UserError, match=f"cache.at={at!r} would be wrong: {why}"):
        prepare(tmp_path / "run", settings({"at": at}, **groups))
    assert not (tmp_path / "features").exists()


def test_over_its_budget_it_keeps_less_and_says_so(settings, tmp_path):
    states = DEPTHS["states"]
    whole = prepare(tmp_path / "run", settings(**states)).cache
    assert whole.depth == "states"
    tokens = prepare(tmp_path / "run", settings({"at": "image_tokens"}, **states)).cache
    assert 0 < tokens.num_bytes < whole.num_bytes
    less = settings({"max_gb": tokens.num_bytes / GB}, **states)
    training = prepare(tmp_path / "run", less)
    assert training.cache.depth == "image_tokens"
    assert any("states are not kept: " in note and "more than cache.max_gb=" in note for note in training.notes)
    nothing = prepare(tmp_path / "run", settings({"max_gb": 1e-9}, **states))
    assert nothing.cache.depth == "frames"
    with pytest.raises(UserError, match=r"cache.at='states': states are not kept: .* more than cache.max_gb"):
        prepare(tmp_path / "run", replace(less, cache=replace(less.cache, at="states")))


@pytest.mark.parametrize("depth", DEPTHS)
def test_the_size_that_is_announced_is_what_the_rows_take(settings, tmp_path, depth):
    found = train(tmp_path / "run", settings(trainer={"max_epochs": 1}, **DEPTHS[depth]))
    files = [np.load(path, mmap_mode="r") for path in (tmp_path / "features").rglob("*.npy")]
    assert found["cache"]["bytes"] == sum(file.nbytes for file in files) > 0


def test_what_others_left_goes_first_the_longest_unused_of_all(settings, tmp_path):
    """Three models of one size, in a budget of two and a half."""
    small = {"lora": {"preset": "none"}, "trainer": {"max_epochs": 1}}
    size = train(tmp_path / "0", settings(**small))["cache"]["bytes"]
    disk = sum(path.stat().st_size for path in (tmp_path / "features").rglob("*.npy"))
    budget = {"max_gb": (size + 1.5 * disk) / GB}
    (first,) = folders(tmp_path)
    train(tmp_path / "1", settings(budget, **small, model={"weights_seed": 1}))
    (second,) = folders(tmp_path) - {first}
    train(tmp_path / "2", settings(budget, **small))  # used again
    train(tmp_path / "3", settings(budget, **small, model={"weights_seed": 2}))
    (third,) = folders(tmp_path) - {first, second}
    files = {name: len(list((tmp_path / "features" / name).rglob("*.npy"))) for name in (first, second, third)}
    assert files[first] == files[third]
    assert 0 < files[second] < files[first]  # half of it goes


def folders(tmp_path: Path) -> set[str]:
    return {path.parent.name for path in (tmp_path / "features").glob("*/content.json")}


def test_files_of_other_episodes_of_the_same_model_make_room_too(settings, tmp_path):
    """And none that is wanted does, however long it was not used."""
    small = {"lora": {"preset": "none"}, "trainer": {"max_epochs": 1}}
    size = train(tmp_path / "0", settings(**small))["cache"]["bytes"]
    wanted = sorted((tmp_path / "features").rglob("*.npy"))
    left = [wanted[0].with_name(f"{wanted[0].name[:2]}{number:030x}.npy") for number in range(3)]
    prefix = feature_prefix(wanted[0].parents[1])
    values = np.load(wanted[0])
    for age, path in enumerate(left, start=1):
        with path.open("wb") as file:
            write_header(file, values, prefix + path.stem)
            file.write(values.tobytes())
        os.utime(path, (time.time() + age,) * 2)
    abandoned = Path(shutil.copy(left[0], left[0].with_name(f".{left[0].name}.host.1.part")))
    os.utime(abandoned, (1, 1))
    train(tmp_path / "1", settings({"max_gb": (size + 1.5 * left[0].stat().st_size) / GB}, **small))
    assert all(path.exists() for path in wanted)
    assert [path.exists() for path in left] == [False, False, True]
    assert not abandoned.exists()


def test_what_is_there_already_needs_no_room_on_the_disk(settings, tmp_path, monkeypatch):
    small = {"lora": {"preset": "none"}, "trainer": {"max_epochs": 1}}
    train(tmp_path / "0", settings(**small))
    full = shutil.disk_usage(tmp_path)._replace(free=0)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    assert prepare(tmp_path / "1", settings(**small)).cache.depth == "contexts"
    elsewhere = settings({"dir": str(tmp_path / "other")}, **small)
    assert prepare(tmp_path / "2", elsewhere).cache.depth == "frames"


def test_a_folder_that_cannot_be_written_ends_the_training_before_there_is_a_run(settings, tmp_path):
    (tmp_path / "file").write_text("no folder")
    config = settings({"dir": str(tmp_path / "file" / "below")}, **DEPTHS["contexts"])
    with pytest.raises(UserError, match=r"cache.dir: cannot write below .*Not a directory.*cache.at=none"):
        train(tmp_path / "run", config)
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]


def test_a_damaged_file_is_made_anew(settings, tmp_path, seen):
    whole = train(tmp_path / "0", settings(**DEPTHS["contexts"]))
    for number, path in enumerate(sorted((tmp_path / "features").rglob("*.npy"))):
        content = bytearray(path.read_bytes())
        content[60 + number % 20] = 0x20 if number % 2 else 0x28  # within the header
        path.write_bytes(content)
    seen.clear()
    found = train(tmp_path / "1", settings(**DEPTHS["contexts"]))
    assert "decode" in seen
    assert found["val_loss"] == whole["val_loss"]


@pytest.mark.slow
def test_a_training_whose_files_were_removed_goes_on_with_frames(settings, tmp_path, seen, monkeypatch):
    plain = train(tmp_path / "plain", settings({"at": "none"}, **DEPTHS["contexts"]))
    own = feature_cache.fill

    def fill_and_lose(*args):
        files = own(*args)
        shutil.rmtree(files.folder)
        return files

    monkeypatch.setattr("mobile_vla.training.run.fill", fill_and_lose)
    found = train(tmp_path / "run", settings(**DEPTHS["contexts"]))
    assert found["val_loss"] == pytest.approx(plain["val_loss"], rel=1e-4)


def test_resumed_on_the_files_it_ends_where_the_undisturbed_one_ends(settings, tmp_path):
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    groups = {**DEPTHS["states"], "optimization": {"schedule": "constant"}}
    train(whole, settings(**groups))
    train(halves, settings(**groups, trainer={"max_steps": 5}))
    train(halves, settings(**groups))
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(halves)[name]), name


def test_ranks_make_each_file_once_between_them(settings, tmp_path, monkeypatch):
    """One after the other, as far apart as they can be: the second finds what the first has made."""
    training = prepare(tmp_path / "run", settings(**DEPTHS["contexts"]))
    policy = Policy.build(training.config.model, training.source, 2, 2, torch.float32)
    made: list[int] = []
    own = feature_cache._compute

    for rank in (1, 0):
        monkeypatch.setattr(feature_cache, "_compute", lambda *args, rank=rank: (made.append(rank), own(*args)))
        files = feature_cache.fill(
            training.cache, training.config.cache, policy, training.dataset.frames, None, rank, 2
        )
    assert made == [1] * len(training.cache.wanted)
    assert files is not None


KILLED = """
import sys, json, time
sys.path.insert(0, {root!r})
from mobile_vla.data import features
own = features.FeatureFiles.write
def slow(*args):
    own(*args)
    print("wrote", flush=True)
    time.sleep(0.05)
features.FeatureFiles.write = slow
from tests.training.run_training import main
main(json.loads(sys.argv[1]))
"""


@pytest.mark.slow  # a process that imports everything, and three trainings
def test_killed_while_it_computes_it_leaves_nothing_wrong(settings, episode_files, tmp_path):
    root = str(Path(__file__).parents[2])
    cache = {"dir": str(tmp_path / "killed")}
    groups = {"lora": {"preset": "none"}, "cache": cache, "trainer": {"max_epochs": 1}}
    asked = json.dumps({"root": str(episode_files), "out": str(tmp_path / "run"), **groups})
    child = subprocess.Popen([sys.executable, "-c", KILLED.format(root=root), asked], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for line in child.stdout:
        if "wrote" in line:
            break
    child.send_signal(signal.SIGKILL)
    child.wait()
    left = {path.name for path in (tmp_path / "killed").rglob("*.npy")}
    assert left
    found = train(tmp_path / "after", make_config(episode_files, **groups))
    undisturbed = train(
        tmp_path / "whole", make_config(episode_files, **{**groups, "cache": {"dir": str(tmp_path / "f")}})
    )
    assert found["val_loss"] == undisturbed["val_loss"]
    for path in (tmp_path / "f").rglob("*.npy"):
        assert path.read_bytes() == (tmp_path / "killed" / path.relative_to(tmp_path / "f")).read_bytes()


@pytest.mark.parametrize("depth", ["image_tokens", "contexts"])
def test_contexts_are_stored_beside_it_as_they_are_without(settings, tmp_path, depth):
    probe = {"plan": {"kind": "all"}, "taps": ("context",)}
    groups = {**DEPTHS[depth], "probe": probe, "trainer": {"max_epochs": 1}}
    for name, cache in (("plain", {"at": "none"}), ("kept", None)):
        train(tmp_path / name, settings(cache, **groups))
    stores = [open_store(tmp_path / name / "contexts" / "epoch_000") for name in ("plain", "kept")]
    assert [len(store) for store in stores] == [len(stores[0])] * 2
    ours, theirs = (store.vectors("context")[:] for store in stores)
    np.testing.assert_allclose(ours, theirs, atol=2e-4)


@pytest.mark.parametrize("budget", [0, -1, math.nan])
def test_a_budget_must_be_positive(budget):
    with pytest.raises(UserError, match=r"^max_gb must be positive"):
        CacheConfig(max_gb=budget)


def test_there_may_be_no_limit(settings, tmp_path):
    found = train(tmp_path / "run", settings({"max_gb": math.inf}, **DEPTHS["contexts"]))
    assert found["cache"]["of"] == "contexts"


@pytest.mark.parametrize("depth", ["contexts", "none"])
def test_frames_are_stored_beside_contexts_also_where_contexts_are_cached(settings, tmp_path, depth):
    """The tap `pixels` reads no model, so it neither turns the cache off nor depends on it."""
    probe = {"plan": {"kind": "every_n", "n": 3}, "taps": ("context", "pixels")}
    config = settings({"at": depth}, lora={"preset": "none"}, probe=probe, trainer={"max_epochs": 1})
    training = prepare(tmp_path / "run", config)
    found = train(tmp_path / "run", config)
    assert found["cache"]["of"] == (None if depth == "none" else depth)
    store = open_store(tmp_path / "run" / "contexts" / "epoch_000")
    assert store.taps["pixels"].shape == (16 * 16 * 3,)
    episodes = {episode.id: episode for episode in training.data.episodes("validation")}
    for row in range(0, len(store), 5):
        episode, frame = episodes[store.column("episode")[row]], int(store.column("frame")[row])
        pixels = training.dataset.frames.read(episode, frame, frame + 1)[0].numpy()
        side = pixels.shape[0] // 16
        if pixels.shape[0] % 16 == 0:  # fields of equal size
            means = pixels.reshape(16, side, 16, side, 3).mean(axis=(1, 3)) / 255
            np.testing.assert_allclose(store.vectors("pixels")[row], means.ravel(), atol=1e-5)
        else:
            assert store.vectors("pixels")[row].mean() == pytest.approx(pixels.mean() / 255, abs=0.02)

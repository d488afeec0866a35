"""What is stored while training runs is what validation computed, all of it, and training is the same without."""

import copy
import shutil
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mobile_vla.contexts.reader import Store, open_store
from mobile_vla.core.batch import gather_windows
from mobile_vla.core.errors import Interrupted, UserError
from mobile_vla.data.assemble import WindowRequest
from tests.training.comparing import compare, read_scalars
from tests.training.forked_trainings import VALIDATING
from tests.training.run_training import make_config, prepare, train
from tests.training.test_ddp import train_in_two

ALL = {"plan": {"kind": "all"}}
TAPS = ("context", "head_state", "text_layer_0", "image_tokens")


class Watch(Callback):
    """Keeps of every validation the batches, what the policy put out for each, and the policy; with own hooks."""

    def __init__(self):
        self.validations = []
        self.was_checked = False
        self._hook = None

    def on_validation_epoch_start(self, trainer, module):
        """Behind the effects, which are measured when a validation starts."""
        self.outputs = []
        self._hook = module.policy.register_forward_hook(
            lambda policy, given, out: self.outputs.append((given[0], out[0]))  # actions, and what they cost
        )

    def on_validation_end(self, trainer, module):
        self._hook.remove()
        if trainer.sanity_checking:
            assert not (Path(trainer.default_root_dir) / "contexts").exists()
            self.was_checked = True
        else:
            self.validations.append((self.outputs, copy.deepcopy(module.policy), trainer.global_step))


class Fails(Callback):
    """Raises within the validation of an epoch, after its second batch."""

    def __init__(self, epoch: int, error: BaseException | None = None):
        self.epoch, self.error = epoch, error or UserError("the disk is full")

    def on_validation_batch_end(self, trainer, module, outputs, batch, batch_idx, dataloader_idx=0):
        self.policy = module.policy
        if trainer.current_epoch == self.epoch and batch_idx == 1:
            raise self.error


def stores(out: Path) -> dict[str, Store]:
    return {folder.name: open_store(folder, verify=True) for folder in sorted((out / "contexts").iterdir())}


def ids_of(store: Store) -> list[tuple[str, int]]:
    return list(zip(store.column("episode").tolist(), store.column("frame").tolist(), strict=True))


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != "manifest.json"
    }


def hooks_of(policy: torch.nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in policy.modules())


@pytest.fixture(scope="module")
def watched(episode_files, tmp_path_factory) -> tuple[Path, Watch]:
    """All validation frames, stored at each of 3 epochs; a sanity check runs before."""
    out, watch = tmp_path_factory.mktemp("stored") / "run", Watch()
    config = make_config(episode_files, probe={**ALL, "taps": TAPS}, trainer={"num_sanity_val_steps": 2})
    train(out, config, watch)
    return out, watch


def test_the_head_run_on_what_is_stored_predicts_what_validation_predicted(watched):
    out, watch = watched
    assert watch.was_checked
    assert list(stores(out)) == ["epoch_000", "epoch_001", "epoch_002"]
    for (name, store), (outputs, policy, step) in zip(stores(out).items(), watch.validations, strict=True):
        (checkpoint,) = (out / "checkpoints").glob(f"epoch={name[-3:]}-*")
        epoch = torch.load(checkpoint, weights_only=True)["epoch"]
        assert (store.manifest.info.run["epoch"], store.manifest.info.run["step"]) == (epoch, step)
        row = {id: index for index, id in enumerate(ids_of(store))}
        vectors = torch.from_numpy(store.vectors("context")[:])
        states = torch.from_numpy(store.vectors("head_state")[:])
        shown = set()
        for batch, predicted in outputs:
            pairs = vectors[[row[id.episode, id.frame] for id in batch.pair_id]]
            with torch.inference_mode():
                windows = gather_windows(pairs, batch.windows)
                assert torch.equal(policy.head(windows), predicted)
                assert not torch.equal(policy.head(windows + 1e-3), predicted)
                found, _ = policy.head.rnn(windows)
            for index, window in enumerate(batch.windows.tolist()):
                for place, pair in enumerate(window):
                    id = batch.pair_id[pair]
                    if pair >= 0 and place == min(id.frame, len(window) - 1):  # its longest history
                        assert torch.equal(states[row[id.episode, id.frame]], found[index, place])
                        shown.add((id.episode, id.frame))
        assert shown == row.keys(), "of every frame one row, and each was looked at"


def test_training_is_the_same_without(watched, whole):
    out, _ = watched
    names = ("state_dict", "optimizer_states", "lr_schedulers", "position", "loops", "callbacks")
    found, expected = (
        {name: torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)[name] for name in names}
        for run in (out, whole)
    )
    assert compare(found, expected, "last.ckpt") == []
    assert (out / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()
    scalars = {tag: values for tag, values in read_scalars(out).items() if tag.partition("/")[0] != "contexts"}
    assert scalars.pop("probe/extra_windows") == [(3, 0.0), (7, 0.0), (11, 0.0)]
    del scalars["speed/probe_s"]
    assert compare(scalars, read_scalars(whole), "scalars") == []


def test_charts_show_how_far_the_rows_moved(watched):
    out, _ = watched
    scalars = read_scalars(out)
    steps = [step for step, _ in scalars["val_loss"]]
    first, *later = (store.vectors("context")[:].astype(float) for store in stores(out).values())
    drift = scalars["contexts/context/drift_distance"]
    assert [step for step, _ in drift] == steps
    assert drift[0][1] == 0
    centre = sum(first) / len(first)
    apart = sum(sum((row - centre) ** 2) ** 0.5 for row in first)
    for (_, told), now in zip(drift[1:], later, strict=True):
        moved = sum(sum((a - b) ** 2) ** 0.5 for a, b in zip(now, first, strict=True))
        assert told == pytest.approx(moved / apart, rel=1e-5)
        assert told > 0.01
    assert {f"contexts/{tap}/effective_rank" for tap in TAPS} <= scalars.keys()


def test_histograms_of_every_epoch_and_the_projector_of_the_last(watched):
    out, _ = watched
    board = EventAccumulator(str(out), size_guidance={"histograms": 0})
    board.Reload()
    steps = [step for step, _ in read_scalars(out)["val_loss"]]
    for tap in TAPS:
        for name in ("values", "norms"):
            assert [event.step for event in board.Histograms(f"contexts/{tap}/{name}")] == steps
    shown = out / "projector" / "epoch_002"
    assert list((out / "projector").iterdir()) == [shown]
    vectors = np.loadtxt(shown / "points" / "context" / "tensors.tsv", ndmin=2)
    np.testing.assert_allclose(vectors, stores(out)["epoch_002"].vectors("context")[:], rtol=1e-5)


def test_rows_that_no_window_shows_are_further_windows(episode_files, tmp_path):
    """With every second window only, and chunks that must be whole, half of the frames lack their own window."""
    watch, out = Watch(), tmp_path / "run"
    config = make_config(
        episode_files,
        probe={**ALL, "every_n_epochs": 3, "taps": TAPS},
        data={"stride": 2, "ends": "drop", "batch_size": 3},
    )
    training = prepare(out, config)
    train(out, config, watch)
    assert list(stores(out)) == ["epoch_000", "epoch_002"], "due ones, and the last"
    store, (outputs, policy, _) = stores(out)["epoch_002"], watch.validations[-1]
    episodes = training.data.episodes("validation")
    assert ids_of(store) == [
        (e.id, frame) for e in sorted(episodes, key=lambda e: e.id) for frame in range(e.num_frames)
    ]
    held = {(id.episode, id.frame) for batch, _ in outputs[:] for id in batch.pair_id}
    assert held < set(ids_of(store))
    assembler, space = training.data.assembler(episodes), training.actions
    window, needed = config.data.window, set()
    index = {episode.id: i for i, episode in enumerate(episodes)}
    for row, (episode, frame) in enumerate(ids_of(store)):
        start = max(0, frame - window + 1)
        batch = assembler([WindowRequest(episode=index[episode], start=start)])
        with torch.no_grad():
            chunk = policy(batch)[0, frame - start]
            context = policy.contexts(batch)[batch.windows[0, frame - start]]
        np.testing.assert_allclose(store.column("predicted")[row], space.denormalize(chunk).numpy(), atol=1e-5)
        np.testing.assert_allclose(store.vectors("context")[row], context.numpy(), atol=1e-4)
        if start not in range(0, episodes[index[episode]].num_frames - window - config.data.chunk + 2, 2):
            needed.add((episode, start))
    assert [value for _, value in read_scalars(out)["probe/extra_windows"]] == [len(needed)] * 2
    assert any(f"{len(needed)} windows more than validation runs" in line for line in training.notes)


def test_an_exception_leaves_nothing_behind_and_a_resumed_run_goes_on(watched, episode_files, tmp_path, capsys):
    """It was left in the midst of the second epoch's validation, with some rows stored."""
    out, fails = tmp_path / "run", Fails(epoch=1)
    before = threading.enumerate()
    config = make_config(episode_files, probe={**ALL, "taps": TAPS})
    with pytest.raises(UserError, match="the disk is full"):
        train(out, config, fails)
    assert hooks_of(fails.policy) == 0
    assert "store" not in {thread.name for thread in threading.enumerate() if thread not in before}
    left = open_store(out / "contexts" / "epoch_001", partial=True)
    assert 0 < len(left) < left.manifest.planned
    before = content(out / "contexts" / "epoch_000")
    train(out, config)
    assert "stored anew" not in capsys.readouterr().err
    assert content(out / "contexts" / "epoch_000") == before
    for epoch, store in stores(out).items():
        expected = watched[0] / "contexts" / epoch
        assert content(store.folder) == content(expected)
        assert store.manifest.info.fingerprints == open_store(expected).manifest.info.fingerprints
    expected = {tag: values for tag, values in read_scalars(watched[0]).items() if tag != "speed/probe_s"}
    found = {tag: values for tag, values in read_scalars(out).items() if tag != "speed/probe_s"}
    assert compare(found, expected, "scalars") == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Interrupted("a second SIGTERM", signal.SIGTERM, at_once=True)])
def test_a_signal_leaves_nothing_behind_and_gradient_checkpointing_changes_no_row(
    watched, episode_files, tmp_path, error
):
    out, fails = tmp_path / "run", Fails(epoch=1, error=error)
    model = {"gradient_checkpointing": True}
    before = threading.enumerate()  # a test that ran earlier may have killed a writer
    with pytest.raises((SystemExit, Interrupted)):  # what Lightning makes of Ctrl-C
        train(out, make_config(episode_files, probe={**ALL, "taps": TAPS}, model=model), fails)
    assert hooks_of(fails.policy) == 0
    assert "store" not in {thread.name for thread in threading.enumerate() if thread not in before}
    assert content(out / "contexts" / "epoch_000") == content(watched[0] / "contexts" / "epoch_000")
    left = open_store(out / "contexts" / "epoch_001", partial=True)
    assert 0 < len(left) < left.manifest.planned


@pytest.mark.slow
def test_killed_in_a_validation_and_resumed(watched, trainings, tmp_path):
    out = tmp_path / "run"
    settings = {"probe": {**ALL, "taps": TAPS}}
    attempt = trainings.start(out, **settings, validation_nap_s=0.1)
    second = out / "contexts" / "epoch_001"
    assert attempt.until(lambda: second.exists() and attempt.phase() == VALIDATING)
    attempt.send(signal.SIGKILL)
    assert attempt.wait() == -signal.SIGKILL
    assert trainings.run(out, **settings) == 0, attempt.said()
    for epoch, store in stores(out).items():
        assert content(store.folder) == content(watched[0] / "contexts" / epoch)


@pytest.mark.parametrize("still", [True, False], ids=["stored", "not stored any more"])
def test_a_run_that_goes_on_from_earlier_takes_no_store_of_weights_that_it_never_had(
    watched, episode_files, tmp_path, capsys, still
):
    """It is put back behind its first epoch, and goes on for one more, at another rate."""
    out = Path(shutil.copytree(watched[0], tmp_path / "run"))
    before = {name: content(store.folder) for name, store in stores(out).items()}
    (first,) = (out / "checkpoints").glob("epoch=000-*")
    shutil.copy(first, out / "checkpoints" / "last.ckpt")
    probe = {**ALL, "taps": TAPS} if still else None
    train(out, make_config(episode_files, probe=probe, trainer={"max_epochs": 2}, optimization={"lr": 1e-3}))
    assert "contexts of epoch_001, epoch_002 are removed: training goes on before them" in capsys.readouterr().err
    left = stores(out)
    assert list(left) == ["epoch_000", *(["epoch_001"] if still else [])]
    assert content(left["epoch_000"].folder) == before["epoch_000"]
    if still:
        assert content(left["epoch_001"].folder).keys() == before["epoch_001"].keys()
        assert content(left["epoch_001"].folder) != before["epoch_001"]


def test_an_epoch_that_was_stopped_in_between_is_not_stored(episode_files, tmp_path):
    """Its validation says how good the weights are; the epoch's own comes when the run goes on."""
    out = tmp_path / "run"
    train(out, make_config(episode_files, probe=ALL, trainer={"max_steps": 6}))
    assert list(stores(out)) == ["epoch_000"]


@pytest.mark.parametrize(
    ("probe", "message"),
    [
        ({**ALL, "taps": ("contxt",)}, "^callbacks.probe.taps: there is no tap point 'contxt'"),
        ({**ALL, "taps": ("backbone.model.text_model.lm_head:mean",)}, "^callbacks.probe.taps: .* has no module"),
        ({**ALL, "taps": ("backbone.model.text_model.model.embed_tokens:mean",)}, "^callbacks.probe.taps: .* puts out"),
        ({"plan": {"by": ("directoin",)}}, "^callbacks.probe.plan.by: .* did you mean 'direction'"),
    ],
)
def test_what_cannot_be_stored_is_refused_before_anything_is_written(episode_files, tmp_path, probe, message):
    out = tmp_path / "run"
    out.mkdir()
    with pytest.raises(UserError, match=message):
        train(out, make_config(episode_files, probe=probe))
    assert [file.name for file in out.iterdir() if not file.name.startswith(".")] == []


def test_a_tap_that_is_not_there_is_told_before_a_folder_is_made(episode_files, tmp_path):
    config = make_config(episode_files, probe={**ALL, "taps": ("contxt",)})
    with pytest.raises(UserError, match=r"^callbacks.probe.taps: there is no tap point 'contxt'"):
        prepare(tmp_path / "run", config)


@pytest.mark.slow
def test_two_processes_store_every_row_once(watched, episode_files, tmp_path):
    out = tmp_path / "run"
    ended = train_in_two(out, episode_files, probe={**ALL, "taps": TAPS}, data={"batch_size": 7, "stride": 2})
    assert [end["why"] for end in ended] == ["finished"] * 2
    expected = stores(watched[0])["epoch_000"]
    for store in stores(out).values():
        assert ids_of(store) == ids_of(expected)
        assert not (store.folder / "parts").exists()

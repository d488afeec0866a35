"""A run of seconds through `mobile_vla`: trained, opened, driven, looked into, as the commands and the model do it."""

import json
import runpy
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import h5py
import numpy as np
import pytest
import torch
import yaml
from matplotlib.figure import Figure

import mobile_vla as mv
from mobile_vla.api.policy import LoadedPolicy
from mobile_vla.core.batch import Batch, PairId
from mobile_vla.core.errors import UserError
from mobile_vla.data.splits import SplitConfig
from mobile_vla.jobs.results import make_plain
from mobile_vla.probing.plans import PlanConfig
from mobile_vla.sources.synthetic.writer import SynthConfig, write_episodes
from tests.cli.small_training import SMALL, run

FRAMES, WINDOW = 11, 8
WORDS = (*SMALL, "callbacks.figures=null", "callbacks.effects=null", "data.split.validation=0.2")
WORDS += ("optimization.lr=3e-2", "trainer.max_epochs=1")
TOUR = Path(__file__).parents[2] / "docs" / "tour.py"
TAPS = ("context", "pixels", "text_layer_0", "head_state")


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> SimpleNamespace:
    """Episodes, a run on them, the run's policy, and a probe of its validation part."""
    folder = tmp_path_factory.mktemp("api")
    episodes = folder / "에피소드 (1), a=b"
    write_episodes(SynthConfig(episodes=16, frames=FRAMES, resolution=(27, 48), workers=1), episodes)
    words = (*WORDS, f"data.root={episodes}", f"data.pack_dir={folder / 'pack'}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))  # what is known of files is remembered below it
        trained = mv.train([*words, f"out={folder / 'run'}"])
        taps = f"probe.taps=[{','.join(TAPS)}]"
        patch.setattr("mobile_vla.probing.report.describe_probe", lambda *_: {})  # without pictures
        patch.setattr("mobile_vla.cli.probe.rows_of_probe", lambda _: [])
        assert run("probe", f"run={trained.folder}", f"out={folder / 'probe'}", "probe.plan.kind=all", taps) == 0
        data = mv.open_dataset(episodes, split=SplitConfig(validation=0.2))
    return SimpleNamespace(
        folder=folder,
        episodes=episodes,
        moved=shutil.copytree(episodes, folder / "moved"),
        words=words,
        run=trained,
        policy=mv.load(trained.folder),
        data=data,
        store=mv.open_store(folder / "probe" / "contexts"),
    )


@torch.no_grad()
def chunks_of(policy: LoadedPolicy, frames: list[np.ndarray], text: str) -> np.ndarray:
    """(N, C, A) of the policy's own forward pass on all windows of an episode at once, in the data's units."""
    module, count = policy.module, len(frames)
    starts = range(max(count - WINDOW, 0) + 1)
    ids, mask = policy.prompter([text])
    batch = Batch(
        frames=module.preprocessing.resize(torch.from_numpy(np.stack(frames))),
        text_ids=ids,
        text_mask=mask,
        pair_frame=torch.arange(count),
        pair_text=torch.zeros(count, dtype=torch.int64),
        windows=torch.tensor([list(range(start, start + WINDOW)) for start in starts]),
        chunks=torch.zeros(len(starts), WINDOW, 10, 2),
        chunk_mask=torch.ones(len(starts), WINDOW, 10, dtype=torch.bool),
        pair_id=tuple(PairId("e", frame, text) for frame in range(count)),
    )
    found = module(batch).numpy()  # (S, W, C, A)
    low, high = np.array(policy.actions.low), np.array(policy.actions.high)
    return low + (np.concatenate([found[0], found[1:, -1]]) + 1) * (high - low) / 2


class TestDrive:
    def test_acts_are_those_of_the_batched_policy(self, here):
        recording = here.data[0]
        drive = here.policy.start(recording.instruction)
        acted = [drive.act(frame) for frame in recording.frames]
        assert (acted[0].dtype, acted[0].shape) == (np.float32, (10, len(here.policy.components)))
        expected = chunks_of(here.policy, list(recording.frames), recording.instruction)
        np.testing.assert_allclose(np.stack(acted), expected, atol=2e-5)
        assert np.ptp(expected[:, 0], axis=0).max() > 1e-3, "frames matter"

    def test_drives_side_by_side_do_not_disturb_each_other(self, here):
        texts = ("go past the box on the left", "go past the box on the right")
        frames = [list(recording.frames)[:4] for recording in here.data[:2]]
        alone = []
        for text, seen in zip(texts, frames, strict=True):
            drive = here.policy.start(text)
            alone.append([drive.act(frame) for frame in seen])
        drives = [here.policy.start(text) for text in texts]
        together = [[drive.act(seen[step]) for drive, seen in zip(drives, frames, strict=True)] for step in range(4)]
        assert np.array_equal(np.swapaxes(alone, 0, 1), together)
        assert not np.allclose(alone[0], alone[1], atol=1e-5)

    def test_a_frame_that_is_only_observed_counts_and_a_refused_one_does_not(self, here):
        frames = list(here.data[0].frames)[:3]
        acted, observed = here.policy.start("go"), here.policy.start("go")
        for frame in frames[:2]:
            acted.act(frame)
            observed.observe(frame)
            with pytest.raises(UserError, match=r"^frame: "):
                observed.act(frame[None])
        assert np.array_equal(acted.act(frames[2]), observed.act(frames[2]))
        assert observed.num_frames == 3

    def test_an_instruction_is_a_text(self, here):
        for wrong in ("", " "):
            with pytest.raises(UserError, match=r"^instruction: "):
                here.policy.start(wrong)


class TestCapture:
    def test_rows_of_a_drive_are_those_that_a_probe_stores(self, here):
        store = here.store
        id = store.episodes[0]
        own = np.flatnonzero(store.episodes == id)
        with here.policy.capture(*TAPS) as taps:
            drive = here.policy.start(here.data[id].instruction)
            chunks = [drive.act(frame) for frame in here.data[id].frames]
        assert taps.frames.tolist() == store.column("frame")[own].tolist() == list(range(FRAMES))
        for tap in TAPS:
            np.testing.assert_allclose(taps[tap], store[tap][own], atol=1e-5, err_msg=tap)
        np.testing.assert_allclose(chunks, store.column("predicted")[own], atol=1e-5)

    def test_rows_say_whose_they_are_and_are_gone_when_taken(self, here):
        frame = here.data[0].frames[0]
        with here.policy.capture("context") as taps:
            one, other = here.policy.start("go left"), here.policy.start("go right")
            for drive in (one, other, one):
                drive.act(frame)
            assert taps.drives.tolist() == [one.number, other.number, one.number]
            assert (taps.frames.tolist(), taps.instructions[1]) == ([0, 0, 1], "go right")
            taken = taps.take()
            assert (len(taken["context"]), len(taps)) == (3, 0)
            with pytest.raises(UserError, match="no rows yet"):
                taps["context"]
        one.act(frame)
        assert len(taps) == 0, "the block is over"
        with pytest.raises(UserError, match=r"^taps: there is no tap point 'kontext'; expected context"):
            here.policy.capture("kontext").__enter__()


@pytest.fixture
def without_pictures(monkeypatch):
    monkeypatch.setattr("mobile_vla.api.probing.describe_probe", lambda *_: {})


@pytest.mark.usefixtures("without_pictures")
class TestProbe:
    WANTED: ClassVar = {"plan": PlanConfig(kind="all"), "taps": TAPS}

    def test_the_store_is_the_commands(self, here, tmp_path):
        store = mv.probe(here.run, out=tmp_path / "probe", **self.WANTED)
        assert store.manifest.info == here.store.manifest.info
        for column in ("episode", "frame", "instruction", "variant", "part"):
            assert store.column(column).tolist() == here.store.column(column).tolist()
        assert np.array_equal(store.column("predicted"), here.store.column("predicted"))
        for tap in TAPS:
            assert np.array_equal(store[tap], here.store[tap]), tap
        assert (tmp_path / "probe" / "probe.json").is_file()

    def test_a_loaded_policy_is_probed_with_the_weights_that_it_has_now(self, here, tmp_path):
        policy = mv.load(here.run.folder)
        same = mv.probe(policy, out=tmp_path / "same", **self.WANTED)
        assert np.array_equal(same["context"], here.store["context"])
        with torch.no_grad():
            policy.module.backbone.action_token.zero_()
        changed = mv.probe(policy, out=tmp_path / "changed", **self.WANTED)
        assert changed.manifest.info.fingerprints["trained"] != same.manifest.info.fingerprints["trained"]
        assert not np.allclose(changed["context"], same["context"], atol=1e-4)

    def test_a_checkpoint_without_its_run_is_probed_on_episodes_that_are_named(self, here, tmp_path):
        store = mv.probe(here.policy.source, here.episodes, out=tmp_path / "probe", **self.WANTED)
        assert set(store.episodes) == {recording.id for recording in here.data}
        own = np.isin(store.episodes, here.store.episodes)
        np.testing.assert_allclose(store["context"][own], here.store["context"], atol=1e-5)

    @pytest.mark.parametrize(
        ("wanted", "message"),
        [
            ({"taps": ["kontext"]}, "^taps: there is no tap point 'kontext'"),
            ({"variants": ["swop"]}, "^variants: there is no 'swop'"),
            ({"plan": PlanConfig(by=("colour",))}, "^plan.by: no episode has a label 'colour'"),
            ({"before": "nowhere"}, "nowhere: no such folder"),
            ({"episodes": "{moved}"}, "cannot be called held out, since the run was trained on them"),
        ],
    )
    def test_mistakes_name_the_argument_and_nothing_is_written(self, here, tmp_path, wanted, message):
        wanted = {name: here.moved if value == "{moved}" else value for name, value in wanted.items()}
        with pytest.raises(UserError, match=message):
            mv.probe(here.run, out=tmp_path / "probe", **wanted)
        assert not (tmp_path / "probe").exists()


class TestEvaluate:
    TIMED = ("seconds", "windows_per_s", "data_wait_share", "schema", "version")

    def test_the_findings_are_the_commands(self, here, tmp_path, monkeypatch):
        for draw in ("horizon_figure", "chunk_figure", "frame_strip"):
            monkeypatch.setattr(f"mobile_vla.opening.assessment.{draw}", lambda *_: Figure(figsize=(0.1, 0.1)))
        assert run("eval", f"run={here.run.folder}", f"out={tmp_path / 'eval'}") == 0
        told = json.loads((tmp_path / "eval" / "eval.json").read_text())
        monkeypatch.chdir(tmp_path)
        found = mv.evaluate(here.run)
        plain = make_plain(found.found)
        assert {name: plain[name] for name in plain if name not in self.TIMED} == {
            name: told[name] for name in told if name not in self.TIMED
        }
        assert found.loss == pytest.approx(here.run.val_loss, rel=1e-5)
        assert [file.name for file in tmp_path.iterdir()] == ["eval"], "nothing is written unasked"

    def test_mistakes_name_the_argument(self, here):
        with pytest.raises(UserError, match=r"^checkpoint='start': before training the head predicts at random"):
            mv.evaluate(here.run, checkpoint="start")
        with pytest.raises(UserError, match=r"^run='.*': there is no such folder"):
            mv.evaluate(here.folder / "ran")
        with pytest.raises(UserError, match=r"trained on them"):
            mv.evaluate(here.run, episodes=here.moved)


class TestLoad:
    def test_a_checkpoint_and_an_export_drive_as_the_run_does(self, here, tmp_path):
        frame = here.data[0].frames[0]
        expected = here.policy.start("go left").act(frame)
        assert run("export", f"run={here.run.folder}", f"out={tmp_path / 'exported'}") == 0
        for path in (here.policy.source, tmp_path / "exported"):
            policy = mv.load(path, device="cpu")
            np.testing.assert_allclose(policy.start("go left").act(frame), expected, atol=1e-6)
            assert (policy.components, policy.trained) == (here.policy.components, True)

    def test_other_weights_and_the_callers_random_numbers(self, here):
        torch.manual_seed(5)
        began = mv.load(here.run.folder, checkpoint="start")
        after = torch.rand(1)
        torch.manual_seed(5)
        assert torch.equal(after, torch.rand(1))
        frame = here.data[0].frames[0]
        assert not np.allclose(began.start("go").act(frame), here.policy.start("go").act(frame), atol=1e-4)
        assert not began.trained

    @pytest.mark.parametrize(
        ("path", "wanted", "message"),
        [
            ("ran", {}, "^path: there is no such file or folder: .*did you mean 'run'"),
            ("run", {"device": "cuda:99"}, "^device='cuda:99': not available here"),
            ("run", {"checkpoint": "bset"}, "^checkpoint='bset': no such file"),
            ("run", {"settings": ["model=tiny"]}, "^settings=.*says itself"),
            ("probe", {"checkpoint": "last"}, "^checkpoint='last': .* is not the folder of a run"),
        ],
    )
    def test_mistakes_name_the_argument(self, here, path, wanted, message):
        with pytest.raises(UserError, match=message):
            mv.load(here.folder / path, **wanted)


class TestTrain:
    def test_the_run_is_that_of_the_same_words(self, here, capsys):
        assert here.run.found == json.loads((here.run.folder / "train.json").read_text())
        assert here.run.val_loss > 0
        capsys.readouterr()
        assert run("train", *here.words, "--cfg", "job") == 0
        composed = yaml.safe_load(capsys.readouterr().out)
        saved = yaml.safe_load((here.run.folder / "config.yaml").read_text())
        for name in ("model", "trainer", "optimization", "callbacks", "seed"):
            assert saved[name] == composed[name]
        assert saved["trainer"]["max_epochs"] == 1

    @pytest.mark.slow
    def test_its_numbers_are_the_commands(self, here, tmp_path):
        assert run("train", *here.words, f"out={tmp_path / 'again'}") == 0
        again = json.loads((tmp_path / "again" / "train.json").read_text())
        for name in ("val_loss", "rmse", "baselines", "denominators", "parameters", "by_label"):
            assert here.run.found[name] == again[name]

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            ("model=tiny", "^words: expected a list"),
            (["--multirun", "seed=1,2"], "^words: .*--multirun"),
            (["trainer.max_epoch=3"], "trainer.max_epochs"),
            (["data.root=nowhere", "model=tiny"], "nowhere"),
        ],
    )
    def test_mistakes_are_raised(self, words, message, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(UserError, match=message):
            mv.train(words)
        assert not list(tmp_path.iterdir())


class TestDataset:
    def test_episodes_are_those_of_the_files_and_the_split_that_of_the_run(self, here):
        split = json.loads((here.run.folder / "split.json").read_text())["splits"]
        data = here.data
        assert {part: tuple(row["episode"] for row in rows) for part, rows in split.items()} == data.split
        recording = data[1]
        with h5py.File(here.episodes / f"{recording.id}.h5") as file:
            assert np.array_equal(recording.frames[3], file["images"][3])
            assert np.array_equal(recording.frames[-1:2:-4], file["images"][[6, 10]][::-1])
            assert np.array_equal(recording.actions, file["actions"][:, :2])
        assert len(recording) == len(recording.frames) == FRAMES
        assert set(data.label("direction")) == {"left", "right"} == {one.labels["direction"] for one in data}

    def test_mistakes_name_the_argument(self, here):
        with pytest.raises(UserError, match=r"^path: expected a folder of HDF5 files, there is none at"):
            mv.open_dataset(here.folder / "nothing")
        with pytest.raises(UserError, match="no episode 'x'"):
            here.data["x"]


def test_the_tour_runs_on_it(here, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(here.folder))
    monkeypatch.setattr(sys, "argv", ["tour.py", str(here.run.folder), str(here.episodes), str(here.store.folder)])
    tour = runpy.run_path(str(TOUR))
    assert tour["X"].shape[0] == 12 * FRAMES == len(tour["y"])
    assert (tmp_path / "tour.png").stat().st_size > 1000
    assert "discriminative: " in capsys.readouterr().out

"""`mobile-vla probe` on a run of seconds: rows that are what the policy computes, of episodes called what they are."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import yaml

import mobile_vla.contexts as contexts
from mobile_vla.opening.stored_run import StoredRun
from mobile_vla.settings.typed import build
from mobile_vla.sources.synthetic.writer import SynthConfig, write_episodes
from mobile_vla.training.config import TrainConfig
from tests.cli.test_eval import WORDS, run

STOPPED_AFTER = 2  # passes


def read(folder: Path) -> dict:
    return json.loads((folder / "probe.json").read_text())


def parts(run_folder: Path) -> dict[str, list[dict]]:
    return json.loads((run_folder / "split.json").read_text())["splits"]


@pytest.fixture(scope="module")
def episodes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "에피소드 (1), a=b"
    write_episodes(SynthConfig(episodes=20, frames=11, resolution=(27, 48), workers=1), folder)
    return folder


@pytest.fixture(scope="module")
def pack(tmp_path_factory) -> str:
    return f"data.pack_dir={tmp_path_factory.mktemp('pack')}"


@pytest.fixture(scope="module")
def trained(episodes, pack, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "a"
    words = (*WORDS, f"data.root={episodes}", pack, "optimization.lr=3e-2", "trainer.max_epochs=1")
    assert run("train", *words, f"out={folder}") == 0
    return folder


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pictures, which take longer than the probe."""
    monkeypatch.setattr("mobile_vla.analysis.descriptions.description_figure.save_figure", lambda figure, file: None)
    monkeypatch.setattr("mobile_vla.display.probe_board.ProbeBoard.write", lambda *_: [])


@pytest.fixture
def refused(tmp_path: Path, capsys, monkeypatch):
    """Runs `probe`, which must fail as a user's mistake and write nothing; its one line."""
    monkeypatch.chdir(tmp_path)

    def ask(*words: str) -> str:
        before = {path: path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("*"))}
        assert run("probe", *words) == 2
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        assert {path: path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("*"))} == before
        return captured.err.strip().splitlines()[-1]

    return ask


@pytest.fixture(scope="module")
def everything(trained, tmp_path_factory) -> Path:
    """All frames of the run's validation part, with variants."""
    out = tmp_path_factory.mktemp("probes") / "p"
    words = (
        "probe.plan.kind=all",
        "probe.taps=[context,pixels,image_tokens:whole]",
        "probe.variants=[swap,donor,blank]",
    )
    assert run("probe", f"run={trained}", f"out={out}", *words) == 0
    return out


class TestOwnRun:
    def test_rows_are_those_of_the_files(self, trained, everything):
        store = contexts.open(everything / "contexts", verify=True)
        own = parts(trained)["validation"]
        chosen = store.select()
        recorded = {(row["episode"], frame) for row in own for frame in range(11)}
        names = ("episode", "frame", "instruction", "part", "fingerprint", "progress", "label.direction")
        columns = {name: store.column(name)[chosen] for name in names}
        assert list(zip(columns["episode"], columns["frame"], strict=True)) == sorted(recorded)
        assert set(store.column("part")) == {"validation"}
        by_id = {row["episode"]: row for row in own}
        for index, id in enumerate(columns["episode"]):
            assert columns["instruction"][index] == by_id[id]["instruction"]
            assert columns["fingerprint"][index] == by_id[id]["fingerprint"]
            assert columns["label.direction"][index] in Path(by_id[id]["file"]).name
            frame = columns["frame"][index]
            assert columns["progress"][index] == pytest.approx(frame / 10)
            with h5py.File(by_id[id]["file"]) as file:
                true = file["actions"][frame : frame + 10, :2]
            action = store.column("action")[chosen][index]
            np.testing.assert_array_equal(action[: len(true)], true)
            assert np.isnan(action[len(true) :]).all()

    def test_stored_contexts_through_the_head_are_the_validation_of_the_training(self, trained, everything):
        """All of val_loss comes again from the store alone: contexts, recorded actions, and the head."""
        opened = StoredRun.open(trained, build(TrainConfig, settings_of(trained)))
        policy, store = opened.policy(), contexts.open(everything / "contexts")
        rows = store.select().reshape(-1, 11)  # (episodes, frames)
        vectors, actions = store.vectors("context"), store.column("action")
        total, count = 0.0, 0
        for mine in rows:
            for start in range(11 - 8 + 1):
                window = mine[start : start + 8]
                with torch.no_grad():
                    predicted = policy.head(torch.from_numpy(vectors[window])[None])[0].numpy()
                error = np.abs(predicted - opened.actions.normalize(actions[window]))
                error = error[np.isfinite(error)]
                total += np.where(error < 1, error**2 / 2, error - 0.5).sum()
                count += error.size
                found = store.column("predicted")[window]
                velocities = opened.actions.denormalize(predicted)
                np.testing.assert_allclose(found[-1], velocities[-1], atol=1e-5)  # longest history: last position,
                if start == 0:
                    np.testing.assert_allclose(found, velocities, atol=1e-5)  # or the first window
        expected = json.loads((trained / "train.json").read_text())["val_loss"]
        assert total / count == pytest.approx(expected, rel=1e-4)

    def test_variants_say_what_was_shown_and_told(self, everything):
        store = contexts.open(everything / "contexts")
        assert read(everything)["variants"] == dict.fromkeys(("blank", "donor", "own", "swap"), 44)
        own = store.select()
        assert not any(store.column("shown_episode")[own])
        for variant, shows in (("donor", True), ("swap", False), ("blank", True)):
            rows = store.select(variant=variant)
            assert (store.column("episode")[rows] == store.column("episode")[own]).all()
            assert (store.column("instruction")[rows] != store.column("instruction")[own]).all() == (variant == "swap")
            assert all(store.column("shown_episode")[rows]) == shows
            same = (store.vectors("pixels")[rows] == store.vectors("pixels")[own]).all(axis=1)
            assert same.any() == (not shows)
        assert store.column("shown_episode")[store.select(variant="blank")][0].startswith("blank:")
        donors = store.column("shown_episode")[store.select(variant="donor")]
        assert (donors != store.column("episode")[own]).all()

    def test_the_folder_holds_the_report_and_what_tensorboard_reads(self, trained, everything):
        found = read(everything)
        assert (found["schema"], found["rows"], found["episodes"]) == (1, 176, 4)
        assert found["parts"] == {"validation": 176}
        steps = json.loads((trained / "train.json").read_text())["steps"]
        assert (found["epoch"], found["step"], found["split"]) == (1, steps, "validation")
        assert Path(found["checkpoint"]).parent == trained / "checkpoints"
        assert found["taps"]["image_tokens:whole"]["shape"] == [4, 32]
        assert 0 < found["description"]["context"]["raw"]["effective_rank"] < 32
        assert found["bytes"] == sum(f.stat().st_size for f in (everything / "contexts").rglob("*") if f.is_file())
        assert {f.name for f in everything.glob("*.png")} >= {"spectra.png", "map_0_context.png"}
        assert "image_tokens:whole is not in the Projector" in found["notes"][0]
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        board = EventAccumulator(str(everything))
        board.Reload()
        rank = board.Scalars("contexts/context/effective_rank")[0]
        assert (rank.step, rank.value) == (
            steps - 1,  # where the training's validation of these weights is
            pytest.approx(found["description"]["context"]["raw"]["effective_rank"]),
        )
        assert "contexts/context/values" in board.Tags()["histograms"]
        labels = (everything / "points" / "context" / "metadata.tsv").read_text().splitlines()
        assert labels[0].split("\t")[:6] == ["direction", "episode", "frame", "progress", "part", "variant"]
        assert len(labels) == 177
        assert len({line.count("\t") for line in labels}) == 1


@pytest.mark.usefixtures("fast")
def test_drift_and_attention_are_told_where_they_are_asked_for(trained, everything, tmp_path):
    words = (f"run={trained}", "probe.attention={episodes: 2, frames: 2}", "probe.taps=[context,head_state]")
    assert run("probe", *words, f"probe.before={everything}", f"out={tmp_path / 'o'}") == 0
    found = read(tmp_path / "o")
    assert found["drift"]["context"] == {"distance": pytest.approx(0, abs=1e-4), "cosine": pytest.approx(1), "rows": 20}
    assert "head_state" not in found["drift"]
    assert any("has no tap head_state of the same shape" in note for note in found["notes"])
    assert {file.name for file in (tmp_path / "o").glob("attention_*.png")} == {"attention_0.png", "attention_1.png"}


@pytest.fixture(scope="module")
def start(trained, tmp_path_factory) -> Path:
    """The same frames before the training, a third tap aside."""
    out = tmp_path_factory.mktemp("start") / "s"
    words = ("probe.plan.kind=all", "probe.taps=[context,pixels]")
    assert run("probe", f"run={trained}", "checkpoint=start", f"out={out}", *words) == 0
    return out


@pytest.mark.usefixtures("fast")
class TestBeforeAndAfter:
    def test_the_start_has_the_rows_of_the_run_and_predicts_nothing(self, trained, start, everything):
        before, now = contexts.open(start / "contexts"), contexts.open(everything / "contexts")
        for name in ("episode", "frame", "instruction", "part", "fingerprint"):
            assert before.column(name).tolist() == now.column(name)[now.select()].tolist()
        assert before.rows["predicted"].null_count == len(before) == 44
        found = read(start)
        assert (found["checkpoint"], found["epoch"], found["step"], found["trained"]) == ("start", 0, 0, False)
        assert found["fingerprints"]["base"] == read(everything)["fingerprints"]["base"] == base_of(trained)
        assert (before.vectors("pixels")[:] == now.vectors("pixels")[now.select()]).all()
        assert "predicted chunks are not stored" in found["notes"][0]

    def test_each_number_stands_beside_the_one_before(self, trained, start, tmp_path, capsys):
        words = ("probe.plan.kind=all", "probe.taps=[context,head_state]", f"probe.before={start}")
        assert run("probe", f"run={trained}", f"out={tmp_path / 'o'}", *words) == 0
        found, earlier = read(tmp_path / "o"), read(start)
        assert found["before_description"] == {"context": earlier["description"]["context"]}
        assert found["drift"].keys() == found["change"].keys() == {"context"}
        assert found["drift"]["context"]["distance"] > 0.05
        printed = " ".join(capsys.readouterr().out.split())
        old, new = (told["description"]["context"] for told in (earlier, found))
        ranks = " -> ".join(f"{told['raw']['effective_rank']:.1f}" for told in (old, new))
        shares = " -> ".join(f"{told['z']['top_share']:.0%}" for told in (old, new))
        assert f"effective rank {ranks} of 32" in printed
        assert f"(z-scored {shares}) over 44 vectors" in printed
        assert "0 -> 0 dead" in printed
        assert f"length {old['norm']['mean']:.2f} -> {new['norm']['mean']:.2f}" in printed
        assert found["change"]["context"][1] in printed

    def test_the_rows_of_another_probe_are_probed_again(self, trained, start, tmp_path, capsys):
        """Exactly these, of the model that was never trained too; the frames are stored beside the contexts."""
        words = (f"run={trained}", f"probe.plan.of={start}")
        assert run("probe", *words, f"out={tmp_path / 'o'}") == 0
        then, now = contexts.open(start / "contexts"), contexts.open(tmp_path / "o" / "contexts")
        for name in ("episode", "frame"):
            assert then.column(name).tolist() == now.column(name).tolist()
        assert list(now.taps) == ["context", "pixels"]
        assert list(read(tmp_path / "o")["description"]) == ["context"]
        printed = capsys.readouterr().out
        (warning,) = now.manifest.info.run["warnings"][:1]
        assert warning.startswith("4 episodes are looked into (the validation part")
        assert f"warning: {warning}" in printed
        assert warning in read(tmp_path / "o")["notes"]
        assert run("probe", *words, "split=train", f"out={tmp_path / 'p'}") == 2
        assert f"probe.plan.of={start}: 4 of its 4 episodes are not among" in capsys.readouterr().err

    def test_numbers_of_other_rows_do_not_stand_side_by_side(self, trained, start, tmp_path):
        words = ("split=all", "probe.plan.kind=every_n", "probe.plan.n=5")  # 3 frames of 20 episodes, 4 of them before
        assert run("probe", f"run={trained}", f"out={tmp_path / 'o'}", f"probe.before={start}", *words) == 0
        found = read(tmp_path / "o")
        assert (found["drift"]["context"]["rows"], found["before_description"], found["change"]) == (12, None, None)
        assert any("lacks 48 of the 60 rows as recorded" in note for note in found["notes"])


@pytest.mark.usefixtures("fast")
class TestWhichEpisodes:
    def test_all_of_a_run_calls_every_episode_by_its_part(self, trained, tmp_path):
        assert run("probe", f"run={trained}", "split=all", f"out={tmp_path / 'o'}") == 0
        store = contexts.open(tmp_path / "o" / "contexts")
        named = dict(zip(store.column("episode"), store.column("part"), strict=True))
        assert named == {row["episode"]: part for part, rows in parts(trained).items() for row in rows}

    def test_a_part_of_the_run(self, trained, tmp_path, capsys):
        assert run("probe", f"run={trained}", "split=train", f"out={tmp_path / 'o'}", "probe.plan.episodes=4") == 0
        found = read(tmp_path / "o")
        assert (found["episodes"], found["parts"]) == (4, {"train": 20})
        printed = capsys.readouterr().out.splitlines()
        assert any(line.startswith("plan stratified by direction, seed 0: 20 rows of 4 episodes") for line in printed)
        assert printed[-1] == str(tmp_path / "o")

    @pytest.fixture
    def other(self, trained, tmp_path) -> Path:
        """New episodes, and copies under other names: one that was trained on, one that was held out."""
        folder = tmp_path / "other"
        write_episodes(SynthConfig(episodes=4, frames=11, seed=9, resolution=(27, 48), workers=1), folder)
        shutil.copy(parts(trained)["train"][0]["file"], folder / "known.h5")
        shutil.copy(parts(trained)["test"][0]["file"], folder / "tested.h5")
        return folder

    def test_other_data_that_was_trained_on_is_refused_with_the_list(self, trained, other, refused):
        line = refused(f"run={trained}", f"data.root={other}")
        assert "1 of 6 episodes cannot be called held out" in line
        assert f"known.h5 (trained on as {parts(trained)['train'][0]['episode']})" in line
        assert "split=all" in line

    def test_other_data_knows_what_the_run_knows_of_it(self, trained, other, tmp_path):
        words = (f"run={trained}", f"data.root={other}", "probe.plan.progress=[0.5]")
        assert run("probe", *words, "split=all", f"out={tmp_path / 'o'}") == 0
        store = contexts.open(tmp_path / "o" / "contexts")
        named = dict(zip(store.column("episode"), store.column("part"), strict=True))
        assert (named.pop("known"), named.pop("tested")) == ("train", "test")
        assert list(named.values()) == ["other"] * 4
        (other / "known.h5").unlink()
        assert run("probe", *words, f"out={tmp_path / 'p'}") == 0
        assert read(tmp_path / "p")["parts"] == {"other": 4, "test": 1}

    def test_an_untrained_model_has_contexts_and_predicts_nothing(self, trained, episodes, pack, tmp_path, capsys):
        words = [word for word in WORDS if not word.startswith(("callbacks", "optimization"))]
        assert run("probe", *words, f"data.root={episodes}", pack, f"out={tmp_path / 'o'}") == 0
        store = contexts.open(tmp_path / "o" / "contexts")
        assert (len(store), store.manifest.episodes) == (100, 20)
        assert store.rows["predicted"].null_count == store.rows["part"].null_count == 100
        assert np.isfinite(store.column("action")[:, 0]).all()
        assert "predicted chunks are not stored" in read(tmp_path / "o")["notes"][0]
        assert read(tmp_path / "o")["fingerprints"]["base"] == base_of(trained)
        held = {row["episode"] for row in parts(trained)["validation"]}
        assert run("probe", *words, f"data.root={episodes}", pack, f"out={tmp_path / 'v'}", "split=validation") == 0
        dealt = contexts.open(tmp_path / "v" / "contexts")
        assert set(dealt.column("episode")) == held  # the same split as a training with these settings


@pytest.fixture(scope="module")
def words(trained) -> list[str]:
    return ["probe", f"run={trained}", "probe.plan.kind=all", "probe.variants=[swap]", "probe.batch_size=3"]


def stop(words: list[str], out: Path, number: int) -> subprocess.CompletedProcess:
    """A probe whose process gets the signal after some passes, each of them on disk."""
    code = (
        "import os, sys\n"
        "from mobile_vla.contexts.writer import StoreWriter\n"
        "StoreWriter.__init__.__kwdefaults__['part_s'] = 0.0\n"
        "add, calls = StoreWriter.add, []\n"
        "def stopped(self, rows, values):\n"
        f"    if len(calls) == {STOPPED_AFTER}:\n"
        "        while self._queue.qsize() or self._rows: pass\n"
        f"        os.kill(os.getpid(), {int(number)})\n"
        "    calls.append(add(self, rows, values))\n"
        "StoreWriter.add = stopped\n"
        "from mobile_vla.cli.main import main\n"
        "main(sys.argv[1:])\n"
    )
    command = [sys.executable, "-c", code, *words, f"out={out}"]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


@pytest.fixture(scope="module")
def killed(words, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("killed") / "k"
    done = stop(words, out, signal.SIGKILL)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return out


@pytest.mark.usefixtures("fast")
class TestContinuing:
    def test_the_same_words_go_on_and_the_store_is_as_if_nothing_had_happened(self, killed, words, tmp_path):
        begun = Path(shutil.copytree(killed, tmp_path / "k"))
        there = len(contexts.open(begun / "contexts", partial=True))
        assert 0 < there < 88
        assert run(*words, f"out={begun}") == 0
        assert run(*words, f"out={tmp_path / 'whole'}") == 0
        assert bytes_of(begun / "contexts") == bytes_of(tmp_path / "whole" / "contexts")
        assert read(begun)["rows_computed"] == 88 - there
        assert read(tmp_path / "whole")["rows_computed"] == 88

    @pytest.mark.slow
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_ends_it_after_the_pass_at_hand(self, words, tmp_path, number):
        """Which is stored, as nothing else is; the same words go on."""
        out = tmp_path / "s"
        done = stop(words, out, number)
        assert done.returncode == 128 + number, done.stderr
        hint = done.stderr.splitlines()[-1]
        assert f"{number.name}: stopping after this pass; once more to stop at once\n" in done.stderr
        kept = "what was stored stays: go on with the same words and"
        assert hint == f"mobile-vla: stopped by {number.name}; {kept} out={out}"
        stored = contexts.open(out / "contexts", partial=True)
        assert Counter(stored.column("variant")) == {"own": 20, "swap": 10}, "three passes of three windows"
        assert run(*words, f"out={out}") == 0
        assert read(out)["rows_computed"] == 88 - 30

    def test_other_settings_do_not_go_on(self, killed, words, tmp_path, capsys):
        begun = Path(shutil.copytree(killed, tmp_path / "k"))
        there = bytes_of(begun)
        assert run(*words, "probe.taps=[context,head_state]", f"out={begun}") == 2
        assert "holds another store: taps.head_state" in capsys.readouterr().err
        assert bytes_of(begun) == there

    def test_a_finished_probe_and_a_run_are_not_gone_on_with(self, trained, words, tmp_path, refused, everything):
        finished = Path(shutil.copytree(everything, tmp_path / "f"))
        assert "the folder is not empty" in refused(*words[1:], f"out={finished}")
        copy = Path(shutil.copytree(trained, tmp_path / "r"))
        (copy / "contexts").mkdir()
        assert "the folder is not empty" in refused(*words[1:], f"out={copy}")

    @pytest.mark.slow  # three processes that import everything
    def test_two_processes_make_the_same_store(self, words, tmp_path):
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=29631"]
        command += ["-m", "mobile_vla", *words, f"out={tmp_path / 'two'}"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
        assert done.returncode == 0, done.stderr
        assert run(*words, f"out={tmp_path / 'one'}") == 0
        assert bytes_of(tmp_path / "two" / "contexts") == bytes_of(tmp_path / "one" / "contexts")


class TestMistakes:
    @pytest.mark.parametrize(
        ("words", "told"),
        [
            ("probe.taps=[contxt]", "probe.taps: there is no tap point 'contxt'; expected context"),
            ("probe.taps=[text_layer_9]", "there is no text_layer_9"),
            ("probe.taps=[]", "probe.taps is empty"),
            ("probe.plan.kind=some", "probe.plan.kind: expected one of 'all', 'stratified', 'every_n', got 'some'"),
            ("probe.plan.by=[directon]", "probe.plan.by: no episode has a label 'directon'; did you mean 'direction'?"),
            ("probe.variants=[swop]", "probe.variants: there is no 'swop' (did you mean swap?)"),
            ("split=held_out", "split=held_out: expected one of validation, test, train, all"),
            ("checkpoint=epoch_9", "checkpoint=epoch_9: no such file"),
            ("trainer.devices=2", "probe starts no processes of its own; start them with torchrun"),
            ("probe.attention={episodes: 1, layers: [9]}", "probe.attention.layers: there is no layer 9"),
            ("probe.before=nowhere", "no such folder"),
        ],
    )
    def test_are_told_in_one_line_and_write_nothing(self, trained, refused, words, told):
        assert told in refused(f"run={trained}", words)

    def test_a_probe_of_other_rows_is_nothing_to_compare_with(self, trained, everything, refused):
        told = f"none of the 15 rows is among the 176 of {everything / 'contexts'}; expected a probe of the same"
        assert told in refused(f"run={trained}", "split=test", f"probe.before={everything}")

    def test_a_full_disk_is_told_before(self, trained, refused, monkeypatch):
        monkeypatch.setattr("shutil.disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 10**9 - 9, 9))
        assert "are free, and storing 20 rows takes up to 25.1 kB" in refused(f"run={trained}", "probe.taps=[context]")

    def test_a_checkpoint_without_a_run(self, refused, episodes):
        assert "checkpoint=last is a run's" in refused("model=tiny", f"data.root={episodes}", "checkpoint=last")


def settings_of(run_folder: Path) -> dict:
    content = yaml.safe_load((run_folder / "config.yaml").read_text())
    return {name: value for name, value in content.items() if name not in ("out", "name", "run", "config")}


def base_of(run_folder: Path) -> str:
    return torch.load(run_folder / "checkpoints" / "last.ckpt", weights_only=True)["mobile_vla"]["base_fingerprint"]


def bytes_of(store: Path) -> Counter[tuple[str, bytes]]:
    """Of all files but the lock, which says who has asked last."""
    files = [file for file in sorted(store.rglob("*")) if file.is_file() and file != store / ".lock"]
    return Counter((str(file.relative_to(store)), file.read_bytes()) for file in files)

"""What lies on disk: layouts, names, attributes, and the same bytes for the same seed."""

import hashlib
import re
import subprocess
import sys
from datetime import datetime
from io import BytesIO

import h5py
import numpy as np
import pytest
from PIL import Image

from mobile_vla.core.errors import UserError
from mobile_vla.sources.synthetic.episode import make_task, record
from mobile_vla.sources.synthetic.phrases import side_of
from mobile_vla.sources.synthetic.writer import SynthConfig, write_episodes

SMALL = {"resolution": (36, 64), "workers": 1}
FLAT_NAME = r"episode_\d{8}_\d{6}_[12]box_(hori|vert)_(left|right)_(core|variant)_(close|medium|far)"
NESTED_NAME = r"episode_\d{6}_\d{6}_target_(left|center|right)_(left|right)_path_(core|variant)_(close|medium|far)"


def write(folder, **settings):
    write_episodes(SynthConfig(**(SMALL | settings)), folder)
    return sorted(folder.glob("*"))


def digests(paths):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_flat_layout_is_the_collectors(tmp_path):
    paths = write(tmp_path, episodes=3)
    for path in paths:
        assert re.fullmatch(FLAT_NAME + r"\.h5", path.name)
        with h5py.File(path) as file:
            assert set(file) == {"images", "actions", "action_event_types"}
            images, actions = file["images"], file["actions"]
            assert (images.shape, images.dtype) == ((18, 36, 64, 3), np.uint8)
            assert (images.compression, images.compression_opts) == ("gzip", 4)
            assert (actions.shape, actions.dtype) == ((18, 3), np.float32)
            assert h5py.check_string_dtype(file["action_event_types"].dtype).length is None  # variable length
            events = file["action_event_types"].asstr()[()]
            assert events[0] == "episode_start"
            assert set(events[1:]) <= {"start_action", "stop_action"}
            attributes = dict(file.attrs)
        when = datetime.strptime(path.name[8:23], "%Y%m%d_%H%M%S")
        assert attributes.pop("episode_name") == path.stem
        assert attributes.pop("collection_datetime") == when.isoformat()
        assert attributes.pop("collection_hour") == when.hour
        assert attributes.pop("collection_minute") == when.minute
        assert attributes.pop("total_duration") == pytest.approx(18 * 0.4)
        assert attributes.pop("num_frames") == 18
        assert attributes.pop("action_chunk_size") == 10
        assert attributes.pop("obstacle_layout_type") in path.name
        assert attributes.pop("time_period") in ("morning", "afternoon", "evening")
        assert side_of(attributes.pop("task")) in path.name
        assert attributes == {}


def test_full_size_frames_have_the_collectors_chunks(tmp_path):
    (path,) = write(tmp_path, episodes=1, resolution=(720, 1280))
    with h5py.File(path) as file:
        assert file["images"].chunks == (3, 90, 160, 1)


def test_nested_layout_is_the_collectors(tmp_path):
    for path in write(tmp_path, episodes=3, layout="nested"):
        assert re.fullmatch(NESTED_NAME + r"\.h5", path.name)
        with h5py.File(path) as file:
            assert set(file) == {"observations", "actions", "language_instruction", "timestamps"}
            assert set(file["observations"]) == {"images"}
            images, text, times = file["observations/images"], file["language_instruction"], file["timestamps"]
            assert (images.shape, images.dtype, images.compression) == ((18, 36, 64, 3), np.uint8, "gzip")
            assert (file["actions"].shape, file["actions"].dtype) == ((18, 3), np.float32)
            assert (text.shape, text.dtype.kind) == ((1,), "S")
            side = side_of(text[0].decode("utf-8"))
            np.testing.assert_allclose(np.diff(times[()]), 0.4, atol=1e-6)
            attributes = dict(file.attrs)
        position, path_side = re.search(r"target_(\w+?)_(\w+?)_path", path.name).groups()
        assert path_side == side
        pattern, distance = path.stem.split("_")[-2:]
        scenario = f"target_{position}_{path_side}_path"
        expected = {"scenario": scenario, "pattern": pattern, "distance": distance, "end_pos": position}
        assert attributes == expected


def test_jpeg_layout_holds_the_nested_frames_as_jpeg_rows(tmp_path):
    settings = {"episodes": 2, "resolution": (90, 160)}
    nested = write(tmp_path / "nested", layout="nested", **settings)
    jpeg = write(tmp_path / "jpeg", layout="jpeg", **settings)
    assert [path.name for path in nested] == [path.name for path in jpeg]
    for raw, packed in zip(nested, jpeg, strict=True):
        with h5py.File(raw) as left, h5py.File(packed) as right:
            rows = right["observations/images"]
            assert h5py.check_vlen_dtype(rows.dtype) == np.uint8
            assert dict(rows.attrs) == {"format": "jpeg", "quality": 90}
            frames = np.stack([np.asarray(Image.open(BytesIO(row.tobytes()))) for row in rows])
            error = np.abs(frames.astype(int) - left["observations/images"][()])
            assert error.mean() < 4
            np.testing.assert_array_equal(left["actions"], right["actions"])
            assert dict(left.attrs) == dict(right.attrs)


@pytest.mark.parametrize("layout", ["flat", "nested", "jpeg"])
def test_same_seed_same_bytes_however_many_are_written_and_by_however_many(tmp_path, layout):
    first = digests(write(tmp_path / "a", layout=layout, episodes=5, noise=2.0))
    again = digests(write(tmp_path / "b", layout=layout, episodes=5, noise=2.0, workers=2))
    fewer = digests(write(tmp_path / "c", layout=layout, episodes=2, noise=2.0))
    assert first == again
    assert fewer.items() < first.items()
    assert len(set(first.values())) == 5


def test_another_seed_gives_other_scenes(tmp_path):
    assert not set(digests(write(tmp_path / "a", episodes=4)).values()) & set(
        digests(write(tmp_path / "b", episodes=4, seed=1)).values()
    )


def test_the_files_hold_the_recording(tmp_path):
    paths = write(tmp_path, episodes=2, seed=7)
    for index, path in enumerate(paths):  # names sort in the order of recording
        recording = record(make_task(7, index), num_frames=18, resolution=(36, 64))
        with h5py.File(path) as file:
            np.testing.assert_array_equal(file["images"], recording.frames)
            np.testing.assert_array_equal(file["actions"], recording.actions)


def test_summary_counts_what_was_written(tmp_path):
    calls = []
    config = SynthConfig(episodes=30, frames=2, seed=3, **SMALL)
    summary = write_episodes(config, tmp_path, progress=lambda done, total: calls.append((done, total)))
    names = [path.name for path in tmp_path.iterdir()]
    assert (summary["files"], summary["frames"], len(names)) == (30, 60, 30)
    assert summary["bytes"] == sum(path.stat().st_size for path in tmp_path.iterdir())
    assert summary["labels"]["direction"] == {"left": 15, "right": 15}
    for word in ("close", "medium", "far"):
        assert summary["labels"]["distance"].get(word, 0) == sum(f"_{word}." in name for name in names)
    assert sum(summary["instructions"].values()) == 30
    assert calls == [(i, 30) for i in range(1, 31)]
    assert len({name[8:16] for name in names}) == 2  # two sessions


@pytest.mark.parametrize("frames", [1, 7, 40])
def test_any_length_and_size(tmp_path, frames):
    (path,) = write(tmp_path, episodes=1, frames=frames, resolution=(48, 64))
    with h5py.File(path) as file:
        assert file["images"].shape == (frames, 48, 64, 3)
        assert file["actions"].shape == (frames, 3)


def test_existing_files_are_not_overwritten(tmp_path):
    before = digests(write(tmp_path, episodes=2, frames=2))
    with pytest.raises(UserError, match=r"out: '.*' exists already"):
        write(tmp_path, episodes=3, frames=2)
    assert digests(tmp_path.iterdir()) == before


def test_nothing_half_written_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("mobile_vla.sources.synthetic.writer.write_recording", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write(tmp_path, episodes=1, frames=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"episodes": 0}, "episodes: a whole number of at least 1 expected, got 0"),
        ({"seed": -1}, "seed: a whole number of at least 0"),
        ({"frames": 2.5}, "frames: a whole number"),
        ({"workers": 0}, "workers: a whole number"),
        ({"layout": "zarr"}, "layout: one of flat, nested, jpeg expected, got 'zarr'"),
        ({"world": "blind"}, "world: one of full, instruction_blind, image_blind, left_only"),
        ({"resolution": (720,)}, r"resolution: \[height,width\]"),
        ({"resolution": (720, 0)}, "resolution: a whole number of at least 16"),
        ({"noise": -1.0}, "noise: grey levels"),
    ],
)
def test_wrong_settings_are_told_in_one_line(settings, message):
    with pytest.raises(UserError, match=message):
        SynthConfig(**settings)


def test_resolution_may_come_as_a_list():
    assert SynthConfig(resolution=[48, 64]).resolution == (48, 64)


def test_writing_needs_no_torch():
    code = "import sys, mobile_vla.sources.synthetic.writer; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

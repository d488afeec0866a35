"""Sessions and the order of recording are read from what the store holds; what tells nothing is not taken for them."""

import json
from itertools import count

import numpy as np
import pytest

from mobile_vla.analysis.sample import take_sample
from mobile_vla.analysis.verdicts.discriminative.targets import declare_targets, list_unused, make_target
from mobile_vla.contexts.importing import open_arrays, write_store
from mobile_vla.contexts.reader import open_store
from mobile_vla.core.errors import UserError
from tests.analysis import conftest

FRAMES = 3


@pytest.fixture
def sampled(tmp_path):
    """names, labels (one value an episode) -> a sample; the store's rows are in the order of the names."""

    number = count()

    def make(names, labels=None, **more):
        vectors = np.random.default_rng(0).standard_normal((len(names) * FRAMES, 4))
        frames = np.tile(np.arange(FRAMES), len(names))
        spread = {name: [value for value in values for _ in range(FRAMES)] for name, values in (labels or {}).items()}
        return take_sample(
            conftest.write_store(
                tmp_path / f"s{next(number)}",
                {"context": vectors},
                np.repeat(names, FRAMES),
                frames,
                frames / (FRAMES - 1),
                labels=spread,
                **more,
            )
        )

    return make


def sessions(sample):
    """Which episodes are together, by name."""
    found = {}
    for name, code in zip(sample.episodes, sample.session.tolist(), strict=True):
        found.setdefault(code, []).append(name)
    return sorted(found.values())


def in_order(sample):
    return [sample.episodes[one] for one in np.argsort(sample.order)]


LAB = [
    "episode_20251205_090000_1box_hori_left_core_medium",
    "episode_20251204_113519_2box_vert_right_core_far",
    "episode_251204_093519_target_left_right_path_core_close",
    "2025-12-05T08-59-00_left",
]


def test_names_tell_the_day_and_the_order(sampled):
    sample = sampled(LAB)
    assert sample.sessions_known
    assert sessions(sample) == sorted([sorted([LAB[0], LAB[3]]), sorted([LAB[1], LAB[2]])])
    assert in_order(sample) == [LAB[2], LAB[1], LAB[3], LAB[0]]
    assert "2 sessions by the episodes' names" in sample.sessions_by


def test_imported_arrays_have_sessions(tmp_path):
    """The way from files that anyone may have written: names only, and no label of a session."""
    names = [f"episode_2025120{1 + index % 3}_1200{index:02d}_1box_left" for index in range(12)]
    vectors = np.random.default_rng(0).standard_normal((12, 4)).astype(np.float32)
    np.save(tmp_path / "context_vectors.npy", vectors)
    rows = [{"vector_idx": i, "episode": names[i], "frame_idx": 0, "progress": 0.0} for i in range(12)]
    (tmp_path / "context_metadata.json").write_text(json.dumps({"annotations": rows}))
    write_store(open_arrays(tmp_path), tmp_path / "store")
    sample = take_sample(open_store(tmp_path / "store"))
    assert sample.sessions_known
    assert [len(together) for together in sessions(sample)] == [4, 4, 4]
    assert in_order(sample) == sorted(names)


@pytest.mark.parametrize(
    ("label", "values"),
    [
        ("date", ["2025-12-04", "2025-12-04", "2025-12-05", "2025-12-05"]),
        ("Recording Date", [20251204.0, 20251204.0, 20251205.0, 20251205.0]),
        (
            "collection_datetime",
            [f"2025-12-{at}" for at in ("04T11:35:11", "04T11:35:12", "05T11:35:09", "05 11:35:08")],
        ),
        ("timestamp", [1764848119.0, 1764848120.0, 1764948119.0, 1764948121.0]),
        ("session", ["a", "a", "b", "b"]),
        ("aufgenommen", ["2025-12-04 11:00", "2025-12-04 12:00", "2025-12-05 09:00", "2025-12-05 11:00"]),
    ],
)
def test_labels_tell_the_session_and_are_no_targets(sampled, label, values):
    names = ["aq", "bz", "cp", "dk"]
    sample = sampled(names, {label: values, "scenario": ["box", "basket"] * 2})
    assert sessions(sample) == [["aq", "bz"], ["cp", "dk"]]
    assert sample.sessions_known
    assert [target.name for target in declare_targets(sample)] == ["scenario"]
    assert list(list_unused(sample)) == [label]
    with pytest.raises(UserError, match="no target"):
        declare_targets(sample, [label])


def test_seconds_tell_the_order(sampled):
    stamps = [1764848119.0, 1764848129.0, 1764848109.0]
    assert in_order(sampled(["a", "b", "c"], {"timestamp": stamps})) == ["c", "a", "b"]
    assert in_order(sampled(["a", "b", "c"], {"start_time": [3.5, 1.0, 2.0]})) == ["b", "c", "a"]


def test_a_running_number_tells_the_order(sampled):
    """In any place of the name; another number that is the same in two episodes is none."""
    names = ["ep_10_scene_3", "ep_9_scene_3", "ep_8_scene_4", "ep_11_scene_1"]
    sample = sampled(names)
    assert in_order(sample) == ["ep_8_scene_4", "ep_9_scene_3", "ep_10_scene_3", "ep_11_scene_1"]
    assert not sample.sessions_known
    assert set(sample.session.tolist()) == {0}


def test_the_order_of_the_store_counts_unless_it_is_the_alphabets(sampled):
    hashes = ["c0ffee", "bada55", "feed0f", "deadbe"]
    assert in_order(sampled(hashes)) == hashes


def test_the_alphabet_is_no_order_of_recording(sampled):
    assert sampled(sorted(["c0ffee", "bada55", "feed0f", "deadbe"])).order is None


def test_days_in_part_of_the_names_are_sessions_but_not_known_ones(sampled):
    names = ["20251204_a", "20251204_b", "20251205_c", "20251205_d", "kitchen", "tour"]
    sample = sampled(names)
    assert sessions(sample) == [names[:2], names[2:4], names[4:]]
    assert not sample.sessions_known
    assert "of 2 of 6 episodes it is not known" in sample.sessions_by


@pytest.mark.parametrize("label", ["session", "date"])
def test_what_differs_in_every_episode_is_no_session(sampled, label):
    names = [f"20251204_10000{index}" if index < 3 else f"20251205_10000{index}" for index in range(6)]
    sample = sampled(names, {label: [f"take {index}" for index in range(6)]})
    assert sessions(sample) == [names[:3], names[3:]]
    alone = sampled([f"ep_{index}" for index in range(6)], {label: [f"2025-12-{10 + index}" for index in range(6)]})
    assert not alone.sessions_known
    assert set(alone.session.tolist()) == {0}
    assert in_order(alone) == [f"ep_{index}" for index in range(6)]


def test_a_label_that_is_the_day_under_another_name_is_not_asked_for(sampled):
    names = [f"episode_2025120{4 + index // 20}_10{index:04d}" for index in range(40)]
    sample = sampled(names, {"scenario": ["box"] * 20 + ["basket"] * 20, "pattern": ["x", "y"] * 20})
    assert "hardly differs within a session" in (make_target(sample, "scenario").why_not or "")
    assert declare_targets(sample)[0].name == "pattern"


def test_numbers_that_count_something_are_targets(sampled):
    names = [f"ep_{index}" for index in range(16)]
    sample = sampled(names, {"seed": [1.5e9, 1.6e9] * 8, "num_cups": [1.0, 2.0] * 8})
    assert not sample.sessions_known
    assert {target.name for target in declare_targets(sample)} == {"seed", "num_cups"}


def test_keeping_episodes_keeps_their_order(sampled):
    sample = sampled([f"ep_{9 - index}" for index in range(6)]).keep([5, 0, 2])
    assert sorted(sample.order.tolist()) == [0, 1, 2]
    assert in_order(sample) == sorted(sample.episodes)

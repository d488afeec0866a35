"""Splits by whole episodes: complete, in proportion, and the same whatever the order of the files."""

import json
import math
import os
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mobile_vla.core.errors import UserError
from mobile_vla.data.splits import PARTS, Recorded, SplitConfig, find_groups, load_split, make_split, save_split
from mobile_vla.sources.hdf5.labels import read_labels

CONFIGS = st.builds(
    SplitConfig,
    validation=st.sampled_from([0.1, 0.15, 0.2, 0.3]),
    test=st.sampled_from([0.0, 0.1, 0.15, 0.3]),
    seed=st.integers(0, 5),
)
FIXED = {"validation": 0.15, "test": 0.15}
STRATA = st.fixed_dictionaries(
    {"left": st.integers(12, 40)},  # enough for a validation part
    optional={side: st.integers(1, 40) for side in ("right", "straight", "unknown")},
)


@pytest.fixture(scope="session")
def recorded(make_episode):
    """Episodes of a given number for each direction."""

    def record(strata):
        return [
            make_episode(f"{side}/{index:02}", 2, direction=side) for side in strata for index in range(strata[side])
        ]

    return record


def shares(config):
    return {"train": 1 - config.validation - config.test, "validation": config.validation, "test": config.test}


@given(strata=STRATA, config=CONFIGS)
def test_every_episode_is_in_exactly_one_part(recorded, strata, config):
    episodes = recorded(strata)
    split = make_split(episodes, config)
    assert sorted(id for part in PARTS for id in split.parts[part]) == sorted(e.id for e in episodes)


@given(strata=STRATA, config=CONFIGS)
def test_the_whole_keeps_its_shares_within_one_episode(recorded, strata, config):
    episodes = recorded(strata)
    split = make_split(episodes, config)
    for part, share in shares(config).items():
        assert abs(len(split.parts[part]) - share * len(episodes)) < 1


@given(strata=STRATA, config=CONFIGS)
@example(strata={"left": 36, "right": 26, "straight": 3, "unknown": 12}, config=SplitConfig(**FIXED))
def test_every_stratum_keeps_its_shares_within_one_episode(recorded, strata, config):
    split = make_split(recorded(strata), config)
    for part, share in shares(config).items():
        counts = Counter(id.split("/")[0] for id in split.parts[part])
        for side, size in strata.items():
            assert abs(counts[side] - share * size) <= 1 + 1e-9, (part, side)


def test_the_labs_set_is_split_evenly(recorded):
    split = make_split(recorded({"left": 250, "right": 250}), SplitConfig(validation=0.1, test=0.1))
    for part, expected in {"train": 200, "validation": 25, "test": 25}.items():
        counts = Counter(id.split("/")[0] for id in split.parts[part])
        assert counts == {"left": expected, "right": expected}


@given(order=st.permutations(range(20)))
def test_the_order_of_files_means_nothing(recorded, order):
    episodes = recorded({"left": 9, "right": 11})
    assert make_split([episodes[i] for i in order], SplitConfig(**FIXED)) == make_split(episodes, SplitConfig(**FIXED))


def test_the_seed_decides_who_is_held_out(recorded):
    episodes = recorded({"left": 20, "right": 20})
    held_out = {make_split(episodes, SplitConfig(**FIXED, seed=seed)).parts["validation"] for seed in range(5)}
    assert len(held_out) == 5
    assert make_split(episodes, SplitConfig(**FIXED, seed=3)) == make_split(episodes, SplitConfig(**FIXED, seed=3))


def test_names_in_order_of_time_do_not_decide(recorded):
    """The last files of a folder are one day's: they must not be the validation."""
    episodes = recorded({"left": 40})
    held_out = make_split(episodes, SplitConfig(**FIXED)).parts["validation"]
    assert held_out != tuple(e.id for e in episodes[-len(held_out) :])


def test_other_labels_may_stratify(make_episode):
    episodes = [
        make_episode(f"{i:02}", 2, direction="left", distance="far" if i % 4 == 0 else "near") for i in range(40)
    ]
    split = make_split(episodes, SplitConfig(validation=0.2, test=0.2, by=("direction", "distance")))
    assert [sum(int(id) % 4 == 0 for id in split.parts[part]) for part in PARTS] == [6, 2, 2]


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_episodes(recorded, count):
    with pytest.raises(UserError, match=f"{count} good episodes cannot be split into training and validation"):
        make_split(recorded({"left": count}), SplitConfig(**FIXED))


@pytest.mark.parametrize(
    ("count", "validation", "test"),
    [(2, 1, 0), (9, 3, 0), (40, 14, 0), (80, 27, 0), (120, 40, 0), (140, 40, 0), (144, 40, 8), (160, 40, 14),
     (240, 40, 36), (266, 40, 40), (500, 75, 75)],
)  # fmt: skip
def test_without_shares_enough_is_held_out_to_be_judged_on(recorded, count, validation, test):
    """At least min(40, a third) validate; together at most a third, rounded up, where 15 % each are not enough."""
    half = count // 2
    split = make_split(recorded({"left": half, "right": count - half}), SplitConfig())
    assert [len(split.parts[part]) for part in PARTS] == [count - validation - test, validation, test]
    left = Counter(id.split("/")[0] for id in split.parts["validation"])["left"]
    assert abs(left - validation * half / count) <= 1
    assert validation >= min(40, count / 3)


@given(count=st.integers(2, 2000))
def test_the_default_shares_keep_their_promises(count):
    train, validation, test = SplitConfig().resolve(count) * count
    assert validation >= min(40, count / 3) - 1e-6
    assert train >= count - max(math.ceil(count / 3), 0.3 * count + 1) - 1e-6
    assert test < 1e-6 or test >= 8 - 1e-6
    assert train > 0.5


def test_one_share_alone(recorded):
    """A validation share that is given stands, with the test's 15 % beside it; and the other way round."""
    episodes = recorded({"left": 30, "right": 30})
    for config, expected in (
        (SplitConfig(validation=0.1), [45, 6, 9]),
        (SplitConfig(test=0.1), [34, 20, 6]),
        (SplitConfig(test=0.0), [40, 20, 0]),
        (SplitConfig(**FIXED), [42, 9, 9]),
    ):
        split = make_split(episodes, config)
        assert [len(split.parts[part]) for part in PARTS] == expected
    with pytest.raises(UserError, match="nothing is left for training: 33% validation and 70% test of 60 episodes"):
        make_split(episodes, SplitConfig(test=0.7))


@pytest.mark.parametrize(("validation", "test"), [(0.0, 0.1), (0.5, 0.5), (-0.1, 0.1), (0.1, -0.1)])
def test_impossible_shares(validation, test):
    with pytest.raises(ValueError, match="shares must leave room for training and validation"):
        SplitConfig(validation=validation, test=test)


def test_a_stored_split_comes_back_with_what_its_episodes_were(tmp_path, recorded):
    episodes = [replace(e, fingerprint=f"of {e.id}") for e in recorded({"left": 9, "right": 11})]
    config = SplitConfig(**FIXED, seed=4, group="session")
    split = make_split(episodes, config)
    save_split(split, episodes, config, tmp_path / "split.json")
    assert [file.name for file in tmp_path.iterdir()] == ["split.json"]
    stored = load_split(tmp_path / "split.json")
    assert stored.parts == split.parts
    assert stored.recorded == {
        e.id: Recorded(file=str(e.path), fingerprint=e.fingerprint, instruction="go", num_frames=2) for e in episodes
    }
    content = json.loads((tmp_path / "split.json").read_text())
    assert (content["schema"], content["seed"], content["by"], content["group"]) == (2, 4, ["direction"], "session")
    assert content["counts"] == {part: len(split.parts[part]) for part in PARTS}
    assert sum(content["strata"][part].get("left", 0) for part in PARTS) == 9
    first = split.parts["train"][0]
    assert content["splits"]["train"][0] == {
        "episode": first, "file": f"{first}.h5", "fingerprint": f"of {first}", "instruction": "go", "num_frames": 2
    }  # fmt: skip


def test_file_names_that_are_not_utf8_can_be_stored(tmp_path, recorded):
    episodes = [replace(e, path=Path(os.fsdecode(b"caf\xe9/" + e.id.encode()))) for e in recorded({"left": 20})]
    save_split(make_split(episodes, SplitConfig(**FIXED)), episodes, SplitConfig(**FIXED), tmp_path / "split.json")
    assert load_split(tmp_path / "split.json").recorded["left/00"].file == r"caf\xe9/left/00"


def test_another_schema_is_refused(tmp_path):
    (tmp_path / "split.json").write_text('{"schema": 1}')
    with pytest.raises(UserError, match="schema 1 is not known, expected 2"):
        load_split(tmp_path / "split.json")


def test_a_run_without_its_split_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"split\.json: no such file, so it is not known which episodes"):
        load_split(tmp_path / "split.json")


def test_a_missing_episode_is_refused_and_added_ones_are_ignored(recorded, make_episode):
    episodes = recorded({"left": 20})
    split = make_split(episodes, SplitConfig(**FIXED))
    more = [*episodes, make_episode("new", 2)]
    assert [e.id for e in split.of(more[::-1], "train")] == list(split.parts["train"])
    gone = split.parts["validation"][0]
    with pytest.raises(UserError, match=f"validation split names 1 episodes that are not in data.root.*first: {gone}"):
        split.of([e for e in episodes if e.id != gone], "validation")


class TestNames:
    """Stratified by what the names of files say, of every generation of collectors."""

    NAMES: ClassVar = {
        "v3": "episode_20251204_{:06}_1box_hori_{}_core_medium",
        "v4": "episode_20251209_{:06}_2box_{}_variant_far",
        "v5": "episode_260110_{:06}_target_center_{}_path_core_close",
        "v6": "episode_20260310_{:06}_weak_right_{}_curve",
    }

    @pytest.fixture
    def named(self, make_episode):
        def name_them(pattern, counts):
            names = [pattern.format(100 * i + j, side) for i, side in enumerate(counts) for j in range(counts[side])]
            return [make_episode(name, 2, **read_labels(name, {})) for name in names]

        return name_them

    @pytest.mark.parametrize("generation", NAMES)
    def test_each_side_keeps_its_shares(self, named, generation):
        episodes = named(self.NAMES[generation], {"left": 40, "right": 20})
        split = make_split(episodes, SplitConfig(**FIXED))
        for part, (left, right) in {"train": (28, 14), "validation": (6, 3), "test": (6, 3)}.items():
            assert Counter(e.label("direction") for e in split.of(episodes, part)) == {"left": left, "right": right}

    def test_the_generations_together_are_one_set(self, named):
        episodes = [e for pattern in self.NAMES.values() for e in named(pattern, {"left": 10, "right": 10})]
        split = make_split(episodes, SplitConfig(**FIXED))
        assert Counter(e.label("direction") for e in split.of(episodes, "test")) == {"left": 6, "right": 6}

    def test_unknown_names_are_a_stratum_of_their_own(self, named, make_episode):
        unknown = [make_episode(f"kitchen tour {i}", 2) for i in range(20)]
        episodes = [*named(self.NAMES["v3"], {"left": 20, "right": 20}), *unknown]
        split = make_split(episodes, SplitConfig(**FIXED))
        for part, count in {"train": 14, "validation": 3, "test": 3}.items():
            assert Counter(e.label("direction") for e in split.of(episodes, part)) == {
                "left": count, "right": count, "unknown": count
            }  # fmt: skip

    @pytest.mark.parametrize("seed", range(8))
    def test_three_of_a_label(self, named, seed):
        """Two train and one is held out: 2.1, 0.45 and 0.45, rounded with the sums of the whole in view."""
        episodes = named(self.NAMES["v5"], {"left": 20, "right": 20, "straight": 3})
        split = make_split(episodes, SplitConfig(**FIXED, seed=seed))
        counts = [Counter(e.label("direction") for e in split.of(episodes, part))["straight"] for part in PARTS]
        assert counts[0] == 2
        assert sorted(counts[1:]) == [0, 1]

    def test_three_of_a_label_alone(self, named):
        split = make_split(named(self.NAMES["v5"], {"straight": 3}), SplitConfig(**FIXED))
        assert [len(split.parts[part]) for part in PARTS] == [2, 1, 0]


def days(make_episode, *sizes, **labels):
    """Sessions of the given sizes, each half left and half right."""
    return [
        make_episode(f"{day:02}/{i:02}", 2, session=f"202512{day:02}", direction=("left", "right")[i % 2], **labels)
        for day, size in enumerate(sizes, start=1)
        for i in range(size)
    ]


def parts_of(split, key):
    """key(id) -> the parts in which it occurs."""
    found = defaultdict(set)
    for part in PARTS:
        for id in split.parts[part]:
            found[key(id)].add(part)
    return found


class TestGroups:
    @given(sizes=st.lists(st.integers(2, 12), min_size=2, max_size=12), seed=st.integers(0, 5))
    def test_no_session_is_on_both_sides(self, make_episode, sizes, seed):
        episodes = days(make_episode, *sizes)
        split = make_split(episodes, SplitConfig(**FIXED, group="session", seed=seed))
        assert all(len(parts) == 1 for parts in parts_of(split, lambda id: id[:2]).values())
        assert sorted(id for part in PARTS for id in split.parts[part]) == sorted(e.id for e in episodes)
        assert split.parts["train"]
        assert split.parts["validation"]
        assert bool(split.parts["test"]) == (len(sizes) > 2)

    def test_without_it_they_are(self, make_episode):
        split = make_split(days(make_episode, 12, 12, 12), SplitConfig(**FIXED))
        assert any(len(parts) > 1 for parts in parts_of(split, lambda id: id[:2]).values())

    def test_equal_days_keep_the_shares_and_the_proportions(self, make_episode):
        episodes = days(make_episode, *[12] * 20)
        split = make_split(episodes, SplitConfig(**FIXED, group="session"))
        for part, count in {"train": 84, "validation": 18, "test": 18}.items():
            assert Counter(e.label("direction") for e in split.of(episodes, part)) == {"left": count, "right": count}

    def test_the_seed_decides_which_days_are_held_out(self, make_episode):
        episodes = days(make_episode, *[12] * 20)
        found = {
            make_split(episodes, SplitConfig(**FIXED, group="session", seed=s)).parts["validation"] for s in range(6)
        }
        assert len(found) == 6

    @given(order=st.permutations(range(25)))
    def test_the_order_of_files_means_nothing(self, make_episode, order):
        episodes = [replace(e, fingerprint=str(i // 2)) for i, e in enumerate(days(make_episode, 9, 7, 5, 4))]
        config = SplitConfig(**FIXED, group="session")
        assert make_split([episodes[i] for i in order], config) == make_split(episodes, config)

    def test_episodes_without_the_label_are_groups_of_their_own(self, make_episode):
        loose = [make_episode(f"loose {i}", 2) for i in range(30)]
        split = make_split([*days(make_episode, 4, 4), *loose], SplitConfig(**FIXED, group="session"))
        assert len(parts_of(split, lambda id: id[:5])["loose"]) == 3

    def test_if_none_has_it_nothing_is_grouped(self, recorded):
        episodes = recorded({"left": 20, "right": 20})
        assert make_split(episodes, SplitConfig(**FIXED, group="session")) == make_split(episodes, SplitConfig(**FIXED))

    def test_one_day_cannot_be_split(self, make_episode):
        message = (
            r"20 good episodes are 1 group \(data.split.group=session.*record another session, or set data.split.g"
        )
        with pytest.raises(UserError, match=message):
            make_split(days(make_episode, 20), SplitConfig(**FIXED, group="session"))

    def test_two_days_are_training_and_validation(self, make_episode):
        split = make_split(days(make_episode, 20, 4), SplitConfig(**FIXED, group="session"))
        assert [len(split.parts[part]) for part in PARTS] == [20, 4, 0]


class TestCopies:
    @given(seed=st.integers(0, 30), copied=st.sets(st.integers(0, 39), min_size=1, max_size=6))
    def test_a_copy_is_never_on_the_other_side(self, recorded, seed, copied):
        episodes = [replace(e, fingerprint=e.id) for e in recorded({"left": 20, "right": 20})]
        copies = [replace(episodes[i], id=f"copy of {episodes[i].id}", path=Path("elsewhere")) for i in copied]
        split = make_split([*copies, *episodes], SplitConfig(**FIXED, seed=seed))
        assert all(len(parts) == 1 for parts in parts_of(split, lambda id: id.removeprefix("copy of ")).values())
        for part, share in shares(SplitConfig(**FIXED)).items():
            assert abs(len(split.parts[part]) - share * (40 + len(copies))) < 2

    def test_a_copy_joins_two_days(self, make_episode):
        episodes = days(make_episode, 3, 3, 3)
        prints = [e.id for e in episodes]
        prints[5] = prints[0]
        groups = find_groups([replace(e, fingerprint=p) for e, p in zip(episodes, prints, strict=True)], "session")
        assert sorted(len(group) for group in groups) == [3, 6]

    def test_contents_that_are_not_known_are_not_alike(self, recorded):
        assert len(find_groups(recorded({"left": 5}), None)) == 5

    def test_nothing_but_copies_cannot_be_split(self, recorded):
        episodes = [replace(e, fingerprint="same") for e in recorded({"left": 5})]
        with pytest.raises(
            UserError, match=r"5 good episodes are 1 group \(exact copies of one episode\).*record more"
        ):
            make_split(episodes, SplitConfig(**FIXED))

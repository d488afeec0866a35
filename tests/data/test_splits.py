"""Splits by whole episodes: complete, in proportion, and the same whatever the order of the files."""

import json
from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mobile_vla.data.splits import PARTS, SplitConfig, load_split, make_split, save_split
from mobile_vla.errors import UserError

CONFIGS = st.builds(
    SplitConfig,
    validation=st.sampled_from([0.1, 0.15, 0.2, 0.3]),
    test=st.sampled_from([0.0, 0.1, 0.15, 0.3]),
    seed=st.integers(0, 5),
)
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
@example(strata={"left": 36, "right": 26, "straight": 3, "unknown": 12}, config=SplitConfig())
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
    assert make_split([episodes[i] for i in order], SplitConfig()) == make_split(episodes, SplitConfig())


def test_the_seed_decides_who_is_held_out(recorded):
    episodes = recorded({"left": 20, "right": 20})
    held_out = {make_split(episodes, SplitConfig(seed=seed)).parts["validation"] for seed in range(5)}
    assert len(held_out) == 5
    assert make_split(episodes, SplitConfig(seed=3)) == make_split(episodes, SplitConfig(seed=3))


def test_names_in_order_of_time_do_not_decide(recorded):
    """The last files of a folder are one day's: they must not be the validation."""
    episodes = recorded({"left": 40})
    held_out = make_split(episodes, SplitConfig()).parts["validation"]
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
        make_split(recorded({"left": count}), SplitConfig())


@pytest.mark.parametrize(("validation", "test"), [(0.0, 0.1), (0.5, 0.5), (-0.1, 0.1), (0.1, -0.1)])
def test_impossible_shares(validation, test):
    with pytest.raises(ValueError, match="shares must leave room for training and validation"):
        SplitConfig(validation=validation, test=test)


def test_a_stored_split_comes_back(tmp_path, recorded):
    episodes = recorded({"left": 9, "right": 11})
    config = SplitConfig(seed=4)
    split = make_split(episodes, config)
    save_split(split, episodes, config, tmp_path / "split.json")
    assert load_split(tmp_path / "split.json") == split
    assert [file.name for file in tmp_path.iterdir()] == ["split.json"]
    content = json.loads((tmp_path / "split.json").read_text())
    assert content["counts"] == {part: len(split.parts[part]) for part in PARTS}
    assert sum(content["strata"][part].get("left", 0) for part in PARTS) == 9
    first = split.parts["train"][0]
    assert content["splits"]["train"][0] == {"episode": first, "file": f"{first}.h5"}


def test_another_schema_is_refused(tmp_path):
    (tmp_path / "split.json").write_text('{"schema": 99}')
    with pytest.raises(UserError, match="schema 99 is not known, expected 1"):
        load_split(tmp_path / "split.json")


def test_a_missing_episode_is_refused_and_added_ones_are_ignored(recorded, make_episode):
    episodes = recorded({"left": 20})
    split = make_split(episodes, SplitConfig())
    more = [*episodes, make_episode("new", 2)]
    assert [e.id for e in split.of(more[::-1], "train")] == list(split.parts["train"])
    gone = split.parts["validation"][0]
    with pytest.raises(UserError, match=f"validation split names 1 episodes that are not in data.root.*first: {gone}"):
        split.of([e for e in episodes if e.id != gone], "validation")

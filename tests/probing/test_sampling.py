"""Sampling plans: as many rows as asked, dealt in proportion and within bounds, whatever the order of the episodes."""

import json
import random
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mobile_vla.contexts.manifest import TapSpec
from mobile_vla.contexts.rows import RowId
from mobile_vla.core.errors import UserError
from mobile_vla.probing.allocation import allocate
from mobile_vla.probing.plans import PlanConfig, SamplingPlan
from mobile_vla.probing.sampling import frames_of, make_plan
from tests.contexts.storing import make

SIDES = ("left", "right", "unknown", "straight")


@pytest.fixture(scope="module")
def recorded(make_episode):
    """`recorded(left=250, right=250)`: so many episodes of 18 frames of each direction."""

    def make(num_frames=18, **counts):
        return [
            make_episode(f"{side}/{i:03d}", num_frames, direction=side)
            for side, count in counts.items()
            for i in range(count)
        ]

    return make


def taken(plan) -> dict[str, int]:
    return {stratum.name.removeprefix("direction="): stratum.taken for stratum in plan.strata}


class TestAllocation:
    BOUNDS = st.lists(
        st.tuples(st.integers(1, 30), st.integers(0, 6), st.integers(0, 12)), min_size=1, max_size=5
    )  # weight, low, high - low

    @staticmethod
    def unpack(bounds):
        weights, low, room = (list(part) for part in zip(*bounds, strict=True))
        return weights, low, [a + b for a, b in zip(low, room, strict=True)]

    @given(bounds=BOUNDS, data=st.data())
    def test_adds_up_within_the_bounds(self, bounds, data):
        weights, low, high = self.unpack(bounds)
        total = data.draw(st.integers(sum(low), sum(high)))
        counts = allocate(weights, low, high, total)
        assert sum(counts) == total
        assert all(a <= n <= b for a, n, b in zip(low, counts, high, strict=True))

    @given(weights=st.lists(st.integers(1, 300), min_size=1, max_size=6), total=st.integers(0, 200))
    def test_without_bounds_it_is_the_method_of_the_largest_remainders(self, weights, total):
        shares = [Fraction(total * w, sum(weights)) for w in weights]
        expected = [int(share) for share in shares]
        for i in sorted(range(len(weights)), key=lambda i: (expected[i] - shares[i], i))[: total - sum(expected)]:
            expected[i] += 1
        assert allocate(weights, [0] * len(weights), [total] * len(weights), total) == expected

    @given(bounds=BOUNDS, data=st.data())
    def test_within_the_bounds_one_level_explains_all_counts(self, bounds, data):
        """There is a number of episodes a unit of weight that each count is within one of, unless a bound holds it."""
        weights, low, high = self.unpack(bounds)
        total = data.draw(st.integers(sum(low), sum(high)))
        parts = list(zip(weights, low, allocate(weights, low, high, total), high, strict=True))
        above = max([Fraction(-1), *(Fraction(n - 1, w) for w, a, n, _ in parts if n - 1 >= a)])
        below = min([Fraction(10**6), *(Fraction(n + 1, w) for w, _, n, b in parts if n + 1 <= b)])
        assert above < below


SETTINGS = st.fixed_dictionaries(  # not built here: the checked class draws random numbers of its own
    {
        "kind": st.sampled_from(["all", "stratified", "every_n"]),
        "episodes": st.integers(1, 30),
        "progress": st.lists(st.floats(0, 1), min_size=1, max_size=6).map(tuple),
        "balanced": st.booleans(),
        "minimum": st.integers(0, 3),
        "maximum": st.none() | st.integers(3, 9),
        "n": st.integers(1, 7),
        "seed": st.integers(0, 5),
    }
)
COUNTS = st.lists(st.tuples(st.sampled_from(SIDES), st.integers(1, 25)), min_size=1, max_size=25)


@pytest.fixture(scope="module")
def build(make_episode):
    return lambda counts: [make_episode(f"e{i}", n, direction=side) for i, (side, n) in enumerate(counts)]


class TestProperties:
    @staticmethod
    def possible(counts, config) -> bool:
        return config.kind != "stratified" or config.minimum * len({side for side, _ in counts}) <= config.episodes

    @given(counts=COUNTS, settings=SETTINGS, shuffle=st.randoms(use_true_random=False))
    def test_order_means_nothing(self, build, counts, settings, shuffle: random.Random):
        config = PlanConfig(**settings)
        assume(self.possible(counts, config))
        episodes = build(counts)
        plan = make_plan(episodes, config)
        shuffle.shuffle(episodes)
        again = make_plan(episodes, config)
        assert again == plan
        assert list(again.frames) == list(plan.frames) == sorted(plan.frames)
        assert again.fingerprint == plan.fingerprint

    @given(counts=COUNTS, settings=SETTINGS)
    def test_counts_and_bounds_hold(self, build, counts, settings):
        config = PlanConfig(**settings)
        assume(self.possible(counts, config))
        episodes = build(counts)
        plan = make_plan(episodes, config)
        lengths = {episode.id: episode.num_frames for episode in episodes}
        sides = {episode.id: episode.label("direction") for episode in episodes}
        there = Counter(sides.values())
        assert plan.num_rows == sum(map(len, plan.frames.values())) == sum(plan.by_progress)
        assert Counter(sides[id] for id in plan.frames) == Counter(taken(plan))
        assert all(frames == tuple(sorted(set(frames))) for frames in plan.frames.values())
        assert all(frames[0] >= 0 and frames[-1] < lengths[id] for id, frames in plan.frames.items())
        if config.kind != "stratified":
            assert set(plan.frames) == set(lengths)
            return
        assert len(plan.frames) <= config.episodes
        for side, count in taken(plan).items():
            assert count <= min(there[side], config.maximum or there[side])
            assert count >= min(there[side], config.minimum)
        if not config.balanced:
            room = sum(min(n, config.maximum or n) for n in there.values())
            assert len(plan.frames) == min(config.episodes, room)
        elif all(n >= config.episodes for n in there.values()):
            assert max(taken(plan).values()) - min(taken(plan).values()) <= 1

    @given(counts=COUNTS, settings=SETTINGS)
    def test_plain_values_bring_it_back(self, build, counts, settings):
        config = PlanConfig(**settings)
        assume(self.possible(counts, config))
        plan = make_plan(build(counts), config)
        back = SamplingPlan.from_plain(json.loads(json.dumps(plan.to_plain())))
        assert back == plan
        assert back.fingerprint == plan.fingerprint

    @given(num_frames=st.integers(1, 60), settings=SETTINGS)
    def test_frames_are_the_nearest_to_the_progress_that_is_asked(self, num_frames, settings):
        config = PlanConfig(**settings)
        frames = frames_of(num_frames, config)
        if config.kind == "all":
            assert frames == tuple(range(num_frames))
        elif config.kind == "every_n":
            assert frames == tuple(frame for frame in range(num_frames) if frame % config.n == 0)
        else:
            last = max(num_frames - 1, 1)
            for share in config.progress:
                assert (
                    min(abs(frame / last - share) for frame in frames)
                    <= min(abs(frame / last - share) for frame in range(num_frames)) + 1e-12
                )
            assert len(frames) <= len(set(config.progress))


class TestTheLabs:
    def test_a_hundred_episodes_of_five_frames_are_five_hundred_contexts(self, recorded):
        plan = make_plan(recorded(left=250, right=250), PlanConfig())
        assert taken(plan) == {"left": 50, "right": 50}
        assert plan.num_rows == 500
        assert set(plan.frames.values()) == {(0, 4, 8, 13, 17)}
        assert plan.by_progress == (100, 100, 100, 100, 100)
        assert plan.warnings == ()
        assert plan.describe({"context": TapSpec(shape=(2048,)), "image_tokens": TapSpec(shape=(64, 2048))}) == [
            "plan stratified by direction, seed 0: 500 rows of 100 episodes (there are 500 with 9000 frames)",
            "  direction=left: 50 of 250 episodes, 250 rows",
            "  direction=right: 50 of 250 episodes, 250 rows",
            "  rows by progress: 0-20 %: 100, 20-40 %: 100, 40-60 %: 100, 60-80 %: 100, 80-100 %: 100",
            "  on disk: 266.2 MB (context 4.1, image_tokens 262.1)",
        ]
        assert plan.describe({"context": TapSpec(shape=(2048,))}, variants=3)[-1] == "  on disk: 12.3 MB (context 12.3)"

    def test_another_seed_takes_other_episodes_as_often(self, recorded):
        episodes = recorded(left=250, right=250)
        plans = [make_plan(episodes, PlanConfig(seed=seed)) for seed in range(40)]
        assert len({plan.fingerprint for plan in plans}) == 40
        times = Counter(id for plan in plans for id in plan.frames)
        assert len(times) > 490
        assert max(times.values()) < 20  # 8 on average, with a standard deviation of 2.5

    def test_a_larger_plan_holds_the_smaller_one(self, recorded):
        episodes = recorded(left=250, right=250)
        small, large = (make_plan(episodes, PlanConfig(episodes=count)) for count in (60, 100))
        assert small.frames.items() <= large.frames.items()

    def test_proportion(self, recorded):
        plan = make_plan(recorded(left=300, right=200), PlanConfig())
        assert taken(plan) == {"left": 60, "right": 40}


class TestWhatIsTold:
    def test_balance_does_not_make_up_for_what_one_stratum_lacks(self, recorded):
        plan = make_plan(recorded(left=250, right=12), PlanConfig(balanced=True))
        assert taken(plan) == {"left": 50, "right": 12}
        assert plan.warnings == (
            "stratum direction=right has 12 episodes, 50 were asked for",
            "strata are uneven: 50 episodes with direction=left, 12 with direction=right",
        )
        assert "  direction=right: 12 of 12 episodes, 50 asked for, 60 rows" in plan.describe()
        assert plan.describe()[-1] == f"  warning: {plan.warnings[-1]}"

    def test_a_minimum_that_a_stratum_cannot_meet(self, recorded):
        plan = make_plan(recorded(left=250, right=12), PlanConfig(minimum=20))
        assert taken(plan) == {"left": 88, "right": 12}
        assert plan.warnings[0] == "stratum direction=right has 12 episodes, 20 were asked for"
        assert plan.warnings[1].endswith("plan.balanced=true takes as many of each")

    def test_too_few_in_all(self, recorded):
        plan = make_plan(recorded(left=20, right=16), PlanConfig())
        assert taken(plan) == {"left": 20, "right": 16}
        assert plan.warnings == ("there are 36 episodes, 100 were asked for",)

    def test_a_maximum_that_allows_less_than_was_asked_for(self, recorded):
        plan = make_plan(recorded(left=50, right=50), PlanConfig(maximum=10))
        assert taken(plan) == {"left": 10, "right": 10}
        assert plan.warnings == ("plan.maximum=10 allows 20 of the 100 episodes",)

    def test_a_stratum_that_is_too_small_to_compare(self, recorded):
        plan = make_plan(recorded(left=12, right=4), PlanConfig(kind="all"))
        assert plan.warnings == ("stratum direction=right is too small to compare: 4 episodes, fewer than 5",)

    def test_short_episodes_give_fewer_rows(self, recorded, make_episode):
        episodes = [*recorded(left=5, right=5), make_episode("left/x", 3, direction="left")]
        plan = make_plan(episodes, PlanConfig(episodes=11))
        assert plan.frames["left/x"] == (0, 1, 2)
        assert plan.warnings == ("1 episodes are too short for 5 frames: 2 rows fewer",)

    def test_parts_of_the_way_without_rows(self, recorded):
        plan = make_plan(recorded(left=5, right=5), PlanConfig(episodes=10, progress=(0.0, 0.1, 0.5, 1.0)))
        assert plan.warnings == ("no rows at 20-40 %, 60-80 % of the way",)


class TestWrong:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"episodes": 0}, "^episodes must be at least 1"),
            ({"progress": ()}, r"shares in \[0, 1\], at least one, got \[\]"),
            ({"progress": (0, 50)}, r"shares in \[0, 1\]"),
            ({"minimum": 5, "maximum": 4}, "minimum=5 and maximum=4"),
            ({"maximum": 0, "minimum": 0}, "a maximum of at least 1"),
        ],
    )
    def test_settings(self, settings, message):
        with pytest.raises(UserError, match=message):
            PlanConfig(**settings)

    def test_a_minimum_beyond_the_episodes(self, recorded):
        with pytest.raises(UserError, match=r"minimum=6 for each of 2 strata needs 12 episodes, but .*episodes=10"):
            make_plan(recorded(left=50, right=50), PlanConfig(episodes=10, minimum=6))

    def test_a_label_that_no_episode_has(self, recorded, make_episode):
        episodes = recorded(left=5, right=5)
        with pytest.raises(
            UserError, match=r"no episode has a label 'directoin'; did you mean 'direction'\? there are"
        ):
            make_plan(episodes, PlanConfig(by=("directoin",)))
        plain = [replace(episode, labels={}) for episode in episodes]
        assert taken(make_plan(plain, PlanConfig(episodes=10))) == {"unknown": 10}
        assert [stratum.name for stratum in make_plan(plain, PlanConfig(by=())).strata] == ["all"]

    def test_no_episodes(self):
        with pytest.raises(UserError, match="there are no episodes"):
            make_plan([], PlanConfig())


def test_strata_are_combinations_of_labels(make_episode):
    episodes = [
        make_episode(f"{side}{far}{i}", 18, direction=side, distance=far)
        for side in ("left", "right")
        for far in ("close", "far")
        for i in range(10)
    ]
    plan = make_plan(episodes, PlanConfig(episodes=20, by=("direction", "distance")))
    assert {stratum.name: stratum.taken for stratum in plan.strata} == {
        f"direction={side}, distance={far}": 5 for side in ("left", "right") for far in ("close", "far")
    }


def test_planning_needs_no_torch():
    check = "import sys, mobile_vla.probing.sampling; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0


class TestOfAnotherStore:
    """`probe.plan.of`: the rows of another store again."""

    @pytest.fixture
    def store(self, tmp_path):
        """Left episodes 3 and 1, frames out of order, one row of a variant."""
        rows = [
            RowId("left/003", 9, "go", "own"),
            RowId("left/003", 4, "go", "own"),
            RowId("left/001", 0, "go", "own"),
            RowId("left/001", 17, "go", "swap"),
        ]
        make(tmp_path / "probe" / "contexts", rows)
        return tmp_path / "probe"

    def test_exactly_its_rows(self, recorded, store):
        episodes = recorded(left=5, right=3)
        for folder in (store, store / "contexts"):
            plan = make_plan(episodes, PlanConfig(of=str(folder), episodes=1, progress=(0.5,), maximum=1))
            assert plan.frames == {"left/001": (0,), "left/003": (4, 9)}
            assert taken(plan) == {"left": 2, "right": 0}
            assert plan.num_rows == 3
            assert f"of the rows of {folder}" in plan.describe()[0]
            assert not any("asked for" in line for line in plan.describe())
        assert SamplingPlan.from_plain(json.loads(json.dumps(plan.to_plain()))).fingerprint == plan.fingerprint

    def test_what_is_missing_is_named(self, recorded, store, tmp_path):
        config = PlanConfig(of=str(store))
        with pytest.raises(UserError, match=r"1 of its 2 episodes are not among the 3 .*first: left/003\).*split=all"):
            make_plan(recorded(left=3), config)
        with pytest.raises(UserError, match=r"1 episodes are shorter here \(first: left/003 has 9 frames, .* frame 9"):
            make_plan(recorded(num_frames=9, left=5), config)
        with pytest.raises(UserError, match=r"^plan.of: .*no such folder"):
            make_plan(recorded(left=3), PlanConfig(of=str(tmp_path / "nowhere")))

    def test_plans_of_before_still_open(self, recorded):
        plain = make_plan(recorded(left=5), PlanConfig()).to_plain()
        del plain["config"]["of"]
        assert SamplingPlan.from_plain(plain).config == PlanConfig()

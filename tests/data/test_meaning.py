"""Which instructions mean the same, and whether constructed episodes' actions depend on them."""

import re

import numpy as np
import pytest

from mobile_vla.actions import ActionSpace
from mobile_vla.data.meaning import find_meanings, why_no_dependence

SPACE = ActionSpace(components=("linear_x", "linear_y"), low=(-1.0, -1.0), high=(1.0, 1.0))
WORDS = {"left": ("go left", "왼쪽으로 가세요"), "right": ("go right", "오른쪽으로 가세요")}


@pytest.fixture(scope="session")
def drive(make_episode):
    """An episode of constant sideways velocity, and noise."""

    def record(id, sideways, instruction, num_frames=18, seed=0, noise=0.3, **more):
        rng = np.random.default_rng([seed, int(id)])
        actions = np.stack([np.full(num_frames, 0.5), np.full(num_frames, sideways), np.zeros(num_frames)], axis=1)
        return make_episode(id, actions + rng.normal(0, noise, actions.shape), instruction, **more)

    return record


def ask(episodes, label="direction"):
    return why_no_dependence(episodes, SPACE, find_meanings(episodes, label))


def told(drive, count=16, seed=0, sides=("left", "right"), **more):
    """Episodes that do as they are told, each side in several words."""
    velocity = {"left": 0.8, "right": -0.8, "straight": 0.0}
    found = []
    for i in range(count):
        side = sides[i % len(sides)]
        text = WORDS[side][i // len(sides) % 2] if side in WORDS else f"go {side}"
        found.append(drive(str(i), velocity[side], text, seed=seed, direction=side, **more))
    return found


class TestFindMeanings:
    def test_paraphrases_share_a_meaning_and_swaps_do_not(self, drive):
        episodes = told(drive)
        meanings = find_meanings(episodes, "direction")
        texts = sorted(meanings.of)
        assert meanings.known
        assert meanings.paraphrases("go left", texts) == ["왼쪽으로 가세요"]
        assert set(meanings.swaps("go left", texts)) == set(WORDS["right"])

    @pytest.mark.parametrize("label", ["distance", "direction"])
    def test_a_label_that_texts_do_not_tell_is_not_their_meaning(self, drive, label):
        rng = np.random.default_rng(0)
        episodes = [
            drive(str(i), 0, f"text {i % 3}", direction=str(rng.choice(["left", "right"])), distance=f"{i % 2}")
            for i in range(30)
        ]
        meanings = find_meanings(episodes, label)
        assert not meanings.known
        assert meanings.of == {f"text {i}": f"text {i}" for i in range(3)}

    def test_texts_seen_once_are_no_evidence(self, drive):
        episodes = [drive(str(i), 0, f"text {i}", direction=["left", "right"][i % 2]) for i in range(20)]
        assert not find_meanings(episodes, "direction").known

    def test_a_label_that_nobody_knows_explains_nothing(self, drive):
        assert not find_meanings([drive(str(i), 0, f"text {i % 2}") for i in range(20)], "direction").known

    def test_nobody_knowing_is_not_a_meaning(self, drive):
        episodes = [drive(str(i), 0, f"text {i % 2}", **({"direction": "left"} if i % 2 else {})) for i in range(40)]
        assert not find_meanings(episodes, "direction").known

    def test_a_label_that_hardly_varies_explains_nothing(self, drive):
        """Any text predicts a label that is nearly always the same."""
        episodes = [
            drive(str(i), 0, f"text {i % 2}", direction="right" if i == 7 else "left", distance=f"{i % 2}")
            for i in range(40)
        ]
        assert not find_meanings(episodes, "direction").known
        assert find_meanings(episodes, "distance").known

    def test_one_mislabelled_episode_does_not_change_a_meaning(self, drive):
        episodes = told(drive, 40)
        wrong = drive("99", 0.8, "go left", direction="right")
        meanings = find_meanings([*episodes, wrong], "direction")
        assert meanings.known
        assert meanings.of["go left"] == "left"


class TestDependence:
    @pytest.mark.parametrize("seed", range(5))
    def test_episodes_that_do_as_told_depend(self, drive, seed):
        assert ask(told(drive, seed=seed)) is None

    def test_so_do_three_instructions_without_labels(self, drive):
        episodes = told(drive, 18, sides=("left", "straight", "right"))
        assert ask(episodes, label="nothing") is None

    def test_dependence_in_a_part_of_the_episode_is_found(self, make_episode):
        """Both sides drive alike on average; what differs is when."""
        rng = np.random.default_rng(0)
        shape = np.repeat([0.8, -0.8, 0.0], 6)
        episodes = []
        for i in range(16):
            actions = np.stack([np.full(18, 0.5), shape if i % 2 else shape[::-1], np.zeros(18)], axis=1)
            episodes.append(make_episode(str(i), actions + rng.normal(0, 0.3, actions.shape), f"text {i % 2}"))
        assert ask(episodes) is None

    @pytest.mark.parametrize("texts", [2, 6])
    def test_unrelated_instructions_are_seldom_taken_for_a_cause(self, drive, texts):
        """Whole episodes go left or right, whatever they are told."""
        found = 0
        for seed in range(60):
            rng = np.random.default_rng([seed, texts])
            episodes = [
                drive(str(i), rng.choice([-0.8, 0.8]), f"text {rng.integers(texts)}", seed=seed) for i in range(14)
            ]
            found += ask(episodes) is None
        assert found <= 3

    def test_a_constant_instruction_shows_nothing(self, drive):
        episodes = [drive(str(i), (-0.8) ** i, "Navigate to the target location") for i in range(8)]
        assert ask(episodes) == "every episode has the same instruction"

    @pytest.mark.parametrize("count", [4, 10, 20])
    def test_texts_seen_once_show_nothing(self, make_episode, count):
        """However episodes are dealt to texts of their own, the statistic is the same: its rank must not be chance."""
        for seed in range(12):
            rng = np.random.default_rng(seed)
            episodes = [make_episode(str(i), rng.uniform(-1, 1, (17, 3)), f"text {i}") for i in range(count)]
            assert "too few" in ask(episodes)
            assert "p = 1.00" in ask(episodes)

    def test_equal_deals_count_as_equal(self, make_episode):
        """Three texts, two episodes each: the best of the 15 ways to pair six episodes has p = 1/15, not less."""
        for seed in range(8):
            rng = np.random.default_rng(seed)
            episodes = [
                make_episode(str(i), rng.normal(0, 0.01, (17, 3)) + i % 3 * np.array([0.1, 0.27, 0]), f"text {i % 3}")
                for i in range(6)
            ]
            assert float(re.search(r"p = ([\d.]+)", ask(episodes))[1]) == pytest.approx(1 / 15, abs=0.03)

    def test_few_episodes_are_not_said_to_be_independent(self, drive):
        """Six episodes that do exactly as they are told cannot reach significance; that is no independence."""
        reason = ask(told(drive, 6, noise=0.01))
        assert reason is not None
        assert not reason.startswith("the recorded actions do not depend")

    def test_one_episode_without_known_actions_hides_nothing(self, drive):
        blind = drive("99", 0, "go left", num_frames=1, direction="left", known=np.array([False]))
        assert ask([*told(drive), blind]) is None

    @pytest.mark.filterwarnings("error")
    def test_episodes_of_a_few_frames_are_compared_without_a_warning(self, drive):
        assert ask(told(drive, num_frames=3)) is None

    def test_unknown_actions_do_not_count(self, drive):
        """The velocities that differ between the texts are those of frames without an action."""
        episodes = []
        for i in range(16):
            episode = drive(str(i), 0, f"text {i % 2}", known=np.arange(18) < 12)
            episode.actions[12:, 1] = 50 * (i % 2)
            episodes.append(episode)
        assert "do not depend" in ask(episodes)

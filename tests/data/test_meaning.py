"""Which instructions mean the same, and whether constructed episodes' actions depend on them."""

from dataclasses import replace

import numpy as np
import pytest

from mobile_vla.core.actions import ActionSpace
from mobile_vla.data.meaning import find_dependence, find_meanings

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
    return find_dependence(episodes, SPACE, find_meanings(episodes, label))


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
    """Episodes become profiles; the test itself has its own tests."""

    @pytest.mark.parametrize("seed", range(5))
    def test_episodes_that_do_as_told_depend(self, drive, seed):
        assert ask(told(drive, seed=seed)).depends

    def test_so_do_three_instructions_without_labels(self, drive):
        episodes = told(drive, 18, sides=("left", "straight", "right"))
        assert ask(episodes, label="nothing").depends

    def test_dependence_in_a_part_of_the_episode_is_found(self, make_episode):
        """Both sides drive alike on average; what differs is when."""
        rng = np.random.default_rng(0)
        shape = np.repeat([0.8, -0.8, 0.0], 6)
        episodes = []
        for i in range(16):
            actions = np.stack([np.full(18, 0.5), shape if i % 2 else shape[::-1], np.zeros(18)], axis=1)
            episodes.append(make_episode(str(i), actions + rng.normal(0, 0.3, actions.shape), f"text {i % 2}"))
        assert ask(episodes).depends

    @pytest.mark.parametrize("texts", [2, 6])
    def test_unrelated_instructions_are_seldom_taken_for_a_cause(self, drive, texts):
        """Whole episodes go left or right, whatever they are told; and what is found then is no absence."""
        found = []
        for seed in range(40):
            rng = np.random.default_rng([seed, texts])
            episodes = [
                drive(str(i), rng.choice([-0.8, 0.8]), f"text {rng.integers(texts)}", seed=seed) for i in range(14)
            ]
            found.append(ask(episodes))
        assert sum(one.depends for one in found) <= 6  # 5 % of 40, and three standard errors
        assert all("is not shown by these 14 episodes (p = " in one.sentence for one in found if not one.depends)

    def test_a_constant_instruction_shows_nothing(self, drive):
        found = ask([drive(str(i), (-0.8) ** i, "Navigate to the target location") for i in range(8)])
        assert (found.answer, found.sentence) == ("cannot be shown", "every episode has the same instruction")

    def test_days_are_compared_with_themselves(self, drive):
        """On each day everybody drives to one side, whatever is asked for: a difference between days is none of
        instructions; and with one instruction a day nothing can be shown."""

        def days(texts):
            return [
                drive(str(i), [0.8, -0.8][i // 12], texts[i // 12][i % 2], session=f"2026010{i // 12}")
                for i in range(24)
            ]

        uneven = [drive(str(i), [0.8, -0.8][i // 12], f"text {(i % 6 == 0) != (i < 12)}") for i in range(24)]
        assert ask(uneven, label="nothing").depends
        by_day = [replace(episode, labels={"session": str(i // 12)}) for i, episode in enumerate(uneven)]
        assert ask(by_day, label="nothing").answer == "not shown"
        assert ask(days((("a", "a"), ("b", "b"))), label="nothing").answer == "cannot be shown"

    def test_few_episodes_are_not_said_to_be_independent(self, drive):
        """Four episodes that do exactly as they are told cannot reach significance; that is no independence."""
        found = ask(told(drive, 4, noise=0.01))
        assert found.answer == "cannot be shown"
        assert "too few to show whether the recorded actions depend" in found.sentence

    def test_one_episode_without_known_actions_hides_nothing(self, drive):
        blind = drive("99", 0, "go left", num_frames=1, direction="left", known=np.array([False]))
        found = ask([*told(drive), blind])
        assert (found.depends, found.n) == (True, 16)

    @pytest.mark.filterwarnings("error")
    def test_episodes_of_a_few_frames_are_compared_without_a_warning(self, drive):
        assert ask(told(drive, num_frames=3)).depends

    def test_unknown_actions_do_not_count(self, drive):
        """The velocities that differ between the texts are those of frames without an action."""
        episodes = []
        for i in range(16):
            episode = drive(str(i), 0, f"text {i % 2}", known=np.arange(18) < 12)
            episode.actions[12:, 1] = 50 * (i % 2)
            episodes.append(episode)
        assert ask(episodes).answer == "not shown"

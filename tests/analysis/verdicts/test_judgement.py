"""The judgement of a whole store: what is primary, what several questions cost, and plain words in every branch."""

import json
from dataclasses import replace

import numpy as np
import pytest

from mobile_vla.analysis.planted.store import PlantedStore, Policy, as_store, plant_store
from mobile_vla.analysis.planted.worlds import World, plant
from mobile_vla.analysis.verdicts.discriminative.targets import Target
from mobile_vla.analysis.verdicts.judgement import _adjust, judge
from mobile_vla.analysis.verdicts.rigour import Rigour
from mobile_vla.analysis.verdicts.verdict import undecided
from mobile_vla.contexts.rows import Row, RowId
from mobile_vla.core.errors import UserError
from tests.analysis.conftest import write_store

RIGOUR = Rigour(permutations=199, spikes=60)
BOTH = Policy(instruction=0.8, image=0.8)


def test_all_three_are_yes_where_all_is_there():
    found = judge(plant_store(World(episodes=60, width=256, label=6.0, action=3.0), 0, BOTH), rigour=RIGOUR)
    assert {name: verdict.verdict for name, verdict in found.verdicts.items()} == {
        "preserving": "yes",
        "discriminative": "yes",
        "actionable": "yes",
    }
    assert found.primary == ("scenario",)
    assert found.discriminative.details["selectivity"]["selectivity"] > 0.2
    assert "follows from the instruction" in found.targets["direction"][1].why


@pytest.mark.parametrize("num_trained", [68, 76, 0])
def test_what_would_change_without_the_episodes_that_were_trained_on(tmp_path, num_trained):
    """A label that is coded in episodes of the training alone."""
    rng = np.random.default_rng(1)
    episodes, label = np.arange(80), rng.integers(0, 2, 80)
    trained = episodes < num_trained
    codes = np.where(trained if num_trained else True, 2.0 * label - 1, 0.0)[:, None, None]
    vectors = rng.standard_normal((80, 1, 32)) + 0.3 * rng.standard_normal((80, 5, 32)) + 3 * codes * np.eye(32)[0]
    named = np.repeat(episodes, 5)
    found = judge(
        write_store(
            tmp_path / "store",
            {"context": vectors.reshape(400, 32).astype(np.float32)},
            [f"episode_{one:04d}" for one in named],
            np.tile(np.arange(5) * 4, 80),
            np.tile(np.arange(5) / 4, 80),
            labels={"scenario": np.array(["box", "basket"])[label[named]].tolist()},
            part=np.where(trained[named], "train", "validation").tolist(),
        ),
        rigour=RIGOUR,
    )
    told = [note for note in found.discriminative.notes if "trained on" in note]
    if not num_trained:
        assert not told
    elif num_trained == 68:
        assert found.discriminative.verdict == "yes"
        assert told[0].startswith("68 of 80 judged episodes were trained on; by the other 12 alone: ")
        assert "yes" not in told[0].split("alone:")[1]
    else:
        assert "the other 4 are too few" in told[0]


def test_decodable_but_unused_is_discriminative_and_not_actionable():
    policy = Policy(instruction=0.0, image=0.0)
    found = judge(plant_store(World(episodes=60, width=64, label=6.0), 0, policy), rigour=RIGOUR)
    assert (found.discriminative.verdict, found.actionable.verdict) == ("yes", "no")


def test_used_but_coded_as_xor_is_actionable_and_says_what_a_line_misses():
    found = judge(plant_store(World(episodes=100, width=128, xor=6.0, action=3.0), 0, BOTH), rigour=RIGOUR)
    assert found.discriminative.verdict != "yes"
    assert found.actionable.verdict == "yes"
    assert any("what a linear probe misses of these contexts (scenario)" in note for note in found.actionable.notes)


def test_several_primary_targets_cost_holm():
    store = plant_store(World(episodes=60, width=128, label=6.0), 0)
    sample_names = [f"episode_{index:04d}" for index in range(60)]
    episode, frame, progress = (store.column(name) for name in ("episode", "frame", "progress"))
    noise = np.random.default_rng(0).permutation(np.arange(60) % 2)
    labels = {
        "scenario": store.column("label.scenario").tolist(),
        "pattern": [f"p{noise[sample_names.index(name)]}" for name in episode],
    }
    again = write_to(store, episode, frame, progress, labels)
    one = judge(again, targets=["scenario"], rigour=RIGOUR).discriminative
    two = judge(again, targets=["scenario", "pattern"], rigour=RIGOUR)
    assert two.primary == ("scenario", "pattern")
    assert one.p_yes == pytest.approx(1 / 200)
    assert two.targets["scenario"][1].p_yes == pytest.approx(2 / 200)
    assert two.discriminative.target == "scenario"
    alone = judge(again, targets=["pattern"], rigour=RIGOUR).discriminative
    assert two.targets["pattern"][1].p_yes == pytest.approx(max(alone.p_yes or 0, 2 / 200))


def test_a_yes_that_does_not_survive_holm_is_undecided():
    yes = replace(
        undecided("a", "balanced accuracy", 0.7, 40, "a is told, above 0.70 (p = 0.030)"), verdict="yes", p_yes=0.03
    )
    target = Target(name="a", classes=("x", "y"), codes=np.arange(40) % 2)
    found = _adjust({name: (target, replace(yes, target=name), None) for name in "ab"}, "ab")
    assert found["a"][1].verdict == "undecided"
    assert found["a"][1].p_yes == 0.06
    assert found["a"][1].why.endswith("corrected for 2 primary targets (Holm), p = 0.060")
    assert found["a"][1].n_needed == 41


def write_to(store, episode, frame, progress, labels):
    """The same rows as a new store in memory, with other labels."""
    rows = [
        Row(
            id=RowId(episode[row], int(frame[row]), "go"),
            progress=float(progress[row]),
            labels={name: values[row] for name, values in labels.items()},
        )
        for row in range(len(store))
    ]
    return PlantedStore(rows, {"context": store.vectors()}, None)


@pytest.mark.parametrize(
    ("world", "policy"),
    [
        (World(episodes=40, width=64), None),
        (World(episodes=40, width=64, label=6.0, action=3.0), BOTH),
        (World(episodes=40, width=64, label=2.0, action=0.8), Policy(instruction=0.25)),
        (World(episodes=5, width=64), BOTH),
        (World(episodes=12, width=64), BOTH),
    ],
)
def test_every_branch_is_plain_json_and_a_sentence(world, policy):
    found = judge(plant_store(world, 0, policy), rigour=RIGOUR)
    for verdict in (
        *found.verdicts.values(),
        *found.actionable.parts.values(),
        *(v for _, v, _ in found.targets.values()),
    ):
        plain = verdict.to_plain()
        assert json.loads(json.dumps(plain, allow_nan=False))["verdict"] == verdict.verdict
        assert "nan" not in verdict.why
        assert "None" not in verdict.why
        if verdict.verdict == "undecided" and verdict.statistic is not None:
            assert verdict.n_needed is None or verdict.n_needed > verdict.n
            assert verdict.n_needed is not None or "need not decide it" in verdict.why


def test_copies_of_six_recordings_are_no_thirty_episodes():
    planted = plant(World(episodes=6, width=64, label=6.0), 0)
    again = {name: np.repeat(getattr(planted, name), 5, axis=0) for name in ("vectors", "label", "actions", "course")}
    found = judge(as_store(replace(planted, **again), 0), rigour=RIGOUR)
    assert found.sample.num_episodes == 6
    assert {verdict.verdict for verdict in found.verdicts.values()} == {"undecided"}


def write_again(folder, planted, times, noise):
    """All under one instruction; each recording so many times, with noise of its own on the vectors."""
    count = len(planted.vectors) * times
    vectors = np.concatenate([planted.vectors] * times).reshape(count * 5, -1)
    vectors = vectors + noise * np.random.default_rng(1).standard_normal(vectors.shape)
    return write_store(
        folder,
        {"context": vectors},
        np.repeat([f"e{index:02d}" for index in range(count)], 5),
        np.tile([0, 4, 8, 13, 17], count),
        np.tile(planted.progress, count),
        labels={"scenario": np.repeat(np.where(np.tile(planted.label, times) == 1, "box", "basket"), 5).tolist()},
        actions=np.concatenate([planted.actions] * times).reshape(count * 5, 1, 2),
    )


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_recordings_that_are_stored_five_times_with_a_little_noise_tell_nothing(tmp_path, noise):
    """Of twelve recordings without any signal sixty episodes would tell label and actions without a mistake."""
    found = judge(write_again(tmp_path, plant(World(episodes=12, width=64), 0), 5, noise), rigour=RIGOUR)
    assert (found.sample.num_episodes, len(found.sample.copies)) == (12, 48)
    assert "yes" not in {verdict.verdict for verdict in found.verdicts.values()}
    assert "48 of 60 episodes are copies" in found.discriminative.why


def test_episodes_that_only_share_their_actions_are_no_copies(tmp_path):
    """A keyboard's commands are few: the same ones are driven in other scenes."""
    planted = plant(World(episodes=40, width=64, label=8.0), 0)
    alike = replace(planted, actions=np.concatenate([planted.actions[:8]] * 5))
    found = judge(write_again(tmp_path, alike, 1, 0.0), rigour=RIGOUR)
    assert (found.sample.num_episodes, found.sample.copies, found.scripts) == (40, (), 8)


def test_an_untrained_store_without_all_rows_is_no_baseline_and_it_is_said():
    store, lacking = plant_store(World(episodes=30, width=32), 0), plant_store(World(episodes=20, width=32), 0)
    found = judge(store, rigour=RIGOUR, untrained=lacking)
    assert "lacks 50 of the 150 rows" in (found.unlike or "")
    assert found.unlike in found.preserving.notes
    assert "untrained" not in found.discriminative.baselines
    assert judge(store, rigour=RIGOUR, untrained=store).unlike is None


def test_a_store_on_disk_is_judged_too(tmp_path):
    planted = plant(World(episodes=30, width=64, label=8.0, action=3.0), 0)
    names = np.repeat([f"e{index:02d}" for index in range(30)], 5)
    store = write_store(
        tmp_path / "s",
        {"context": planted.vectors.reshape(150, -1)},
        names,
        np.tile([0, 4, 8, 13, 17], 30),
        np.tile(planted.progress, 30),
        labels={"scenario": np.repeat(np.where(planted.label == 1, "box", "basket"), 5).tolist()},
        actions=planted.actions.reshape(150, 1, 2),
    )
    found = judge(store, rigour=RIGOUR)
    assert (found.discriminative.verdict, found.preserving.verdict) == ("yes", "yes")
    assert "no predicted chunks" in found.actionable.why
    with pytest.raises(UserError, match="no tap 'pixels'; there are context"):
        judge(store, "pixels")

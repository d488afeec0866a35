"""A probe hands out every wanted row once, as it is computed alone, and nothing else runs."""

from collections import Counter

import pytest
import torch

from mobile_vla.core.batch import OWN, PairId
from mobile_vla.core.errors import UserError
from mobile_vla.data.assemble import WindowRequest
from mobile_vla.data.meaning import find_meanings
from mobile_vla.data.windows import WindowConfig
from mobile_vla.evaluation.effects import EffectPlan
from mobile_vla.interventions.drawing import DONOR, PARAPHRASE, SWAP
from mobile_vla.probing.engine import collect, list_rows, lost_windows, probe, uncovered
from mobile_vla.probing.plans import PlanConfig
from mobile_vla.probing.sampling import make_plan
from mobile_vla.sources.schema import BrokenEpisode
from mobile_vla.taps.capture import capture
from mobile_vla.taps.points import PREDICTED, resolve_taps

NAMES = ("context", "image_tokens", "text_layer_0", "head_state", "pixels")
TOLERANCE = {"atol": 2e-5, "rtol": 0}


@pytest.fixture(scope="module")
def setting(lab):
    policy = lab.make_policy(lora={"dropout": 0.5})
    with torch.no_grad():
        for name, weight in policy.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.1)
    data = lab.make_data(num_validation=6)  # 9, 12, 3, 7, 10 and 4 frames, windows of 4
    episodes = data.episodes("validation")
    meanings = find_meanings(data.dataset.episodes, "direction")
    effects = EffectPlan(episodes, meanings, data.tokenize.length, None)
    return policy, data, episodes, effects.interventions()


@pytest.fixture(scope="module")
def taps(setting):
    return resolve_taps(setting[0], NAMES)


def plan_of(episodes, **settings):
    return make_plan(episodes, PlanConfig(**{"progress": (0.0, 0.5, 1.0), "episodes": 5, **settings}))


def run(policy, assembler, plan, taps, **settings):
    """All that a probe hands out, by row, and what became of it."""
    handed = []
    outcome = probe(policy, assembler, plan, taps, handed.append, **{"batch_size": 4, **settings})
    rows = {}
    for part in handed:
        for index, id in enumerate(part.ids):
            assert id not in rows, "a row comes once"
            values = {name: value[index] for name, value in part.taps.items()}
            values |= {name: getattr(part, name)[index] for name in ("predicted", "chunks", "chunk_mask")}
            rows[id] = values
            assert part.requests[index].variant == id.variant
    assert outcome.rows == len(rows)
    return rows, outcome


def same(one, other) -> bool:
    return one.keys() == other.keys() and all(
        one[id].keys() == other[id].keys() and all(torch.equal(one[id][k], other[id][k]) for k in one[id]) for id in one
    )


@pytest.mark.parametrize("kind", ["stratified", "every_n", "all"])
@torch.no_grad()
def test_every_wanted_row_comes_once_as_it_is_computed_alone(lab, setting, taps, kind):
    policy, data, episodes, _ = setting
    plan = plan_of(episodes, kind=kind, n=3)
    rows, outcome = run(policy, data.assembler(episodes), plan, taps)
    by_id = {episode.id: episode for episode in episodes}
    assert set(rows) == {
        PairId(id, frame, by_id[id].instruction, OWN) for id, frames in plan.frames.items() for frame in frames
    }
    assert (outcome.missing, outcome.broken) == (0, {})
    assembler = data.assembler(episodes)
    for id, values in rows.items():
        assert set(values) == {*NAMES, "predicted", "chunks", "chunk_mask"}
        episode = by_id[id.episode]
        start = max(0, id.frame - lab.window + 1)
        batch = assembler([WindowRequest(episode=episodes.index(episode), start=start)])
        place = 0, id.frame - start
        torch.testing.assert_close(values["predicted"], policy(batch)[place], **TOLERANCE)
        torch.testing.assert_close(values["context"], policy.contexts(batch)[batch.windows[place]], **TOLERANCE)
        known = min(lab.chunk, episode.num_frames - id.frame)
        assert values["chunk_mask"].tolist() == [True] * known + [False] * (lab.chunk - known)
        told = lab.space.normalize(episode.components(lab.space.components)[id.frame : id.frame + known])
        torch.testing.assert_close(values["chunks"][:known], torch.from_numpy(told))


def test_variants_come_beside_the_rows_as_recorded(setting, taps):
    policy, data, episodes, interventions = setting
    plan = plan_of(episodes)
    own, _ = run(policy, data.assembler(episodes), plan, taps)
    rows, _ = run(policy, data.assembler(episodes), plan, taps, interventions=interventions)
    counts = Counter(id.variant for id in rows)
    assert counts[OWN] == plan.num_rows
    assert counts.keys() == {OWN, SWAP, PARAPHRASE, DONOR}
    for id, values in rows.items():
        recorded = rows[
            id._replace(variant=OWN, instruction=next(i for i in own if i.episode == id.episode).instruction)
        ]
        shown, told = id.variant == DONOR, id.variant in (SWAP, PARAPHRASE)
        assert torch.equal(values["pixels"], recorded["pixels"]) != shown
        assert torch.equal(values["image_tokens"], recorded["image_tokens"]) != shown
        assert torch.equal(values["context"], recorded["context"]) != (shown or told)
        assert torch.equal(values["chunks"], recorded["chunks"])


def test_the_same_probe_gives_the_same_bits_on_any_number_of_ranks(setting, taps):
    policy, data, episodes, interventions = setting
    plan = plan_of(episodes, kind="every_n", n=2)
    settings = {"interventions": interventions, "batch_size": 3}
    alone, _ = run(policy, data.assembler(episodes), plan, taps, **settings)
    parts = [run(policy, data.assembler(episodes), plan, taps, rank=rank, world=3, **settings)[0] for rank in range(3)]
    assert sum(map(len, parts)) == len(alone)
    assert all(parts)
    assert same(alone, {id: values for part in parts for id, values in part.items()})


def test_rows_are_known_before_and_only_batches_that_hold_a_missing_one_are_run(setting, taps):
    policy, data, episodes, interventions = setting
    plan = plan_of(episodes, kind="every_n", n=2)
    assembler, settings = data.assembler(episodes), {"interventions": interventions, "batch_size": 3}
    whole, _ = run(policy, assembler, plan, taps, **settings)
    known = list_rows(plan, assembler, interventions)
    assert len(known) == len(set(known))
    assert set(known) == set(whole)
    assert [id.variant for id in known[: plan.num_rows]] == [OWN] * plan.num_rows
    missing = {known[0], known[-1]}
    again, _ = run(policy, assembler, plan, taps, todo=missing, **settings)
    assert missing <= again.keys()
    assert len(again) < len(whole) / 2
    assert same({id: whole[id] for id in again}, again)  # in the batches that they were in
    assert run(policy, assembler, plan, taps, todo=set(), **settings)[0] == {}


def test_only_frames_that_a_row_needs_are_read(lab, setting, taps):
    policy, data, episodes, _ = setting
    assembler = data.assembler(episodes)
    read = set()

    class Counting(lab.RandomFrames):
        def read(self, episode, low, high):
            read.update((episode.id, frame) for frame in range(low, high))
            return super().read(episode, low, high)

    assembler.frames = Counting()
    plan = make_plan(episodes, PlanConfig(episodes=3, progress=(1.0,)))
    run(policy, assembler, plan, taps)
    lengths = {episode.id: episode.num_frames for episode in episodes}
    assert read == {(id, frame) for id in plan.frames for frame in range(max(0, lengths[id] - lab.window), lengths[id])}


def test_rows_of_a_file_that_went_bad_are_missing_and_counted(lab, setting, taps):
    """Its frames are black in the batch: neither its own rows nor those that it lends its frames to are handed out."""
    policy, data, episodes, interventions = setting
    bad = episodes[1]
    assembler = data.assembler(episodes)
    assembler.faults = "skip"

    class Broken(lab.RandomFrames):
        def read(self, episode, low, high):
            if episode is bad:
                raise BrokenEpisode("truncated")
            return super().read(episode, low, high)

    assembler.frames = Broken()
    plan = plan_of(episodes, kind="every_n", n=2)
    whole, _ = run(policy, data.assembler(episodes), plan, taps, interventions=interventions)
    rows, outcome = run(policy, assembler, plan, taps, interventions=interventions)
    lost = set(whole) - set(rows)
    donors = {id for id in lost if id.episode != bad.id}
    assert donors
    assert {id.variant for id in donors} == {DONOR}
    assert {id for id in whole if id.episode == bad.id} <= lost
    assert outcome.missing == len(lost)
    assert outcome.broken == {str(bad.path): "truncated"}
    assert same({id: whole[id] for id in rows}, rows)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_probe_leaves_no_hooks_and_the_mode_as_it_was(setting, taps, error):
    policy, data, episodes, _ = setting

    def hooks():
        return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in policy.modules())

    def fail(rows):
        assert not policy.training
        assert hooks() > before
        raise error

    before = hooks()
    policy.train()
    with pytest.raises(error):
        probe(policy, data.assembler(episodes), plan_of(episodes), taps, fail, batch_size=4)
    assert policy.training
    policy.eval()
    assert hooks() == before


@torch.no_grad()
def test_validation_batches_give_the_rows_that_a_probe_gives(setting, taps):
    policy, data, episodes, _ = setting
    plan = plan_of(episodes, kind="every_n", n=2)
    expected, _ = run(policy, data.assembler(episodes), plan, taps)
    assert uncovered(plan, episodes, data.config) == []
    found = {}
    with capture(policy, [*taps, PREDICTED]) as captured:
        for batch in data.val_dataloader():
            predicted = policy(batch)
            rows = collect(captured, batch, plan.frames, lost_windows(batch, episodes))
            for index, id in enumerate(rows.ids):
                assert id not in found
                found[id] = {name: value[index] for name, value in rows.taps.items()}
                assert (predicted == rows.predicted[index]).all(-1).all(-1).any()
    assert found.keys() == expected.keys()
    for id, values in found.items():
        for name, value in values.items():
            torch.testing.assert_close(value, expected[id][name], **TOLERANCE)


def test_rows_that_validation_windows_do_not_hold_are_told(setting):
    _, _, episodes, _ = setting
    plan = plan_of(episodes, kind="all")
    lengths = {episode.id: episode.num_frames for episode in episodes}
    strided = WindowConfig(window=4, chunk=5, stride=2)
    assert uncovered(plan, episodes, strided) == [
        (id, frame) for id, length in lengths.items() for frame in range(4, length) if frame % 2 == 0
    ]
    dropped = WindowConfig(window=4, chunk=3, ends="drop")
    assert uncovered(plan, episodes, dropped) == [
        (id, frame) for id, length in lengths.items() for frame in range(length) if length < 6 or frame > length - 3
    ]


def test_a_plan_of_other_episodes_is_refused(lab, setting, taps):
    policy, data, episodes, _ = setting
    plan = plan_of([*episodes, lab.make_episode("elsewhere")], kind="all")
    with pytest.raises(UserError, match=r"names 1 episodes that are not in the data \(first: elsewhere\)"):
        probe(policy, data.assembler(episodes), plan, taps, print, batch_size=4)

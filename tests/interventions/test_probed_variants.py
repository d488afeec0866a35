"""Rows of every variant equal the changed window computed by hand; the own rows stay what they are without."""

from collections import Counter
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from mobile_vla.core.batch import OWN, FrameId
from mobile_vla.data.requests import WindowRequest
from mobile_vla.interventions.catalog import make_variants, parse_variants
from mobile_vla.interventions.drawing import pair_donors
from mobile_vla.interventions.subspace import edit_contexts
from mobile_vla.probing.cost import count_costs
from mobile_vla.probing.engine import mean_context, probe
from mobile_vla.sources.schema import BrokenEpisode
from mobile_vla.taps.points import resolve_taps
from tests.interventions import by_hand

TEXT_KINDS = ("swap", "paraphrase", "empty", "shuffle")
CLOSE = {"atol": 3e-5, "rtol": 0}


def names_of(bench):
    return [
        *TEXT_KINDS,
        "donor",
        "blank",
        "mean",
        "mask_tokens:3",
        *(f"{kind}:{bench.file}" for kind in ("subspace", "subspace_donor", "subspace_swap")),
    ]


def run(bench, names, episodes=None, assembler=None, **settings):
    """(rows by identity, the variants, outcome); a row: context, predicted, shown, request."""
    assembler = assembler or bench.data.assembler(episodes or bench.episodes)
    variants = make_variants(parse_variants(names), assembler, bench.meanings, bench.policy)
    handed = []
    settings = {"batch_size": 4, "interventions": variants, **settings}
    outcome = probe(
        bench.policy, assembler, bench.plan, resolve_taps(bench.policy, ["context"]), handed.append, **settings
    )
    rows = {}
    for part in handed:
        for i, id in enumerate(part.ids):
            assert id not in rows
            rows[id] = part.taps["context"][i], part.predicted[i], part.shown[i], part.requests[i]
    return rows, variants, outcome


@pytest.fixture(scope="module")
def probed(bench):
    return run(bench, names_of(bench))


@torch.no_grad()
def test_each_row_equals_its_changed_window_by_hand(lab, bench, probed):
    """Every frame of the window is changed: the head's chunk depends on all that came before."""
    rows, _, _ = probed
    policy, episodes = bench.policy, bench.episodes
    index = {episode.id: i for i, episode in enumerate(episodes)}
    donors, _ = pair_donors(episodes, bench.meanings, 0)
    pictures = {episode.id: lab.RandomFrames().read(episode, 0, episode.num_frames) for episode in episodes}
    grey = (torch.tensor(policy.preprocessing.mean) * 255).round().to(torch.uint8)
    mean = bench.data.assembler(episodes).mean_frame()

    @cache
    def context(what, which, text, hidden=()):
        stills = {"blank": grey.expand_as(mean), "mean": mean}
        frame = stills[what] if what in stills else pictures[what][which]
        return by_hand.context(policy, frame, text, hidden)

    recorded = [context(i.episode, i.frame, i.instruction) for i in rows if i.variant == OWN]
    others_mean = torch.stack(recorded).mean(0)
    projector = torch.from_numpy(bench.rows.T @ np.linalg.inv(bench.rows @ bench.rows.T) @ bench.rows).float()
    swapped = {id.episode: id.instruction for id in rows if id.variant == "swap"}

    for id, (found, predicted, _, _) in rows.items():
        own = episodes[index[id.episode]]
        donor = episodes[donors[index[id.episode]]] if index[id.episode] in donors else None

        def expect(frame, variant=id.variant, text=id.instruction, own=own, donor=donor):
            plain = context(own.id, frame, own.instruction)
            at = round(frame / (own.num_frames - 1) * (donor.num_frames - 1)) if donor else None
            if variant == "donor":
                return context(donor.id, at, own.instruction)
            if variant in ("blank", "mean"):
                return context(variant, 0, own.instruction)
            if variant.startswith("mask_tokens"):
                return context(own.id, frame, own.instruction, (3,) if variant == "mask_tokens_03" else (0, 1, 2))
            if variant.startswith("subspace"):
                other = {
                    "subspace:few": lambda: others_mean,
                    "subspace_donor:few": lambda: context(donor.id, at, own.instruction),
                    "subspace_swap:few": lambda: context(own.id, frame, swapped[own.id]),
                }[variant]()
                return plain + (other - plain) @ projector
            return context(own.id, frame, text)

        history = [expect(frame) for frame in range(max(0, id.frame - lab.window + 1), id.frame + 1)]
        wrong = f"{id}: {{}}".format
        torch.testing.assert_close(found, history[-1], **CLOSE, msg=wrong)
        torch.testing.assert_close(predicted, by_hand.chunk(policy, history), **CLOSE, msg=wrong)


def test_every_variant_moves_its_rows_and_says_so_in_its_identity(bench, probed):
    rows, variants, _ = probed
    own = {(id.episode, id.frame): (id, *row) for id, row in rows.items() if id.variant == OWN}
    assert len(own) == bench.plan.num_rows
    assert {id.variant for id in rows} == {OWN, *variants}
    for id, (context, predicted, shown, request) in rows.items():
        recorded, before, chunk, _, _ = own[id.episode, id.frame]
        assert (id.instruction == recorded.instruction) == (id.variant not in TEXT_KINDS)
        assert (shown == FrameId(id.episode, id.frame)) == (id.variant not in ("donor", "blank", "mean"))
        assert request.variant == id.variant
        if id.variant != OWN:
            assert (context - before).abs().max() > 1e-3, id
            assert (predicted - chunk).abs().max() > 1e-6, id


def test_rows_are_those_that_the_cost_told(bench, probed):
    rows, variants, outcome = probed
    counts = Counter(variants[id.variant].spec.spelled for id in rows if id.variant != OWN)
    told = {cost.spelled: cost.rows for cost in count_costs(variants, bench.plan, bench.episodes, 4)}
    assert counts == told
    assert len(set(told.values())) > 2  # not everybody has a donor, or a paraphrase
    assert outcome.missing == 0


def test_own_rows_are_the_same_without_variants(bench, probed):
    rows, _, _ = probed
    alone, _, _ = run(bench, [])
    assert {id for id in rows if id.variant == OWN} == alone.keys()
    for id, (context, predicted, shown, _) in alone.items():  # to the last bit: they are run in the same pass
        assert torch.equal(rows[id][0], context)
        assert torch.equal(rows[id][1], predicted)
        assert rows[id][2] == shown


def test_nothing_depends_on_the_order_of_files_on_batches_or_on_ranks(bench, probed):
    rows, variants, _ = probed
    order = [3, 0, 5, 2, 4, 1]
    mixed, _, _ = run(bench, names_of(bench), [bench.episodes[i] for i in order], batch_size=3)
    ranks = [run(bench, names_of(bench), rank=rank, world=2, batch_size=2)[0] for rank in range(2)]
    for other in (mixed, ranks[0] | ranks[1]):
        assert other.keys() == rows.keys()
        for id, (context, predicted, shown, _) in rows.items():
            assert other[id][2] == shown
            torch.testing.assert_close(other[id][0], context, **CLOSE)
            torch.testing.assert_close(other[id][1], predicted, **CLOSE)
    assert sum(map(len, ranks)) == len(rows)
    assert variants


def test_image_tokens_are_computed_once_for_all_variants_that_show_the_same(bench):
    """Text, token and mean-subspace variants cost no frame; a still costs one a batch."""
    seen = []
    hook = bench.policy.backbone.model.vision_model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(len(kwargs["pixel_values"])), with_kwargs=True
    )
    counts = {}
    no_frames = [*TEXT_KINDS, "mask_tokens:1", f"subspace_swap:{bench.file}"]
    for name in ([], no_frames, ["blank"], ["mean", "swap", "blank"]):
        seen.clear()
        run(bench, name)
        counts[tuple(name)] = list(seen)
    hook.remove()
    plain, texts, blank, both = counts.values()
    assert texts == plain
    assert blank == [n for own in plain for n in (own, 1)]
    assert both == [n for own in plain for n in (own, 1, 1)]


@pytest.mark.parametrize("names", [[], [0], [4], [8], [9], [10], [0, 10], [4, 9], [8, 9, 11, 12], range(13)])
def test_the_decoder_runs_as_often_as_was_told(bench, names):
    others = [f"{kind}:{bench.another_file}" for kind in ("subspace", "subspace_donor")]  # what these need is shared
    names = [[*names_of(bench), *others][i] for i in names]
    passes = []
    hook = bench.policy.backbone.model.text_model.register_forward_pre_hook(
        lambda module, args, kwargs: passes.append(len(kwargs["inputs_embeds"])), with_kwargs=True
    )
    _, variants, _ = run(bench, names, batch_size=100)
    hook.remove()
    told = sum(cost.passes for cost in count_costs(variants, bench.plan, bench.episodes, 4))
    assert sum(passes) == sum(episode.num_frames for episode in bench.episodes) + told


def test_a_source_that_is_a_variant_too_is_computed_once(bench):
    assembler = bench.data.assembler(bench.episodes)

    def pairs(*names):
        variants = make_variants(parse_variants(names), assembler, bench.meanings, bench.policy)
        own = [WindowRequest(episode=i, start=0) for i in range(6)]
        changed = [(name, change(request)) for name, change in variants.items() for request in own]
        return len(assembler([*own, *(replace(r, variant=name) for name, r in changed if r is not None)]).pair_id)

    interchange = f"subspace_swap:{bench.file}"
    own, swap = pairs(), pairs("swap")
    assert pairs("swap", interchange) == pairs(interchange) == own + 2 * (swap - own)


def test_contexts_that_came_from_a_cache_are_left_as_they_are(bench, probed):
    _, variants, _ = probed
    requests = [
        replace(variants[name](WindowRequest(episode=0, start=0)), variant=name)
        for name in ("subspace:few", "subspace_swap:few")
    ]
    batch = bench.data.assembler(bench.episodes)(requests)
    contexts = torch.randn(len(batch.pair_id), bench.policy.backbone.context_width)
    kept = contexts.clone()
    edit = edit_contexts(batch, {name: variants[name].subspace for name in variants if "sub" in name}, kept[0])
    assert (edit(contexts) != kept).any()
    assert torch.equal(contexts, kept)


@torch.no_grad()
def test_a_cache_by_what_is_shown_is_not_fooled(bench, probed):
    """Image tokens kept by `frame_id` from the own windows alone, and then asked for by batches with every variant."""
    _, variants, _ = probed
    policy, assembler = bench.policy, bench.data.assembler(bench.episodes)
    own = [WindowRequest(episode=i, start=0) for i in range(6)]
    changed = [(name, change(request)) for name, change in variants.items() for request in own]
    kept = {}
    for requests in (own, [*own, *(replace(r, variant=name) for name, r in changed if r is not None)]):
        batch = assembler(requests)
        assert len(set(batch.frame_id)) == len(batch.frame_id) == len(batch.frames)
        for id, frame in zip(batch.frame_id, batch.frames, strict=True):
            if id not in kept:
                kept[id] = policy.backbone.image_tokens(policy.preprocessing(frame[None]))[0]
        cached = replace(batch, frames=None, image_tokens=torch.stack([kept[id] for id in batch.frame_id]))
        torch.testing.assert_close(policy(cached), policy(batch), **CLOSE)


def test_rows_whose_donor_or_source_went_bad_are_missing(lab, bench, probed):
    rows, _, _ = probed
    lent = next(id for id in rows if id.variant == "donor")
    bad = next(e for e in bench.episodes if e.id == rows[lent][2].episode)

    class Broken(lab.RandomFrames):
        def read(self, episode, low, high):
            if episode.id == bad.id:
                raise BrokenEpisode("gone")
            return super().read(episode, low, high)

    assembler = bench.data.assembler(bench.episodes)
    assembler.faults, assembler.frames = "skip", Broken()
    left, _, outcome = run(bench, names_of(bench), assembler=assembler)
    lost = rows.keys() - left.keys()
    assert {id for id in lost if id.episode != bad.id} == {
        id for id in rows if id.episode == lent.episode and id.variant in ("donor", "subspace_donor:few")
    }
    assert {id for id in rows if id.episode == bad.id} <= lost
    assert outcome.missing == len(lost)


def test_the_mean_row_is_over_rows_not_over_all_that_runs(bench, probed):
    rows, _, _ = probed
    own = torch.stack([row[0] for id, row in rows.items() if id.variant == OWN])
    for size in (2, 100):
        found = mean_context(bench.policy, bench.data.assembler(bench.episodes), bench.plan, size)
        torch.testing.assert_close(found, own.mean(0), **CLOSE)

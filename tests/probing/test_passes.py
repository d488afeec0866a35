"""Passes: every window and each of its variants once, in passes that fit, and the first is the same with variants."""

from collections import Counter

import pytest

from mobile_vla.core.batch import OWN
from mobile_vla.interventions.catalog import make_variants, parse_variants
from mobile_vla.probing.passes import plan_passes
from mobile_vla.taps.places import starts_of

SOURCES = ("donor", "subspace_donor:{few}", "subspace_donor:{one}", "subspace_swap:{few}", "subspace:{few}")
NAMES = ("swap", "mask_tokens:1", "blank", *SOURCES)


def plan(bench, batch_size, names):
    files = {"few": bench.file, "one": bench.another_file}
    assembler = bench.data.assembler(bench.episodes)
    specs = parse_variants([name.format(**files) for name in names])
    variants = make_variants(specs, assembler, bench.meanings, bench.policy)
    return assembler, variants, list(plan_passes(bench.plan, assembler, batch_size, variants))


@pytest.mark.parametrize("batch_size", [1, 3, 4, 100])
def test_every_window_and_each_of_its_variants_is_run_once(bench, batch_size):
    _, variants, batches = plan(bench, batch_size, NAMES)
    ids = [episode.id for episode in bench.episodes]
    own = {(ids.index(id), start) for id, frames in bench.plan.frames.items() for start in starts_of(frames, 4)}
    found = Counter((one.episode, one.start, one.variant) for batch in batches for part in batch for one in part)
    assert set(found.values()) == {1}
    for name in (OWN, *variants):
        lacking = {"donor", "subspace_donor:few", "subspace_donor:one"}  # two episodes have no donor
        mine = {(episode, start) for episode, start, variant in found if variant == name}
        assert mine == own if name not in lacking else mine < own
    assert all(batch and all(batch) for batch in batches), "no pass is empty"


@pytest.mark.parametrize("batch_size", [1, 3, 4, 100])
def test_the_first_pass_of_a_batch_is_the_same_with_variants_and_without(bench, batch_size):
    _, _, batches = plan(bench, batch_size, NAMES)
    assert [[batch[0]] for batch in batches] == plan(bench, batch_size, [])[2]
    for batch in batches:
        shown = {(one.episode, one.start) for one in batch[0]}
        assert {(one.episode, one.start) for part in batch for one in part} == shown, "variants stay with their windows"


@pytest.mark.parametrize("batch_size", [3, 4, 100])  # of 3 that share their contexts, one window is the least
def test_no_pass_runs_the_decoder_for_more_than_the_frames_of_its_windows(bench, batch_size):
    assembler, _, batches = plan(bench, batch_size, NAMES)
    for batch in batches:
        for part in batch:
            assert len(assembler(part).pair_id) <= 4 * batch_size  # windows of 4 frames

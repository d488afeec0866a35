"""A batch from requests for windows: each frame and text once, and every position shows what it should."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mobile_vla.core.actions import ActionSpace
from mobile_vla.core.batch import OWN, FrameId
from mobile_vla.core.errors import UserError
from mobile_vla.data.assemble import BatchAssembler, WindowRequest, runs
from mobile_vla.data.plan import PlannedBatch, Span
from mobile_vla.data.stills import Still
from mobile_vla.data.windows import WindowConfig
from mobile_vla.evaluation.losses import masked_huber
from mobile_vla.sources.schema import BrokenEpisode

SPACE = ActionSpace(components=("linear_y", "linear_x"), low=(-2.0, 0.0), high=(1.0, 1.5))
LENGTHS = (18, 12, 3, 9)  # the third is shorter than a window
TEXTS = ("go left", "go right", "go left", "왼쪽으로")


class Tokens:
    """A text's ids are the codes of its letters."""

    def __call__(self, instructions):
        self.seen = instructions
        longest = max(map(len, instructions))
        ids = torch.tensor([[*map(ord, text), *[0] * (longest - len(text))] for text in instructions])
        return ids, ids > 0

    def length(self, instruction):
        return len(instruction)


class Pictures:
    """A frame's pixels say which frame of which episode it is."""

    def __init__(self):
        self.reads = []

    def read(self, episode, low, high):
        self.reads.append((episode.id, low, high))
        pixels = torch.zeros(high - low, 2, 2, 3, dtype=torch.uint8)
        pixels[..., 0] = int(episode.id)
        pixels[..., 1] = torch.arange(low, high)[:, None, None]
        return pixels


@pytest.fixture(scope="session")
def new_assembler(make_episode):
    def build(frames=None, **windows):
        episodes = []
        for index, (length, text) in enumerate(zip(LENGTHS, TEXTS, strict=True)):
            known = np.arange(length) != 1  # one action is unknown
            episodes.append(make_episode(str(index), length, text, known=known))
        return BatchAssembler(episodes, frames or Pictures(), Tokens(), SPACE, WindowConfig(**windows))

    return build


def shown(batch, window, position):
    """(episode, frame, text) at a position of a window, from the tensors alone; None where it is padding."""
    pair = batch.windows[window, position].item()
    if pair < 0:
        return None
    pixel = batch.frames[batch.pair_frame[pair], 0, 0]
    text = batch.pair_text[pair]
    letters = batch.text_ids[text][batch.text_mask[text]]
    return int(pixel[0]), int(pixel[1]), "".join(map(chr, letters.tolist()))


def check_windows(batch, requests, windows):
    """Frame and text at every position, the chunk and its mask, against the episodes themselves."""
    for w, request in enumerate(requests):
        length, text = LENGTHS[request.episode], request.instruction or TEXTS[request.episode]
        actions = np.random.default_rng(0).uniform(-1.15, 1.15, (length, 3)).astype(np.float32)
        for p in range(windows.window):
            frame = request.start + p
            if frame >= length:
                assert shown(batch, w, p) is None
                assert not batch.chunk_mask[w, p].any()
                continue
            whose, which = request.episode, frame
            if request.donor is not None:
                whose = request.donor
                which = round(frame / max(length - 1, 1) * (LENGTHS[whose] - 1))
            assert shown(batch, w, p) == (whose, which, text)
            assert batch.pair_id[batch.windows[w, p]] == (str(request.episode), frame, text, request.variant)
            for c in range(windows.chunk):
                valid = frame + c < length and frame + c != 1
                assert batch.chunk_mask[w, p, c] == valid
                x, y = actions[frame + c][:2] if valid else (0.75, -0.5)
                expected = [(y + 2) / 3 * 2 - 1, x / 1.5 * 2 - 1]
                assert batch.chunks[w, p, c].tolist() == pytest.approx(expected, abs=1e-5)


OWN_REQUESTS = st.integers(0, 3).flatmap(
    lambda episode: st.builds(
        WindowRequest, episode=st.just(episode), start=st.integers(0, max(LENGTHS[episode] - 8, 0))
    )
)
CHANGED = st.one_of(
    OWN_REQUESTS,
    OWN_REQUESTS.map(lambda request: replace(request, variant="swap", instruction="stop here")),
    OWN_REQUESTS.map(lambda request: replace(request, variant="donor", donor=(request.episode + 1) % 4)),
)


@given(requests=st.lists(CHANGED, min_size=1, max_size=6), ends=st.sampled_from(["pad", "drop"]))
def test_every_position_shows_what_was_requested(new_assembler, requests, ends):
    assembler = new_assembler(ends=ends)
    batch = assembler(requests)
    check_windows(batch, requests, assembler.windows)
    tail = batch.windows < 0
    assert (tail == (tail.cummax(dim=1).values)).all()  # once padding, padding to the end


@given(requests=st.lists(CHANGED, min_size=1, max_size=6))
def test_frames_texts_and_pairs_are_distinct(new_assembler, requests):
    pictures = Pictures()
    batch = new_assembler(pictures)(requests)
    pixels = [tuple(frame[0, 0, :2].tolist()) for frame in batch.frames]
    assert len(set(pixels)) == len(pixels)
    read = [(id, frame) for id, low, high in pictures.reads for frame in range(low, high)]
    assert sorted(read) == sorted((str(episode), frame) for episode, frame in pixels)  # each once, none in vain
    assert len(set(batch.pair_id)) == len(batch.pair_id) == len(batch.pair_frame) == len(batch.pair_text)
    assert len(batch.text_ids) == len({pair.instruction for pair in batch.pair_id})
    assert set(batch.windows[batch.windows >= 0].tolist()) == set(range(len(batch.pair_id)))


def test_overlapping_windows_share_their_pairs_and_one_read(new_assembler):
    pictures = Pictures()
    batch = new_assembler(pictures)([WindowRequest(episode=0, start=start) for start in (2, 3, 4)])
    assert batch.frames.shape[0] == len(batch.pair_id) == 10
    assert pictures.reads == [("0", 2, 12)]
    assert batch.windows[1].tolist() == [*batch.windows[0, 1:].tolist(), 8]


def test_episodes_with_one_text_embed_it_once(new_assembler):
    batch = new_assembler()([WindowRequest(episode=0, start=0), WindowRequest(episode=2, start=0)])
    assert batch.text_ids.shape[0] == 1
    assert batch.frames.shape[0] == 8 + 3


def test_another_text_adds_pairs_but_no_frames(new_assembler):
    own = WindowRequest(episode=0, start=0)
    batch = new_assembler()([own, replace(own, variant="swap", instruction="go right")])
    assert batch.frames.shape[0] == 8
    assert len(batch.pair_id) == 16
    assert [pair.variant for pair in batch.window_pairs(1)] == ["swap"] * 8
    assert torch.equal(batch.chunks[0], batch.chunks[1])


def test_a_donor_lends_frames_and_nothing_else(new_assembler):
    request = WindowRequest(episode=0, start=4, variant="donor", donor=3)
    batch = new_assembler()([request])
    assert [shown(batch, 0, p)[:2] for p in range(8)] == [(3, round(f / 17 * 8)) for f in range(4, 12)]
    own = new_assembler()([replace(request, variant=OWN, donor=None)])
    assert torch.equal(batch.chunks, own.chunks)
    assert batch.window_pairs(0)[0] == ("0", 4, "go left", "donor")


def test_two_donors_of_one_episode_are_told_apart(new_assembler):
    """The second must not silently be shown the first one's frames."""
    requests = [WindowRequest(episode=0, start=0, variant="donor", donor=donor) for donor in (1, 3)]
    batch = new_assembler()(requests)
    assert [shown(batch, w, 0)[0] for w in range(2)] == [1, 3]


STILL = Still.of("blank", torch.full((2, 2, 3), 200, dtype=torch.uint8))


def test_a_still_stands_in_every_place_of_its_windows_and_once_in_the_batch(new_assembler):
    own = [WindowRequest(episode=0, start=2), WindowRequest(episode=2, start=0)]
    changed = [replace(request, variant="blank", still=STILL) for request in own]
    batch = new_assembler()([*own, *changed])
    assert len(batch.frames) == 8 + 3 + 1
    for w, request in enumerate(changed, start=2):
        for p, pair in enumerate(batch.window_pairs(w)):
            assert (batch.frames[batch.pair_frame[batch.windows[w, p]]] == 200).all()
            assert pair == (str(request.episode), request.start + p, TEXTS[request.episode], "blank")
    assert torch.equal(batch.windows[2:] < 0, batch.windows[:2] < 0)
    assert torch.equal(batch.chunks[2:], batch.chunks[:2])


def test_a_batch_of_stills_alone_reads_nothing(new_assembler):
    pictures = Pictures()
    batch = new_assembler(pictures)([WindowRequest(episode=0, start=0, still=STILL)])
    assert pictures.reads == []
    assert batch.frames.shape == (1, 2, 2, 3)


@given(requests=st.lists(CHANGED, min_size=1, max_size=6))
def test_a_frames_identity_is_what_it_shows(new_assembler, requests):
    batch = new_assembler()([*requests, replace(requests[0], variant="blank", still=STILL)])
    for id, pixels in zip(batch.frame_id, batch.frames, strict=True):
        if id.still:
            assert (id, pixels[0, 0, 0]) == (FrameId("", 0, STILL.id), 200)
        else:
            assert id == FrameId(str(int(pixels[0, 0, 0])), int(pixels[0, 0, 1]))
    assert len(set(batch.frame_id)) == len(batch.frame_id)


def test_hidden_image_tokens_are_those_of_their_window_alone(new_assembler):
    own = WindowRequest(episode=0, start=0)
    requests = [own, *(replace(own, variant="mask", hidden=run) for run in ((0, 4), (4, 8)))]
    batch = new_assembler()(requests)
    assert batch.frames.shape[0] == 8
    for w, request in enumerate(requests):
        assert {tuple(batch.pair_hidden[pair].tolist()) for pair in batch.windows[w].tolist()} == {request.hidden}
    assert new_assembler()([own]).pair_hidden is None


def test_a_source_is_the_same_frame_changed_otherwise(new_assembler):
    """For every place of the window, in pairs that no window needs to hold; the own pairs have none."""
    own = WindowRequest(episode=0, start=3)
    source = replace(own, variant="donor", donor=1)
    batch = new_assembler()([own, replace(own, variant="inside", source=source)])
    assert len(batch.pair_id) == 24
    assert [pair.variant for pair in batch.window_pairs(1)] == ["inside"] * 8
    for p in range(8):
        assert batch.pair_source[batch.windows[0, p]] == -1
        given = int(batch.pair_source[batch.windows[1, p]])
        assert batch.pair_id[given] == ("0", 3 + p, "go left", "donor")
        assert batch.frame_id[batch.pair_frame[given]] == FrameId("1", round((3 + p) / 17 * 11))
    assert len(new_assembler()([own, replace(own, variant="inside", source=source), source]).pair_id) == 24
    assert new_assembler()([own]).pair_source is None


def test_a_planned_batch_is_its_windows_as_recorded(new_assembler):
    assembler = new_assembler(stride=2)
    planned = PlannedBatch((Span(0, 1, 3), Span(2, 0, 1), Span(1, 0, 2)), denominator=77)
    requests = assembler.requests(planned)
    assert [(r.episode, r.start, r.variant) for r in requests] == [
        (0, 2, OWN),
        (0, 4, OWN),
        (0, 6, OWN),
        (2, 0, OWN),
        (1, 0, OWN),
        (1, 2, OWN),
    ]
    assert assembler(requests, planned.denominator).denominator == 77


def test_without_a_source_there_are_no_frames_but_all_else(new_assembler):
    requests = [WindowRequest(episode=1, start=2)]
    blind = new_assembler()
    blind.frames = None
    assert blind(requests).frames is None
    assert torch.equal(blind(requests).chunks, new_assembler()(requests).chunks)


class Failing(Pictures):
    """Some episodes cannot be read (any more)."""

    def __init__(self, *bad):
        super().__init__()
        self.bad = set(bad)

    def read(self, episode, low, high):
        self.reads.append((episode.id, low, high))
        if episode.id in self.bad:
            raise BrokenEpisode(f"is gone, from frame {low} on")
        return super().read(episode, low, high)


@pytest.fixture
def skipping(new_assembler):
    def build(*bad):
        assembler = new_assembler(Failing(*bad))
        assembler.faults = "skip"
        return assembler

    return build


REQUESTS = [WindowRequest(episode=e, start=s) for e, s in ((0, 2), (1, 0), (1, 3), (3, 1))]


class TestFilesThatGoBad:
    def test_error_names_the_file_and_the_remedy(self, new_assembler):
        with pytest.raises(UserError, match=r"^1\.h5 went bad while it was read: is gone.*data\.faults=skip$"):
            new_assembler(Failing("1"))([WindowRequest(episode=1, start=0)])

    def test_only_their_windows_are_masked(self, new_assembler, skipping):
        whole, batch = new_assembler()(REQUESTS), skipping("1")(REQUESTS)
        assert batch.broken == (("1.h5", "is gone, from frame 0 on"),)
        assert batch.num_windows == 4
        assert not batch.chunk_mask[1:3].any()
        assert not batch.chunks[1:3].any()
        for name in ("chunks", "chunk_mask"):
            assert torch.equal(getattr(batch, name)[[0, 3]], getattr(whole, name)[[0, 3]])
        assert batch.pair_id == whole.pair_id
        assert torch.equal(batch.windows, whole.windows)
        shown = torch.tensor([pair.episode != "1" for pair in batch.pair_id])
        assert torch.equal(batch.frames[batch.pair_frame[shown]], whole.frames[whole.pair_frame[shown]])
        assert not batch.frames[batch.pair_frame[~shown]].any()

    def test_the_denominator_counts_what_is_left(self, new_assembler, skipping):
        whole = new_assembler()(REQUESTS, 1000)
        batch = skipping("1")(REQUESTS, 1000)
        assert batch.denominator == 1000 - int(whole.chunk_mask[1:3].sum())
        assert skipping("1")(REQUESTS, whole.num_valid).denominator == batch.num_valid
        assert skipping("1")(REQUESTS).denominator is None

    def test_a_file_is_not_asked_again(self, skipping):
        assembler = skipping("1")
        assembler(REQUESTS)
        assembler.frames.reads.clear()
        assembler.frames.bad.clear()  # it comes back; what is left out stays out
        batch = assembler(REQUESTS)
        assert not [read for read in assembler.frames.reads if read[0] == "1"]
        assert batch.broken == (("1.h5", "is gone, from frame 0 on"),)

    def test_a_file_that_breaks_between_two_of_its_runs_shows_nothing(self, skipping):
        """The second run of frames cannot be read; those of the first must not be trained on."""
        assembler = skipping()
        read = assembler.frames.read

        def breaks_later(episode, low, high):
            if low >= 9:
                raise BrokenEpisode("gone")
            return read(episode, low, high)

        assembler.frames.read = breaks_later
        batch = assembler([WindowRequest(episode=0, start=0), WindowRequest(episode=0, start=10)])
        assert not batch.frames.any()
        assert batch.num_valid == 0

    def test_a_batch_of_nothing_else_has_no_loss_but_no_nan_either(self, skipping):
        batch = skipping("1")([WindowRequest(episode=1, start=0)], 57)
        assert batch.frames.shape == (8, 2, 2, 3)
        assert not batch.frames.any()
        assert (batch.num_valid, batch.denominator) == (0, 1)
        predicted = torch.ones_like(batch.chunks, requires_grad=True)
        loss = masked_huber(predicted, batch.chunks, batch.chunk_mask, 1.0, batch.denominator)
        loss.backward()
        assert loss == 0
        assert not predicted.grad.any()

    def test_nothing_left_at_all_is_the_users_to_mend(self, skipping):
        with pytest.raises(UserError, match=r"none of 4 files can be read any more; the first, 0\.h5: is gone"):
            skipping("0", "1", "2", "3")([WindowRequest(episode=1, start=0)])

    def test_a_still_of_a_broken_episode_is_masked_and_shown_all_the_same(self, skipping):
        own = WindowRequest(episode=1, start=0)
        batch = skipping("1")([own, replace(own, variant="blank", still=STILL), WindowRequest(episode=0, start=0)])
        assert batch.chunk_mask.any((1, 2)).tolist() == [False, False, True]
        assert (batch.frames[batch.pair_frame[batch.windows[1, 0]]] == 200).all()

    def test_a_window_with_a_broken_source_is_masked(self, skipping):
        own = WindowRequest(episode=0, start=0)
        batch = skipping("3")([own, replace(own, variant="inside", source=replace(own, variant="donor", donor=3))])
        assert batch.chunk_mask.any((1, 2)).tolist() == [True, False]

    @pytest.mark.parametrize("bad", ["0", "3"])
    def test_a_window_with_a_broken_donor_is_masked_and_so_is_a_broken_ones_own(self, skipping, bad):
        """Else an effect would compare different windows."""
        own = WindowRequest(episode=0, start=0)
        batch = skipping(bad)([own, replace(own, variant="donor", donor=3), WindowRequest(episode=1, start=0)])
        assert batch.chunk_mask.any((1, 2)).tolist() == [bad != "0", False, True]

    def test_a_good_batch_says_so(self, skipping):
        assert skipping("1")([WindowRequest(episode=0, start=0)]).broken == ()


@given(wanted=st.sets(st.tuples(st.integers(0, 2), st.integers(0, 9)), max_size=20))
def test_runs_cover_exactly_what_is_wanted_in_the_fewest_reads(wanted):
    found = runs(wanted)
    assert [(e, frame) for e, low, high in found for frame in range(low, high)] == sorted(wanted)
    assert len(found) == sum((episode, frame - 1) not in wanted for episode, frame in wanted)
